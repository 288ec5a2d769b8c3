package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/blobtest"
	"github.com/firn-io/firn/kfs/record"
)

// TestManyCheckpoints restarts an owner whose state lies on several index pages, with trims, producers and ended topics.
func TestManyCheckpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		o := start(t, small(store, 1))
		o.create(1, "a", 2)
		o.create(2, "gone", 1)
		o.must(o.Append([]Batch{batch(t, 2, "gone", 0, nil, 0, "x")}))
		var want [2][]string
		for i := range 40 {
			p := i % 2
			v := fmt.Sprint("v", i)
			o.must(o.Append([]Batch{batch(t, 1, "a", int32(p), &record.Producer{ID: int64(p), Sequence: int32(len(want[p]))}, int64(i), v)}))
			want[p] = append(want[p], v)
			if i == 20 {
				plan, err := o.State().DeleteTopic(topicID(2))
				if err != nil {
					t.Fatal(err)
				}
				o.must(o.AppendEntries(plan))
				o.must(o.AppendEntries([]kfs.Entry{kfs.Trim{Topic: topicID(1), Partition: 1, LogStart: 3}}))
			}
		}
		if len(o.core.state.pages) < 3 {
			t.Fatalf("%d index pages are too few for this test", len(o.core.state.pages))
		}
		var last *owner
		for seed := range uint64(3) {
			_ = o.stop()
			o = start(t, small(store, seed+2))
			if got := values(t, o.Journal, id(1, 0)); !slices.Equal(got, want[0]) {
				t.Errorf("partition 0: %q", got)
			}
			if got := values(t, o.Journal, id(1, 1)); !slices.Equal(got, want[1][3:]) {
				t.Errorf("partition 1: %q", got)
			}
			if start, next := o.Offsets(id(2, 0)); start != 1 || next != 1 {
				t.Errorf("the deleted topic: [%d, %d)", start, next)
			}
			results := o.must(o.Append([]Batch{batch(t, 1, "a", 0, &record.Producer{ID: 0, Sequence: 17}, 0, "v34")}))
			if results[0].Base != 17 {
				t.Errorf("a duplicate is answered with offset %d", results[0].Base)
			}
			last = o
		}
		_ = last.stop()
		verifyStore(t, store)
	})
}

func TestColdReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		truth := blob.NewMemory(nil)
		o := start(t, config(truth, 1))
		o.create(1, "a", 1)
		var want []string
		for i := range 20 {
			v := names(fmt.Sprint("round ", i, " #"), 5)
			want = append(want, v...)
			o.must(o.Append([]Batch{batch(t, 1, "a", 0, nil, 0, v[:2]...), batch(t, 1, "a", 0, nil, 0, v[2:]...)}))
		}
		_ = o.stop()

		trace := blobtest.NewTrace(truth)
		cfg := config(trace, 2)
		cfg.CacheBytes, cfg.ReadBytes = 1000, 100
		o = start(t, cfg)
		trace.Take()
		if got := values(t, o.Journal, id(1, 0)); !slices.Equal(got, want) {
			t.Errorf("read %q", got)
		}
		if n := trace.Count(blobtest.Get); n < 20 {
			t.Errorf("%d GETs for 20 objects that were not in memory", n)
		}
		if o.memory.cache.bytes > 1000 {
			t.Errorf("cache holds %d bytes of 1000", o.memory.cache.bytes)
		}
		one, err := o.Read(t.Context(), id(1, 0), 3, 1)
		if err != nil || records(t, one)[0].Offset != 2 || len(records(t, one)) != 3 {
			t.Errorf("a read of at most one byte: %d records, %v", len(records(t, one)), err)
		}
		two, err := o.Read(t.Context(), id(1, 0), 0, int64(2*len(one)))
		if err != nil || len(two) > 2*len(one) || len(records(t, two)) < 5 {
			t.Errorf("a read of at most %d bytes: %d, %v", 2*len(one), len(two), err)
		}
		for offset, want := range map[int64]error{-1: ErrOffsetOutOfRange, 100: nil, 101: ErrOffsetOutOfRange} {
			if b, err := o.Read(t.Context(), id(1, 0), offset, 1); !errors.Is(err, want) || len(b) > 0 {
				t.Errorf("read at %d: %d bytes, %v", offset, len(b), err)
			}
		}
		if b, err := o.Read(t.Context(), id(1, 7), 0, 1); err != nil || len(b) > 0 {
			t.Errorf("read of a partition without records: %d bytes, %v", len(b), err)
		}
		_ = o.stop()
	})
}

// TestReadsAreJoined has many readers want the same cold segment at the same time: it is read once, and again for the others if the
// reader gives up.
func TestReadsAreJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		truth := blob.NewMemory(nil)
		o := start(t, config(truth, 1))
		o.create(1, "a", 1)
		o.must(o.Append([]Batch{batch(t, 1, "a", 0, nil, 0, "v")}))
		_ = o.stop()

		hold := false
		slow := blobtest.NewFault(truth, func(blobtest.Op) blobtest.Action {
			if hold {
				return blobtest.Hold
			}
			return blobtest.Pass
		})
		o = start(t, config(slow, 2))
		hold = true
		before := slow.Ops()
		gone, giveUp := context.WithCancel(t.Context())
		var readers sync.WaitGroup
		readers.Go(func() {
			if _, err := o.Read(gone, id(1, 0), 0, 1); !errors.Is(err, context.Canceled) {
				t.Errorf("the first reader: %v", err)
			}
		})
		synctest.Wait()
		for range 10 {
			readers.Go(func() {
				if b, err := o.Read(t.Context(), id(1, 0), 0, 1); err != nil || len(records(t, b)) != 1 {
					t.Errorf("a reader: %v", err)
				}
			})
		}
		synctest.Wait()
		giveUp()
		synctest.Wait()
		slow.Release()
		readers.Wait()
		if n := slow.Ops() - before; n != 2 {
			t.Errorf("%d GETs, want one that was given up and one for all", n)
		}
		hold = false
		_ = o.stop()
	})
}

// TestDamagedSegment reads a segment of which a bit has changed.
func TestDamagedSegment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		truth := blob.NewMemory(nil)
		o := start(t, config(truth, 1))
		o.create(1, "a", 1)
		o.must(o.Append([]Batch{batch(t, 1, "a", 0, nil, 0, "v")}))
		_ = o.stop()
		key := kfs.ObjectKey(0, 2)
		body, _, err := blob.ReadAll(t.Context(), truth, key, blob.All, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		body[kfs.HeaderSize+record.HeaderSize] ^= 1
		if _, err := truth.Put(t.Context(), key, body, false); err != nil {
			t.Fatal(err)
		}
		o = start(t, config(truth, 2))
		if _, err := o.Read(t.Context(), id(1, 0), 0, 1); !errors.Is(err, kfs.ErrCorrupt) || !bytes.Contains([]byte(err.Error()), []byte(key)) {
			t.Errorf("read: %v, want an error that names %s", err, key)
		}
		o.must(o.Append([]Batch{batch(t, 1, "a", 0, nil, 0, "w")}))
		if b, err := o.Read(t.Context(), id(1, 0), 1, 1); err != nil || string(records(t, b)[0].Value) != "w" {
			t.Errorf("read behind the damage: %v", err)
		}
		_ = o.stop()
	})
}

// TestSettledReads moves the beginning of a partition into segments by hand, and reads on across the border.
func TestSettledReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		o := start(t, small(store, 1))
		o.create(1, "a", 1)
		var want []string
		for i := range int64(6) {
			v := names(fmt.Sprint("round ", i, " #"), 700)
			want = append(want, v...)
			o.must(o.Append([]Batch{batch(t, 1, "a", 0, nil, 1000*i, v...)}))
		}
		settle := func(base, next int64) kfs.SettledSegment {
			t.Helper()
			var bodies [][]byte
			for at := base; at < next; at += 700 {
				b, err := o.Read(t.Context(), id(1, 0), at, 1)
				if err != nil {
					t.Fatal(err)
				}
				bodies = append(bodies, b)
			}
			segment, index, err := kfs.SealSegment(1, bodies)
			if err != nil {
				t.Fatal(err)
			}
			key := kfs.SegmentKey(topicID(1), "a", 0, base)
			for key, body := range map[string][]byte{key: segment, kfs.IndexKey(topicID(1), "a", 0, base): index} {
				if _, err := store.Put(t.Context(), key, body, true); err != nil {
					t.Fatal(err)
				}
			}
			return kfs.SettledSegment{Key: key, Span: kfs.Span{Base: base, Next: next}, Length: int64(len(segment)), CRC: kfs.Checksum(segment), MaxTimestamp: next/700*1000 - 301}
		}
		settled := []kfs.SettledSegment{settle(0, 2100), settle(2100, 2800)}
		gap := kfs.Settled{Topic: topicID(1), Segments: []kfs.SettledSegment{settled[1]}}
		if results, _ := o.AppendEntries([]kfs.Entry{gap}).Wait(t.Context()); !errors.Is(results[0].Err, ErrOffsetOutOfRange) {
			t.Errorf("segments that leave a gap: %v", results[0].Err)
		}
		o.must(o.AppendEntries([]kfs.Entry{kfs.Settled{Topic: topicID(1), Segments: settled}}))
		for seed := range uint64(3) {
			if got := values(t, o.Journal, id(1, 0)); !slices.Equal(got, want) {
				t.Errorf("owner %d: %d records, want %d", seed, len(got), len(want))
			}
			if n := o.Available(id(1, 0), 0); n < settled[0].Length+settled[1].Length {
				t.Errorf("available %d", n)
			}
			for ts, offset := range map[int64]int64{0: 0, 699: 699, 700: 700, 1000: 700, 2001: 1401, 3699: 2799, 3700: 2800, 5003: 3503} {
				if got, _, ok, err := o.OffsetFor(t.Context(), id(1, 0), ts); got != offset || !ok || err != nil {
					t.Errorf("time %d: offset %d (%v, %v), want %d", ts, got, ok, err, offset)
				}
			}
			o.create(byte(10+3*seed), fmt.Sprint("more", seed), 1)
			o.create(byte(11+3*seed), fmt.Sprint("and", seed), 1)
			_ = o.stop()
			o = start(t, small(store, seed+2))
		}
		if first := o.core.state.released; len(first) == 0 || first[0].First != 0 || first[len(first)-1].Last < 4 {
			t.Errorf("released %+v, want the objects up to the fifth", first)
		}
		_ = o.stop()
	})
}

func TestLogAppendTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := start(t, config(blob.NewMemory(nil), 1))
		o.create(1, "a", 1)
		b := batch(t, 1, "a", 0, nil, 5, "v", "w")
		sent := bytes.Clone(b.Records)
		b.AppendTime = true
		r := o.must(o.Append([]Batch{b}))[0]
		if now := time.Now().UnixMilli(); r.AppendTime < now-1000 || r.AppendTime > now {
			t.Errorf("append time %d, now is %d", r.AppendTime, now)
		}
		got, err := o.Read(t.Context(), id(1, 0), 0, 1)
		if err != nil || records(t, got)[1].Timestamp != r.AppendTime || o.MaxTimestamp(id(1, 0)) != r.AppendTime {
			t.Errorf("records have another time: %v", err)
		}
		if !bytes.Equal(b.Records, sent) {
			t.Error("the caller's bytes were changed")
		}
		_ = o.stop()
	})
}

// TestReadWhileWriting is for the race detector.
func TestReadWhileWriting(t *testing.T) {
	cfg := config(blob.NewMemory(nil), 1)
	cfg.FlushInterval, cfg.Gather, cfg.CheckpointEvery = time.Millisecond, time.Microsecond, 5
	cfg.Metrics = prometheus.NewRegistry()
	o := start(t, cfg)
	o.create(1, "a", 2)
	const n = 50
	var all sync.WaitGroup
	for p := range int32(2) {
		all.Go(func() {
			for i := range n {
				results, err := o.Append([]Batch{batch(t, 1, "a", p, nil, 0, fmt.Sprint(i))}).Wait(t.Context())
				if err != nil || results[0].Err != nil || results[0].Base != int64(i) {
					t.Errorf("append %d: %+v, %v", i, results, err)
					return
				}
			}
		})
		all.Go(func() {
			wake := make(chan struct{}, 1)
			defer o.Watch([]kfs.PartitionID{id(1, p)}, wake)()
			for at := int64(0); at < n; {
				b, err := o.Read(t.Context(), id(1, p), at, 1<<20)
				if err != nil {
					t.Error(err)
					return
				}
				if len(b) == 0 {
					<-wake
					continue
				}
				for _, r := range records(t, b) {
					if r.Offset != at || string(r.Value) != fmt.Sprint(at) {
						t.Errorf("offset %d holds %q at %d", at, r.Value, r.Offset)
					}
					at++
				}
			}
		})
	}
	all.Wait()
	if err := o.stop(); err != nil {
		t.Fatal(err)
	}
}

func FuzzCut(f *testing.F) {
	one, two := batch(f, 1, "a", 0, nil, 0, "v", "w").Records, batch(f, 1, "a", 0, nil, 0, "x").Records
	record.Stamp(two, 2, 0)
	f.Add(slices.Concat(one, two), int64(1), int64(100))
	f.Add(one[:len(one)-1], int64(0), int64(1))
	f.Add([]byte{}, int64(0), int64(0))
	f.Fuzz(func(t *testing.T, body []byte, offset, bytes int64) {
		piece, next, err := cut(body, offset, bytes, true)
		if err == nil && (len(piece) == 0 || next <= offset) {
			t.Errorf("%d bytes, next %d after %d", len(piece), next, offset)
		}
	})
}

// countingStore keeps nothing and answers at once: what is left is what the journal itself costs.
type countingStore struct {
	blob.Store
	bytes int64
}

func (s *countingStore) Put(ctx context.Context, key string, body []byte, ifAbsent bool) (blob.Info, error) {
	s.bytes += int64(len(body))
	return blob.Info{Key: key, Size: int64(len(body)), ServerTime: time.Now()}, nil
}

func (s *countingStore) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Info, error) {
	return s.Store.Get(ctx, key, r)
}

func BenchmarkAppend(b *testing.B) {
	store := &countingStore{Store: blob.NewMemory(nil)}
	cfg := config(store, 1)
	cfg.FlushInterval, cfg.CheckpointEvery = time.Millisecond, 1<<30
	o := start(b, cfg)
	o.create(1, "a", 8)
	var batches []Batch
	for p := range int32(8) {
		batches = append(batches, batch(b, 1, "a", p, nil, 0, string(make([]byte, 128<<10))))
	}
	b.SetBytes(int64(len(batches) * len(batches[0].Records)))
	b.ReportAllocs()
	var last []*Pending
	for b.Loop() {
		if len(last) == 16 {
			o.must(last[0])
			last = last[1:]
		}
		last = append(last, o.Append(batches))
	}
	for _, p := range last {
		o.must(p)
	}
	_ = o.stop()
}
