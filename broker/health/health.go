// Package health judges how well an object store does, by the requests that are sent to it anyway.
//
// It promises to say so soon: a store that fails, or keeps silent, for 5 s (and while what is sent to it may still be on its way) is
// unavailable; one of which a fifth of the requests fail or are slow is
// degraded; and it is healthy again when that has been over for half a minute. What it never does: decide what is durable, or send a
// request itself, but for one a second while the store is unavailable, to learn when it is back.
//
//	m := health.NewMonitor(health.Config{Store: store, Probe: key})
//	go m.Run(ctx)
//	journals use m.Store(); m.State() is what it came to
//
// The judgement is a state machine without clock or I/O (judge.go); Monitor is a thin shell that watches a store for it.
package health

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firn-io/firn/kfs/blob"
)

// State is how well the store does.
type State uint8

const (
	Healthy     State = iota
	Degraded          // many requests fail or are slow: producers are slowed down
	Unavailable       // nothing succeeds: producers are told at once to come back later
)

// String is the state in a word, as metrics and /healthz have it.
func (s State) String() string { return [...]string{"healthy", "degraded", "unavailable"}[s] }

// Config is what a Monitor needs. Probe, Now, Log and Metrics may be left out.
type Config struct {
	Store   blob.Store
	Probe   string                // a key that is asked for while the store is unavailable, whether it is there or not
	Now     func() time.Time      // default time.Now
	Log     *slog.Logger          // default discards
	Metrics prometheus.Registerer // default none
}

const (
	lookEvery    = time.Second     // the state is looked at, for what comes about by nothing happening
	probeTimeout = 3 * time.Second // of a request that only asks whether the store is back
)

// Monitor watches the requests to a store. All methods are safe for concurrent use.
type Monitor struct {
	cfg      Config
	store    *watched
	requests *prometheus.HistogramVec

	mu    sync.Mutex // guards judge
	judge judge
	told  State // the Run loop's own
}

// NewMonitor makes a monitor. Run lets it look by itself.
func NewMonitor(cfg Config) *Monitor {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	m := &Monitor{cfg: cfg, requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "firn_store_request_duration_seconds", Help: "Requests to the object store, by verb and whether they were answered.",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15},
	}, []string{"verb", "outcome"})}
	m.store = &watched{cfg.Store, m}
	if cfg.Metrics != nil {
		cfg.Metrics.MustRegister(m.requests)
		for _, s := range []State{Healthy, Degraded, Unavailable} {
			cfg.Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "firn_store_state", Help: "1 for the state that the object store is in.", ConstLabels: prometheus.Labels{"state": s.String()},
			}, func() float64 {
				if m.State() == s {
					return 1
				}
				return 0
			}))
		}
	}
	return m
}

// Store is the store, watched.
func (m *Monitor) Store() blob.Store { return m.store }

// State is how well the store does now.
func (m *Monitor) State() State {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.judge.state(m.cfg.Now())
}

// Run tells of changes, and asks an unavailable store whether it is back, until ctx ends. Each second look is called with the state; it
// tells whether the store is to be asked all the same, because somebody doubts it.
func (m *Monitor) Run(ctx context.Context, look func(State) (ask bool)) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		state := m.State()
		if state != m.told {
			m.cfg.Log.Warn("the object store has become "+state.String(), "was", m.told.String())
			m.told = state
		}
		if ask := look(state); ask || state == Unavailable {
			m.probe(ctx)
		}
	}
}

// probe asks for the last bytes of an object. That the answer counts is the store's business.
func (m *Monitor) probe(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if body, _, err := m.store.Get(ctx, m.cfg.Probe, blob.Last(1)); err == nil {
		body.Close()
	}
}

// begin notes a request that sends so many bytes.
func (m *Monitor) begin(verb string, bytes int64) *noted {
	n := &noted{monitor: m, verb: verb, begun: m.cfg.Now()}
	m.mu.Lock()
	defer m.mu.Unlock()
	n.id = m.judge.begin(n.begun, bytes)
	return n
}

// noted is a request under way.
type noted struct {
	monitor *Monitor
	verb    string
	begun   time.Time
	id      uint64
}

// progress notes that so many bytes of the answer have come.
func (n *noted) progress(bytes int) {
	m := n.monitor
	now := m.cfg.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.judge.progress(now, n.id, int64(bytes))
}

// end is called when the request has ended.
func (n *noted) end(err error) {
	m := n.monitor
	now := m.cfg.Now()
	how, outcome := outcomeOf(err), "answered"
	if how == failed {
		outcome = "failed"
	}
	if how != abandoned {
		m.requests.WithLabelValues(n.verb, outcome).Observe(now.Sub(n.begun).Seconds())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.judge.end(now, n.id, how)
}
