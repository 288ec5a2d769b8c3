package journal

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/record"
)

// What callers branch on.
var (
	// ErrNotOwner says that the journal is not, or no longer, written by this process. Whether a batch that failed with it is in the
	// journal is not known: ask the owner.
	ErrNotOwner = errors.New("not the owner of the journal")
	// ErrFenced is what Run ends with when another owner has taken the journal over.
	ErrFenced = errors.New("fenced by another owner")
	// ErrUnavailable says that an append was not acknowledged in time, or that too much waits already. It may still be written; an
	// idempotent producer may send it again.
	ErrUnavailable = errors.New("journal is unavailable for the moment")

	ErrOutOfOrderSequence = errors.New("producer's sequence is out of order")
	ErrProducerFenced     = errors.New("producer's epoch is stale")
	ErrUnknownPartition   = errors.New("no such partition in this journal")
	ErrTopicEnded         = errors.New("topic is being deleted")
	ErrOffsetOutOfRange   = errors.New("offset is out of range")
)

// Config is what a journal needs. Zero values mean the defaults.
type Config struct {
	Store    blob.Store // required
	Journal  uint32     // which journal
	Journals uint32     // how many a new cluster has; used where journal 0 does not exist yet; default 1

	FlushInterval   time.Duration // at most one object per interval, unless it is full; default 200 ms
	Gather          time.Duration // how long the first append after a quiet time waits for others; default 5 ms
	ObjectBytes     int64         // an object is full; default 8 MiB
	PendingBytes    int64         // appends that wait; beyond it they fail with ErrUnavailable; default 64 MiB
	AppendTimeout   time.Duration // how long an append waits before it fails with ErrUnavailable; default 20 s
	CacheBytes      int64         // recent and cold records in memory; default 64 MiB
	ReadBytes       int64         // cold reads on their way at a time; default 64 MiB
	Memory          *Memory       // shared with other journals, in place of CacheBytes and ReadBytes; default none
	CheckpointEvery int           // objects between checkpoints, and on an index page; default 300
	SettleBytes     int64         // records of a partition that become a segment at once; default 64 MiB, at most half of SettleMemory
	SettleAge       time.Duration // after which records become a segment however few they are; default 1 h
	SettleMemory    int64         // of the segments that are made at a time; default 128 MiB
	Grace           time.Duration // what nobody needs any more is deleted after it; default 6 h, at least 2 h (LIMIT of the format, four times)

	Now     func() time.Time      // default time.Now; deadlines and the flush interval, never what is durable
	Rand    io.Reader             // ids and jitter; default crypto/rand
	Log     *slog.Logger          // default discards
	Metrics prometheus.Registerer // default none
}

// Validate reports everything that is wrong with the config.
func (c *Config) Validate() error {
	var errs []error
	if c.Store == nil {
		errs = append(errs, errors.New("store is missing"))
	}
	if c.Journal >= kfs.MaxJournals || c.Journals > kfs.MaxJournals {
		errs = append(errs, fmt.Errorf("journal %d, journals %d: want less than %d", c.Journal, c.Journals, kfs.MaxJournals))
	}
	for name, v := range map[string]int64{
		"flush interval": int64(c.FlushInterval), "gather": int64(c.Gather), "object bytes": c.ObjectBytes, "pending bytes": c.PendingBytes,
		"append timeout": int64(c.AppendTimeout), "cache bytes": c.CacheBytes, "read bytes": c.ReadBytes, "checkpoint every": int64(c.CheckpointEvery),
		"settle bytes": c.SettleBytes, "settle age": int64(c.SettleAge), "settle memory": c.SettleMemory,
	} {
		if v < 0 {
			errs = append(errs, fmt.Errorf("%s is negative", name))
		}
	}
	if c.Grace != 0 && c.Grace < MinGrace {
		errs = append(errs, fmt.Errorf("grace of %v: want %v at least", c.Grace, MinGrace))
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	def := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	def((*int64)(&c.FlushInterval), int64(200*time.Millisecond))
	def((*int64)(&c.Gather), int64(5*time.Millisecond))
	def((*int64)(&c.AppendTimeout), int64(20*time.Second))
	def(&c.ObjectBytes, 8<<20)
	def(&c.PendingBytes, 64<<20)
	def(&c.CacheBytes, 64<<20)
	def(&c.ReadBytes, 64<<20)
	if c.Memory == nil {
		c.Memory = NewMemory(c.CacheBytes, c.ReadBytes)
	}
	def((*int64)(&c.Grace), int64(defaultGrace))
	def(&c.SettleBytes, 64<<20)
	def((*int64)(&c.SettleAge), int64(time.Hour))
	def(&c.SettleMemory, 128<<20)
	c.SettleBytes = min(c.SettleBytes, max(1, c.SettleMemory/2))
	if c.CheckpointEvery == 0 {
		c.CheckpointEvery = 300
	}
	if c.Journals == 0 {
		c.Journals = 1
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// defaultGrace is 6 hours.
const defaultGrace = 12 * limit

// producerExpiry is after what time without a batch a partition forgets a producer, as Kafka does by default.
const producerExpiry = 24 * time.Hour

// Batch is what is appended to one partition.
type Batch struct {
	Topic      kfs.TopicID
	Name       string // the topic's name
	Partition  int32
	Records    []byte // record batches back to back, each passed by record.Validator; not modified, not to be modified until answered
	AppendTime bool   // records get the journal's time (message.timestamp.type=LogAppendTime)
}

// Result is what became of a Batch or an entry.
type Result struct {
	Base       int64 // offset of the first record; of a duplicate: where it is since the first time; -1 with Err and for entries
	LogStart   int64 // the partition's log start
	AppendTime int64 // Unix milliseconds that the records were given; -1 if they kept their own
	Err        error
}

// failed is the Result of a refused batch, or of an entry.
func failed(err error) Result { return Result{Base: -1, AppendTime: -1, Err: err} }

// Pending is an append that has not been answered yet.
type Pending struct {
	done    chan struct{}
	results []Result
}

// Done is closed when the results are there.
func (p *Pending) Done() <-chan struct{} { return p.done }

// Wait waits for the results: one per batch, or per entry, in order. Its error is only that of ctx.
func (p *Pending) Wait(ctx context.Context) ([]Result, error) {
	select {
	case <-p.done:
		return p.results, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *Pending) finish(results []Result) {
	p.results = results
	close(p.done)
}

// Journal is a journal that this process owns. All methods are safe for concurrent use.
type Journal struct {
	cfg      Config
	log      *slog.Logger
	metrics  *metrics
	core     *core // used by the loop only
	index    *index
	memory   *Memory
	flights  flights
	watchers watchers
	shell    shell

	state    atomic.Pointer[metadata.State]
	sequence atomic.Uint64
	epoch    atomic.Int32
	groups   groups

	mu           sync.Mutex // guards what follows
	inbox        []*request // appends that the core has not taken yet
	pendingBytes int64      // of appends that are not answered
	closed       bool
	unreachable  bool                 // as SetReachable said
	ending       map[kfs.TopicID]bool // topics of which no more records are taken, whatever the caller believes
	changed      chan struct{}        // closed when the metadata next change
}

// Open takes the journal over: from its return on every earlier owner's writes fail. A journal that does not exist yet is begun; journal
// 0 then with a new cluster. Open retries what may pass until ctx ends. Damage is an error that names the object (kfs.ErrCorrupt,
// kfs.ErrVersion). The caller must call Run, once.
func Open(ctx context.Context, cfg Config) (*Journal, error) {
	j, err := newJournal(cfg)
	if err != nil {
		return nil, err
	}
	j.shell.init(ctx)
	if err := j.takeOver(ctx); err != nil {
		j.close()
		return nil, err
	}
	return j, nil
}

// newJournal makes a journal that has not begun to read.
func newJournal(cfg Config) (*Journal, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("journal %d: %w", cfg.Journal, err)
	}
	cfg = cfg.withDefaults()
	s, err := cfg.settings()
	if err != nil {
		return nil, fmt.Errorf("journal %d: %w", cfg.Journal, err)
	}
	j := &Journal{
		cfg: cfg, log: cfg.Log.With("journal", cfg.Journal), index: new(index), memory: cfg.Memory, metrics: newMetrics(cfg.Metrics, cfg.Journal), changed: make(chan struct{}),
	}
	j.core = newCore(s, j.index)
	return j, nil
}

// settings are the core's, with the randomness that it needs drawn here.
func (c *Config) settings() (settings, error) {
	var random [16 + 16 + 16 + 8]byte
	if _, err := io.ReadFull(c.Rand, random[:]); err != nil {
		return settings{}, fmt.Errorf("drawing ids: %w", err)
	}
	s := settings{
		journal: c.Journal, writer: kfs.WriterID(random[:16]), seed: binary.BigEndian.Uint64(random[48:]),
		flushInterval: c.FlushInterval, gather: c.Gather, objectBytes: c.ObjectBytes, appendTimeout: c.AppendTimeout,
		checkpointEvery: uint64(c.CheckpointEvery), producerExpiry: producerExpiry,
		grace: c.Grace, settleBytes: c.SettleBytes, settleAge: c.SettleAge, settleMemory: c.SettleMemory / 2, // a segment is read back before it is let go
	}
	if c.Journal == 0 {
		s.bootstrap = metadata.Bootstrap(kfs.ClusterID(random[16:32]), kfs.TopicID(random[32:48]), c.Journals)
	}
	return s, nil
}

// Run writes what is appended, and checkpoints, until ctx ends: then it writes what waits, for a few seconds at most, and returns nil.
// It returns ErrFenced when another owner was met, and another error when the journal is damaged. When it returns, every append has
// been answered and no goroutine of the journal is left.
func (j *Journal) Run(ctx context.Context) error {
	defer j.close()
	return j.serve(ctx)
}

// Append enqueues batches, in the order of calls, and never blocks. They become durable together, or each fails with its own error:
// ErrNotOwner, ErrUnavailable, ErrOutOfOrderSequence, ErrProducerFenced, ErrUnknownPartition, ErrTopicEnded, or one of package record.
// A batch that is there already is a success with its old offset.
func (j *Journal) Append(batches []Batch) *Pending {
	r := &request{batches: make([]gatheredBatch, len(batches))}
	for i, b := range batches {
		g := &r.batches[i]
		g.Batch = b
		r.bytes += int64(len(b.Records))
		for part, err := range record.Batches(b.Records) {
			var h record.Header
			if err == nil {
				h, err = record.ParseHeader(part)
			}
			if err != nil {
				g.err = err
				break
			}
			g.headers = append(g.headers, h)
		}
		if g.err == nil && len(g.headers) == 0 {
			g.err = fmt.Errorf("no record batch: %w", record.ErrInvalid)
		}
	}
	return j.enqueue(r)
}

// entryBytes is what an entry is counted as.
const entryBytes = 256

// AppendEntries enqueues entries, in the order of calls with Append, and never blocks. They take effect together or not at all, and all
// results are the same: an error is ErrNotOwner, ErrUnavailable, ErrUnknownPartition, ErrOffsetOutOfRange or one of package metadata.
// Committed offsets that are there already are a success and write nothing.
func (j *Journal) AppendEntries(entries []kfs.Entry) *Pending {
	r := &request{entries: entries}
	for _, e := range entries {
		r.bytes += entryBytes
		if g, ok := e.(kfs.GroupOffsets); ok {
			r.bytes += int64(len(g.Offsets)) * entryBytes
		}
	}
	return j.enqueue(r)
}

// End ends a topic that is being deleted: from the call on its records are refused, here and, once the append is done, by every later
// owner that knows of the deletion. It may be called again.
func (j *Journal) End(topic kfs.TopicID) *Pending {
	j.mu.Lock()
	if j.ending == nil {
		j.ending = map[kfs.TopicID]bool{}
	}
	j.ending[topic] = true // a few bytes for each topic that is deleted while this process owns the journal
	j.mu.Unlock()
	return j.AppendEntries([]kfs.Entry{kfs.Ended{Topic: topic}})
}

func (j *Journal) enqueue(r *request) *Pending {
	r.pending = &Pending{done: make(chan struct{})}
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := range r.batches {
		if j.ending[r.batches[i].Topic] {
			r.batches[i].err = ErrTopicEnded
		}
	}
	switch {
	case j.closed:
		r.pending.finish(r.all(ErrNotOwner))
	case len(r.batches)+len(r.entries) == 0:
		r.pending.finish(nil)
	case j.pendingBytes > 0 && j.pendingBytes+r.bytes > j.cfg.PendingBytes:
		j.metrics.refused.Inc()
		r.pending.finish(r.all(ErrUnavailable))
	default:
		j.pendingBytes += r.bytes
		j.inbox = append(j.inbox, r)
		j.shell.notify()
	}
	return r.pending
}

// SetReachable says whether the store answers at all. While it does not, appends fail with ErrUnavailable at once, those that wait already too; what was
// sent may still be written. Reads are not concerned: what is in memory is read on.
func (j *Journal) SetReachable(ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.unreachable != !ok {
		j.unreachable = !ok
		j.shell.notify()
	}
}

// Number is the journal's number.
func (j *Journal) Number() uint32 { return j.cfg.Journal }

// Epoch is the owner epoch: the leader epoch of the journal's partitions.
func (j *Journal) Epoch() int32 { return j.epoch.Load() }

// State is the cluster's metadata as of the last object (journal 0; empty in others). It is immutable.
func (j *Journal) State() *metadata.State { return j.state.Load() }

// Changed is closed when State next changes. Get it first, then look.
func (j *Journal) Changed() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.changed
}

// Sequence is the sequence of the last object. What State told before is of no later one.
func (j *Journal) Sequence() uint64 { return j.sequence.Load() }

// Offsets are the log start and the next offset of a partition: 0 and 0 if it has no records yet.
func (j *Journal) Offsets(id kfs.PartitionID) (start, next int64) {
	j.index.mu.RLock()
	defer j.index.mu.RUnlock()
	if p, ok := j.index.partitions[id]; ok {
		return p.start, p.next
	}
	return 0, 0
}

// groups is what readers see of committed offsets.
type groups struct {
	mu     sync.RWMutex // guards byName
	byName map[string]map[groupKey]kfs.GroupOffset
}

// GroupOffsets are the committed offsets of a group, by topic and partition.
func (j *Journal) GroupOffsets(group string) []kfs.GroupOffset {
	j.groups.mu.RLock()
	defer j.groups.mu.RUnlock()
	return slices.SortedFunc(maps.Values(j.groups.byName[group]), compareOffsets)
}

// Groups are the groups that have committed offsets, sorted.
func (j *Journal) Groups() []string {
	j.groups.mu.RLock()
	defer j.groups.mu.RUnlock()
	return slices.Sorted(maps.Keys(j.groups.byName))
}

func (g *groups) reset(offsets map[groupKey]kfs.GroupOffset) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.byName = map[string]map[groupKey]kfs.GroupOffset{}
	for _, o := range offsets {
		g.set(o)
	}
}

func (g *groups) apply(entries []kfs.Entry) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range entries {
		if e, ok := e.(kfs.GroupOffsets); ok {
			for _, o := range e.Offsets {
				g.set(o)
			}
		}
	}
}

func (g *groups) set(o kfs.GroupOffset) {
	of := g.byName[o.Group]
	if o.Offset < 0 {
		if delete(of, keyOf(&o)); len(of) == 0 {
			delete(g.byName, o.Group)
		}
		return
	}
	if of == nil {
		of = map[groupKey]kfs.GroupOffset{}
		g.byName[o.Group] = of
	}
	of[keyOf(&o)] = o
}
