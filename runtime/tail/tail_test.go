package tail_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/record"
	"github.com/firn-io/firn/runtime/tail"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

var (
	events = tailtest.Topic("events", 1, 0, 0)
	orders = tailtest.Topic("orders", 1, 0)
)

// traced notes every request, and fails those that fail names.
type traced struct {
	blob.Store
	mu    sync.Mutex
	trace []string
	fail  func(request string) error
}

func (s *traced) note(format string, args ...any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	request := fmt.Sprintf(format, args...)
	s.trace = append(s.trace, request)
	if s.fail != nil {
		return s.fail(request)
	}
	return nil
}

func (s *traced) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.trace = nil }()
	return strings.Join(s.trace, "\n")
}

func (s *traced) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Info, error) {
	if err := s.note("GET %s", key); err != nil {
		return nil, blob.Info{}, err
	}
	return s.Store.Get(ctx, key, r)
}

func (s *traced) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Page, error] {
	if err := s.note("LIST %s after %q", prefix, after); err != nil {
		return func(yield func(blob.Page, error) bool) { yield(blob.Page{}, err) }
	}
	return s.Store.List(ctx, prefix, after)
}

// open makes a tailer of journal 0 that stands at the offsets.
func open(t *testing.T, store blob.Store, offsets map[kfs.PartitionID]int64) *tail.Tailer {
	t.Helper()
	f := tail.New(tail.Config{Store: store, Match: func(topic string) bool { return topic == "events" }})
	t.Cleanup(f.Close)
	if err := f.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := f.Seek(t.Context(), offsets); err != nil {
		t.Fatal(err)
	}
	return f
}

// next gives the next object's pieces as text: partition, span, values.
func next(t *testing.T, f *tail.Tailer) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	o, err := f.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Release()
	return show(t, o)
}

func show(t *testing.T, o *tail.Object) string {
	t.Helper()
	var lines []string
	for _, p := range o.Pieces {
		line := fmt.Sprintf("%s/%d %s", p.Topic, p.ID.Partition, p.Span)
		if p.Err != nil {
			if p.Records != nil {
				t.Error("a piece has records and an error")
			}
			line += " error"
		}
		for batch, err := range record.Batches(p.Records) {
			var r record.Reader
			if err == nil {
				err = r.Reset(batch, 1<<20)
			}
			if err != nil {
				t.Fatal(err)
			}
			var rec record.Record
			for {
				ok, err := r.Next(&rec)
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					break
				}
				line += " " + string(rec.Value)
			}
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, ", ")
}

func equal(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n%s\nwant:\n%s", what, got, want)
	}
}

func TestGivesWantedPiecesInOrder(t *testing.T) {
	store := blob.NewMemory(nil)
	j := tailtest.Journal{Store: store}
	j.Append(t, nil, tailtest.Values(events, 0, "a", "b"), tailtest.Values(orders, 0, "x"), tailtest.Values(events, 1, "c"))
	j.Append(t, nil, tailtest.Values(orders, 0, "y"))
	j.Append(t, nil, tailtest.Values(events, 0, "d"))
	f := open(t, store, nil)
	equal(t, "object 0", next(t, f), "events/0 [0, 2) a b, events/1 [0, 1) c")
	equal(t, "object 1", next(t, f), "")
	equal(t, "object 2", next(t, f), "events/0 [2, 3) d")
	if f.Sequence() != 3 {
		t.Errorf("next sequence is %d, want 3", f.Sequence())
	}
}

func TestTrimExplainsGap(t *testing.T) {
	store := blob.NewMemory(nil)
	j := &tailtest.Journal{Store: store}
	j.Append(t, []kfs.Entry{kfs.Trim{Topic: events.ID, Partition: 0, LogStart: 5}}, tailtest.Values(events, 0, "a"))
	j.Jump(events, 0, 5)
	j.Append(t, nil, tailtest.Values(events, 0, "b"))
	f := open(t, store, nil)
	equal(t, "object 0", next(t, f), "events/0 [0, 1) a")
	equal(t, "object 1", next(t, f), "events/0 [5, 6) b")
}

// TestSeek begins at positions in objects, in index pages and in settled segments, and reads no more than it must.
func TestSeek(t *testing.T) {
	store := &traced{Store: blob.NewMemory(nil)}
	j := &tailtest.Journal{Store: store.Store}
	for i := range 4 {
		j.Append(t, nil, tailtest.Values(events, 0, fmt.Sprint("a", i)), tailtest.Values(events, 1, fmt.Sprint("b", i)))
	}
	j.Settle(t, events, 0, "a0", "a1", "a2")
	j.Settle(t, events, 1, "b0", "b1", "b2")
	j.Release(t, 3, true)
	j.Page(t)
	for i := 4; i < 8; i++ {
		j.Append(t, nil, tailtest.Values(events, 0, fmt.Sprint("a", i)), tailtest.Values(events, 1, fmt.Sprint("b", i)))
	}
	j.Page(t)
	for i := 8; i < 10; i++ {
		j.Append(t, nil, tailtest.Values(events, 0, fmt.Sprint("a", i)))
	}
	j.Checkpoint(t)
	j.Append(t, nil, tailtest.Values(events, 0, "a10"))

	p0, p1 := kfs.PartitionID{Topic: events.ID}, kfs.PartitionID{Topic: events.ID, Partition: 1}
	for _, c := range []struct {
		name   string
		want   map[kfs.PartitionID]int64
		pieces []string
		gets   []string
	}{
		{"end", nil, []string{"events/0 [10, 11) a10"}, []string{"checkpoint-00000000000000000009.kfm", "00000000000000000010.kfs"}},
		{"object", map[kfs.PartitionID]int64{p0: 9, p1: 8}, []string{"events/0 [9, 10) a9", "events/0 [10, 11) a10"},
			[]string{"checkpoint-00000000000000000009.kfm", "00000000000000000009.kfs", "00000000000000000010.kfs"}},
		{"page", map[kfs.PartitionID]int64{p0: 8, p1: 7}, []string{"events/0 [7, 8) a7, events/1 [7, 8) b7"},
			[]string{"checkpoint-00000000000000000009.kfm", "index-00000000000000000004-00000000000000000007.kfm", "00000000000000000007.kfs"}},
		{"settled", map[kfs.PartitionID]int64{p0: 1, p1: 8}, []string{"events/0 [0, 3) a0 a1 a2", "events/0 [3, 4) a3, events/1 [3, 4) b3"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			store.take()
			f := open(t, store, c.want)
			for _, want := range c.pieces {
				equal(t, "object", next(t, f), want)
			}
			if c.gets == nil {
				return
			}
			var gets []string
			for line := range strings.Lines(store.take()) {
				if key, ok := strings.CutPrefix(strings.TrimSpace(line), "GET journal/0000/"); ok {
					gets = append(gets, key)
				}
			}
			slices.Sort(gets) // those of objects run beside each other
			slices.SortStableFunc(gets, func(a, b string) int { return strings.Compare(b[:1], "a") - strings.Compare(a[:1], "a") })
			if len(gets) > len(c.gets) {
				gets = gets[:len(c.gets)] // what was read ahead
			}
			if !slices.Equal(gets, c.gets) {
				t.Errorf("GETs %q, want %q", gets, c.gets)
			}
		})
	}
}

// TestReleasedWhileAsleep stands still while the objects that come next are settled, released and deleted.
func TestReleasedWhileAsleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		j := &tailtest.Journal{Store: store}
		j.Append(t, nil, tailtest.Values(events, 0, "a"))
		f := open(t, store, nil)
		next(t, f)
		j.Append(t, nil, tailtest.Values(events, 0, "b"))
		stray, _, err := blob.ReadAll(t.Context(), store, kfs.ObjectKey(0, 1), blob.All, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		j.Append(t, nil, tailtest.Values(events, 0, "c"))
		j.Settle(t, events, 0, "a", "b")
		j.Release(t, 2, true)
		j.Checkpoint(t)
		time.Sleep(31 * time.Minute)
		// A writer that slept puts the key long after it was deleted. The chain fits, but it must not be believed.
		if _, err := store.Put(t.Context(), kfs.ObjectKey(0, 1), stray, true); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Next(t.Context()); !errors.Is(err, tail.ErrReleased) {
			t.Fatalf("error %v, want ErrReleased", err)
		}
		f = open(t, store, map[kfs.PartitionID]int64{{Topic: events.ID}: 1})
		equal(t, "segment", next(t, f), "events/0 [0, 2) a b")
		equal(t, "object 2", next(t, f), "events/0 [2, 3) c")
	})
}

// TestStoreFaults fails each request of a walk once: the next call goes on at the same place.
func TestStoreFaults(t *testing.T) {
	fault := errors.New("503 slow down")
	for n := range 12 {
		memory := blob.NewMemory(nil)
		j := tailtest.Journal{Store: memory}
		j.Append(t, nil, tailtest.Values(events, 0, "a"))
		j.Checkpoint(t)
		for _, v := range []string{"b", "c", "d", "e"} {
			j.Append(t, nil, tailtest.Values(events, 0, v))
		}
		count := 0
		store := &traced{Store: memory, fail: func(string) error {
			if count++; count == n+1 {
				return fault
			}
			return nil
		}}
		f := tail.New(tail.Config{Store: store, Match: func(string) bool { return true }})
		try := func(do func() error) {
			err := do()
			if errors.Is(err, fault) {
				err = do()
			}
			if err != nil {
				t.Fatalf("fault at request %d: %v", n, err)
			}
		}
		try(func() error { return f.Open(t.Context()) })
		try(func() error { return f.Seek(t.Context(), map[kfs.PartitionID]int64{{Topic: events.ID}: 0}) })
		var got []string
		for range 5 {
			var o *tail.Object
			try(func() (err error) { o, err = f.Next(t.Context()); return err })
			got = append(got, show(t, o))
			o.Release()
		}
		f.Close()
		equal(t, "objects", strings.Join(got, "; "), "events/0 [0, 1) a; events/0 [1, 2) b; events/0 [2, 3) c; events/0 [3, 4) d; events/0 [4, 5) e")
	}
}

// timeless gives the n-th answer to a GET without a time, as a gateway does that answers for the store.
type timeless struct {
	blob.Store
	mu   sync.Mutex
	n    int
	gets int
}

func (s *timeless) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Info, error) {
	body, info, err := s.Store.Get(ctx, key, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gets++; s.gets == s.n {
		info.ServerTime = time.Time{}
	}
	return body, info, err
}

// TestAnswerWithoutTime gives each answer of a walk without a time once. That is a passing error, though objects behind were asked for already.
func TestAnswerWithoutTime(t *testing.T) {
	for n := 1; n <= 12; n++ {
		memory := blob.NewMemory(nil)
		j := tailtest.Journal{Store: memory}
		for _, v := range []string{"a", "b", "c", "d", "e", "f"} {
			j.Append(t, nil, tailtest.Values(events, 0, v))
		}
		f := open(t, &timeless{Store: memory, n: n}, nil)
		var got []string
		for failures := 0; len(got) < 6; {
			o, err := f.Next(t.Context())
			if err != nil {
				if failures++; failures > 1 {
					t.Fatalf("answer %d without a time: %v", n, err)
				}
				continue
			}
			got = append(got, show(t, o))
			o.Release()
		}
		equal(t, "objects", strings.Join(got, "; "), "events/0 [0, 1) a; events/0 [1, 2) b; events/0 [2, 3) c; events/0 [3, 4) d; events/0 [4, 5) e; events/0 [5, 6) f")
	}
}
