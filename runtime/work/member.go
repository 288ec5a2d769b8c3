package work

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/lease"
	"github.com/firn-io/firn/runtime/processor"
)

// Config says for which job a process works, and with whom.
type Config struct {
	Job    string         // its name; kfs.ValidateTopicName holds for it
	Hash   string         // of its configuration: workers with another one commit for themselves
	Leases *lease.Service // that all workers of the job share
	Store  blob.Store     // at the namespace's root: groups travel through it
	Name   string         // of the process, for people: host and process id, say
	Run    string         // the bounded run that it is a worker of: those of another run, or of none, are not its fellows; "" if it has no end

	Logger     *slog.Logger          // default: silent
	Registerer prometheus.Registerer // default: none
}

// Member is one worker of a job. Run may be called once; the other methods may be called at any time, by any goroutine.
type Member struct {
	cfg     Config
	id      string
	metrics *metrics

	putWorker, putGroups chan struct{} // say that the values below have changed

	mu          sync.Mutex // guards what follows
	session     string     // tells the keys of this session; "" while there is none
	claims      *claims
	claimed     put // what the worker's key says of claims; without an edition if it says nothing yet
	exchange    *exchange
	said, heard map[kfs.PartitionID]int64 // what Say was told, and what other workers were; heard is never changed, only replaced
	more        chan struct{}             // closed when it is
	names       map[string]string         // of the live workers, by their ids
	turn        uint64
	held        set           // never changed, only replaced
	changed     chan struct{} // closed when it is
	workerValue string
	groupsValue string
	waits       map[string]chan verdict // for what was handed over
	lanes       map[string]*lane        // by table
	served      map[string]served       // tables that others may make
	distrusted  map[string]time.Time    // committers that did not answer, and until when they are not asked
	leaving     bool
	spawn       func(func(ctx context.Context)) // starts a goroutine of Run; nil before and after
}

// New makes a worker. Nothing is asked of etcd before Run.
func New(cfg Config) (*Member, error) {
	if err := kfs.ValidateTopicName(cfg.Job); err != nil {
		return nil, fmt.Errorf("job name: %w", err)
	}
	if cfg.Leases == nil || cfg.Store == nil {
		return nil, errors.New("a worker needs Leases and Store")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	id := rand.Text()
	cfg.Logger = cfg.Logger.With("worker", cfg.Name)
	metrics, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, fmt.Errorf("metrics of the workers of job %s: %w", cfg.Job, err)
	}
	return &Member{cfg: cfg, id: id, metrics: metrics, putWorker: make(chan struct{}, 1), putGroups: make(chan struct{}, 1),
		claims: newClaims(id), exchange: newExchange(id), said: map[kfs.PartitionID]int64{}, more: make(chan struct{}),
		held: set{}, changed: make(chan struct{}), waits: map[string]chan verdict{},
		lanes: map[string]*lane{}, served: map[string]served{}, distrusted: map[string]time.Time{}}, nil
}

// leavePatience is how long a worker that ends still answers groups that it is committing for others.
const leavePatience = 3 * time.Second

// Run makes the process one of the job's workers for as long as work runs, and returns what that returns. While etcd is away, the process
// goes on with what it had last. When work has returned, others take over at once.
func (m *Member) Run(ctx context.Context, work func(context.Context) error) error {
	running, stop := context.WithCancel(context.WithoutCancel(ctx)) // work ends later than ctx
	defer stop()
	var lanes, rest sync.WaitGroup
	m.mu.Lock()
	m.spawn = func(run func(context.Context)) { lanes.Go(func() { run(running) }) }
	m.mu.Unlock()
	rest.Go(func() { m.join(running) })
	rest.Go(func() { m.keepSweeping(running) })

	err := work(ctx)

	m.mu.Lock()
	m.leaving, m.spawn = true, nil
	m.mu.Unlock()
	patience := time.AfterFunc(leavePatience, stop)
	lanes.Wait()
	patience.Stop()
	stop()
	rest.Wait()
	return errors.Join(err, m.closeLanes())
}

// join keeps the process known to the others until ctx has ended.
func (m *Member) join(ctx context.Context) {
	for ctx.Err() == nil {
		err := m.cfg.Leases.Run(ctx, m.live)
		if ctx.Err() != nil {
			return
		}
		m.cfg.Logger.Error("the worker is not known to others; it goes on with what it has", "err", err, "in", rejoinPause)
		if !sleep(ctx, rejoinPause) {
			return
		}
	}
}

const rejoinPause = 5 * time.Second // after etcd has refused something

// live is one session.
func (m *Member) live(ctx context.Context, s *lease.Session) error {
	m.mu.Lock()
	m.session, m.workerValue, m.claimed = rand.Text(), "", put{}
	m.claims.step(opened{})
	m.apply(m.exchange.step(opened{}))
	m.mu.Unlock()
	defer m.lose(ctx)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return m.watch(ctx, m.prefix("workers/"), m.seeWorkers) })
	g.Go(func() error { return m.watch(ctx, m.prefix("groups/"), m.seeGroups) })
	g.Go(func() error {
		return m.keep(ctx, s, m.prefix("workers/")+m.id, m.putWorker, func() string { return m.workerValue })
	})
	g.Go(func() error {
		return m.keep(ctx, s, m.prefix("groups/")+m.id, m.putGroups, func() string { return m.groupsValue })
	})
	return g.Wait()
}

// lose takes note that a session has ended. Without one nobody commits for others.
func (m *Member) lose(ctx context.Context) {
	if errors.Is(context.Cause(ctx), lease.ErrLost) {
		m.cfg.Logger.Warn("the session with etcd is lost; going on with the partitions that are here until others are seen to have them")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.session, m.workerValue, m.claimed = "", "", put{}
	m.apply(m.exchange.step(peers{}))
}

// WorkersPrefix begins the keys of the workers of a job without an end, relative to that of the lease service.
func WorkersPrefix(job string) string { return "jobs/" + job + "/workers/" }

// prefix begins the keys of the job's workers, or of those of a bounded run of it, relative to that of the lease service.
func (m *Member) prefix(kind string) string {
	if m.cfg.Run != "" {
		return "jobs/" + m.cfg.Job + "/runs/" + m.cfg.Run + "/" + kind
	}
	return "jobs/" + m.cfg.Job + "/" + kind
}

func (m *Member) watch(ctx context.Context, prefix string, see func(values map[string]string)) error {
	for entries, err := range m.cfg.Leases.Watch(ctx, prefix) {
		if err != nil {
			return err
		}
		values := map[string]string{}
		for _, e := range entries {
			if id := strings.TrimPrefix(e.Key, prefix); validID(id) {
				values[id] = e.Value
			}
		}
		see(values)
	}
	return ctx.Err()
}

// keep puts a value whenever it has changed. value is asked for under the lock.
func (m *Member) keep(ctx context.Context, s *lease.Session, key string, dirty <-chan struct{}, value func() string) error {
	for {
		select {
		case <-dirty:
		case <-ctx.Done():
			return ctx.Err()
		}
		m.mu.Lock()
		now := value()
		m.mu.Unlock()
		if now == "" {
			continue
		}
		if err := s.Put(ctx, key, now); err != nil {
			return err
		}
	}
}

func (m *Member) seeWorkers(values map[string]string) {
	view, names, edition := map[string]set{}, map[string]string{}, uint64(0)
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, value := range values {
		key, claimed, err := decodeWorker(value)
		if err != nil {
			m.cfg.Logger.Warn("what another worker claims cannot be read", "id", id, "err", err)
		}
		if id == m.id {
			if key.Session != m.session {
				continue // of a session that has ended
			}
			edition = key.Edition
		} else if err == nil {
			m.hear(key.done())
		}
		view[id], names[id] = claimed, key.Name
	}
	if !maps.Equal(names, m.names) {
		m.cfg.Logger.Info("workers of the job", "workers", strings.Join(sortedNames(names), " "))
	}
	m.names = names
	m.apply(m.claims.step(viewed{view, edition}))
	m.apply(m.exchange.step(peers{sortedKeys(view)}))
}

func (m *Member) seeGroups(values map[string]string) {
	keys := map[string]groupsKey{}
	for id, value := range values {
		key, err := decodeGroups(value)
		if err != nil {
			m.cfg.Logger.Warn("what another worker hands over cannot be read", "id", id, "err", err)
			continue // it will commit that itself
		}
		keys[id] = key
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.apply(m.exchange.step(exchanged{keys}))
}

// apply does what the cores ask for. m.mu is held.
func (m *Member) apply(effects []effect) {
	for _, e := range effects {
		switch e := e.(type) {
		case put:
			m.claimed = e
			value, err := encodeWorker(m.session, m.cfg.Name, e, m.said)
			if err != nil {
				panic(fmt.Sprintf("work: claims cannot be written: %v", err)) // they are maps of numbers
			}
			m.workerValue = value
			signal(m.putWorker)
		case share:
			m.turn, m.held = e.turn, e.of
			close(m.changed)
			m.changed = make(chan struct{})
			m.metrics.partitions.Set(float64(len(e.of)))
			m.metrics.rebalances.Inc()
			m.cfg.Logger.Info("partitions of this worker", "partitions", len(e.of))
		case putGroups:
			value, err := encodeGroups(e.key)
			if err != nil {
				panic(fmt.Sprintf("work: groups cannot be written: %v", err))
			}
			m.groupsValue = value
			signal(m.putGroups)
		case take:
			m.take(e)
		case answered:
			m.tell(e.id, e.verdict)
		case forsaken:
			m.tell(e.id, yourself)
		}
	}
}

// tell ends the wait for a group. m.mu is held.
func (m *Member) tell(id string, v verdict) {
	if wait, ok := m.waits[id]; ok {
		wait <- v // it has room for one
		delete(m.waits, id)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Share is what this worker reads: which turn it is, which partitions, and a channel that is closed when the next turn has begun.
func (m *Member) Share() (turn uint64, reads func(kfs.PartitionID) bool, changed <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	held := m.held
	return m.turn, func(id kfs.PartitionID) bool { return held[id] }, m.changed
}

// Say implements pipeline.Joint. It stays in the worker's key, beside its claims: some ten bytes for each partition.
func (m *Member) Say(done map[kfs.PartitionID]int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	said, news := most(m.said, done)
	m.said = said
	if news && m.claimed.edition > 0 {
		m.apply([]effect{m.claimed})
	}
}

// Heard implements pipeline.Joint.
func (m *Member) Heard() (done map[kfs.PartitionID]int64, more <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.heard, m.more
}

// hear takes note of what another worker says. m.mu is held.
func (m *Member) hear(done map[kfs.PartitionID]int64) {
	heard, news := most(m.heard, done)
	if news {
		m.heard = heard
		close(m.more)
		m.more = make(chan struct{})
	}
}

// most is the greater of what two maps say, in a map of its own if the second says more.
func most(a, b map[kfs.PartitionID]int64) (all map[kfs.PartitionID]int64, more bool) {
	all = a
	for id, at := range b {
		if known, ok := all[id]; ok && known >= at {
			continue
		}
		if !more {
			all, more = maps.Clone(a), true
			if all == nil {
				all = map[kfs.PartitionID]int64{}
			}
		}
		all[id] = at
	}
	return all, more
}

// Self is the id of this worker.
func (m *Member) Self() string { return m.id }

// Workers are the live workers, as they were seen last, with which of these tables each commits to.
func (m *Member) Workers(tables []string) []kfs.JobWorker {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []kfs.JobWorker
	for _, id := range sortedKeys(m.names) {
		one := kfs.JobWorker{ID: id, Name: m.names[id], Reads: rangesOf(m.claims.view[id])}
		for _, table := range tables {
			if m.lanes[table] != nil && m.exchange.committer(table) == id {
				one.Commits = append(one.Commits, table)
			}
		}
		all = append(all, one)
	}
	return all
}

// Found says how many partitions, or more, a topic has that the job reads; 0 if the topic is gone.
func (m *Member) Found(topic kfs.TopicID, partitions int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if partitions > 0 && partitions <= m.claims.topics[topic] {
		return
	}
	m.apply(m.claims.step(found{topic, partitions}))
}

// Settled says that of what was read before a turn and is not this worker's any more in it, nothing is held or being committed.
func (m *Member) Settled(turn uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.apply(m.claims.step(settled{turn}))
}

// served are tables that are committed to here though no sink of them was wrapped.
type served struct {
	has  func(table string) bool
	open func(ctx context.Context, table string) (processor.Sink, error)
}

// Serve says how the sinks of tables are opened that records make, in any of the workers: as the committer of one this worker commits what
// others hand over, whether or not it has rows for it itself. What is served under the same name again replaces that.
func (m *Member) Serve(name string, has func(table string) bool, open func(ctx context.Context, table string) (processor.Sink, error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.served[name] = served{has, open}
}

// lane is that of a table; nil if nobody here knows how to commit to it. m.mu is held.
func (m *Member) lane(table string) *lane {
	if l := m.lanes[table]; l != nil {
		return l
	}
	for _, name := range sortedKeys(m.served) {
		if s := m.served[name]; s.has(table) {
			m.lanes[table] = &lane{member: m, table: table, open: func(ctx context.Context) (processor.Sink, error) { return s.open(ctx, table) }}
			return m.lanes[table]
		}
	}
	return nil
}

// Wrap opens a sink of a table. If what it stages is portable, its commits are left to the table's committer where there is one.
func (m *Member) Wrap(ctx context.Context, table string, open func(context.Context) (processor.Sink, error)) (processor.Sink, error) {
	inner, err := open(ctx)
	if err != nil {
		return nil, err
	}
	if p, ok := inner.(processor.Portable); !ok || !p.Portable() {
		return inner, nil // it commits for itself
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lanes[table] == nil {
		m.lanes[table] = &lane{member: m, table: table}
	}
	m.lanes[table].open = open
	return wrap(m, table, inner), nil
}

// sleep waits and reports whether it was not interrupted.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func sortedNames(names map[string]string) []string { return slices.Sorted(maps.Values(names)) }
