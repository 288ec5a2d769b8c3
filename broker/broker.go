package broker

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firn-io/firn/broker/api"
	"github.com/firn-io/firn/broker/auth"
	"github.com/firn-io/firn/broker/cluster"
	"github.com/firn-io/firn/broker/group"
	"github.com/firn-io/firn/broker/health"
	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/broker/retention"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/lease"
)

// Config is what a broker needs. Store, Leases and Listen must be set; other zero values mean the defaults.
type Config struct {
	Store  blob.Store     // the namespace
	Leases *lease.Service // who is alive and who owns what
	Alone  bool           // no other broker shares Leases: one that takes a journal over ends this one
	ID     int32          // the node id; brokers that live at the same time need different ones; default 0
	Listen string         // host:port to listen on; port 0 takes a free one
	TLS    *auth.TLS      // the listener's certificates; nil: connections are plain
	// Advertise is the host:port that clients are told. Default: what is listened on; in place of all interfaces, the address
	// of one that others can reach.
	Advertise string
	// Journals is how many journals a new cluster has, and what one with fewer grows to. Default: as many as there are brokers when the
	// cluster is made, and no growth.
	Journals uint32

	StoreName   string        // what people call the store, without secrets: DescribeLogDirs tells it; default "store"
	Partitions  int32         // of a topic whose creator does not say how many; default 4
	AutoCreate  bool          // a topic that a client asks for by name is created
	MemoryBytes int64         // for requests, answers, recent records and cold reads together; default 256 MiB, at least 16 MiB
	Flush       time.Duration // at most one object per journal and interval; default the journal's
	Groups      group.Config  // of consumer groups
	History     History       // what becomes of old records
	HoldLimit   time.Duration // how long beyond retention.ms a job can keep records; default 7 days

	Now     func() time.Time      // default time.Now
	Rand    io.Reader             // ids; safe for concurrent use; default crypto/rand
	Log     *slog.Logger          // default discards
	Metrics prometheus.Registerer // default none

	dial     dial          // reaches other brokers; default TCP, tests have no network
	handOver time.Duration // before a journal moves to a broker that has come, see cluster; default 3 s, tests want it shorter
}

const (
	defaultMemoryBytes = 256 << 20
	minMemoryBytes     = 16 << 20
)

// Validate reports everything that is wrong with the config.
func (c *Config) Validate() error {
	var errs []error
	if c.Store == nil {
		errs = append(errs, errors.New("store is missing"))
	}
	if c.Leases == nil {
		errs = append(errs, errors.New("leases are missing"))
	}
	if c.ID < 0 {
		errs = append(errs, fmt.Errorf("node id %d is negative", c.ID))
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		errs = append(errs, fmt.Errorf("listen address: want host:port: %w", err))
	}
	if c.Advertise != "" {
		if _, err := parseAddress(c.Advertise); err != nil {
			errs = append(errs, fmt.Errorf("advertised address: %w", err))
		}
	}
	if c.Journals > kfs.MaxJournals {
		errs = append(errs, fmt.Errorf("%d journals, the most are %d", c.Journals, kfs.MaxJournals))
	}
	if c.Partitions < 0 {
		errs = append(errs, fmt.Errorf("%d partitions", c.Partitions))
	}
	if c.MemoryBytes != 0 && c.MemoryBytes < minMemoryBytes {
		errs = append(errs, fmt.Errorf("%d bytes of memory, a broker needs %d", c.MemoryBytes, minMemoryBytes))
	}
	if c.Flush < 0 {
		errs = append(errs, fmt.Errorf("flush interval %v is negative", c.Flush))
	}
	if err := c.Groups.Validate(); err != nil {
		errs = append(errs, err)
	}
	if err := c.History.validate(); err != nil {
		errs = append(errs, err)
	}
	if c.HoldLimit < 0 {
		errs = append(errs, fmt.Errorf("limit of holds %v is negative", c.HoldLimit))
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	if c.MemoryBytes == 0 {
		c.MemoryBytes = defaultMemoryBytes
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.dial == nil {
		c.dial = new(net.Dialer).DialContext
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Broker is one broker of a cluster.
type Broker struct {
	cfg       Config
	listener  net.Listener
	cluster   *cluster.Cluster
	groups    *coordinators
	deletion  *deletion
	retention *retention.Keeper
	server    *Server
	memory    *journal.Memory
	store     *health.Monitor
	ready     chan struct{}
}

// New makes a broker and begins to listen, so that a port that is taken is an error here and Addr is known. Clients that come before
// the broker is ready wait, or go to another (see admit), and nobody is answered wrongly. The caller must call Run, once, which also closes the listener.
func New(cfg Config) (*Broker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	b := &Broker{cfg: cfg.withDefaults(), ready: make(chan struct{})}
	b.store = health.NewMonitor(health.Config{
		Store: cfg.Store, Probe: kfs.ObjectKey(0, 0), Now: b.cfg.Now, Log: b.cfg.Log, Metrics: cfg.Metrics,
	})
	listener, err := net.Listen("tcp", b.cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("broker: listening on %s: %w", b.cfg.Listen, err)
	}
	b.listener = listener
	if err := b.assemble(); err != nil {
		listener.Close()
		return nil, fmt.Errorf("broker: %w", err)
	}
	return b, nil
}

// assemble makes the parts.
func (b *Broker) assemble() error {
	self, err := b.self()
	if err != nil {
		return err
	}
	b.groups = &coordinators{
		cfg: b.cfg.Groups, now: b.cfg.Now, newID: func() string { id := b.random(); return hex.EncodeToString(id[:]) }, here: map[*journal.Journal]*group.Coordinator{},
	}
	b.retention = retention.New(retention.Config{
		Store: b.store.Store(), Metadata: func() (*metadata.State, uint64) { return b.cluster.StateAt() }, Limit: b.cfg.HoldLimit, Now: b.cfg.Now, Log: b.cfg.Log, Metrics: b.cfg.Metrics,
	})
	b.cluster, err = cluster.New(cluster.Config{
		Leases: b.cfg.Leases, Alone: b.cfg.Alone, Self: self, Journals: b.cfg.Journals, HandOver: b.cfg.handOver, Open: b.open, Follow: b.follow, Serve: b.attend,
		Now: b.cfg.Now, Log: b.cfg.Log,
	})
	if err != nil {
		return err
	}
	b.groups.cluster = b.cluster
	observe(b.cfg.Metrics, b.cluster)
	share := b.cfg.share()
	b.memory = journal.NewMemory(share.cache, share.reads)
	b.memory.Lend(share.settle)
	requests, answers := NewBudget(share.requests), NewBudget(share.answers)
	clock := func() int64 { return b.cfg.Now().UnixMilli() }
	control := &controller{cluster: b.cluster}
	b.deletion = &deletion{b.cluster, control, b.cfg.Log}
	topics := api.Backend{
		Cluster: view{b.cluster}, Journals: owned{b.cluster}, Controller: control, Forwarder: newForwarder(b.cluster, b.cfg.TLS, b.cfg.dial, b.cfg.Log), ProducerIDs: newProducerIDs(control),
		Partitions: b.cfg.Partitions, AutoCreate: b.cfg.AutoCreate, FetchBytes: share.fetch, SessionBytes: share.sessions,
		LogDir: b.cfg.StoreName, Throttle: func() time.Duration { return throttle(b.store.State(), requests) }, Clock: clock, NewID: func() kfs.TopicID { return kfs.TopicID(b.random()) }, Log: b.cfg.Log,
		NewSessionID: func() int32 { id := b.random(); return int32(binary.BigEndian.Uint32(id[:])) },
	}
	consumers := api.Groups{Cluster: view{b.cluster}, Coordinators: b.groups, Clock: clock, OffsetsTopic: topics.CreateOffsetsTopic}
	var secure *tls.Config
	if b.cfg.TLS != nil {
		secure = b.cfg.TLS.Server()
	}
	b.server = NewServer(ServerConfig{
		TLS:      secure,
		Registry: api.NewRegistry(append(topics.APIs(), consumers.APIs()...)...), Requests: requests, Answers: answers,
		Admit: b.admit, Metrics: NewMetrics(b.cfg.Metrics, requests, answers), Log: b.cfg.Log,
	})
	return nil
}

// shares are how a broker's memory is divided, in bytes.
type shares struct {
	requests int64 // requests, until they are answered: also the records that wait for a flush
	answers  int64
	sessions int64 // what is remembered of fetch sessions
	fetch    int64 // the most of one fetch
	cache    int64 // recent records
	reads    int64 // cold reads on their way
	settle   int64 // segments in the making, from the cache's share
}

func (c *Config) share() shares {
	eighth := c.MemoryBytes / 8
	sessions := eighth / 8
	return shares{
		requests: 3 * eighth, answers: 2*eighth - sessions, sessions: sessions, fetch: min(eighth/2, 50<<20),
		cache: 2 * eighth, reads: eighth, settle: eighth,
	}
}

// open takes a journal over.
func (b *Broker) open(ctx context.Context, number, journals uint32) (*journal.Journal, error) {
	return journal.Open(ctx, journal.Config{
		Store: b.store.Store(), Journal: number, Journals: journals, FlushInterval: b.cfg.Flush,
		PendingBytes: b.cfg.share().requests, // what waits is counted there already
		SettleBytes:  b.cfg.History.SettleBytes, SettleAge: b.cfg.History.SettleAge, Grace: b.cfg.History.Grace, SettleMemory: b.cfg.share().settle,
		Memory: b.memory, Now: b.cfg.Now, Rand: b.cfg.Rand, Log: b.cfg.Log, Metrics: b.cfg.Metrics,
	})
}

// follow makes a follower of journal 0.
func (b *Broker) follow(news func(*metadata.State, uint64)) (*journal.Follower, error) {
	return journal.NewFollower(journal.Config{Store: b.store.Store(), Memory: b.memory, Now: b.cfg.Now, Rand: b.cfg.Rand, Log: b.cfg.Log}, news)
}

// Addr is the address that the broker listens on.
func (b *Broker) Addr() net.Addr { return b.listener.Addr() }

// Advertised is the host:port that clients are told.
func (b *Broker) Advertised() string {
	self := b.cluster.Self()
	return net.JoinHostPort(self.Host, strconv.Itoa(int(self.Port)))
}

// Ready is closed when the broker serves clients for the first time.
func (b *Broker) Ready() <-chan struct{} { return b.ready }

// Serving is nil while the broker serves clients, else it says what is missing: for readiness probes.
func (b *Broker) Serving() error {
	select {
	case <-b.ready:
	default:
		return errors.New("the state of the cluster is not known yet")
	}
	if !b.cluster.Connected() {
		return errors.New("the lease service does not answer")
	}
	return nil
}

// Run runs the broker until ctx ends: then what waits is written, journals are handed over, requests that are under way are answered, and it
// returns nil. It returns earlier, with an error, if a journal is damaged, the lease service refuses, or, where it is to be
// alone, another broker writes to the store.
func (b *Broker) Run(ctx context.Context) error {
	defer b.listener.Close()
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	owned := make(chan error, 1)
	go func() {
		defer stopServing()
		owned <- b.cluster.Run(ctx)
	}()
	// Clients are told by this broker where the journals have gone. A store or a lease service that does not answer must not keep it from stopping.
	defer context.AfterFunc(ctx, func() { time.AfterFunc(b.server.config.DrainTimeout, stopServing) })()
	var beside sync.WaitGroup
	beside.Go(func() { b.announce(serving) })
	beside.Go(func() { b.store.Run(serving, b.reachable) })
	var reading error
	if b.cfg.TLS != nil {
		beside.Go(func() { reading = b.cfg.TLS.Run(serving, b.cfg.Log) })
	}
	err := b.server.Run(serving, b.listener)
	stopServing()
	beside.Wait()
	return errors.Join(err, reading, <-owned)
}

// random draws a random id. Without randomness there is no id that is sure to be new, so there is no going on.
func (b *Broker) random() (id [16]byte) {
	if _, err := io.ReadFull(b.cfg.Rand, id[:]); err != nil {
		panic(fmt.Sprintf("broker: drawing an id: %v", err))
	}
	return id
}
