package tail_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/tail"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

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
