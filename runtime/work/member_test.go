package work

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/blobtest"
	"github.com/firn-io/firn/kfs/lease"
	"github.com/firn-io/firn/runtime/processor"
)

// fakeTable keeps rows, which are offsets, with its position.
type fakeTable struct {
	portable bool

	mu      sync.Mutex         // guards what follows
	before  func(by int) error // of a Commit by a worker, which does nothing if it fails
	after   func(by int) error // of one that has landed
	next    processor.Positions
	rows    map[int32][]int64
	commits map[int]int // by the workers that made them
}

// fakeSink is a sink of the table in the process of one worker.
type fakeSink struct {
	*fakeTable
	worker int
}

// fakeStaged is what Staged.Data holds.
type fakeStaged struct {
	Partition int32
	Rows      []int64
}

var (
	_ processor.Sink     = (*fakeSink)(nil)
	_ processor.Portable = (*fakeSink)(nil)
)

func (s *fakeSink) Portable() bool                                    { return s.portable }
func (s *fakeSink) Stage(context.Context, processor.Batch) error      { panic("not used") }
func (s *fakeSink) Seal(context.Context) (processor.Staged, error)    { panic("not used") }
func (s *fakeSink) Discard(context.Context, []processor.Staged) error { panic("not used") }

func (s *fakeSink) Committed(context.Context) (processor.Positions, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.next), nil
}

func (s *fakeSink) Commit(ctx context.Context, from, to processor.Positions, staged []processor.Staged) error {
	s.mu.Lock()
	before, after := s.before, s.after
	s.mu.Unlock()
	if before != nil {
		if err := before(s.worker); err != nil {
			return err
		}
	}
	if !sleep(ctx, 50*time.Millisecond) {
		return context.Cause(ctx)
	}
	if err := s.land(from, to, staged); err != nil {
		return err
	}
	if after != nil {
		return after(s.worker)
	}
	return nil
}

// fail sets the faults of commits.
func (f *fakeTable) fail(before, after func(by int) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.after = before, after
}

// made counts the commits of each worker.
func (f *fakeTable) made() map[int]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.commits)
}

func (s *fakeSink) land(from, to processor.Positions, staged []processor.Staged) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for source, at := range from {
		if next, ok := s.next[source]; ok && next != at {
			return fmt.Errorf("the table stands at %d, not at %d: %w", next, at, processor.ErrMoved)
		}
	}
	for _, st := range staged {
		var one fakeStaged
		if err := json.Unmarshal(st.Data, &one); err != nil {
			return err
		}
		s.rows[one.Partition] = append(s.rows[one.Partition], one.Rows...)
	}
	maps.Copy(s.next, to)
	s.commits[s.worker]++
	return nil
}

// crew is workers of one job, which commit ten offsets of each of their partitions at a time, as a pipeline would.
type crew struct {
	t       *testing.T
	table   *fakeTable
	memory  *lease.Memory
	store   blob.Store
	members []*Member
	metrics []*prometheus.Registry
	stops   []func()
}

const crewPartitions = 8

func newCrew(t *testing.T) *crew {
	return &crew{t: t, memory: lease.NewMemory(), store: blob.NewMemory(time.Now),
		table: &fakeTable{portable: true, next: processor.Positions{}, rows: map[int32][]int64{}, commits: map[int]int{}}}
}

// join adds a worker.
func (c *crew) join() {
	n, registry := len(c.members), prometheus.NewRegistry()
	m, err := New(Config{Job: "job", Leases: c.memory.Service("/firn/", 0), Store: c.store, Name: fmt.Sprint(n), Registerer: registry})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := m.Run(ctx, func(ctx context.Context) error { return c.work(ctx, m, n) }); err != nil {
			c.t.Errorf("worker %d: %v", n, err)
		}
	}()
	c.members, c.metrics = append(c.members, m), append(c.metrics, registry)
	c.stops = append(c.stops, sync.OnceFunc(func() { cancel(); <-done }))
}

// work is one worker's: life after life, each from the table's position on.
func (c *crew) work(ctx context.Context, m *Member, n int) error {
	sink, err := m.Wrap(ctx, "default.events", func(context.Context) (processor.Sink, error) { return &fakeSink{c.table, n}, nil })
	if err != nil {
		return err
	}
	m.Found(topicOf(1), crewPartitions)
	for ctx.Err() == nil {
		turn, reads, changed := m.Share()
		m.Settled(turn)
		at, err := sink.Committed(ctx)
		if err != nil {
			return err
		}
		for alive := true; alive; {
			if err := c.commit(ctx, sink, reads, at); err != nil {
				break
			}
			select {
			case <-changed:
				alive = false
			case <-ctx.Done():
				return nil
			case <-time.After(time.Second):
			}
		}
	}
	return nil
}

// commit makes one commit of the partitions of a share. At offset 1000 they end.
func (c *crew) commit(ctx context.Context, sink processor.Sink, reads func(kfs.PartitionID) bool, at processor.Positions) error {
	from, to := processor.Positions{}, processor.Positions{}
	var staged []processor.Staged
	for p := range int32(crewPartitions) {
		s := sourceOf(p)
		if !reads(kfs.PartitionID{Topic: s.ID, Partition: p}) || at[s] >= 1000 {
			continue
		}
		from[s], to[s] = at[s], at[s]+10
		one := fakeStaged{Partition: p}
		for o := from[s]; o < to[s]; o++ {
			one.Rows = append(one.Rows, o)
		}
		data, err := json.Marshal(one)
		if err != nil {
			return err
		}
		staged = append(staged, processor.Staged{Spans: map[processor.Source]kfs.Span{s: {Base: from[s], Next: to[s]}}, Data: data})
	}
	if len(to) == 0 {
		return nil
	}
	if err := sink.Commit(ctx, from, to, staged); err != nil {
		return err
	}
	maps.Copy(at, to)
	return nil
}

// stop ends all workers and holds the table against what exactly once means.
func (c *crew) stop() {
	c.t.Helper()
	for _, stop := range c.stops {
		stop()
	}
	for p, rows := range c.table.rows {
		if int64(len(rows)) != c.table.next[sourceOf(p)] {
			c.t.Errorf("partition %d has %d rows and stands at %d", p, len(rows), c.table.next[sourceOf(p)])
		}
		for i, o := range rows {
			if o != int64(i) {
				c.t.Fatalf("row %d of partition %d is offset %d", i, p, o)
			}
		}
	}
}

// shares gives how many partitions each worker reads.
func (c *crew) shares() (all []int) {
	for _, m := range c.members {
		_, reads, _ := m.Share()
		n := 0
		for p := range int32(crewPartitions) {
			if reads(kfs.PartitionID{Topic: topicOf(1), Partition: p}) {
				n++
			}
		}
		all = append(all, n)
	}
	return all
}

func (c *crew) want(what string, shares ...int) {
	c.t.Helper()
	if got := c.shares(); fmt.Sprint(got) != fmt.Sprint(shares) {
		c.t.Errorf("%s: the workers read %v partitions, want %v", what, got, shares)
	}
}

// position is the least of the table's.
func (c *crew) position() int64 {
	c.table.mu.Lock()
	defer c.table.mu.Unlock()
	least := int64(1 << 40)
	for p := range int32(crewPartitions) {
		least = min(least, c.table.next[sourceOf(p)])
	}
	return least
}

// goesOn fails unless every partition moves within so long.
func (c *crew) goesOn(what string, within time.Duration) {
	c.t.Helper()
	before := c.position()
	time.Sleep(within)
	if after := c.position(); after <= before && after < 1000 {
		c.t.Errorf("%s: in %v the table has not moved from %d", what, within, before)
	}
}

// committer is the worker that commits, and another one.
func (c *crew) committer() (by, other int) {
	id, _ := c.members[0].committer("default.events")
	if c.members[0].id == id {
		return 0, 1
	}
	return 1, 0
}

// handed counts the groups of a worker with a verdict.
func (c *crew) handed(n int, v verdict) int {
	c.t.Helper()
	families, err := c.metrics[n].Gather()
	if err != nil {
		c.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "firn_work_groups_handed_total" && m.GetLabel()[0].GetValue() == string(v) {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	return 0
}

func inBubble(t *testing.T, test func(*crew)) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t)
		defer c.stop()
		test(c)
	})
}

// TestOneCommits shows that of two workers one commits for both, in commits that hold the groups of both, and leaves no object behind.
func TestOneCommits(t *testing.T) {
	inBubble(t, func(c *crew) {
		c.join()
		time.Sleep(time.Second)
		c.want("alone", 8)
		c.join()
		time.Sleep(5 * time.Second)
		c.want("two", 4, 4)
		by, other := c.committer()
		before := c.table.made()
		time.Sleep(20 * time.Second)
		after := c.table.made()
		if n := after[other] - before[other]; n != 0 {
			c.t.Errorf("the other worker has made %d commits", n)
		}
		if n := after[by] - before[by]; n < 15 || n > 45 {
			c.t.Errorf("%d commits in 20 s of two workers with one each second", n)
		}
		if n := c.handed(other, committed); n < 15 {
			c.t.Errorf("%d groups were handed over", n)
		}
		c.stop()
		for page, err := range c.store.List(c.t.Context(), "jobs/", "") {
			if err != nil || len(page.Objects) > 1 { // one may be left by a delete that was cut short
				c.t.Errorf("left behind: %v, %v", page.Objects, err)
			}
		}
	})
}

// TestWorkersComeAndGo shows that partitions move at once, also those of a worker that ends while it commits for others.
func TestWorkersComeAndGo(t *testing.T) {
	inBubble(t, func(c *crew) {
		for range 4 {
			c.join()
			time.Sleep(3 * time.Second)
		}
		c.want("four", 2, 2, 2, 2)
		by, other := 0, 0
		id, _ := c.members[0].committer("default.events")
		for i, m := range c.members {
			if m.id == id {
				by = i
			} else {
				other = i
			}
		}
		c.stops[by]()
		time.Sleep(3 * time.Second)
		c.goesOn("without its committer", 5*time.Second)
		c.stops[other]()
		time.Sleep(3 * time.Second)
		total := 0
		for i, n := range c.shares() {
			if i != by && i != other {
				total += n
			}
		}
		if total != crewPartitions {
			c.t.Errorf("the two that are left read %d partitions", total)
		}
		c.goesOn("with two of four", 5*time.Second)
	})
}

// TestCommitterFails shows what a worker does when the committer cannot commit, or does not know whether it has, or does not answer.
func TestCommitterFails(t *testing.T) {
	for _, name := range []string{"before", "after", "hangs"} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(c *crew) {
				c.join()
				c.join()
				time.Sleep(5 * time.Second)
				by, other := c.committer()
				release := make(chan struct{})
				fail := func(worker int) error {
					switch {
					case worker != by:
						return nil
					case name == "hangs":
						<-release
						return nil
					}
					return errors.New("the catalog fails")
				}
				if name == "after" {
					c.table.fail(nil, fail)
				} else {
					c.table.fail(fail, nil)
				}
				time.Sleep(30 * time.Second)
				if n := c.handed(other, yourself); n == 0 {
					c.t.Error("no group was left to its worker")
				}
				if c.table.made()[other] == 0 && name != "after" {
					c.t.Error("the other worker has not committed itself")
				}
				c.table.fail(nil, nil)
				close(release)
				c.goesOn("healed", 20*time.Second)
			})
		})
	}
}

// TestEtcdAway shows that workers go on without etcd, for less and for more than a lease, and with one that has lost everything.
func TestEtcdAway(t *testing.T) {
	inBubble(t, func(c *crew) {
		c.join()
		c.join()
		time.Sleep(5 * time.Second)
		for _, away := range []time.Duration{2 * time.Second, 20 * time.Second} {
			c.memory.SetAway(true)
			if away > answerPatience { // else a group may wait for its answer all the time
				c.goesOn(fmt.Sprintf("etcd is away for %v", away), away)
			} else {
				time.Sleep(away)
			}
			c.memory.SetAway(false)
			time.Sleep(10 * time.Second)
			c.want(fmt.Sprintf("after %v", away), 4, 4)
		}
		c.memory.Wipe()
		c.goesOn("etcd is empty", 15*time.Second)
		c.want("after that", 4, 4)
	})
}

// TestGroupsElsewhere brings groups to the committer that do not begin where the table stands, by way of the store and its own: the worker learns that
// the table has moved, never that they are committed, and no row of them is there.
func TestGroupsElsewhere(t *testing.T) {
	inBubble(t, func(c *crew) {
		c.join()
		c.join()
		time.Sleep(5 * time.Minute)
		if at := c.position(); at != 1000 {
			c.t.Fatalf("the table stands at %d", at)
		}
		by, other := c.committer()
		for _, n := range []int{by, other} {
			for _, from := range []int64{990, 1010} {
				g := groupFor(0, from, from+10)
				g.staged[0].Data = []byte(`{"Rows": [5000]}`)
				err := c.members[n].commit(c.t.Context(), g.table, &fakeSink{c.table, n}, g.from, g.to, g.staged)
				if !errors.Is(err, processor.ErrMoved) {
					c.t.Errorf("worker %d, whose committer is worker %d: a group from %d on ends with %v, want %v", n, by, from, err, processor.ErrMoved)
				}
			}
		}
		if n := c.handed(other, moved); n != 2 {
			c.t.Errorf("the committer has said of %d groups that the table has moved, want 2", n)
		}
	})
}

// TestKeyOfAnEndedSession shows a worker its key of a session that has ended, which etcd has for a moment still: what it claims there, others may
// claim as soon as it goes, so nothing is read for it.
func TestKeyOfAnEndedSession(t *testing.T) {
	m, err := New(Config{Job: "job", Leases: lease.NewMemory().Service("/", 0), Store: blob.NewMemory(nil)})
	if err != nil {
		t.Fatal(err)
	}
	begin := func(session string) {
		m.session = session
		m.claims.step(opened{})
	}
	see := func(want bool) {
		t.Helper()
		m.seeWorkers(map[string]string{m.id: m.workerValue})
		if _, reads, _ := m.Share(); reads(kfs.PartitionID{Topic: topicOf(1)}) != want {
			t.Errorf("in session %s, after key %s: the partition is read: %t, want %t", m.session, m.workerValue, !want, want)
		}
	}
	begin("first")
	m.Found(topicOf(1), 1)
	m.seeWorkers(nil)
	begin("second")
	see(false)
	see(true) // the claim was put again
}

// TestGroupsThatDoNotArrive shows that a worker commits itself what the store does not take, or the committer cannot read.
func TestGroupsThatDoNotArrive(t *testing.T) {
	for _, verb := range []string{blobtest.Put, blobtest.Get, blobtest.Delete} {
		t.Run(verb, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCrew(t)
				defer c.stop()
				c.store = blobtest.NewFault(c.store, func(op blobtest.Op) blobtest.Action {
					if op.Verb == verb {
						return blobtest.FailBefore
					}
					return blobtest.Pass
				})
				c.join()
				c.join()
				time.Sleep(5 * time.Second)
				c.goesOn("a store that fails", 10*time.Second)
				_, other := c.committer()
				if n := c.handed(other, committed); (n == 0) != (verb != blobtest.Delete) {
					t.Errorf("%d groups were committed by the committer", n)
				}
			})
		})
	}
}

// TestSinksThatDoNotTravel shows that a sink that is not portable is left as it is.
func TestSinksThatDoNotTravel(t *testing.T) {
	inBubble(t, func(c *crew) {
		c.table.portable = false
		c.join()
		c.join()
		time.Sleep(5 * time.Second)
		c.want("two", 4, 4)
		c.goesOn("each for itself", 5*time.Second)
		if made := c.table.made(); made[0] == 0 || made[1] == 0 {
			c.t.Errorf("commits %v", made)
		}
	})
}

// TestSweep shows that groups of dead workers go, and nothing else.
func TestSweep(t *testing.T) {
	inBubble(t, func(c *crew) {
		put := func(key string) {
			if _, err := c.store.Put(c.t.Context(), key, []byte("x"), true); err != nil {
				c.t.Fatal(err)
			}
		}
		old := groupKey("job", "dead", "group")
		put(old)
		put("jobs/job.json")
		put("jobs/other/groups/dead/group")
		time.Sleep(groupLife)
		young := groupKey("job", "dead", "young")
		put(young)
		c.join()
		time.Sleep(time.Second)
		for key, want := range map[string]bool{old: false, young: true, "jobs/job.json": true, "jobs/other/groups/dead/group": true} {
			_, _, err := c.store.Get(c.t.Context(), key, blob.All)
			if (err == nil) != want {
				c.t.Errorf("%s: %v", key, err)
			}
		}
	})
}
