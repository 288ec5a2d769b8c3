package inspect

import (
	"testing"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
)

// TestOffsetsAt: the record of offset n was written n milliseconds after the beginning; of events/0, [0, 4) is settled, [4, 6) on an index page, [6, 8)
// in the checkpoint and [8, 11) behind it.
func TestOffsetsAt(t *testing.T) {
	const began = 1_700_000_000_000
	n := newNamespace(t)
	n.append(0, part{1, "events", 0, 3}, part{1, "events", 1, 200}, part{2, "orders", 0, 1})
	n.append(0, part{1, "events", 0, 1}, part{2, "orders", 0, 4})
	n.append(0, part{1, "events", 0, 1})
	c := n.checkpoint(0, 2)
	events := &c.Partitions[0]
	object, _, err := kfs.SealSegment(began, [][]byte{n.batch(record.LZ4, "events", 0, 0, 4)})
	if err != nil {
		t.Fatal(err)
	}
	events.Settled = []kfs.SettledSegment{{Key: kfs.SegmentKey(events.Topic, events.Name, 0, 0), Span: kfs.Span{Next: 4}, Length: int64(len(object)),
		CRC: kfs.Checksum(object[:len(object)-kfs.SegmentFooterSize]), MaxTimestamp: began + 3}}
	n.put(events.Settled[0].Key, object)
	n.remove(kfs.ObjectKey(0, 0)) // of events/1 and orders the first object is lost: a search that is not for them must not notice
	n.putCheckpoint(c)
	n.append(0, part{1, "events", 0, 2})

	id := kfs.PartitionID{Topic: topicID(1)}
	search := func(start, at int64, ids ...kfs.PartitionID) (map[kfs.PartitionID]int64, error) {
		t.Helper()
		ends, err := ReadEnds(t.Context(), n.store)
		if err != nil {
			t.Fatal(err)
		}
		ends.partitions[id].Start = start
		return ends.OffsetsAt(t.Context(), time.UnixMilli(began+at), ids)
	}
	for _, c := range []struct{ start, at, want int64 }{
		{0, -1000, 0}, {0, 0, 0}, {0, 2, 2}, {0, 3, 3}, {0, 4, 4}, {0, 5, 5}, {0, 6, 6}, {0, 7, 7}, {0, 8, 8}, {0, 10, 10}, {0, 11, -1}, // in every place
		{2, 0, 2}, {2, 3, 3}, {4, 0, 4}, {7, 0, 7}, {7, 8, 8}, {11, 0, -1}, // from the log start on
	} {
		found, err := search(c.start, c.at, id, kfs.PartitionID{Topic: topicID(7)})
		if at, ok := found[id]; err != nil || ok != (c.want >= 0) || ok && at != c.want || len(found) > 1 {
			t.Errorf("%+v: %v, %v", c, found, err)
		}
	}
	if found, err := search(0, 0, kfs.PartitionID{Topic: topicID(2)}); err == nil {
		t.Errorf("records that cannot be read: %v", found)
	}
	n.flip(events.Settled[0].Key, 100)
	if found, err := search(0, 1, id); err == nil {
		t.Errorf("damage: %v", found)
	}
}
