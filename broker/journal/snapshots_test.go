package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/namespace"
)

// snapshot makes a restore point of journal 0 as it is now, and gives the keys that it needs.
func snapshot(t *testing.T, store blob.Store, name string) (needed []string, remove func()) {
	t.Helper()
	ck, at, err := ReadState(t.Context(), config(store, 99))
	if err != nil {
		t.Fatal(err)
	}
	state, err := kfs.EncodeCheckpoint(ck)
	if err != nil {
		t.Fatal(err)
	}
	s := &kfs.Snapshot{
		Version: kfs.SnapshotVersion, Name: name, ID: kfs.TopicID{7}, Created: at.UnixMilli(), Cluster: kfs.ClusterID{1}, Lineage: kfs.TopicID{2},
		Journals: []kfs.SnapshotJournal{kfs.NewSnapshotJournal(ck, state)},
	}
	body, err := kfs.EncodeSnapshot(s)
	if err != nil {
		t.Fatal(err)
	}
	for key, body := range map[string][]byte{kfs.SnapshotStateKey(name, s.ID, 0): state, kfs.SnapshotKey(name): body} {
		if _, err := store.Put(t.Context(), key, body, true); err != nil {
			t.Fatal(err)
		}
	}
	for i := range ck.Objects {
		needed = append(needed, kfs.ObjectKey(0, ck.Objects[i].Sequence))
	}
	for p, s := range ck.NeededSegments() {
		needed = append(needed, s.Key, kfs.IndexKey(p.Topic, p.Name, p.Partition, s.Span.Base))
	}
	return needed, func() {
		if err := store.Delete(t.Context(), kfs.SnapshotKey(name)); err != nil {
			t.Fatal(err)
		}
	}
}

// missing are the keys that a store does not have.
func missing(t *testing.T, store blob.Store, wanted []string) []string {
	t.Helper()
	there := keys(t, store, "")
	return slices.DeleteFunc(slices.Clone(wanted), func(key string) bool { return slices.Contains(there, key) })
}

// TestSnapshotHolds keeps what a restore point needs, and only that: what was not needed any more goes before, what comes later goes as far as
// order allows, and the rest when the restore point has gone; also across a takeover.
func TestSnapshotHolds(t *testing.T) {
	for _, takeover := range []bool{false, true} {
		t.Run(fmt.Sprintf("takeover=%t", takeover), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := blob.NewMemory(nil)
				o := start(t, settlingConfig(store, 1))
				o.create(1, "a", 2)
				o.create(2, "b", 1)
				o.fill(5, 0) // settled, and trimmed before the restore point
				time.Sleep(2 * time.Minute)
				early := keys(t, store, kfs.SegmentsPrefix)
				o.must(o.AppendEntries([]kfs.Entry{kfs.Trim{Topic: topicID(1), LogStart: 10}, kfs.Trim{Topic: topicID(1), Partition: 1, LogStart: 10}}))
				o.fill(5, 5) // settled
				o.must(o.Append([]Batch{batch(t, 2, "b", 0, nil, 0, "x", "y")}))
				time.Sleep(2 * time.Minute)
				later := o.fill(5, 10) // in the journal
				first := objectKeys(t, store)[0]
				needed, remove := snapshot(t, store, "point")
				if len(needed) != 5+6 {
					t.Fatalf("it needs %q", needed)
				}
				// All of it is trimmed, deleted, settled.
				time.Sleep(2 * time.Minute)
				o.must(o.AppendEntries([]kfs.Entry{kfs.Trim{Topic: topicID(1), LogStart: 30}, kfs.Trim{Topic: topicID(1), Partition: 1, LogStart: 25}}))
				plan, err := o.State().DeleteTopic(topicID(2))
				if err != nil {
					t.Fatal(err)
				}
				o.must(o.AppendEntries(plan))
				later = append(later, o.fill(5, 15)...)
				time.Sleep(2 * time.Minute)
				o.must(o.AppendEntries([]kfs.Entry{kfs.Trim{Topic: topicID(1), LogStart: 40}}))
				late := slices.DeleteFunc(keys(t, store, kfs.SegmentsPrefix), func(key string) bool {
					_, _, p, base, ok := kfs.ParseSegmentKey(key)
					return !ok || p != 0 || base < 30
				})
				if len(late) != 1 {
					t.Fatalf("late are %q", late)
				}
				time.Sleep(72 * time.Hour)
				if takeover {
					if err := o.stop(); err != nil {
						t.Fatal(err)
					}
					o = start(t, settlingConfig(store, 2))
					time.Sleep(72 * time.Hour)
				}
				if gone := missing(t, store, needed); len(gone) > 0 {
					t.Fatalf("gone are %q", gone)
				}
				if gone := missing(t, store, append([]string{first}, early...)); len(gone) != 1+len(early) {
					t.Errorf("of what it does not need only %q are gone", gone)
				}
				if gone := missing(t, store, late); len(gone) != 1 {
					t.Errorf("%q is not needed, and there", late)
				}
				objects := len(objectKeys(t, store))
				time.Sleep(24 * time.Hour)
				if n := len(objectKeys(t, store)); n != objects {
					t.Errorf("an idle day has made %d objects of %d", n, objects)
				}
				remove()
				time.Sleep(24 * time.Hour)
				if gone := missing(t, store, needed); len(gone) != len(needed) {
					t.Errorf("without the restore point only %q are gone", gone)
				}
				if got := values(t, o.Journal, id(1, 1)); !slices.Equal(got, later[len(later)-len(got):]) || len(got) < 10 {
					t.Errorf("partition 1 holds %q", got)
				}
				if err := o.stop(); err != nil {
					t.Error(err)
				}
				verifyStore(t, store)
			})
		})
	}
}

// TestSnapshotNotRead has restore points that cannot be read: nothing is deleted, and the log says which it is.
func TestSnapshotNotRead(t *testing.T) {
	state := kfs.SnapshotStateKey("point", kfs.TopicID{7}, 0)
	for name, c := range map[string]struct {
		change func(t *testing.T, store blob.Store)
		says   string
	}{
		"a newer version": {func(t *testing.T, store blob.Store) { replace(t, store, kfs.SnapshotKey("point"), `{"version":2}`) }, "newer version of firn"},
		"of another name": {func(t *testing.T, store blob.Store) {
			body, _, err := blob.ReadAll(t.Context(), store, kfs.SnapshotKey("point"), blob.All, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			replace(t, store, kfs.SnapshotKey("other"), string(body))
		}, "it says that it is restore point"},
		"a stranger":      {func(t *testing.T, store blob.Store) { replace(t, store, "snapshots/readme.txt", "") }, "no restore point has such a key"},
		"a damaged state": {func(t *testing.T, store blob.Store) { replace(t, store, state, "KAFM") }, state},
		"no state":        {func(t *testing.T, store blob.Store) { replace(t, store, state, "") }, state},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := blob.NewMemory(nil)
				cfg := settlingConfig(store, 1)
				var told lines
				cfg.Log = slog.New(slog.NewTextHandler(&told, nil))
				o := start(t, cfg)
				o.create(1, "a", 2)
				o.fill(5, 0)
				time.Sleep(2 * time.Minute)
				snapshot(t, store, "point") // of everything settled: by itself it needs no object before it
				c.change(t, store)
				before := objectKeys(t, store)
				time.Sleep(48 * time.Hour)
				if gone := missing(t, store, before); len(gone) > 0 {
					t.Errorf("gone are %q", gone)
				}
				if text := told.String(); !strings.Contains(text, "level=ERROR") || !strings.Contains(text, "nothing is deleted") || !strings.Contains(text, c.says) {
					t.Errorf("the log says nothing of %q:\n%s", c.says, text[max(0, len(text)-1000):])
				}
				_ = o.stop()
			})
		})
	}
}

// replace puts an object, or deletes it.
func replace(t *testing.T, store blob.Store, key, body string) {
	t.Helper()
	err := store.Delete(t.Context(), key)
	if body != "" || strings.HasSuffix(key, ".txt") {
		_, err = store.Put(t.Context(), key, []byte(body), false)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// lines is a log.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestSlowSweep has a restore point made while a sweep waits for an answer: what was released after the sweep began, and is older than grace by
// the time of the answer, stays.
func TestSlowSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slowList{Store: blob.NewMemory(nil), prefix: kfs.CheckpointPrefix(0), held: make(chan struct{}), release: make(chan struct{})}
		cfg := settlingConfig(store, 1)
		o := start(t, cfg)
		o.create(1, "a", 2)
		o.fill(5, 0)
		time.Sleep(3*time.Hour + time.Minute) // checkpoints know what is released, and no sweep has found it old enough
		store.hold()                          // the next sweep waits behind its list of restore points
		<-store.held
		needed, _ := snapshot(t, store.Store, "point")
		if len(needed) != 4 {
			t.Fatalf("it needs %q", needed)
		}
		o.must(o.AppendEntries([]kfs.Entry{kfs.Trim{Topic: topicID(1), LogStart: 10}, kfs.Trim{Topic: topicID(1), Partition: 1, LogStart: 10}}))
		time.Sleep(12 * time.Hour)
		close(store.release)
		time.Sleep(48 * time.Hour)
		if gone := missing(t, store.Store, needed); len(gone) > 0 {
			t.Errorf("gone are %q", gone)
		}
		_ = o.stop()
	})
}

// TestNewJournalMeetsRestore has a restore begin, or end, while a journal is begun: it is not served.
func TestNewJournalMeetsRestore(t *testing.T) {
	r := &kfs.Restoring{Version: 1, Snapshot: "point", ID: kfs.TopicID{1}, Source: kfs.ClusterID{1}, Cluster: kfs.ClusterID{2}, Lineage: kfs.TopicID{3}, Began: 1}
	marker, err := kfs.EncodeRestoring(r)
	if err != nil {
		t.Fatal(err)
	}
	r.Ended = true
	ended, err := kfs.EncodeRestoring(r)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		objects map[string][]byte
		late    bool // they come when the journal's first object does
		want    error
	}{
		"under way":       {map[string][]byte{kfs.RestoringKey: marker}, false, namespace.ErrRestoring},
		"begun meanwhile": {map[string][]byte{kfs.RestoringKey: marker}, true, namespace.ErrRestoring},
		"ended meanwhile": {map[string][]byte{kfs.RestoringKey: ended, kfs.CheckpointKey(0, 7): nil}, true, ErrFenced},
	} {
		t.Run(name, func(t *testing.T) {
			store := blob.NewMemory(nil)
			come := func() {
				for key, body := range c.objects {
					if _, err := store.Put(context.Background(), key, body, true); err != nil {
						t.Error(err)
					}
				}
			}
			cfg := config(&onFirstPut{Store: store, do: come}, 1)
			if !c.late {
				cfg.Store = store
				come()
			}
			if _, err := Open(t.Context(), cfg); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if !c.late {
				if n := len(objectKeys(t, store)); n > 0 {
					t.Errorf("%d objects were written", n)
				}
				if _, _, err := ReadState(t.Context(), cfg); !errors.Is(err, c.want) {
					t.Errorf("reading it: %v, want %v", err, c.want)
				}
				f, err := NewFollower(cfg, nil)
				if err != nil {
					t.Fatal(err)
				}
				if err := f.Run(t.Context()); !errors.Is(err, c.want) {
					t.Errorf("following it: %v, want %v", err, c.want)
				}
			}
		})
	}
}
