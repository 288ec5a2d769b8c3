package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/lease"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/tail/tailtest"
	"github.com/firn-io/firn/runtime/work"
)

// crew is processes that run one job on a lake, as workers of it or each for itself.
type crew struct {
	t      *testing.T
	store  blob.Store
	lake   *lake
	leases *lease.Memory
	config func(cfg Config, open openLabelled) Config // of each process; nil: as it is
	hash   string                                     // of the configuration of those that start
	until  Until                                      // where those end that start
	enter  chan struct{}                              // holds a token while a process finds where it ends
	slow   time.Duration                              // what a GET of an object of the log takes
	ended  func(p *crewProcess)                       // is told of one that has ended, and not died; nil: nobody
	all    []*crewProcess
}

// crewProcess is one of them.
type crewProcess struct {
	job    *Job
	member *work.Member // nil if it is for itself
	dead   atomic.Bool  // nothing that it does has any effect any more
	gets   atomic.Int64 // bytes of the log that it was given
	cancel context.CancelFunc
	done   chan struct{}
	err    error

	running atomic.Bool // it knows where it ends
}

func newCrew(t *testing.T) *crew {
	return &crew{t: t, store: blob.NewMemory(nil), lake: newLake(t), leases: lease.NewMemory(), enter: make(chan struct{}, 1)}
}

// start adds a process; alone, it knows of no other.
func (c *crew) start(alone bool) *crewProcess {
	c.t.Helper()
	p := &crewProcess{done: make(chan struct{})}
	cfg := testConfig(c.t, mortalStore{c.store, p, c.slow}, c.lake)
	cfg.Logger, cfg.Until = cfg.Logger.With("process", len(c.all)), c.until
	open := func(_ context.Context, table, label string) (processor.Sink, error) {
		sink := c.lake.table(table).open()
		sink.label = label
		return mortalSink{sink, p}, nil
	}
	if !alone {
		var err error
		p.member, err = work.New(work.Config{Job: cfg.Name, Hash: c.hash, Leases: c.leases.Service("/", 0), Store: cfg.Store, Name: fmt.Sprint(len(c.all)), Run: c.until.Name(), Logger: cfg.Logger})
		if err != nil {
			c.t.Fatal(err)
		}
		cfg.Assignment = p.member
		one := open
		open = func(ctx context.Context, table, label string) (processor.Sink, error) {
			return p.member.Wrap(ctx, table, func(ctx context.Context) (processor.Sink, error) { return one(ctx, table, label) })
		}
		isEvents := func(table string) bool { return strings.HasPrefix(table, "db.events_") }
		p.member.Serve("db.events", isEvents, func(ctx context.Context, table string) (processor.Sink, error) { return one(ctx, table, "") })
	}
	cfg.OpenSink = func(ctx context.Context, table string, _ kfs.TopicID) (processor.Sink, error) {
		return open(ctx, table, "")
	}
	cfg.OpenDeadLetters = func(ctx context.Context, _ kfs.TopicID) (processor.Sink, error) {
		return open(ctx, deadLetterTable, "")
	}
	if c.config != nil {
		cfg = c.config(cfg, open)
	}
	var err error
	if p.job, err = New(cfg); err != nil {
		c.t.Fatal(err)
	}
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(c.t.Context())
	go func() {
		defer close(p.done)
		c.enter <- struct{}{}
		p.err = p.job.Resolve(ctx)
		<-c.enter
		if p.err != nil {
			return
		}
		p.running.Store(true)
		if p.member == nil {
			p.err = p.job.Run(ctx)
		} else {
			p.err = p.member.Run(ctx, p.job.Run)
		}
		if c.ended != nil && !p.dead.Load() {
			c.ended(p)
		}
	}()
	c.all = append(c.all, p)
	c.t.Cleanup(p.kill)
	return p
}

// kill ends a process where it stands.
func (p *crewProcess) kill() {
	p.dead.Store(true)
	p.stop()
}

// stop ends a process as SIGTERM does.
func (p *crewProcess) stop() {
	p.cancel()
	<-p.done
}

// reads is how many of the partitions of a topic a process reads.
func (p *crewProcess) reads(topic kfs.Topic) (n int) {
	_, reads, _ := p.member.Share()
	for partition := range topic.Journals {
		if reads(kfs.PartitionID{Topic: topic.ID, Partition: int32(partition)}) {
			n++
		}
	}
	return n
}

var errDead = errors.New("the process is dead")

// mortalStore is the bucket as a process sees it.
type mortalStore struct {
	blob.Store
	p    *crewProcess
	slow time.Duration
}

func (s mortalStore) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Info, error) {
	if s.p.dead.Load() {
		return nil, blob.Info{}, errDead
	}
	ofLog := strings.HasSuffix(key, ".kfs")
	if ofLog && s.slow > 0 && !sleep(ctx, s.slow) {
		return nil, blob.Info{}, context.Cause(ctx)
	}
	body, info, err := s.Store.Get(ctx, key, r)
	if err == nil && ofLog {
		body = &counted{body, &s.p.gets}
	}
	return body, info, err
}

func (s mortalStore) Put(ctx context.Context, key string, body []byte, ifAbsent bool) (blob.Info, error) {
	if s.p.dead.Load() {
		return blob.Info{}, errDead
	}
	return s.Store.Put(ctx, key, body, ifAbsent)
}

func (s mortalStore) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Page, error] {
	if s.p.dead.Load() {
		return func(yield func(blob.Page, error) bool) { yield(blob.Page{}, errDead) }
	}
	return s.Store.List(ctx, prefix, after)
}

func (s mortalStore) Delete(ctx context.Context, key string) error {
	if s.p.dead.Load() {
		return errDead
	}
	return s.Store.Delete(ctx, key)
}

// counted counts the bytes that are read.
type counted struct {
	io.ReadCloser
	n *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// mortalSink takes its time for a commit.
type mortalSink struct {
	*fakeSink
	p *crewProcess
}

func (s mortalSink) Committed(ctx context.Context) (processor.Positions, error) {
	if s.p.dead.Load() {
		return nil, errDead
	}
	return s.fakeSink.Committed(ctx)
}

func (s mortalSink) Commit(ctx context.Context, from, to processor.Positions, staged []processor.Staged) error {
	if !sleep(ctx, 50*time.Millisecond) {
		return context.Cause(ctx)
	}
	if s.p.dead.Load() {
		return errDead
	}
	return s.fakeSink.Commit(ctx, from, to, staged)
}

// commits counts those to a table.
func (f *fakeTable) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.commits)
}

// TestRoutedWorkers has several processes share a job whose records name their tables, while processes die, end and come, leases are lost,
// and one takes itself for the only one.
func TestRoutedWorkers(t *testing.T) {
	randomly(t, 10, func(t *testing.T, _ int, r *rand.Rand) {
		c := newCrew(t)
		c.config = func(cfg Config, open openLabelled) Config {
			return routedBy(t, cfg, c.lake, "db.{topic}_{field:k}", 20, open)
		}
		w := tailtest.Journal{Store: c.store}
		w.Append(t, []kfs.Entry{cluster, events})
		var kinds [4][]string
		produce := func(most int) {
			var records []tailtest.Records
			for p := range kinds {
				some := make([]string, r.IntN(4))
				for i := range some {
					some[i] = []string{"", "a", "a", "a", "b", "b", "c", "d", "e", "f", "g", "h"}[r.IntN(most)]
				}
				kinds[p] = append(kinds[p], some...)
				if len(some) > 0 {
					records = append(records, of(int32(p), some...))
				}
			}
			w.Append(t, nil, records...)
		}
		for range 3 {
			c.start(false)
		}
		live := func() (all []*crewProcess) {
			for _, p := range c.all {
				select {
				case <-p.done:
				default:
					all = append(all, p)
				}
			}
			return all
		}
		for step := range 40 {
			produce(min(12, 4+step/3)) // kinds come while it goes on
			time.Sleep(time.Duration(r.Int64N(int64(3 * time.Second))))
			all := live()
			switch p := all[r.IntN(len(all))]; r.IntN(12) {
			case 0:
				p.kill()
			case 1:
				p.stop()
			case 2:
				c.leases.SetAway(true)
			case 3:
				c.leases.Wipe()
			case 4:
				c.start(true)
			}
			if r.IntN(3) == 0 {
				c.leases.SetAway(false)
			}
			if len(live()) < 3 {
				c.start(false)
			}
		}
		c.leases.SetAway(false)
		time.Sleep(time.Minute)
		for _, p := range live() {
			p.stop()
		}
		if err := run(t, routed(t, testConfig(t, c.store, c.lake), c.lake, "db.{topic}_{field:k}", 20)); err != nil {
			t.Fatal(err)
		}
		for p := range kinds {
			wantKinds(t, c.lake, int32(p), kinds[p])
		}
	})
}

// TestRoutedWorkersShare has two processes commit through one for each table.
func TestRoutedWorkersShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t)
		c.config = func(cfg Config, open openLabelled) Config {
			return routedBy(t, cfg, c.lake, "db.{topic}_{field:k}", 20, open)
		}
		w := tailtest.Journal{Store: c.store}
		w.Append(t, []kfs.Entry{cluster, events})
		a, b := c.start(false), c.start(false)
		time.Sleep(10 * time.Second)
		if a.reads(events) != 2 || b.reads(events) != 2 {
			t.Errorf("the workers read %d and %d partitions", a.reads(events), b.reads(events))
		}
		for range 30 {
			w.Append(t, nil, of(0, "a", "b"), of(1, "b", "a"), of(2, "a", "b"), of(3, "b", "a"))
			time.Sleep(2 * time.Second)
		}
		time.Sleep(time.Minute)
		for _, name := range []string{"db.events_a", "db.events_b"} {
			if n := c.lake.table(name).count(); n > 45 {
				t.Errorf("%s has %d commits of 30 seconds with records: each worker commits for itself", name, n)
			}
		}
		a.stop()
		b.stop()
		for p := range int32(4) {
			var want []string
			for range 30 {
				want = append(want, [][]string{{"a", "b"}, {"b", "a"}}[p%2]...)
			}
			wantKinds(t, c.lake, p, want)
		}
	})
}

// TestRoutedWorkersMeet: of two workers that meet, at the same time, values whose tables have one name, one makes the table, and to the other
// those are dead letters, as to a process that is alone.
func TestRoutedWorkersMeet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t)
		c.config = func(cfg Config, open openLabelled) Config {
			return routedBy(t, cfg, c.lake, "db.{topic}_{field:k}", 20, open)
		}
		w := tailtest.Journal{Store: c.store}
		w.Append(t, []kfs.Entry{cluster, events})
		a, b := c.start(false), c.start(false)
		time.Sleep(10 * time.Second)
		if a.reads(events) != 2 || b.reads(events) != 2 {
			t.Fatalf("the workers read %d and %d partitions", a.reads(events), b.reads(events))
		}
		var text [4]string // of those of a worker the same
		for p := range text {
			_, reads, _ := a.member.Share()
			text[p] = "a_b"
			if reads(kfs.PartitionID{Topic: events.ID, Partition: int32(p)}) {
				text[p] = "a-b"
			}
		}
		w.Append(t, nil, of(0, "x", text[0]), of(1, "x", text[1]), of(2, "x", text[2]), of(3, "x", text[3]))
		time.Sleep(time.Minute)
		a.stop()
		b.stop()
		label := c.lake.table("db.events_a_b").label
		for p := range text {
			second := ""
			if label == fmt.Sprintf("k=%q", text[p]) {
				second = "a_b"
			}
			wantKinds(t, c.lake, int32(p), []string{"x", second})
		}
	})
}

// TestWorkersOfAnotherConfiguration lets topics and partitions come while workers run, of which one has another job file: it commits for itself,
// and each offset is in its table once.
func TestWorkersOfAnotherConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t)
		few := tailtest.Topic("events", 1, 0, 0)
		w := tailtest.Journal{Store: c.store}
		w.Append(t, []kfs.Entry{cluster, few})
		a, b := c.start(false), c.start(false)
		c.hash = "another"
		d := c.start(false)
		n := 0
		add := func(topics ...kfs.Topic) {
			for range 10 {
				var records []tailtest.Records
				for _, topic := range topics {
					for p := range topic.Journals {
						records = append(records, jsons(topic, int32(p), n, 1))
					}
				}
				w.Append(t, nil, records...)
				n++
				time.Sleep(time.Second)
			}
		}
		add(few)
		w.Append(t, []kfs.Entry{orders})
		add(few, orders)
		w.Append(t, []kfs.Entry{events})
		add(events, orders)
		time.Sleep(time.Minute)
		for _, p := range []*crewProcess{a, b, d} {
			if got := p.reads(events) + p.reads(orders); got < 1 || got > 2 {
				t.Errorf("a worker reads %d of 5 partitions", got)
			}
		}
		for _, p := range []*crewProcess{a, b, d} {
			p.stop()
		}
		for p := range int32(4) {
			wantOffsets(t, c.lake.table("db.events"), p, 0, []int64{30, 30, 10, 10}[p])
		}
		wantOffsets(t, c.lake.table("db.orders"), 0, 0, 20)
	})
}
