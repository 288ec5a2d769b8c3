package journal

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/blobtest"
)

// TestReadState reads what an owner knows, beside it, with pages, checkpoints and objects behind them, and writes nothing.
func TestReadState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		if ck, at, err := ReadState(t.Context(), config(store, 9)); ck != nil || at.IsZero() || err != nil {
			t.Errorf("before it has begun: %+v, %v, %v", ck, at, err)
		}
		cfg := settlingConfig(store, 1)
		cfg.CheckpointEvery, cfg.SettleAge = 4, 10*time.Minute
		o := start(t, cfg)
		o.create(1, "a", 2)
		o.create(2, "gone", 1)
		o.fill(10, 0)
		o.must(o.Append([]Batch{batch(t, 2, "gone", 0, nil, 0, "x")}))
		plan, err := o.State().DeleteTopic(topicID(2))
		if err != nil {
			t.Fatal(err)
		}
		o.must(o.AppendEntries(plan))
		time.Sleep(11 * time.Minute) // settled
		o.must(o.AppendEntries([]kfs.Entry{
			kfs.Trim{Topic: topicID(1), LogStart: 7},
			kfs.GroupOffsets{Offsets: []kfs.GroupOffset{{Group: "g", Topic: "a", TopicID: topicID(1), Offset: 5, LeaderEpoch: -1}}},
		}))
		o.fill(9, 10)
		if len(keys(t, store, kfs.PagePrefix(0))) == 0 {
			t.Fatal("there are no pages")
		}
		trace := blobtest.NewTrace(store)
		ck, at, err := ReadState(t.Context(), config(trace, 9))
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(at); d < 0 || d > time.Second {
			t.Errorf("it was read %v ago", d)
		}
		if requests := trace.Take(); strings.Contains(requests, "PUT") || strings.Contains(requests, "DELETE") {
			t.Errorf("it has asked:\n%s", requests)
		}
		if err := ck.Validate(); err != nil {
			t.Fatal(err)
		}
		o.core.state.release()
		want := o.core.state.snapshot(ck.Created, nil, 0)
		if !reflect.DeepEqual(ck.Partitions, want.Partitions) || !reflect.DeepEqual(ck.Metadata, want.Metadata) || !reflect.DeepEqual(ck.Groups, want.Groups) {
			t.Errorf("it is\n%+v\nwant\n%+v", ck, want)
		}
		if ck.Sequence != want.Sequence || ck.ObjectCRC != want.ObjectCRC || ck.Epoch != want.Epoch || ck.Writer != want.Writer {
			t.Errorf("it ends with %d %08x epoch %d, want %d %08x %d", ck.Sequence, ck.ObjectCRC, ck.Epoch, want.Sequence, want.ObjectCRC, want.Epoch)
		}
		first := o.core.state.live()
		if len(ck.Pages) > 0 || len(ck.Objects) != int(ck.Sequence-first)+1 || ck.Objects[0].Sequence != first {
			t.Errorf("it names %d objects from %d on and %d pages, live are those from %d to %d", len(ck.Objects), ck.Objects[0].Sequence, len(ck.Pages), first, ck.Sequence)
		}
		if n := len(ck.Released); n == 0 || ck.Released[n-1].Last != first-1 {
			t.Errorf("released are %+v", ck.Released)
		}
		if err := o.stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestReadStateFaults has every operation fail once, and everything after a while.
func TestReadStateFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		cfg := config(store, 1)
		cfg.CheckpointEvery = 4
		o := start(t, cfg)
		o.create(1, "a", 2)
		o.fill(10, 0)
		if err := o.stop(); err != nil {
			t.Fatal(err)
		}
		clean := blobtest.NewFault(store, func(blobtest.Op) blobtest.Action { return blobtest.Pass })
		want, _, err := ReadState(t.Context(), config(clean, 9))
		if err != nil {
			t.Fatal(err)
		}
		for n := range clean.Ops() {
			for _, action := range []blobtest.Action{blobtest.FailBefore, blobtest.LoseBefore, blobtest.Short} {
				got, _, err := ReadState(t.Context(), config(blobtest.NewFault(store, blobtest.At(n, action)), 9))
				if err != nil {
					t.Fatalf("operation %d, action %d: %v", n, action, err)
				}
				got.Created = want.Created
				if !reflect.DeepEqual(got, want) {
					t.Errorf("operation %d, action %d: it is %+v", n, action, got)
				}
			}
		}
		if err := store.Delete(t.Context(), slices.MaxFunc(objectKeys(t, store)[:9], strings.Compare)); err != nil {
			t.Fatal(err)
		}
		for _, key := range keys(t, store, kfs.CheckpointPrefix(0)) {
			if err := store.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := ReadState(t.Context(), config(store, 9)); !errors.Is(err, kfs.ErrCorrupt) {
			t.Errorf("with a hole: %v", err)
		}
	})
}
