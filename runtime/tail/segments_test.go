package tail_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/record"
	"github.com/firn-io/firn/runtime/tail"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

var update = flag.Bool("update", false, "write the fixtures anew")

// kafscale makes a segment as KafScale writes it, and its index.
func kafscale(t testing.TB, created int64, codec record.Codec, base int64, values ...string) (segment, index []byte) {
	t.Helper()
	var bytes [][]byte
	for _, v := range values {
		bytes = append(bytes, []byte(v))
	}
	segment, index, err := kfs.SealSegment(created, [][]byte{tailtest.Batch(t, base, created, codec, bytes...)})
	if err != nil {
		t.Fatal(err)
	}
	return segment, index
}

func segmentKey(topic string, partition int32, base int64) string {
	return fmt.Sprintf("%s/%d/segment-%020d.kfs", topic, partition, base)
}

// putSegment puts a segment and its index.
func putSegment(t testing.TB, store blob.Store, topic string, partition int32, base int64, values ...string) {
	t.Helper()
	segment, index := kafscale(t, 1_700_000_000_000+base, 0, base, values...)
	put(t, store, segmentKey(topic, partition, base), segment)
	put(t, store, strings.TrimSuffix(segmentKey(topic, partition, base), ".kfs")+".index", index)
}

func put(t testing.TB, store blob.Store, key string, body []byte) {
	t.Helper()
	if _, err := store.Put(context.Background(), key, body, true); err != nil {
		t.Fatal(err)
	}
}

// bucket is the fixture: a bucket of two topics, in testdata/kafscale.
func bucket(t *testing.T) blob.Store {
	t.Helper()
	dir := filepath.Join("testdata", "kafscale")
	files := map[string][]byte{}
	add := func(topic string, partition int32, codec record.Codec, base int64, values ...string) {
		segment, index := kafscale(t, 1_700_000_000_000+base, codec, base, values...)
		files[segmentKey(topic, partition, base)] = segment
		files[strings.TrimSuffix(segmentKey(topic, partition, base), ".kfs")+".index"] = index
	}
	add("events", 0, 0, 0, `{"n": 1}`, `{"n": 2}`)
	add("events", 0, record.Zstd, 2, `{"n": 3}`, `{"n": 4}`)
	add("events", 0, 0, 4, `{"n": 5}`)
	add("events", 1, 0, 10, `{"n": 6}`) // what was before is gone
	add("orders", 0, record.LZ4, 0, `{"id": 9007199254740993, "at": "2024-02-29T23:59:59.999999Z"}`)
	store := blob.NewMemory(nil)
	for name, body := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if *update {
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, body, 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, body) {
			t.Errorf("%s is not what the format says: make golden writes it anew", path)
		}
		put(t, store, name, got)
	}
	return store
}

func openSegments(t *testing.T, store blob.Store, match string, offsets map[string]int64) *tail.Segments {
	t.Helper()
	s := tail.NewSegments(tail.Config{Store: store, Match: func(topic string) bool { return strings.Contains(match, topic) }})
	t.Cleanup(s.Close)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	seek(t, s, offsets)
	return s
}

// seek goes to offsets by topic/partition; nil is the earliest of all.
func seek(t *testing.T, s *tail.Segments, offsets map[string]int64) {
	t.Helper()
	at := map[kfs.PartitionID]int64{}
	for _, p := range s.Checkpoint().Partitions {
		offset, ok := offsets[fmt.Sprintf("%s/%d", p.Name, p.Partition)]
		if offsets == nil {
			offset, ok = p.LogStart, true
		}
		if ok {
			at[p.ID()] = offset
		}
	}
	if err := s.Seek(t.Context(), at); err != nil {
		t.Fatal(err)
	}
}

func nextSegment(t *testing.T, s *tail.Segments) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Hour)
	defer cancel()
	o, err := s.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Release()
	return show(t, o)
}

func wantSegments(t *testing.T, s *tail.Segments, want ...string) {
	t.Helper()
	for _, w := range want {
		equal(t, "segment", nextSegment(t, s), w)
	}
}

// TestSegments reads the fixture from its start, from the middle, and as a bounded run does.
func TestSegments(t *testing.T) {
	store := bucket(t)
	s := openSegments(t, store, "events orders", nil)
	wantSegments(t, s, `events/0 [0, 2) {"n": 1} {"n": 2}`, `events/1 [10, 11) {"n": 6}`,
		`orders/0 [0, 1) {"id": 9007199254740993, "at": "2024-02-29T23:59:59.999999Z"}`, `events/0 [2, 4) {"n": 3} {"n": 4}`, `events/0 [4, 5) {"n": 5}`)
	if s.Backlog() != 0 {
		t.Errorf("%d segments are left", s.Backlog())
	}

	s = openSegments(t, store, "events", map[string]int64{"events/0": 3})
	wantSegments(t, s, `events/0 [2, 4) {"n": 3} {"n": 4}`, `events/0 [4, 5) {"n": 5}`)

	s = tail.NewSegments(tail.Config{Store: store, Match: func(topic string) bool { return topic == "events" }})
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	p0, p1 := kfs.PartitionID{Topic: tail.SegmentTopic("events")}, kfs.PartitionID{Topic: tail.SegmentTopic("events"), Partition: 1}
	at, err := s.OffsetsAt(t.Context(), time.UnixMilli(1_700_000_000_001), []kfs.PartitionID{p0, p1})
	if err != nil || len(at) != 2 || at[p0] != 2 || at[p1] != 10 {
		t.Errorf("offsets %v, %v", at, err)
	}
	s.Until(map[kfs.PartitionID]int64{p0: 3})
	seek(t, s, map[string]int64{"events/0": 0})
	if s.Backlog() != 2 {
		t.Errorf("a run that ends at offset 3 reads %d segments", s.Backlog())
	}

	end, err := tail.ReadSegmentsEnd(t.Context(), tail.Config{Store: store, Match: func(topic string) bool { return topic == "events" }}, time.UnixMilli(1_700_000_000_003))
	if err != nil || len(end.Partitions) != 2 || len(end.Entries) != 1 ||
		end.Partitions[p0] != (tail.PartitionEnd{Topic: "events", Span: kfs.Span{Next: 5}, Since: kfs.Span{Base: 4, Next: 5}}) ||
		end.Partitions[p1] != (tail.PartitionEnd{Topic: "events", Span: kfs.Span{Base: 10, Next: 11}, Since: kfs.Span{Base: 10, Next: 11}}) {
		t.Errorf("end %+v, %v", end, err)
	}
}

// TestSegmentsComing follows a bucket while segments, partitions and topics come.
func TestSegmentsComing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &traced{Store: blob.NewMemory(nil)}
		putSegment(t, store.Store, "events", 0, 0, "a", "b")
		for i := range 20 {
			putSegment(t, store.Store, fmt.Sprintf("noise%02d", i), 0, 0, "x")
		}
		s := openSegments(t, store, "events events2", nil)
		wantSegments(t, s, "events/0 [0, 2) a b")
		go func() {
			time.Sleep(time.Minute)
			putSegment(t, store.Store, "events", 0, 2, "c")
			time.Sleep(time.Hour)
			putSegment(t, store.Store, "events", 1, 0, "d")
			putSegment(t, store.Store, "events", 1, 1, "e")
			time.Sleep(time.Hour)
			putSegment(t, store.Store, "events2", 0, 7, "f")
		}()
		began := time.Now()
		wantSegments(t, s, "events/0 [2, 3) c")
		if took := time.Since(began); took > time.Minute+6*time.Second {
			t.Errorf("the segment was seen %s after it came", took-time.Minute)
		}
		store.take()
		wantSegments(t, s, "events/1 [0, 1) d", "events/1 [1, 2) e")
		var lists, gets int
		for line := range strings.Lines(store.take()) {
			if strings.HasPrefix(line, "LIST") {
				lists++
			} else {
				gets++
			}
		}
		// An hour of polling one partition every 5 s, and twelve times a look at what the bucket has: a page, and whether another follows.
		if lists > 13*2 || gets > 3600/4+10 {
			t.Errorf("an idle hour took %d LISTs and %d GETs", lists, gets)
		}
		wantSegments(t, s, "events2/0 [7, 8) f")
	})
}

// TestSegmentsOfOthers asks for nothing of partitions that are not wanted, but for the first segment of one that comes later.
func TestSegmentsOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &traced{Store: blob.NewMemory(nil)}
		putSegment(t, store.Store, "events", 0, 0, "a", "b")
		putSegment(t, store.Store, "events", 1, 0, "c")
		s := tail.NewSegments(tail.Config{Store: store, Match: func(string) bool { return true }, Wants: func(id kfs.PartitionID) bool { return id.Partition == 0 }})
		if err := s.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if n := len(s.Checkpoint().Partitions); n != 2 {
			t.Errorf("the checkpoint has %d partitions", n)
		}
		if err := s.Seek(t.Context(), map[kfs.PartitionID]int64{{Topic: tail.SegmentTopic("events")}: 0}); err != nil {
			t.Fatal(err)
		}
		store.take()
		putSegment(t, store.Store, "events", 1, 1, "d")
		putSegment(t, store.Store, "events", 0, 2, "e")
		wantSegments(t, s, "events/0 [0, 2) a b", "events/0 [2, 3) e")
		go func() {
			time.Sleep(time.Minute)
			putSegment(t, store.Store, "events", 2, 0, "f")
			putSegment(t, store.Store, "events", 2, 1, "g")
			time.Sleep(time.Hour)
			putSegment(t, store.Store, "events", 0, 3, "h")
		}()
		wantSegments(t, s, "events/2 [0, 1) f", "events/0 [3, 4) h")
		for line := range strings.Lines(store.take()) {
			if strings.Contains(line, "events/1/") || strings.Contains(line, segmentKey("events", 2, 1)) {
				t.Errorf("of a partition that is not wanted: %s", line)
			}
		}
	})
}

// TestSegmentsDamage stops only what is damaged.
func TestSegmentsDamage(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(t *testing.T, store blob.Store)
		want   string // of the error
	}{
		"body": {func(t *testing.T, store blob.Store) {
			body, _ := kafscale(t, 1, 0, 2, "c")
			body[kfs.SegmentHeaderSize+20] ^= 1
			put(t, store, segmentKey("events", 0, 2), body)
		}, "events/0/segment-00000000000000000002.kfs: "},
		"another base": {func(t *testing.T, store blob.Store) {
			body, _ := kafscale(t, 1, 0, 3, "c")
			put(t, store, segmentKey("events", 0, 2), body)
		}, "it begins with offset 3"},
		"overlap": {func(t *testing.T, store blob.Store) {
			putSegment(t, store, "events", 0, 2, "c", "d")
			putSegment(t, store, "events", 0, 3, "e")
		}, "it holds [2, 4), and another segment begins at 3"},
		"no footer": {func(t *testing.T, store blob.Store) {
			body, _ := kafscale(t, 1, 0, 2, "c")
			put(t, store, segmentKey("events", 0, 2), body[:len(body)-5])
		}, "footer does not end with the magic"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := blob.NewMemory(nil)
				putSegment(t, store, "events", 0, 0, "a", "b")
				putSegment(t, store, "orders", 0, 0, "x")
				c.damage(t, store)
				s := openSegments(t, store, "events orders", nil)
				go func() {
					time.Sleep(time.Hour)
					putSegment(t, store, "orders", 0, 1, "y")
				}()
				var got []string
				for range 4 {
					o, err := s.Next(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if err := o.Pieces[0].Err; err != nil && (!errors.Is(err, kfs.ErrCorrupt) || !strings.Contains(err.Error(), c.want)) {
						t.Errorf("error %v, want %s", err, c.want)
					}
					got = append(got, show(t, o))
					o.Release()
				}
				slices.Sort(got)
				if !strings.HasPrefix(got[0], "events/0 [0, 2) a b") || !strings.HasPrefix(got[1], "events/0 [2, ") || !strings.HasSuffix(got[1], " error") ||
					got[2] != "orders/0 [0, 1) x" || got[3] != "orders/0 [1, 2) y" {
					t.Errorf("pieces %q", got)
				}
			})
		})
	}
}

// TestSegmentsPartitionBound believes no number of partitions from a key.
func TestSegmentsPartitionBound(t *testing.T) {
	store := blob.NewMemory(nil)
	putSegment(t, store, "events", kfs.MaxPartitions-1, 0, "a")
	openSegments(t, store, "events", nil)
	putSegment(t, store, "events", kfs.MaxPartitions, 0, "a")
	s := tail.NewSegments(tail.Config{Store: store, Match: func(string) bool { return true }})
	if err := s.Open(t.Context()); !errors.Is(err, kfs.ErrCorrupt) || !strings.Contains(err.Error(), segmentKey("events", kfs.MaxPartitions, 0)) {
		t.Errorf("error %v", err)
	}
}

// TestSegmentsHole lets a segment be missing before others: what follows is given, so that whoever counts sees that offsets are missing.
func TestSegmentsHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		putSegment(t, store, "events", 0, 0, "a")
		s := openSegments(t, store, "events", nil)
		wantSegments(t, s, "events/0 [0, 1) a")
		putSegment(t, store, "events", 0, 5, "f")
		began := time.Now()
		wantSegments(t, s, "events/0 [5, 6) f")
		if took := time.Since(began); took < time.Minute {
			t.Errorf("the hole was believed after %s", took)
		}
		putSegment(t, store, "events", 0, 6, "g")
		wantSegments(t, s, "events/0 [6, 7) g")
	})
}

// TestSegmentsFaults fails each request of a run once: the next call goes on at the same place.
func TestSegmentsFaults(t *testing.T) {
	fault := errors.New("503 slow down")
	for n := range 14 {
		memory := blob.NewMemory(nil)
		for i, v := range []string{"a", "b", "c", "d"} {
			putSegment(t, memory, "events", 0, int64(i), v)
		}
		count := 0
		store := &traced{Store: memory, fail: func(string) error {
			if count++; count == n+1 {
				return fault
			}
			return nil
		}}
		s := tail.NewSegments(tail.Config{Store: store, Match: func(string) bool { return true }})
		try := func(do func() error) {
			t.Helper()
			err := do()
			if errors.Is(err, fault) {
				err = do()
			}
			if err != nil {
				t.Fatalf("fault at request %d: %v", n, err)
			}
		}
		try(func() error { return s.Open(t.Context()) })
		seek(t, s, nil)
		var got []string
		for i := range 5 {
			if i == 4 {
				putSegment(t, memory, "events", 0, 4, "e")
			}
			var o *tail.Object
			try(func() (err error) { o, err = s.Next(t.Context()); return err })
			got = append(got, show(t, o))
			o.Release()
		}
		s.Close()
		equal(t, "segments", strings.Join(got, "; "), "events/0 [0, 1) a; events/0 [1, 2) b; events/0 [2, 3) c; events/0 [3, 4) d; events/0 [4, 5) e")
	}
}
