package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// fakeTeam is an assignment that the test decides, by partition numbers.
type fakeTeam struct {
	self string

	mu      sync.Mutex // guards what follows
	all     []string   // of the team
	turn    uint64
	reads   []int32
	changed chan struct{}
	settled uint64
	found   map[kfs.TopicID]int32
}

var _ Team = (*fakeTeam)(nil)

func newFakeTeam(self string, reads ...int32) *fakeTeam {
	return &fakeTeam{self: self, all: []string{"a", "b"}, reads: reads, changed: make(chan struct{}), found: map[kfs.TopicID]int32{}}
}

func (f *fakeTeam) Share() (uint64, func(kfs.PartitionID) bool, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	reads := f.reads
	return f.turn, func(id kfs.PartitionID) bool { return slices.Contains(reads, id.Partition) }, f.changed
}

func (f *fakeTeam) Found(topic kfs.TopicID, partitions int32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.found[topic] = partitions
}

func (f *fakeTeam) Settled(turn uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.settled = max(f.settled, turn)
}

func (f *fakeTeam) Self() string { return f.self }

func (f *fakeTeam) Workers(tables []string) []kfs.JobWorker {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []kfs.JobWorker
	for _, id := range f.all {
		all = append(all, kfs.JobWorker{ID: id, Name: "host/" + id})
	}
	return all
}

// give makes it read these partitions from now on, and no others.
func (f *fakeTeam) give(reads ...int32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.turn++
	f.reads = reads
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeTeam) isSettled() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.settled == f.turn
}

// TestPartitionsMove lets two processes share a table, and partitions go from one to the other and back. What is settled is committed, and
// nothing of it comes from that process any more.
func TestPartitionsMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := blob.NewMemory(nil), newLake(t)
		w := tailtest.Journal{Store: store}
		w.Append(t, []kfs.Entry{cluster, events})
		n := 0
		add := func() {
			w.Append(t, nil, jsons(events, 0, n, 2), jsons(events, 1, n, 2), jsons(events, 2, n, 2))
			n += 2
		}
		add()
		a, b := newFakeTeam("a", 0, 1, 2), newFakeTeam("b")
		var stops []func() error
		for _, team := range []*fakeTeam{a, b} {
			cfg := testConfig(t, store, l)
			cfg.Assignment = team
			cfg.OpenSink = func(context.Context, string, kfs.TopicID) (processor.Sink, error) {
				return slowSink{l.table("db.events").open()}, nil
			}
			_, stop := start(t, cfg)
			stops = append(stops, stop)
		}
		time.Sleep(10 * time.Second)
		table := l.table("db.events")
		for _, team := range []*fakeTeam{a, b} {
			team.mu.Lock()
			if team.found[events.ID] != 4 {
				t.Errorf("%s has found %v", team.self, team.found)
			}
			team.mu.Unlock()
		}
		position := func(p int32) int64 {
			table.mu.Lock()
			defer table.mu.Unlock()
			return table.next[processor.Source{Topic: "events", ID: events.ID, Partition: p}]
		}
		move := func(from, to *fakeTeam, kept, all []int32, moved ...int32) {
			t.Helper()
			add()
			time.Sleep(1100 * time.Millisecond) // read, and not committed yet
			from.give(kept...)
			for !from.isSettled() {
				time.Sleep(10 * time.Millisecond)
			}
			var stood []int64
			for _, p := range moved {
				stood = append(stood, position(p))
			}
			add()
			time.Sleep(10 * time.Second)
			for i, p := range moved {
				if at := position(p); at != stood[i] || at < int64(n)-4 {
					t.Errorf("partition %d moved from %d to %d of %d after it was settled", p, stood[i], at, n)
				}
			}
			for _, p := range kept {
				if at := position(p); at != int64(n) {
					t.Errorf("partition %d, which stayed, is at %d of %d", p, at, n)
				}
			}
			to.give(all...)
			time.Sleep(10 * time.Second)
			for _, p := range moved {
				if at := position(p); at != int64(n) {
					t.Errorf("partition %d is at %d of %d after it has moved", p, at, n)
				}
			}
		}
		move(a, b, []int32{0}, []int32{1, 2}, 1, 2)
		move(b, a, []int32{2}, []int32{0, 1}, 1)
		move(a, b, nil, []int32{0, 1, 2}, 0, 1)

		a.give(0, 1, 2) // both believe that all is theirs
		for range 20 {
			add()
			time.Sleep(700 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		for _, stop := range stops {
			if err := stop(); err != nil {
				t.Error(err)
			}
		}
		for p := range int32(3) {
			wantOffsets(t, table, p, 0, int64(n))
		}
	})
}

// slowSink takes its time to commit.
type slowSink struct{ *fakeSink }

func (s slowSink) Commit(ctx context.Context, from, to processor.Positions, staged []processor.Staged) error {
	time.Sleep(200 * time.Millisecond)
	return s.fakeSink.Commit(ctx, from, to, staged)
}

// TestTeamsObject shows what the object of a job says that two processes share: the positions of all, and the halts of both.
func TestTeamsObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := blob.NewMemory(nil), newLake(t)
		w := tailtest.Journal{Store: store}
		w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 3), jsons(events, 1, 0, 4))
		a, b := newFakeTeam("a", 0, 2), newFakeTeam("b", 1, 3)
		var stops []func() error
		for _, team := range []*fakeTeam{a, b} {
			cfg := testConfig(t, store, l)
			cfg.Assignment, cfg.Errors, cfg.OpenDeadLetters = team, Halt, nil
			_, stop := start(t, cfg)
			stops = append(stops, stop)
		}
		time.Sleep(time.Minute)
		w.Append(t, nil, tailtest.Values(events, 2, "-"), tailtest.Values(events, 3, "-"))
		time.Sleep(2 * time.Minute)
		f := readJobFile(t, store)
		if len(f.Workers) != 2 || len(f.Halts) != 2 || f.Halts[0].Worker != "a" || f.Halts[0].Partition != 2 || f.Halts[1].Worker != "b" || f.Halts[1].Partition != 3 {
			t.Errorf("workers %v, halts %v", f.Workers, f.Halts)
		}
		said := map[int32]int64{}
		for _, s := range f.Tables[0].Sources {
			said[s.Partition] = s.Next
		}
		if fmt.Sprint(said) != "map[0:3 1:4 2:0 3:0]" {
			t.Errorf("positions %v", said)
		}
		for _, team := range []*fakeTeam{a, b} {
			team.mu.Lock()
			team.all = []string{"b"}
			team.mu.Unlock()
		}
		if err := stops[0](); err != nil {
			t.Error(err)
		}
		b.give(0, 1, 2, 3)
		time.Sleep(2 * time.Minute)
		f = readJobFile(t, store)
		if len(f.Workers) != 1 || len(f.Halts) != 2 || f.Halts[0].Worker != "b" || f.Halts[1].Worker != "b" {
			t.Errorf("after a has gone: workers %v, halts %v", f.Workers, f.Halts)
		}
		if err := stops[1](); err != nil {
			t.Error(err)
		}
	})
}

func readJobFile(t *testing.T, store blob.Store) *kfs.Job {
	t.Helper()
	body, _, err := blob.ReadAll(t.Context(), store, kfs.JobKey("test"), blob.All, kfs.MaxJobBytes)
	if err != nil {
		t.Fatal(err)
	}
	f, err := kfs.DecodeJob(body)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// promptTeam gives a worker a topic's partitions as soon as it has found the topic, before it has a table.
type promptTeam struct{ *fakeTeam }

func (f promptTeam) Found(topic kfs.TopicID, partitions int32) {
	f.mu.Lock()
	_, known := f.found[topic]
	f.mu.Unlock()
	if f.fakeTeam.Found(topic, partitions); !known {
		f.give(0, 1)
	}
}

// TestShareBeforeTable has the share change between the beginning of a reader and the first life of a table: the records of the new share,
// which the reader leaves out, come all the same.
func TestShareBeforeTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := blob.NewMemory(nil), newLake(t)
		w := tailtest.Journal{Store: store}
		w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 2), jsons(events, 1, 0, 3))
		cfg := testConfig(t, store, l)
		cfg.Assignment = promptTeam{newFakeTeam("a")}
		_, stop := start(t, cfg)
		time.Sleep(time.Minute)
		if err := stop(); err != nil {
			t.Error(err)
		}
		wantOffsets(t, l.table("db.events"), 0, 0, 2)
		wantOffsets(t, l.table("db.events"), 1, 0, 3)
	})
}

// TestLettersOfAnotherProcess lets another process commit dead letters of records that this one has read and not committed: what it has
// decided is obeyed.
func TestLettersOfAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := blob.NewMemory(nil), newLake(t)
		source := processor.Source{Topic: "events", ID: events.ID}
		w := tailtest.Journal{Store: store}
		w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 2))
		cfg := testConfig(t, store, l)
		cfg.Assignment = newFakeTeam("a", 0)
		_, stop := start(t, cfg)
		time.Sleep(10 * time.Second)
		w.Append(t, nil, jsons(events, 0, 2, 4))
		time.Sleep(300 * time.Millisecond)
		letters := l.table(deadLetterTable)
		letters.mu.Lock()
		letters.next[source], letters.rows[source] = 5, []row{{3, ""}}
		letters.mu.Unlock()
		time.Sleep(time.Minute)
		if err := stop(); err != nil {
			t.Error(err)
		}
		wantOffsets(t, l.table("db.events"), 0, 0, 6, 3)
	})
}

// TestLatestTakenOver has a process take over partitions of a job that begins at the latest record, from one that has read records of them and
// committed none: not all that it knows of the job was there when it started.
func TestLatestTakenOver(t *testing.T) {
	for _, checkpoint := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			store, l := blob.NewMemory(nil), newLake(t)
			w := tailtest.Journal{Store: store}
			w.Append(t, []kfs.Entry{cluster, events})
			n := 0
			add := func() {
				w.Append(t, nil, jsons(events, 0, n, 2), jsons(events, 1, n, 2))
				n += 2
			}
			add()
			if checkpoint {
				w.Checkpoint(t)
			}
			a, b := newFakeTeam("a"), newFakeTeam("b")
			launch := func(team *fakeTeam, commits bool) (stop func() error) {
				cfg := testConfig(t, store, l)
				cfg.Assignment, cfg.From.Latest = team, true
				if !commits {
					cfg.OpenSink = func(context.Context, string, kfs.TopicID) (processor.Sink, error) {
						return refusingSink{l.table("db.events").open()}, nil
					}
				}
				_, stop = start(t, cfg)
				return stop
			}
			stopA := launch(a, false)
			time.Sleep(10 * time.Second)
			add()
			stopB := launch(b, true)
			time.Sleep(10 * time.Second)
			a.give(0, 1)
			time.Sleep(time.Second)
			add()
			time.Sleep(5 * time.Second)
			if err := stopA(); err != nil {
				t.Error(err)
			}
			b.give(0, 1)
			add()
			time.Sleep(time.Minute)
			if err := stopB(); err != nil {
				t.Error(err)
			}
			for p := range int32(2) {
				wantOffsets(t, l.table("db.events"), p, 2, int64(n))
			}
		})
	}
}

// refusingSink commits nothing.
type refusingSink struct{ *fakeSink }

func (refusingSink) Commit(context.Context, processor.Positions, processor.Positions, []processor.Staged) error {
	return errors.New("the catalog is away")
}
