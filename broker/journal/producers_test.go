package journal

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/record"
)

// TestProducers: a partition tells the producers that it knows, also under the next owner, and none of a topic that has ended.
func TestProducers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(time.Now)
		o := start(t, config(store, 1))
		o.create(1, "a", 2)
		send := func(producer int64, epoch int16, sequence int32, values ...string) {
			t.Helper()
			p := &record.Producer{ID: producer, Epoch: epoch, Sequence: sequence}
			o.must(o.Append([]Batch{batch(t, 1, "a", 0, p, 0, values...)}))
		}
		send(9, 0, 0, "x", "y")
		send(4, 1, 0, "x")
		time.Sleep(time.Hour)
		late := time.Now()
		send(9, 0, 2, "z")
		o.must(o.Append([]Batch{batch(t, 1, "a", 0, nil, 0, "not idempotent")}))
		check := func(o *owner) {
			t.Helper()
			got := o.Producers(id(1, 0))
			if len(got) != 2 || got[0].ID != 4 || got[0].Epoch != 1 || got[0].LastSequence != 0 || got[1].ID != 9 || got[1].Epoch != 0 || got[1].LastSequence != 2 {
				t.Fatalf("%+v", got)
			}
			if seen := got[1].Seen; seen < late.UnixMilli() || seen > time.Now().UnixMilli() {
				t.Errorf("seen at %d, its last batch was written after %d", seen, late.UnixMilli())
			}
			if others := append(o.Producers(id(1, 1)), o.Producers(id(7, 0))...); len(others) != 0 {
				t.Errorf("of partitions that nobody wrote to: %+v", others)
			}
		}
		check(o)
		if err := o.stop(); err != nil {
			t.Fatal(err)
		}
		o = start(t, config(store, 2))
		check(o)
		plan, err := o.State().DeleteTopic(topicID(1))
		if err != nil {
			t.Fatal(err)
		}
		o.must(o.AppendEntries(plan))
		if got := o.Producers(id(1, 0)); len(got) != 0 {
			t.Errorf("of a topic that has ended: %+v", got)
		}
		_ = o.stop()
	})
}
