// Package cluster is which brokers live, which of them owns which journal, and what each of them knows of the cluster's metadata.
//
// A broker registers itself under its id. The journals are spread over the live brokers by a function of their ids (place), so that all
// come to the same result without talking. A broker waits for the lease of each journal that is its own by that, takes the journal over when it
// has it, and gives it up, with all that waits written, when it has become another's. Where journal 0 is another broker's, a follower reads
// along what that one writes.
//
// Leases spread the work and say whom clients are sent to. They prove nothing: that an acknowledged record stays where it is
// rests on the journal's conditional PUTs alone, and a broker whose lease has passed only stops answering what might be stale.
//
//	c, err := cluster.New(cluster.Config{Leases: leases, Self: self, Open: open, Follow: follow})
//	go c.Run(ctx)
//	owner, epoch, ok := c.Owner(0) // where clients are sent
//	j, err := c.Journal(0)         // here, as long as the lease is valid
//	topics := c.State().Topics()   // wherever journal 0 is
//
// What it never does: keep anything that must be backed up, or decide by a lease what is durable.
//
//	cluster.go  sessions, what callers ask     place.go   who is to own what
//	own.go      taking, having, handing over   watch.go   what the others say of themselves
//	state.go    the metadata of journal 0      ended.go   topics that are being deleted
//	reach.go    who has lost the object store
//	view.go     what a broker knows, without I/O, clock and lock
package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs/lease"
)

// Broker is a live broker, and where clients reach it.
type Broker struct {
	ID   int32  `json:"id"`
	Host string `json:"host"`
	Port int32  `json:"port"`
}

// Config is what a Cluster needs. Serve, Journals, HandOver, Now and Log may be left out, and Follow where the broker is alone.
type Config struct {
	Leases *lease.Service
	Self   Broker
	// Alone says that no other process shares the leases. Who has taken a journal over cannot be waited for then, and to take it back would
	// go on for ever: Run ends with journal.ErrFenced.
	Alone bool
	// Journals is how many a new cluster has, and what one with fewer grows to. Default: as many as there are brokers when the cluster is
	// made, and no growth.
	Journals uint32
	// HandOver is for how long another broker must have been the one to own a journal before it is handed over: brokers that come and go at
	// once move nothing. Default 3 s.
	HandOver time.Duration
	// Open takes a journal over. A cluster that is not there yet is made with so many journals.
	Open func(ctx context.Context, number, journals uint32) (*journal.Journal, error)
	// Follow makes a follower of journal 0.
	Follow func(news func(s *metadata.State, sequence uint64)) (*journal.Follower, error)
	// Serve runs beside a journal while this broker owns it, until ctx ends. Another error ends the Cluster; nil means nothing to run.
	Serve func(ctx context.Context, j *journal.Journal) error

	Now func() time.Time // with a monotonic reading; default time.Now
	Log *slog.Logger     // default discards
}

// Cluster is the view of one broker. All methods are safe for concurrent use.
type Cluster struct {
	cfg Config

	mu       sync.Mutex // guards what follows
	view     *View
	reacher  reacher
	follower *journal.Follower // nil while there is none
	session  *lease.Session    // nil while there is none
	changed  chan struct{}     // closed at the next change
}

// New makes a Cluster that knows only itself. Run brings it to life.
func New(cfg Config) (*Cluster, error) {
	if cfg.Leases == nil || cfg.Open == nil || cfg.Follow == nil && !cfg.Alone {
		return nil, errors.New("cluster: leases, open and follow must be set")
	}
	if cfg.Self.ID < 0 || cfg.Self.Host == "" || cfg.Self.Port <= 0 || cfg.Self.Port > 65535 {
		return nil, fmt.Errorf("cluster: broker %d at %q port %d is not an address that clients can use", cfg.Self.ID, cfg.Self.Host, cfg.Self.Port)
	}
	if cfg.HandOver == 0 {
		cfg.HandOver = handOverAfter
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Cluster{cfg: cfg, view: NewView(cfg.Self, cfg.Log), changed: make(chan struct{})}, nil
}

// Run registers the broker, watches the others, and owns the journals that are its own, until ctx ends (nil), journal 0 is damaged, or,
// where it is alone, any journal is, or another owner is met. Of several brokers one that met another damaged journal serves the rest. It owns nothing any more when it returns. A lost session costs the journals, and is begun anew.
func (c *Cluster) Run(ctx context.Context) error {
	g, running := errgroup.WithContext(ctx)
	g.Go(func() error { return c.cfg.Leases.Run(running, c.live) })
	if !c.cfg.Alone {
		g.Go(func() error { return c.followState(running) })
	}
	err := g.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// live is one session. What the leases said is worth nothing when it has ended; where the others are is kept, for clients have nothing better.
func (c *Cluster) live(ctx context.Context, s *lease.Session) error {
	defer c.see(func() {
		c.session = nil
		c.view.SessionLost()
	})
	told, err := c.register(ctx, s)
	if err != nil {
		return err
	}
	c.see(func() { c.session = s })
	g, ctx := errgroup.WithContext(ctx)
	if !c.cfg.Alone {
		g.Go(func() error { return c.keepRegistered(ctx, s, told) })
	}
	g.Go(func() error { return c.watch(ctx) })
	g.Go(func() error { return c.keepAll(ctx, s) })
	return g.Wait()
}

// register holds the broker's id: two brokers cannot live under one. It gives what the others are told.
func (c *Cluster) register(ctx context.Context, s *lease.Session) (told string, err error) {
	told, err = c.registered()
	if err != nil {
		return "", err
	}
	_, free, err := s.TryAcquire(ctx, c.registrationKey(), told)
	if err == nil && !free {
		c.cfg.Log.Warn("a broker with this id is alive, or was a moment ago; waiting for it to go", "broker", c.cfg.Self.ID)
		_, err = s.Acquire(ctx, c.registrationKey(), told)
	}
	return told, err
}

func (c *Cluster) registrationKey() string { return BrokersPrefix + strconv.Itoa(int(c.cfg.Self.ID)) }

// see changes the view and tells those who wait for that.
func (c *Cluster) see(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	c.tell()
}

// tell wakes those who wait for a change. The caller holds c.mu.
func (c *Cluster) tell() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// until returns when the view is as wanted, and an error only if ctx has ended. ok is called with c.mu held.
func (c *Cluster) until(ctx context.Context, ok func() bool) error {
	for {
		c.mu.Lock()
		changed, done := c.changed, ok()
		c.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Self is this broker.
func (c *Cluster) Self() Broker { return c.cfg.Self }

// Brokers are the live brokers, this one included, by id. While the lease service is away they are the ones that lived when it went.
func (c *Cluster) Brokers() []Broker {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.view.Brokers())
}

// Owner is the live broker that serves a journal, and its epoch. ok is false while nobody does, or nobody can tell.
func (c *Cluster) Owner(number uint32) (owner Broker, epoch int32, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.view.Owner(number, c.cfg.Now())
}

// Journal is a journal that this broker owns, by a lease that is valid now; else journal.ErrNotOwner. Whoever answers what it read asks
// again when the answer is built: what a lease covered when the reading began may be stale when it ends.
func (c *Cluster) Journal(number uint32) (*journal.Journal, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.view.Journal(number, c.cfg.Now())
}

// Connected tells whether this broker is in touch with the lease service: registered, and told of the others.
func (c *Cluster) Connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.view.watched
}

// Changed is closed when brokers, owners or the state next change. Get it first, then look.
func (c *Cluster) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}
