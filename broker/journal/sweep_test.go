package journal

import (
	"context"
	"encoding/binary"
	"errors"
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

// keys lists what a store holds below a prefix.
func keys(t *testing.T, store blob.Store, prefix string) []string {
	t.Helper()
	var all []string
	for page, err := range store.List(t.Context(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Objects {
			all = append(all, o.Key)
		}
	}
	return all
}

// objectKeys are the keys of the journal's objects.
func objectKeys(t *testing.T, store blob.Store) []string {
	t.Helper()
	return slices.DeleteFunc(keys(t, store, kfs.JournalPrefix(0)), func(key string) bool {
		_, _, ok := kfs.ParseObjectKey(key)
		return !ok
	})
}

// TestDelete follows records from the journal into segments, and to the end of both; and what that costs.
func TestDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		truth := blob.NewMemory(nil)
		trace := blobtest.NewTrace(truth)
		o := start(t, settlingConfig(trace, 1))
		o.create(1, "a", 2)
		want := o.fill(10, 0)
		began := time.Now()
		last := kfs.ObjectKey(0, 11) // the last with records
		if !slices.Contains(objectKeys(t, truth), last) {
			t.Fatalf("%s is not there", last)
		}
		trace.Take()
		for slices.Contains(objectKeys(t, truth), last) {
			time.Sleep(time.Minute)
			if time.Since(began) > 24*time.Hour {
				t.Fatal("the objects stay")
			}
		}
		if took := time.Since(began); took < defaultGrace || took > defaultGrace+3*time.Hour {
			t.Errorf("the objects were deleted after %v", took)
		}
		lines := strings.Split(trace.Take(), "\n")
		deletes := slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return !strings.HasPrefix(line, "DELETE journal/0000/000") })
		if !slices.IsSorted(deletes) || len(deletes) < 12 {
			t.Errorf("deleted:\n%s", strings.Join(deletes, "\n"))
		}
		// Each object is looked at before it goes, each segment and index is read once more in full.
		for key, n := range map[string]int{
			"GET " + kfs.ObjectKey(0, 5): 1, "GET " + kfs.SegmentKey(topicID(1), "a", 0, 0): 2, "GET " + kfs.IndexKey(topicID(1), "a", 1, 0): 2,
			"DELETE " + kfs.ObjectKey(0, 5): 1,
		} {
			if got := len(slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return !strings.HasPrefix(line, key) })); got != n {
				t.Errorf("%d times %s, want %d", got, key, n)
			}
		}
		for p := range int32(2) {
			if got := values(t, o.Journal, id(1, p)); !slices.Equal(got, want) {
				t.Errorf("partition %d: %q", p, got)
			}
		}
		verifyStore(t, truth)
		time.Sleep(24 * time.Hour) // what is still to be done about it is done
		trace.Take()
		time.Sleep(24 * time.Hour)
		if got := trace.Take(); got != "" {
			t.Errorf("an idle day:\n%s", got)
		}
		if err := o.stop(); err != nil {
			t.Error(err)
		}

		// A takeover needs none of what is gone. Then the log start moves, and the segments go after grace.
		next := start(t, settlingConfig(truth, 2))
		for p := range int32(2) {
			if got := values(t, next.Journal, id(1, p)); !slices.Equal(got, want) {
				t.Errorf("partition %d after a takeover: %q", p, got)
			}
		}
		next.must(next.AppendEntries([]kfs.Entry{kfs.Trim{Topic: topicID(1), LogStart: 20}}))
		trimmed := time.Now()
		for len(keys(t, truth, "topics/")) == 4 && time.Since(trimmed) < 48*time.Hour {
			time.Sleep(time.Minute)
		}
		if took := time.Since(trimmed); took < defaultGrace || took > defaultGrace+4*time.Hour {
			t.Errorf("the segment was deleted after %v", took)
		}
		time.Sleep(time.Minute)
		if left := keys(t, truth, "topics/"); len(left) != 2 || !strings.Contains(left[0], "/a/1/") {
			t.Errorf("left are %q", left)
		}
		if got := values(t, next.Journal, id(1, 1)); !slices.Equal(got, want) {
			t.Errorf("the other partition: %q", got)
		}
		_ = next.stop()
		verifyStore(t, truth)
	})
}

// undeletable is a store that deletes no object of journal 0 from a sequence on.
type undeletable struct {
	blob.Store
	from uint64
}

func (s *undeletable) Delete(ctx context.Context, key string) error {
	if _, sequence, ok := kfs.ParseObjectKey(key); ok && sequence >= s.from {
		return errors.New("access denied")
	}
	return s.Store.Delete(ctx, key)
}

// TestStrayIsDeleted lets a writer that slept put its object where another one was and has been deleted, with records that are nowhere else: it goes, and
// does not keep what is behind it.
func TestStrayIsDeleted(t *testing.T) {
	for name, deletedTo := range map[string]uint64{"among deleted ones": 9, "before one that is there": 6} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				truth := blob.NewMemory(nil)
				o := start(t, settlingConfig(&undeletable{truth, deletedTo}, 1))
				o.create(1, "a", 2)
				o.fill(10, 0)
				for began := time.Now(); slices.Contains(objectKeys(t, truth), kfs.ObjectKey(0, deletedTo-1)); {
					if time.Sleep(time.Minute); time.Since(began) > 48*time.Hour {
						t.Fatal("the objects stay")
					}
				}
				if err := o.stop(); err != nil {
					t.Error(err)
				}
				stray := &kfs.Manifest{Sequence: 5, Created: 1, Epoch: 1, Writer: kfs.WriterID{7}, Previous: 7, Segments: []kfs.Segment{{Topic: topicID(1),
					Name: "a", Span: kfs.Span{Base: 1000, Next: 1001}, Records: 1, FirstTimestamp: 1, MaxTimestamp: 1}}}
				b := batch(t, 1, "a", 0, nil, 1, "never acknowledged").Records
				binary.BigEndian.PutUint64(b, 1000)
				object, _, err := kfs.Seal(stray, [][]byte{b})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := truth.Put(t.Context(), kfs.ObjectKey(0, 5), object, true); err != nil {
					t.Fatal(err)
				}

				next := start(t, settlingConfig(truth, 2))
				next.fill(10, 10)
				time.Sleep(72 * time.Hour)
				for _, key := range objectKeys(t, truth) {
					if _, sequence, _ := kfs.ParseObjectKey(key); sequence < 20 {
						t.Errorf("%s is still there", key)
					}
				}
				if err := next.stop(); err != nil {
					t.Error(err)
				}
				verifyStore(t, truth)
			})
		})
	}
}

// TestDeleteSegments trims several segments of a partition at once: they wait for their grace together.
func TestDeleteSegments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		o := start(t, settlingConfig(store, 1))
		o.create(1, "a", 1)
		for i := range 6 {
			o.must(o.Append([]Batch{batch(t, 1, "a", 0, nil, time.Now().UnixMilli(), strings.Repeat("x", 2000), fmt.Sprint(i))}))
			time.Sleep(2 * time.Hour)
		}
		segments := len(keys(t, store, kfs.SegmentsPrefix)) / 2
		if segments < 4 {
			t.Fatalf("there are %d segments", segments)
		}
		_, next := o.Offsets(id(1, 0))
		o.must(o.AppendEntries([]kfs.Entry{kfs.Trim{Topic: topicID(1), LogStart: next}}))
		trimmed := time.Now()
		for len(keys(t, store, kfs.SegmentsPrefix)) > 0 && time.Since(trimmed) < 48*time.Hour {
			time.Sleep(time.Minute)
		}
		if took := time.Since(trimmed); took < defaultGrace || took > defaultGrace+4*time.Hour {
			t.Errorf("%d segments were deleted after %v", segments, took)
		}
		if err := o.stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestNothingIsDeleted for as long as there is a restore point, or what would rest on is not sound.
func TestNothingIsDeleted(t *testing.T) {
	segment, index := kfs.SegmentKey(topicID(1), "a", 0, 0), kfs.IndexKey(topicID(1), "a", 0, 0)
	for name, c := range map[string]struct {
		key  string
		body string // replaces the object; none: it goes
	}{
		"a restore point":   {kfs.SnapshotsPrefix + "before.json", "{}"},
		"a damaged segment": {segment, "KAFS"},
		"no segment":        {segment, ""},
		"a damaged index":   {index, "IDX"},
		"no index":          {index, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := blob.NewMemory(nil)
				o := start(t, settlingConfig(store, 1))
				o.create(1, "a", 2)
				o.fill(5, 0)
				time.Sleep(2 * time.Minute)
				var err error
				if c.body == "" {
					err = store.Delete(t.Context(), c.key)
				} else {
					_, err = store.Put(t.Context(), c.key, []byte(c.body), false)
				}
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(72 * time.Hour)
				if left := objectKeys(t, store); !slices.Contains(left, kfs.ObjectKey(0, 2)) {
					t.Errorf("left are %q", left)
				}
				if strings.HasPrefix(c.key, kfs.SnapshotsPrefix) {
					if err := store.Delete(t.Context(), c.key); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Hour)
					if left := objectKeys(t, store); slices.Contains(left, kfs.ObjectKey(0, 2)) {
						t.Errorf("without the restore point left are %q", left)
					}
				}
				_ = o.stop()
			})
		})
	}
}

// TestOrphans deletes segments that nobody lists where nobody will, and no others.
func TestOrphans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		o := start(t, settlingConfig(store, 1))
		o.create(1, "a", 2)
		o.create(2, "ended", 1)
		o.fill(5, 0)
		o.must(o.Append([]Batch{batch(t, 2, "ended", 0, nil, 0, "x")}))
		time.Sleep(2 * time.Minute)
		put := func(key string) string {
			if _, err := store.Put(t.Context(), key, []byte("whatever"), true); err != nil {
				t.Fatal(err)
			}
			return key
		}
		go1, go2 := put(kfs.SegmentKey(topicID(1), "a", 0, 3)), put(kfs.IndexKey(topicID(1), "a", 1, 9))
		ended := kfs.SegmentKey(topicID(2), "ended", 0, 0)
		stay := []string{
			put(kfs.SegmentKey(topicID(1), "a", 0, 10)), // at the settled point
			put(kfs.SegmentKey(topicID(1), "a", 0, 14)),
			put(kfs.SegmentKey(topicID(1), "a", 7, 0)), // not of this journal
			put(kfs.SegmentKey(topicID(3), "other", 0, 0)),
			put("topics/something"),
			kfs.SegmentKey(topicID(1), "a", 0, 0), kfs.IndexKey(topicID(1), "a", 0, 0), // listed
		}
		plan, err := o.State().DeleteTopic(topicID(2))
		if err != nil {
			t.Fatal(err)
		}
		o.must(o.AppendEntries(plan))
		time.Sleep(5 * time.Hour)
		all := keys(t, store, "topics/")
		for _, key := range []string{go1, go2, ended} {
			if !slices.Contains(all, key) {
				t.Errorf("%s is gone too early", key)
			}
		}
		time.Sleep(43 * time.Hour)
		all = keys(t, store, "topics/")
		for _, key := range []string{go1, go2, ended} {
			if slices.Contains(all, key) {
				t.Errorf("%s is still there", key)
			}
		}
		for _, key := range stay {
			if !slices.Contains(all, key) {
				t.Errorf("%s is gone", key)
			}
		}
		_ = o.stop()
	})
}

// TestPagesGo deletes index pages when nobody names them.
func TestPagesGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		cfg := settlingConfig(store, 1)
		cfg.CheckpointEvery = 3
		o := start(t, cfg)
		o.create(1, "a", 2)
		want := o.fill(20, 0)
		pages := keys(t, store, kfs.PagePrefix(0))
		if len(pages) < 4 {
			t.Fatalf("pages: %q", pages)
		}
		time.Sleep(48 * time.Hour)
		for _, key := range pages {
			if slices.Contains(keys(t, store, kfs.PagePrefix(0)), key) {
				t.Errorf("%s is still there", key)
			}
		}
		if n := len(keys(t, store, kfs.CheckpointPrefix(0))); n != 2 {
			t.Errorf("%d checkpoints", n)
		}
		_ = o.stop()
		verifyStore(t, store)
		next := start(t, cfg)
		if got := values(t, next.Journal, id(1, 0)); !slices.Equal(got, want) {
			t.Errorf("after a takeover: %q", got)
		}
		_ = next.stop()
	})
}

// TestGraceIsBounded refuses a grace that the format does not allow.
func TestGraceIsBounded(t *testing.T) {
	cfg := config(blob.NewMemory(nil), 1)
	cfg.Grace = MinGrace - 1
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), fmt.Sprint(MinGrace)) {
		t.Errorf("error %v", err)
	}
}
