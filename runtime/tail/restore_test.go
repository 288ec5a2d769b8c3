package tail_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/namespace"
	"github.com/firn-io/firn/runtime/tail"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// TestRestoring refuses a namespace that is being restored, also where the tailer has waited in it since it was empty: what it gives in the end is
// the restored journal, opened anew.
func TestRestoring(t *testing.T) {
	restoring := kfs.Restoring{
		Version: kfs.RestoringVersion, Snapshot: "point", ID: kfs.TopicID{1}, Source: kfs.ClusterID{2}, Cluster: kfs.ClusterID{3}, Lineage: kfs.TopicID{4}, Began: 1,
	}
	mark := func(t *testing.T, store blob.Store) {
		body, err := kfs.EncodeRestoring(&restoring)
		if err == nil {
			_, err = store.Put(t.Context(), kfs.RestoringKey, body, false)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		first int  // the first object that is copied
		ended bool // the restore has ended before the tailer looks
	}{
		"from the beginning": {0, false}, "from the middle": {2, false}, "and has ended": {0, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source, store := blob.NewMemory(nil), blob.NewMemory(nil)
				j := tailtest.Journal{Store: source}
				for _, value := range []string{"a", "b", "c"} {
					j.Append(t, nil, tailtest.Values(events, 0, value))
				}
				j.Checkpoint(t)
				f := open(t, store, nil)
				restoring.Ended = false
				mark(t, store)
				for sequence := c.first; sequence < 3; sequence++ {
					copyTo(t, source, store, kfs.ObjectKey(0, uint64(sequence)))
				}
				if !c.ended {
					if _, err := f.Next(t.Context()); !errors.Is(err, namespace.ErrRestoring) {
						t.Fatalf("%v, want ErrRestoring", err)
					}
					if err := tail.New(tail.Config{Store: store}).Open(t.Context()); !errors.Is(err, namespace.ErrRestoring) {
						t.Fatalf("opened: %v, want ErrRestoring", err)
					}
				}
				copyTo(t, source, store, kfs.CheckpointKey(0, 2))
				restoring.Ended = true
				mark(t, store)
				if _, err := f.Next(t.Context()); !errors.Is(err, tail.ErrReleased) {
					t.Fatalf("%v, want ErrReleased", err)
				}
				f.Close()
				again := open(t, store, nil)
				if c := again.Checkpoint(); c == nil || c.Sequence != 2 {
					t.Errorf("the checkpoint is %+v", c)
				}
				again.Close()
			})
		})
	}
}

func copyTo(t *testing.T, from, into blob.Store, key string) {
	t.Helper()
	if _, err := blob.Copy(t.Context(), from, key, into, key, 1<<20); err != nil {
		t.Fatal(err)
	}
}
