package tail_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/semaphore"

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

// TestIdlePollIsOneGet is the golden request trace of waiting: what a user pays for.
func TestIdlePollIsOneGet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &traced{Store: blob.NewMemory(nil)}
		j := tailtest.Journal{Store: store.Store}
		j.Append(t, nil, tailtest.Values(events, 0, "a"))
		j.Checkpoint(t)
		f := open(t, store, nil)
		equal(t, "start", store.take(), "GET restoring.json\nLIST journal/0000/checkpoint- after \"\"\nGET journal/0000/checkpoint-00000000000000000000.kfm")

		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Hour)
		defer cancel()
		began := time.Now()
		if _, err := f.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		gets, lists := 0, 0
		for request := range strings.Lines(store.take()) {
			switch strings.TrimSpace(request) {
			case "GET journal/0000/00000000000000000001.kfs":
				gets++
			case `LIST journal/0000/ after "journal/0000/00000000000000000000.kfs"`:
				lists++
			default:
				t.Errorf("request %q", request)
			}
		}
		seconds := int(time.Since(began).Seconds())
		if gets < seconds || gets > seconds*5/4 {
			t.Errorf("%d GETs in %d idle seconds, want about one a second", gets, seconds)
		}
		if lists < 19 || lists > 21 {
			t.Errorf("%d LISTs in 10 hours, want two an hour", lists)
		}
	})
}

// TestPollsFasterAfterData measures the waits: 250 ms after data, doubling to a second.
func TestPollsFasterAfterData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		j := tailtest.Journal{Store: store}
		f := open(t, store, nil)
		for _, quiet := range []time.Duration{0, 100 * time.Millisecond, 10 * time.Second} {
			go func() {
				time.Sleep(quiet)
				j.Append(t, nil, tailtest.Values(events, 0, "a"))
			}()
			began := time.Now()
			next(t, f)
			synctest.Wait()
			limit := 250 * time.Millisecond
			if quiet > time.Second {
				limit = time.Second
			}
			if late := time.Since(began) - quiet; late > limit {
				t.Errorf("after %s of quiet the object was seen %s late", quiet, late)
			}
		}
	})
}

func TestReadsAheadWhenBehind(t *testing.T) {
	store := &traced{Store: blob.NewMemory(nil)}
	j := tailtest.Journal{Store: store.Store}
	const objects = 100
	for i := range objects {
		j.Append(t, nil, tailtest.Values(events, 0, fmt.Sprint(i)))
	}
	budget := &counting{Weighted: semaphore.NewWeighted(600)} // about two objects
	f := tail.New(tail.Config{Store: store, Match: func(string) bool { return true }, Budget: budget})
	if err := errors.Join(f.Open(t.Context()), f.Seek(t.Context(), nil)); err != nil {
		t.Fatal(err)
	}
	for i := range objects {
		equal(t, "object", next(t, f), fmt.Sprintf("events/0 [%d, %d) %d", i, i+1, i))
	}
	f.Close()
	if budget.held != 0 || budget.most > 600 || budget.most == 0 {
		t.Errorf("%d bytes are held at the end, %d at most", budget.held, budget.most)
	}
	if n := strings.Count(store.take(), "GET journal/"); n > objects+8 {
		t.Errorf("%d GETs for %d objects", n, objects)
	}
}

type counting struct {
	*semaphore.Weighted
	mu         sync.Mutex
	held, most int64
}

func (c *counting) add(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held += n
	c.most = max(c.most, c.held)
}

func (c *counting) Acquire(ctx context.Context, n int64) error {
	if err := c.Weighted.Acquire(ctx, n); err != nil {
		return err
	}
	c.add(n)
	return nil
}

func (c *counting) Release(n int64) {
	c.add(-n)
	c.Weighted.Release(n)
}

// TestStopsAtDamage damages a journal in every way that must end its reading.
func TestStopsAtDamage(t *testing.T) {
	for name, damage := range map[string]struct {
		write func(t *testing.T, j *tailtest.Journal)
		want  string
	}{
		"broken chain": {func(t *testing.T, j *tailtest.Journal) {
			m, object := j.Seal(t, nil, tailtest.Values(events, 0, "lost"))
			j.Skip(t, m, object)
			other := tailtest.Journal{Store: j.Store}
			other.Append(t, nil, tailtest.Values(events, 1, "other"), tailtest.Values(events, 0, "a"))
			_ = j.Store.Delete(t.Context(), kfs.ObjectKey(0, 0))
			other.Append(t, nil, tailtest.Values(events, 0, "b"))
			first, object := (&tailtest.Journal{Store: j.Store}).Seal(t, nil, tailtest.Values(events, 0, "a"))
			if _, err := j.Store.Put(t.Context(), kfs.ObjectKey(0, first.Sequence), object, true); err != nil {
				t.Fatal(err)
			}
		}, "follows an object with CRC"},
		"falling epoch": {func(t *testing.T, j *tailtest.Journal) {
			j.Epoch = 3
			j.Append(t, nil, tailtest.Values(events, 0, "a"))
			j.Epoch = 2
			j.Append(t, nil, tailtest.Values(events, 0, "b"))
		}, "epoch"},
		"another object's bytes": {func(t *testing.T, j *tailtest.Journal) {
			j.Append(t, nil, tailtest.Values(events, 0, "a"))
			m, object := j.Seal(t, nil, tailtest.Values(events, 0, "b"))
			j.Skip(t, m, object)
			_, object = j.Seal(t, nil, tailtest.Values(events, 0, "c"))
			if _, err := j.Store.Put(t.Context(), kfs.ObjectKey(0, 1), object, true); err != nil {
				t.Fatal(err)
			}
		}, "object 2 of journal 0"},
		"no object at all": {func(t *testing.T, j *tailtest.Journal) {
			j.Append(t, nil, tailtest.Values(events, 0, "a"))
			if _, err := j.Store.Put(t.Context(), kfs.ObjectKey(0, 1), []byte(strings.Repeat("KAFS", 50)), true); err != nil {
				t.Fatal(err)
			}
		}, "magic"},
		"a hole": {func(t *testing.T, j *tailtest.Journal) {
			j.Append(t, nil, tailtest.Values(events, 0, "a"))
			for range 3 {
				j.Append(t, nil, tailtest.Values(events, 0, "b"))
			}
			if err := j.Store.Delete(t.Context(), kfs.ObjectKey(0, 1)); err != nil {
				t.Fatal(err)
			}
		}, "there is a hole"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := blob.NewMemory(nil)
				damage.write(t, &tailtest.Journal{Store: store})
				f := open(t, store, nil)
				next(t, f)
				_, err := f.Next(t.Context())
				if !errors.Is(err, kfs.ErrCorrupt) || !strings.Contains(err.Error(), damage.want) ||
					!strings.Contains(err.Error(), kfs.ObjectKey(0, 1)) {
					t.Fatalf("error %v, want one that names object 1 and says %q", err, damage.want)
				}
				if _, again := f.Next(t.Context()); !errors.Is(again, kfs.ErrCorrupt) {
					t.Errorf("the next call gave %v", again)
				}
			})
		})
	}
}

// TestStopsOnlyTheDamagedPartition shows that the others go on.
func TestStopsOnlyTheDamagedPartition(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, j *tailtest.Journal){
		"records": func(t *testing.T, j *tailtest.Journal) {
			m, object := j.Seal(t, nil, tailtest.Values(events, 0, "x", "y"), tailtest.Values(events, 1, "c"))
			object[m.Segments[0].Position+70] ^= 1
			j.Put(t, m, object)
		},
		"gap": func(t *testing.T, j *tailtest.Journal) {
			j.Jump(events, 0, 7)
			j.Append(t, nil, tailtest.Values(events, 0, "x", "y"), tailtest.Values(events, 1, "c"))
		},
		"overlap": func(t *testing.T, j *tailtest.Journal) {
			j.Jump(events, 0, 0)
			j.Append(t, nil, tailtest.Values(events, 0, "x", "y"), tailtest.Values(events, 1, "c"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := blob.NewMemory(nil)
			j := &tailtest.Journal{Store: store}
			j.Append(t, nil, tailtest.Values(events, 0, "a"), tailtest.Values(events, 1, "b"))
			damage(t, j)
			j.Append(t, nil, tailtest.Values(events, 1, "d"))
			f := open(t, store, nil)
			next(t, f)
			o, err := f.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer o.Release()
			if got := show(t, o); !strings.HasSuffix(got, " error, events/1 [1, 2) c") {
				t.Errorf("pieces %s", got)
			}
			if err := o.Pieces[0].Err; !errors.Is(err, kfs.ErrCorrupt) || !strings.Contains(err.Error(), o.Key) || !strings.Contains(err.Error(), o.Pieces[0].Span.String()) {
				t.Errorf("error %v, want one that names object and offsets", err)
			}
			equal(t, "after it", next(t, f), "events/1 [2, 3) d")
		})
	}
}

// TestIndexAndCheckpointAreCompared begins before a checkpoint that says something else than the objects.
func TestIndexAndCheckpointAreCompared(t *testing.T) {
	id := kfs.PartitionID{Topic: events.ID}
	begin := func(t *testing.T, change func(c *kfs.Checkpoint)) *tail.Tailer {
		store := blob.NewMemory(nil)
		j := &tailtest.Journal{Store: store}
		j.Append(t, nil, tailtest.Values(events, 0, "a"), tailtest.Values(events, 1, "x"))
		j.Append(t, nil, tailtest.Values(events, 0, "b"))
		j.Checkpoint(t)
		body, _, err := blob.ReadAll(t.Context(), store, kfs.CheckpointKey(0, 1), blob.All, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		c, err := kfs.DecodeCheckpoint(body)
		if err != nil {
			t.Fatal(err)
		}
		change(c)
		if body, err = kfs.EncodeCheckpoint(c); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Put(t.Context(), kfs.CheckpointKey(0, 1), body, false); err != nil {
			t.Fatal(err)
		}
		j.Append(t, nil, tailtest.Values(events, 0, "c"), tailtest.Values(events, 1, "y"))
		return open(t, store, map[kfs.PartitionID]int64{id: 0})
	}
	t.Run("object in the index", func(t *testing.T) {
		f := begin(t, func(c *kfs.Checkpoint) { c.Objects[0].CRC++ })
		if _, err := f.Next(t.Context()); !errors.Is(err, kfs.ErrCorrupt) || !strings.Contains(err.Error(), "index") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("last object", func(t *testing.T) {
		f := begin(t, func(c *kfs.Checkpoint) { c.Epoch++ })
		next(t, f)
		if _, err := f.Next(t.Context()); !errors.Is(err, kfs.ErrCorrupt) || !strings.Contains(err.Error(), "checkpoint") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("partition", func(t *testing.T) {
		f := begin(t, func(c *kfs.Checkpoint) { c.Partitions[1].Next++ })
		next(t, f)
		next(t, f)
		equal(t, "after the checkpoint", next(t, f), "events/0 [2, 3) c, events/1 [1, 2) error")
	})
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

// TestSaysOnceThatItWaits follows a namespace in which no broker has written yet.
func TestSaysOnceThatItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		var log strings.Builder
		f := tail.New(tail.Config{Store: store, Match: func(string) bool { return true }, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		defer f.Close()
		if err := errors.Join(f.Open(t.Context()), f.Seek(t.Context(), nil)); err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(2 * time.Hour)
			j := tailtest.Journal{Store: store}
			j.Append(t, nil, tailtest.Values(events, 0, "a"))
		}()
		o, err := f.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		o.Release()
		if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "the journal is empty") {
			t.Errorf("%d lines of log:\n%s", n, log.String())
		}
	})
}

func TestReadEnd(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	store := &traced{Store: blob.NewMemory(nil)}
	j := tailtest.Journal{Store: store.Store, Now: func() time.Time { return now }}
	cluster := kfs.Cluster{ID: kfs.TopicID{1}, Lineage: kfs.TopicID{2}, Journals: 1}
	if end, err := tail.ReadEnd(t.Context(), tail.Config{Store: store}, time.Time{}); err != nil || end.Sequence != 0 || len(end.Partitions) != 0 {
		t.Errorf("end of an empty journal: %v, %v", end, err)
	}
	j.Append(t, []kfs.Entry{cluster, events}, tailtest.Values(events, 0, "a", "b"))
	j.Checkpoint(t)
	now = now.Add(time.Minute)
	j.Append(t, []kfs.Entry{orders, kfs.Trim{Topic: events.ID, LogStart: 1}}, tailtest.Values(events, 1, strings.Repeat("long", 50_000)))
	now = now.Add(time.Minute)
	j.Append(t, nil, tailtest.Values(events, 0, "c"))
	p0, p1 := kfs.PartitionID{Topic: events.ID}, kfs.PartitionID{Topic: events.ID, Partition: 1}
	for since, want := range map[time.Duration][2]kfs.Span{
		-time.Minute: {{Base: 0, Next: 2}, {Base: 0, Next: 1}}, time.Second: {{Base: 2, Next: 3}, {Base: 0, Next: 1}},
		2 * time.Minute: {{Base: 2, Next: 3}, {}}, time.Hour: {},
	} {
		end, err := tail.ReadEnd(t.Context(), tail.Config{Store: store}, time.UnixMilli(1_000_000).Add(since))
		if err != nil {
			t.Fatal(err)
		}
		if len(end.Partitions) != 2 || end.Partitions[p0] != (tail.PartitionEnd{Topic: "events", Span: kfs.Span{Base: 1, Next: 3}, Since: want[0]}) ||
			end.Partitions[p1] != (tail.PartitionEnd{Topic: "events", Span: kfs.Span{Base: 0, Next: 1}, Since: want[1]}) {
			t.Errorf("since %s: partitions %+v", since, end.Partitions)
		}
		if end.Sequence != 3 || len(end.Entries) != 4 {
			t.Errorf("end %d, %d entries", end.Sequence, len(end.Entries))
		}
	}
	if err := store.Delete(t.Context(), kfs.ObjectKey(0, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := tail.ReadEnd(t.Context(), tail.Config{Store: store}, time.Time{}); !errors.Is(err, kfs.ErrCorrupt) {
		t.Errorf("end behind a hole: %v", err)
	}
}

func TestOffsetsAt(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	store := blob.NewMemory(nil)
	j := tailtest.Journal{Store: store, Now: func() time.Time { return now }}
	for i := range 6 {
		j.Append(t, nil, tailtest.Values(events, 0, fmt.Sprint(i)))
		if i == 2 {
			j.Page(t)
		}
		now = now.Add(time.Minute)
	}
	j.Checkpoint(t)
	f := tail.New(tail.Config{Store: store})
	if err := f.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	id := kfs.PartitionID{Topic: events.ID}
	for at, want := range map[time.Duration]int64{-time.Hour: 0, time.Minute: 1, time.Minute + 1e6: 2, 4 * time.Minute: 4, time.Hour: -1} {
		found, err := f.OffsetsAt(t.Context(), time.UnixMilli(1_000_000).Add(at), []kfs.PartitionID{id})
		if err != nil {
			t.Fatal(err)
		}
		got, ok := found[id]
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("offset at %s is %d, want %d", at, got, want)
		}
	}
}
