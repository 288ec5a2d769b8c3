// Package cluster is which brokers live and which of them owns which journal.
//
// A broker registers itself under its id, waits for the lease of each journal, takes the journal over when it has it, and gives both up
// together. Leases spread the work and say whom clients are sent to. They prove nothing: that an acknowledged record stays where it is
// rests on the journal's conditional PUTs alone, and a broker whose lease has passed only stops answering what might be stale.
//
//	c, err := cluster.New(cluster.Config{Leases: leases, Self: self, Open: open})
//	go c.Run(ctx)
//	owner, ok := c.Owner(0)      // where clients are sent
//	j, err := c.Journal(0)       // here, as long as the lease is valid
//
// What it never does: keep anything that must be backed up, or decide by a lease what is durable.
package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs/lease"
)

const (
	brokersPrefix  = "brokers/"
	journalsPrefix = "journals/"

	fencedPause    = time.Second     // before a journal that another has taken without the lease is tried again
	releaseTimeout = 2 * time.Second // of a lease that is given up; then it ends with its session
)

// Broker is a live broker, and where clients reach it.
type Broker struct {
	ID   int32  `json:"id"`
	Host string `json:"host"`
	Port int32  `json:"port"`
}

// Config is what a Cluster needs. Serve, Now and Log may be left out.
type Config struct {
	Leases *lease.Service
	Self   Broker
	// Alone says that no other process shares the leases. Who has taken a journal over cannot be waited for then, and to take it back would
	// go on for ever: Run ends with journal.ErrFenced.
	Alone bool
	// Open takes a journal over.
	Open func(ctx context.Context, number uint32) (*journal.Journal, error)
	// Serve runs beside a journal while this broker owns it, until ctx ends. Another error ends the Cluster; nil means nothing to run.
	Serve func(ctx context.Context, j *journal.Journal) error

	Now func() time.Time // with a monotonic reading; default time.Now
	Log *slog.Logger     // default discards
}

// Cluster is the view of one broker. All methods are safe for concurrent use.
type Cluster struct {
	cfg Config

	mu      sync.Mutex // guards what follows
	owned   map[uint32]owned
	brokers []Broker         // by id
	owners  map[uint32]int32 // broker ids, as the leases say
	state   *metadata.State  // of journal 0, when it was last ours
	changed chan struct{}    // closed at the next change
}

// owned is a journal that is here.
type owned struct {
	journal *journal.Journal
	lease   *lease.Held
}

// New makes a Cluster that knows only itself. Run brings it to life.
func New(cfg Config) (*Cluster, error) {
	if cfg.Leases == nil || cfg.Open == nil {
		return nil, errors.New("cluster: leases and open must be set")
	}
	if cfg.Self.ID < 0 || cfg.Self.Host == "" || cfg.Self.Port <= 0 || cfg.Self.Port > 65535 {
		return nil, fmt.Errorf("cluster: broker %d at %q port %d is not an address that clients can use", cfg.Self.ID, cfg.Self.Host, cfg.Self.Port)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Cluster{
		cfg: cfg, owned: map[uint32]owned{}, brokers: []Broker{cfg.Self}, owners: map[uint32]int32{},
		state: new(metadata.State), changed: make(chan struct{}),
	}, nil
}

// Run registers the broker, watches the others, and owns what journals it gets, until ctx ends (nil), a journal is damaged, or another owner
// is met who cannot be (Config.Alone). It owns
// nothing any more when it returns. A lost session costs the journals, and is begun anew.
func (c *Cluster) Run(ctx context.Context) error {
	err := c.cfg.Leases.Run(ctx, c.live)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// live is one session.
func (c *Cluster) live(ctx context.Context, s *lease.Session) error {
	if err := c.register(ctx, s); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.follow(ctx) })
	g.Go(func() error {
		return c.own(ctx, s, 0, func(j *journal.Journal) {
			for number := uint32(1); number < j.State().Cluster().Journals; number++ {
				g.Go(func() error { return c.own(ctx, s, number, nil) })
			}
		})
	})
	return g.Wait()
}

// register holds the broker's id: two brokers cannot live under one.
func (c *Cluster) register(ctx context.Context, s *lease.Session) error {
	value, err := json.Marshal(c.cfg.Self)
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	key := brokersPrefix + strconv.Itoa(int(c.cfg.Self.ID))
	_, free, err := s.TryAcquire(ctx, key, string(value))
	if err == nil && !free {
		c.cfg.Log.Warn("a broker with this id is alive, or was a moment ago; waiting for it to go", "broker", c.cfg.Self.ID)
		_, err = s.Acquire(ctx, key, string(value))
	}
	return err
}

// own waits for a journal's lease, runs the journal while it has it, and does so again when another owner was met. first is called
// when it has the journal for the first time.
func (c *Cluster) own(ctx context.Context, s *lease.Session, number uint32, first func(*journal.Journal)) error {
	for {
		err := c.ownOnce(ctx, s, number, first)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && (c.cfg.Alone || !errors.Is(err, journal.ErrFenced)) {
			return err
		}
		first = nil
		c.cfg.Log.Warn("journal is gone to another owner although its lease was here; trying again", "journal", number, "err", err)
		pause := time.NewTimer(fencedPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
	}
}

func (c *Cluster) ownOnce(ctx context.Context, s *lease.Session, number uint32, first func(*journal.Journal)) error {
	held, err := s.Acquire(ctx, journalKey(number), strconv.Itoa(int(c.cfg.Self.ID)))
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
		defer cancel()
		if err := held.Release(ctx); err != nil {
			c.cfg.Log.Warn("lease of a journal is left to end by itself", "journal", number, "err", err)
		}
	}()
	j, err := c.cfg.Open(ctx, number)
	if err != nil {
		return err
	}
	c.gain(number, owned{j, held})
	defer c.lose(number)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := j.Run(ctx); err != nil {
			return err
		}
		return context.Canceled // whatever runs beside it ends too
	})
	if c.cfg.Serve != nil {
		g.Go(func() error { return c.cfg.Serve(ctx, j) })
	}
	if first != nil {
		first(j)
	}
	return g.Wait()
}

func journalKey(number uint32) string { return fmt.Sprintf("%s%04d", journalsPrefix, number) }

// follow keeps the view of the others.
func (c *Cluster) follow(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		for entries, err := range c.cfg.Leases.Watch(ctx, brokersPrefix) {
			if err != nil {
				return err
			}
			c.see(func() { c.brokers = c.parseBrokers(entries) })
		}
		return ctx.Err()
	})
	g.Go(func() error {
		for entries, err := range c.cfg.Leases.Watch(ctx, journalsPrefix) {
			if err != nil {
				return err
			}
			c.see(func() { c.owners = c.parseOwners(entries) })
		}
		return ctx.Err()
	})
	return g.Wait()
}

func (c *Cluster) parseBrokers(entries []lease.Entry) []Broker {
	brokers := []Broker{c.cfg.Self}
	for _, e := range entries {
		var b Broker
		if err := json.Unmarshal([]byte(e.Value), &b); err != nil {
			c.cfg.Log.Warn("a broker's registration cannot be read", "key", e.Key, "err", err)
			continue
		}
		if b.ID != c.cfg.Self.ID {
			brokers = append(brokers, b)
		}
	}
	slices.SortFunc(brokers, func(a, b Broker) int { return int(a.ID) - int(b.ID) })
	return brokers
}

func (c *Cluster) parseOwners(entries []lease.Entry) map[uint32]int32 {
	owners := make(map[uint32]int32, len(entries))
	for _, e := range entries {
		number, err := strconv.ParseUint(strings.TrimPrefix(e.Key, journalsPrefix), 10, 32)
		broker, berr := strconv.ParseInt(e.Value, 10, 32)
		if err != nil || berr != nil {
			c.cfg.Log.Warn("the lease of a journal cannot be read", "key", e.Key, "value", e.Value)
			continue
		}
		owners[uint32(number)] = int32(broker)
	}
	return owners
}

// see changes the view and tells those who wait for that.
func (c *Cluster) see(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *Cluster) gain(number uint32, o owned) { c.see(func() { c.owned[number] = o }) }

func (c *Cluster) lose(number uint32) {
	c.see(func() {
		if number == 0 {
			c.state = c.owned[0].journal.State()
		}
		delete(c.owned, number)
	})
}

// Self is this broker.
func (c *Cluster) Self() Broker { return c.cfg.Self }

// Brokers are the live brokers, this one included, by id.
func (c *Cluster) Brokers() []Broker {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.brokers)
}

// Owner is the live broker that owns a journal. ok is false while nobody does.
func (c *Cluster) Owner(number uint32) (Broker, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o, ok := c.owned[number]; ok && o.lease.Valid(c.cfg.Now()) {
		return c.cfg.Self, true
	}
	owner, ok := c.owners[number]
	if !ok || owner == c.cfg.Self.ID { // a lease of ours without the journal: it is being taken over, or has passed
		return Broker{}, false
	}
	i := slices.IndexFunc(c.brokers, func(b Broker) bool { return b.ID == owner })
	if i < 0 {
		return Broker{}, false
	}
	return c.brokers[i], true
}

// Journal is a journal that this broker owns, by a lease that is valid now; else journal.ErrNotOwner. Whoever answers what it read asks
// again when the answer is built: what a lease covered when the reading began may be stale when it ends.
func (c *Cluster) Journal(number uint32) (*journal.Journal, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o, ok := c.owned[number]; ok && o.lease.Valid(c.cfg.Now()) {
		return o.journal, nil
	}
	return nil, fmt.Errorf("journal %d: %w", number, journal.ErrNotOwner)
}

// State is the cluster's metadata as this broker last knew it: of journal 0 while that is here.
func (c *Cluster) State() *metadata.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o, ok := c.owned[0]; ok {
		return o.journal.State()
	}
	return c.state
}

// Changed is closed when brokers or owners next change. Get it first, then look.
func (c *Cluster) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}
