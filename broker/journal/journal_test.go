package journal

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/blobtest"
	"github.com/firn-io/firn/kfs/blob/file"
	"github.com/firn-io/firn/kfs/record"
)

func TestAppendReadRestart(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) blob.Store{
		"memory": func(*testing.T) blob.Store { return blob.NewMemory(nil) },
		"file": func(t *testing.T) blob.Store {
			s, err := file.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := open(t)
			cfg := config(store, 1)
			cfg.CheckpointEvery, cfg.FlushInterval, cfg.Gather = 4, time.Millisecond, time.Microsecond
			o := start(t, cfg)
			o.create(1, "events", 3)
			var want [3][]string
			for round := range 10 {
				var batches []Batch
				for p := range want {
					v := names(fmt.Sprintf("r%d p%d #", round, p), round%3+1)
					want[p] = append(want[p], v...)
					batches = append(batches, batch(t, 1, "events", int32(p), nil, int64(1000*round), v...))
				}
				results := o.must(o.Append(batches))
				if base := int64(len(want[0]) - round%3 - 1); results[0].Base != base {
					t.Fatalf("round %d: base %d, want %d", round, results[0].Base, base)
				}
			}
			o.must(o.AppendEntries([]kfs.Entry{kfs.GroupOffsets{Offsets: []kfs.GroupOffset{{Group: "g", Topic: "events", Partition: 1, Offset: 4, LeaderEpoch: -1}}}}))
			check := func(o *owner) {
				t.Helper()
				for p := range want {
					if got := values(t, o.Journal, id(1, int32(p))); !slices.Equal(got, want[p]) {
						t.Errorf("partition %d: %q\nwant %q", p, got, want[p])
					}
				}
				if g := o.GroupOffsets("g"); len(g) != 1 || g[0].Offset != 4 || !slices.Equal(o.Groups(), []string{"g"}) {
					t.Errorf("group offsets %+v of %v", g, o.Groups())
				}
				if topics := o.State().Topics(); len(topics) != 1 || topics[0].Name != "events" {
					t.Errorf("topics %v", topics)
				}
			}
			check(o)
			cluster, epoch := o.State().Cluster(), o.Epoch()
			if err := o.stop(); err != nil {
				t.Fatal(err)
			}
			cfg = config(store, 2)
			o = start(t, cfg)
			check(o)
			if o.Epoch() != epoch+1 || o.State().Cluster() != cluster {
				t.Errorf("epoch %d after %d, cluster %v after %v", o.Epoch(), epoch, o.State().Cluster(), cluster)
			}
			want[1] = append(want[1], "more")
			o.must(o.Append([]Batch{batch(t, 1, "events", 1, nil, 0, "more")}))
			check(o)
			if err := o.stop(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestOneFlushIsOnePut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blobtest.NewTrace(blob.NewMemory(nil))
		o := start(t, config(store, 1))
		o.create(1, "a", 3)
		o.create(2, "b", 3)
		o.create(3, "c", 2)
		time.Sleep(time.Second)
		store.Take()
		var pending []*Pending
		for n, name := range map[byte]string{1: "a", 2: "b", 3: "c"} {
			for p := range int32(3) {
				if n != 3 || p < 2 {
					pending = append(pending, o.Append([]Batch{batch(t, n, name, p, nil, 0, "v")}))
				}
			}
		}
		for _, p := range pending {
			o.must(p)
		}
		const want = "PUT journal/0000/4.kfs (n bytes) if-absent -> ok\n"
		if got := blobtest.ShortNumbers(blobtest.HideSizes(store.Take())); got != want {
			t.Errorf("one flush of 8 partitions of 3 topics:\n%swant\n%s", got, want)
		}
		time.Sleep(24 * time.Hour)
		if got := store.Take(); got != "" {
			t.Errorf("an idle day:\n%s", got)
		}
		if err := o.stop(); err != nil {
			t.Fatal(err)
		}
		if got := store.Take(); got != "" {
			t.Errorf("stopping:\n%s", got)
		}
	})
}

func TestIdleOwnerRenewsBeforeItWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blobtest.NewTrace(blob.NewMemory(nil))
		o := start(t, config(store, 1))
		o.create(1, "a", 1)
		time.Sleep(renewAfter + time.Minute)
		store.Take()
		o.must(o.Append([]Batch{batch(t, 1, "a", 0, nil, 0, "v")}))
		const want = `LIST journal/0000/checkpoint- -> 0 objects
GET journal/0000/2.kfs last 65536 -> not found
LIST journal/0000/ after journal/0000/2.kfs -> 0 objects
PUT journal/0000/2.kfs (n bytes) if-absent -> ok
`
		if got := blobtest.ShortNumbers(blobtest.HideSizes(store.Take())); got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
		_ = o.stop()
	})
}

// TestBusyOwnerReadsNothing has an owner write for longer than LIMIT: each object tells it of the end.
func TestBusyOwnerReadsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blobtest.NewTrace(blob.NewMemory(nil))
		o := start(t, config(store, 1))
		o.create(1, "a", 1)
		before := store.Count(blobtest.Put)
		store.Take()
		for range 20 {
			time.Sleep(renewAfter / 3)
			o.must(o.Append([]Batch{batch(t, 1, "a", 0, nil, 0, "v")}))
		}
		if trace := store.Take(); store.Count(blobtest.Put)-before != 20 || strings.Count(trace, "\n") != 20 {
			t.Errorf("20 objects:\n%s", trace)
		}
		_ = o.stop()
	})
}

func TestFlushInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := start(t, config(blob.NewMemory(nil), 1))
		o.create(1, "a", 1)
		time.Sleep(time.Second)
		began := time.Now()
		var at []time.Duration
		for range 3 {
			o.must(o.Append([]Batch{batch(t, 1, "a", 0, nil, 0, "v")}))
			at = append(at, time.Since(began))
		}
		if want := []time.Duration{5 * time.Millisecond, 205 * time.Millisecond, 405 * time.Millisecond}; !slices.Equal(at, want) {
			t.Errorf("acknowledged after %v, want %v", at, want)
		}
		_ = o.stop()
	})
}

func TestIdempotentProducer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		o := start(t, config(store, 1))
		o.create(1, "a", 1)
		send := func(epoch int16, sequence int32, values ...string) Result {
			t.Helper()
			results, err := o.Append([]Batch{batch(t, 1, "a", 0, &record.Producer{ID: 7, Epoch: epoch, Sequence: sequence}, 0, values...)}).Wait(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return results[0]
		}
		expect := func(what string, r Result, base int64, want error) {
			t.Helper()
			if !errors.Is(r.Err, want) || r.Base != base {
				t.Errorf("%s: base %d, %v; want %d, %v", what, r.Base, r.Err, base, want)
			}
		}
		expect("first", send(0, 0, "a", "b"), 0, nil)
		expect("again", send(0, 0, "a", "b"), 0, nil)
		expect("next", send(0, 2, "c"), 2, nil)
		expect("gap", send(0, 9, "x"), -1, ErrOutOfOrderSequence)
		expect("again, after another", send(0, 0, "a", "b"), 0, nil)
		_ = o.stop()
		o = start(t, config(store, 2))
		expect("again, of the next owner", send(0, 2, "c"), 2, nil)
		expect("new epoch in the middle", send(1, 3, "x"), -1, ErrOutOfOrderSequence)
		expect("new epoch", send(1, 0, "d"), 3, nil)
		expect("old epoch", send(0, 3, "x"), -1, ErrProducerFenced)
		for i := range int32(5) {
			expect("more", send(1, i+1, "e"), int64(i)+4, nil)
		}
		expect("too old to be known", send(1, 0, "d"), -1, ErrOutOfOrderSequence)
		expect("the fifth last", send(1, 1, "e"), 4, nil)
		if got := values(t, o.Journal, id(1, 0)); !slices.Equal(got, []string{"a", "b", "c", "d", "e", "e", "e", "e", "e"}) {
			t.Errorf("records %q", got)
		}
		_ = o.stop()
	})
}

func TestSequenceWraps(t *testing.T) {
	p := producer{}
	p.add(kfs.ProducerBatch{FirstSequence: 1<<31 - 3, LastSequence: 1<<31 - 1})
	if v, _ := p.check(&kfs.ProducerBatch{FirstSequence: 0, LastSequence: 4}); v != accepted {
		t.Errorf("sequence 0 behind the largest: %v", v)
	}
	if v, _ := p.check(&kfs.ProducerBatch{FirstSequence: 1, LastSequence: 4}); v != outOfOrder {
		t.Errorf("sequence 1 behind the largest: %v", v)
	}
}

func TestTwoOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		old := start(t, config(store, 1))
		old.create(1, "a", 1)
		old.must(old.Append([]Batch{batch(t, 1, "a", 0, nil, 0, "old")}))
		next := start(t, config(store, 2))
		results, _ := old.Append([]Batch{batch(t, 1, "a", 0, nil, 0, "zombie")}).Wait(t.Context())
		if !errors.Is(results[0].Err, ErrNotOwner) {
			t.Errorf("the former owner's append: %v", results[0].Err)
		}
		if err := <-old.ended; !errors.Is(err, ErrFenced) {
			t.Errorf("the former owner ends with %v", err)
		}
		if _, err := old.Read(t.Context(), id(1, 0), 0, 1); !errors.Is(err, ErrNotOwner) {
			t.Errorf("the former owner reads: %v", err)
		}
		next.must(next.Append([]Batch{batch(t, 1, "a", 0, nil, 0, "new")}))
		if got := values(t, next.Journal, id(1, 0)); !slices.Equal(got, []string{"old", "new"}) {
			t.Errorf("records %q", got)
		}
		_ = next.stop()
	})
}

func TestDeleteTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		o := start(t, config(store, 1))
		o.create(1, "a", 2)
		o.must(o.Append([]Batch{batch(t, 1, "a", 0, nil, 0, "gone")}))
		plan, err := o.State().DeleteTopic(topicID(1))
		if err != nil {
			t.Fatal(err)
		}
		wake := make(chan struct{}, 1)
		defer o.Watch([]kfs.PartitionID{id(1, 1)}, wake)()
		o.must(o.AppendEntries(plan))
		<-wake
		o.create(2, "a", 1)
		for range 2 {
			if start, next := o.Offsets(id(1, 0)); start != next {
				t.Errorf("offsets of the deleted topic: [%d, %d)", start, next)
			}
			results, _ := o.Append([]Batch{batch(t, 1, "a", 0, nil, 0, "late")}).Wait(t.Context())
			if !errors.Is(results[0].Err, ErrTopicEnded) {
				t.Errorf("append to the deleted topic: %v", results[0].Err)
			}
			_ = o.stop()
			o = start(t, config(store, 2))
		}
		o.must(o.Append([]Batch{batch(t, 2, "a", 0, nil, 0, "new")}))
		_ = o.stop()
	})
}

func TestUnchangedOffsetsWriteNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blobtest.NewTrace(blob.NewMemory(nil))
		o := start(t, config(store, 1))
		commit := func(group string, offset int64) []kfs.Entry {
			return []kfs.Entry{kfs.GroupOffsets{Offsets: []kfs.GroupOffset{{Group: group, Topic: "t", Offset: offset, LeaderEpoch: -1, Committed: time.Now().UnixMilli()}}}}
		}
		o.must(o.AppendEntries(commit("g", 5)))
		before := store.Count(blobtest.Put)
		for range 5 {
			o.must(o.AppendEntries(commit("g", 5)))
			o.must(o.AppendEntries(commit("none", -1)))
		}
		if n := store.Count(blobtest.Put) - before; n != 0 {
			t.Errorf("%d PUTs for offsets that were there already", n)
		}
		o.must(o.AppendEntries(commit("g", 6)))
		o.must(o.AppendEntries(commit("g", -1)))
		if groups := o.Groups(); len(groups) != 0 {
			t.Errorf("groups %v after the deletion", groups)
		}
		_ = o.stop()
	})
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := start(t, config(blob.NewMemory(nil), 1))
		o.create(1, "a", 2)
		wake := make(chan struct{}, 1)
		stop := o.Watch([]kfs.PartitionID{id(1, 0)}, wake)
		o.must(o.Append([]Batch{batch(t, 1, "a", 1, nil, 0, "other")}))
		select {
		case <-wake:
			t.Error("woken by another partition")
		default:
		}
		o.must(o.Append([]Batch{batch(t, 1, "a", 0, nil, 0, "mine")}))
		<-wake
		if n := o.Available(id(1, 0), 0); n == 0 || o.Available(id(1, 0), 1) != 0 {
			t.Errorf("available %d from the start, %d from the end", n, o.Available(id(1, 0), 1))
		}
		stop()
		if len(o.watchers.of) != 0 {
			t.Errorf("%d partitions are watched by nobody", len(o.watchers.of))
		}
		defer o.Watch([]kfs.PartitionID{id(1, 0)}, wake)()
		_ = o.stop()
		<-wake
		defer o.Watch([]kfs.PartitionID{id(1, 0)}, wake)()
		<-wake
	})
}

func TestOffsetsByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := start(t, config(blob.NewMemory(nil), 1))
		o.create(1, "a", 1)
		for i := range int64(4) {
			o.must(o.Append([]Batch{batch(t, 1, "a", 0, nil, 100*i, names("v", 10)...)}))
		}
		for _, c := range []struct{ ts, offset, at int64 }{{-5, 0, 0}, {0, 0, 0}, {5, 5, 5}, {10, 10, 100}, {104, 14, 104}, {309, 39, 309}} {
			offset, at, ok, err := o.OffsetFor(t.Context(), id(1, 0), c.ts)
			if err != nil || !ok || offset != c.offset || at != c.at {
				t.Errorf("time %d: offset %d at %d (%v, %v), want %d at %d", c.ts, offset, at, ok, err, c.offset, c.at)
			}
		}
		if _, _, ok, err := o.OffsetFor(t.Context(), id(1, 0), 310); ok || err != nil {
			t.Errorf("behind the last: %v, %v", ok, err)
		}
		if at := o.MaxTimestamp(id(1, 0)); at != 309 {
			t.Errorf("largest timestamp %d", at)
		}
		o.must(o.AppendEntries([]kfs.Entry{kfs.Trim{Topic: topicID(1), LogStart: 13}}))
		if offset, at, ok, err := o.OffsetFor(t.Context(), id(1, 0), 0); offset != 13 || at != 103 || !ok || err != nil {
			t.Errorf("after a trim: offset %d at %d (%v, %v)", offset, at, ok, err)
		}
		if _, err := o.Read(t.Context(), id(1, 0), 12, 1); !errors.Is(err, ErrOffsetOutOfRange) {
			t.Errorf("read below the log start: %v", err)
		}
		b, err := o.Read(t.Context(), id(1, 0), 13, 1)
		if err != nil || records(t, b)[0].Offset != 10 || len(records(t, b)) != 10 {
			t.Errorf("the batch that contains the log start: %v", err)
		}
		_ = o.stop()
	})
}

func TestConfigValidate(t *testing.T) {
	err := (&Config{Journal: kfs.MaxJournals, ObjectBytes: -1}).Validate()
	if err == nil || len(err.(interface{ Unwrap() []error }).Unwrap()) != 3 {
		t.Errorf("want three complaints: %v", err)
	}
	if _, err := Open(t.Context(), Config{}); err == nil {
		t.Error("a journal without a store was opened")
	}
	if reflect.DeepEqual(Config{}.withDefaults(), Config{}) {
		t.Error("no defaults")
	}
}

// TestEndRefusesWhatComesLater: whoever still takes a topic for a live one is refused from the call on, also for partitions that never had a record.
func TestEndRefusesWhatComesLater(t *testing.T) {
	cfg := config(blob.NewMemory(time.Now), 1)
	cfg.Journal = 1
	o := start(t, cfg)
	first := o.Append([]Batch{batch(t, 1, "events", 0, nil, 1, "x")})
	end := o.End(topicID(1))
	late := o.Append([]Batch{batch(t, 1, "events", 0, nil, 1, "y"), batch(t, 1, "events", 1, nil, 1, "z"), batch(t, 2, "other", 0, nil, 1, "o")})
	o.must(first)
	o.must(end)
	results, err := late.Wait(t.Context())
	if err != nil || !errors.Is(results[0].Err, ErrTopicEnded) || !errors.Is(results[1].Err, ErrTopicEnded) || results[2].Err != nil {
		t.Errorf("behind the end: %+v, %v", results, err)
	}
	o.must(o.End(topicID(1)))
}

// TestLeavingWritesACheckpoint: whoever takes over from an owner that was asked to stop has no long chain to read.
func TestLeavingWritesACheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for objects, want := range map[int]bool{3: false, 3 * chainReads: true} {
			store := blob.NewMemory(nil)
			o := start(t, config(store, 1))
			o.create(1, "events", 1)
			for range objects {
				o.must(o.Append([]Batch{batch(t, 1, "events", 0, nil, 1, "x")}))
			}
			if err := o.stop(); err != nil {
				t.Fatal(err)
			}
			written := false
			for page, err := range store.List(t.Context(), kfs.CheckpointPrefix(0), "") {
				if err != nil {
					t.Fatal(err)
				}
				written = written || len(page.Objects) > 0
			}
			if written != want {
				t.Errorf("%d objects, checkpoint written: %v", objects, written)
			}
			next := start(t, config(store, 2))
			if got := values(t, next.Journal, id(1, 0)); len(got) != objects {
				t.Errorf("%d of %d records are there", len(got), objects)
			}
			if err := next.stop(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestUnreachableStore: while the store does not answer, nobody waits; what was on its way is decided afterwards, and a producer that comes again
// finds it, in order.
func TestUnreachableStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var away, late atomic.Bool
		store := blobtest.NewFault(blob.NewMemory(nil), func(op blobtest.Op) blobtest.Action {
			switch {
			case late.Load() && op.Verb == blobtest.Put:
				late.Store(false)
				away.Store(true)
				return blobtest.FailAfter // it is there, and nobody is told
			case away.Load():
				return blobtest.FailBefore
			}
			return blobtest.Pass
		})
		o := start(t, config(store, 1))
		o.create(1, "events", 1)
		time.Sleep(time.Second)
		send := func(first int32, value string) *Pending {
			return o.Append([]Batch{batch(t, 1, "events", 0, &record.Producer{ID: 7, Sequence: first}, 1, value)})
		}
		refused := func(what string, p *Pending) {
			t.Helper()
			begun := time.Now()
			results, err := p.Wait(t.Context())
			if err != nil || !errors.Is(results[0].Err, ErrUnavailable) || time.Since(begun) > 0 {
				t.Errorf("%s: %+v after %v, %v", what, results, time.Since(begun), err)
			}
		}
		late.Store(true)
		flying := send(0, "a")
		time.Sleep(time.Second) // its outcome is open
		gathered := send(1, "b")
		o.SetReachable(false)
		refused("in flight", flying)
		refused("gathered", gathered)
		refused("new", send(1, "b"))
		away.Store(false)
		time.Sleep(time.Minute)
		refused("new, and nobody has said that the store is back", send(2, "c"))
		o.SetReachable(true)
		if results, err := send(2, "c").Wait(t.Context()); err != nil || !errors.Is(results[0].Err, ErrOutOfOrderSequence) {
			t.Errorf("a batch behind one that was refused: %+v, %v", results, err)
		}
		if r := o.must(send(0, "a")); r[0].Base != 0 {
			t.Errorf("the batch that was on its way is at %d", r[0].Base)
		}
		o.must(send(1, "b"))
		o.must(send(2, "c"))
		if got := values(t, o.Journal, id(1, 0)); fmt.Sprint(got) != "[a b c]" {
			t.Errorf("records %v", got)
		}
		if err := o.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestUnreachableStoreForgetsNoBeginning: a new producer whose first batch was refused has to begin with that one, not with the next.
func TestUnreachableStoreForgetsNoBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := start(t, config(blob.NewMemory(nil), 1))
		o.create(1, "events", 1)
		send := func(first int32) Result {
			t.Helper()
			results, err := o.Append([]Batch{batch(t, 1, "events", 0, &record.Producer{ID: 7, Sequence: first}, 1, "x")}).Wait(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return results[0]
		}
		o.SetReachable(false)
		if r := send(0); !errors.Is(r.Err, ErrUnavailable) {
			t.Errorf("while the store is away: %+v", r)
		}
		o.SetReachable(true)
		if r := send(1); !errors.Is(r.Err, ErrOutOfOrderSequence) {
			t.Errorf("the second batch before the first: %+v", r)
		}
		if r := send(0); r.Err != nil || r.Base != 0 {
			t.Errorf("the first batch: %+v", r)
		}
		if err := o.stop(); err != nil {
			t.Fatal(err)
		}
	})
}
