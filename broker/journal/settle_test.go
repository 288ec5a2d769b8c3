package journal

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/blobtest"
)

// settlingConfig settles what is a minute old.
func settlingConfig(store blob.Store, seed uint64) Config {
	cfg := config(store, seed)
	cfg.SettleAge = time.Minute
	return cfg
}

// partition is a copy of what the journal knows of a partition.
func (o *owner) partition(id kfs.PartitionID) *partition {
	o.index.mu.RLock()
	defer o.index.mu.RUnlock()
	p := o.index.partitions[id]
	return &partition{start: p.start, next: p.next, settled: slices.Clone(p.settled), refs: slices.Clone(p.refs)}
}

// fill appends n objects with two records each for two partitions.
func (o *owner) fill(n, from int) (want []string) {
	for i := range n {
		values := names(fmt.Sprintf("%d.", from+i), 2)
		want = append(want, values...)
		o.must(o.Append([]Batch{
			batch(o.t, 1, "a", 0, nil, int64(1000*(from+i)), values...), batch(o.t, 1, "a", 1, nil, int64(1000*(from+i)), values...),
		}))
	}
	return want
}

// TestSettleRequests is what settling two partitions of ten objects costs: of the cache, no GET but those that read back what was put, two
// PUTs for each segment, and one object of the journal.
func TestSettleRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		truth := blob.NewMemory(nil)
		trace := blobtest.NewTrace(truth)
		o := start(t, settlingConfig(trace, 1))
		o.create(1, "a", 2)
		want := o.fill(10, 0)
		trace.Take()
		time.Sleep(2 * time.Minute)
		const dir = "topics/8QAAAAAAAAAAAAAAAAAAAQ/a/"
		wantTrace := `PUT ` + dir + `0/segment-00000000000000000000.kfs (858 bytes) if-absent -> ok
GET ` + dir + `0/segment-00000000000000000000.kfs -> ok
PUT ` + dir + `0/segment-00000000000000000000.index (28 bytes) if-absent -> ok
GET ` + dir + `0/segment-00000000000000000000.index -> ok
PUT ` + dir + `1/segment-00000000000000000000.kfs (858 bytes) if-absent -> ok
GET ` + dir + `1/segment-00000000000000000000.kfs -> ok
PUT ` + dir + `1/segment-00000000000000000000.index (28 bytes) if-absent -> ok
GET ` + dir + `1/segment-00000000000000000000.index -> ok
PUT journal/0000/00000000000000000012.kfs (378 bytes) if-absent -> ok
`
		if got := trace.Take(); got != wantTrace {
			t.Errorf("requests:\n%s", got)
		}
		for p := range int32(2) {
			if got := values(t, o.Journal, id(1, p)); !slices.Equal(got, want) {
				t.Errorf("partition %d: %q", p, got)
			}
		}
		if at, ts, ok, err := o.OffsetFor(t.Context(), id(1, 1), 5001); at != 11 || ts != 5001 || !ok || err != nil {
			t.Errorf("by time: %d, %d, %v, %v", at, ts, ok, err)
		}
		want = append(want, o.fill(3, 10)...)
		if got := values(t, o.Journal, id(1, 0)); !slices.Equal(got, want) {
			t.Errorf("settled and not: %q", got)
		}
		if err := o.stop(); err != nil {
			t.Error(err)
		}
		verifyStore(t, truth)
		// The next owner finds the rest in the store: two ranges that lie beside each other, in one GET an object.
		trace.Take()
		next := start(t, settlingConfig(trace, 2))
		time.Sleep(2 * time.Minute)
		got := trace.Take()
		if n := strings.Count(got, "from 32 length 166 "); n != 3 {
			t.Errorf("%d GETs for three objects that were not in memory:\n%s", n, got)
		}
		for p := range int32(2) {
			if got := values(t, next.Journal, id(1, p)); !slices.Equal(got, want) {
				t.Errorf("partition %d after a takeover: %q", p, got)
			}
		}
		_ = next.stop()
		verifyStore(t, truth)
	})
}

// TestSettleBySize makes segments of as many whole ranges as fit, as soon as there are enough.
func TestSettleBySize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		cfg := config(store, 1)
		cfg.SettleBytes, cfg.SettleMemory = 500, 2000
		o := start(t, cfg)
		o.create(1, "a", 2)
		want := o.fill(20, 0)
		time.Sleep(time.Minute)
		p := o.partition(id(1, 0))
		if len(p.settled) != 3 || len(p.refs) != 2 || p.settled[0].Span != (kfs.Span{Base: 0, Next: 12}) {
			t.Errorf("settled %v, %d ranges left", p.settled, len(p.refs))
		}
		if got := values(t, o.Journal, id(1, 1)); !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
		_ = o.stop()
		verifyStore(t, store)
	})
}

// onSchedule fills a partition by a fixed schedule, so that every run of it in a bubble of its own makes the same bytes.
func onSchedule(t *testing.T, store blob.Store, n int, then func(o *owner, want []string), after func(t *testing.T)) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		o := start(t, settlingConfig(store, 1))
		o.create(1, "a", 2)
		var want []string
		for i := range n {
			time.Sleep(time.Until(began.Add(time.Duration(i+1) * time.Second)))
			want = append(want, o.fill(1, i)...)
		}
		then(o, want)
		_ = o.stop()
		after(t)
	})
}

// TestSegmentIsThere settles where a segment is in the way: of the same bytes, of a shorter range, of other bytes, with another index.
func TestSegmentIsThere(t *testing.T) {
	key, index := kfs.SegmentKey(topicID(1), "a", 0, 0), kfs.IndexKey(topicID(1), "a", 0, 0)
	made := map[int]map[string][]byte{}
	for _, n := range []int{3, 4, 5} {
		store := blob.NewMemory(nil)
		made[n] = map[string][]byte{}
		onSchedule(t, store, n, func(o *owner, _ []string) {
			time.Sleep(2 * time.Minute)
			for _, key := range []string{key, index} {
				body, _, err := blob.ReadAll(o.t.Context(), store, key, blob.All, 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				made[n][key] = body
			}
		}, func(t *testing.T) { verifyStore(t, store) })
	}
	other := slices.Clone(made[4][key])
	other[23]++ // what it says of when it was created
	for name, c := range map[string]struct {
		there   map[string][]byte
		settled int64 // up to where; 0: not at all
	}{
		"the same":         {made[4], 8},
		"without index":    {map[string][]byte{key: made[4][key]}, 8},
		"a shorter one":    {map[string][]byte{key: made[3][key]}, 8},
		"a shorter pair":   {made[3], 8},
		"a longer one":     {map[string][]byte{key: made[5][key]}, 0},
		"other bytes":      {map[string][]byte{key: other}, 0},
		"no segment":       {map[string][]byte{key: []byte("x")}, 0},
		"with a bad index": {map[string][]byte{index: []byte("x")}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			truth := blob.NewMemory(nil)
			trace := blobtest.NewTrace(truth)
			onSchedule(t, trace, 4, func(o *owner, want []string) {
				for key, body := range c.there {
					if _, err := truth.Put(o.t.Context(), key, body, true); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(10 * time.Minute)
				if at := o.partition(id(1, 0)).settledPoint(); at != c.settled {
					t.Errorf("settled up to %d, want %d", at, c.settled)
				}
				if at := o.partition(id(1, 1)).settledPoint(); at != 8 {
					t.Errorf("the other partition is settled up to %d", at)
				}
				if got := values(o.t, o.Journal, id(1, 0)); !slices.Equal(got, want) {
					t.Errorf("%q", got)
				}
				for key, body := range c.there {
					if there, _, err := blob.ReadAll(o.t.Context(), truth, key, blob.All, 1<<20); err != nil || !slices.Equal(there, body) {
						t.Errorf("%s was overwritten: %v", key, err)
					}
				}
				if n := strings.Count(trace.Take(), "PUT "+key); n > 3 {
					t.Errorf("the segment was put %d times", n)
				}
			}, func(t *testing.T) { verifyStore(t, truth) })
		})
	}
}

// TestSettleBehindALogStart settles a partition whose log start has moved past what was settled before, and into a range.
func TestSettleBehindALogStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		o := start(t, settlingConfig(store, 1))
		o.create(1, "a", 2)
		o.fill(2, 0)
		time.Sleep(2 * time.Minute)
		want := o.fill(3, 2)
		o.must(o.AppendEntries([]kfs.Entry{kfs.Trim{Topic: topicID(1), LogStart: 7}}))
		time.Sleep(2 * time.Minute)
		p := o.partition(id(1, 0))
		if len(p.settled) != 1 || p.settled[0].Span != (kfs.Span{Base: 6, Next: 10}) || len(p.refs) > 0 {
			t.Errorf("settled %v, %d ranges left", p.settled, len(p.refs))
		}
		if got := values(t, o.Journal, id(1, 0)); !slices.Equal(got, want[3:]) {
			t.Errorf("%q", got)
		}
		_ = o.stop()
		next := start(t, settlingConfig(store, 2))
		if got := values(t, next.Journal, id(1, 0)); !slices.Equal(got, want[3:]) {
			t.Errorf("after a takeover: %q", got)
		}
		_ = next.stop()
		verifyStore(t, store)
	})
}

// TestDamageIsNotSettled finds a damaged journal object: the partition stays as it is, and the other is settled.
func TestDamageIsNotSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		truth := blob.NewMemory(nil)
		store := blobtest.NewFault(truth, func(op blobtest.Op) blobtest.Action {
			if op.Verb == blobtest.Get && op.Range.Len > 0 && strings.HasSuffix(op.Key, "03.kfs") {
				return blobtest.Corrupt
			}
			return blobtest.Pass
		})
		cfg := settlingConfig(store, 1)
		cfg.CacheBytes = 1
		o := start(t, cfg)
		o.create(1, "a", 2)
		o.fill(4, 0)
		time.Sleep(10 * time.Minute)
		if a, b := o.partition(id(1, 0)).settledPoint(), o.partition(id(1, 1)).settledPoint(); a+b != 8 {
			t.Errorf("settled up to %d and %d", a, b)
		}
		_ = o.stop()
	})
}

// TestColdReadsOfSegments reads a settled partition from the store: in large ranges, each once, whatever is asked for at a time.
func TestColdReadsOfSegments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		o := start(t, settlingConfig(store, 1))
		o.create(1, "a", 1)
		value := strings.Repeat("v", 1000)
		var want []string
		for range 10 {
			var some []string
			for range 1000 {
				some = append(some, value)
			}
			want = append(want, some...)
			o.must(o.Append([]Batch{batch(t, 1, "a", 0, nil, 0, some...)}))
		}
		time.Sleep(2 * time.Minute)
		_ = o.stop()
		trace := blobtest.NewTrace(store)
		next := start(t, settlingConfig(trace, 2))
		trace.Take()
		if got := values(t, next.Journal, id(1, 0)); !slices.Equal(got, want) {
			t.Errorf("%d records, want %d", len(got), len(want))
		}
		for at := int64(9999); at >= 0; at -= 333 {
			if b, err := next.Read(t.Context(), id(1, 0), at, 1); err != nil || len(b) == 0 {
				t.Errorf("at %d: %v", at, err)
			}
		}
		if got := trace.Take(); strings.Count(got, "GET ") != 4 || strings.Count(got, ".index") != 1 {
			t.Errorf("10 MB of a segment are read by:\n%s", got)
		}
		_ = next.stop()
	})
}
