package inspect

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
)

// values collects what a sequence prints, with a bad end as an error.
func values(records iter.Seq2[Record, error]) (got []string, err error) {
	for r, err := range records {
		if err != nil {
			return got, err
		}
		got = append(got, fmt.Sprintf("%s/%d@%d=%s", r.Topic, r.Partition, r.Offset, r.Value))
	}
	return got, nil
}

// want is the values of a range of offsets.
func want(name string, partition int32, base, next int64) (v []string) {
	for o := base; o < next; o++ {
		v = append(v, fmt.Sprintf("%s/%d@%d=%s/%d@%d", name, partition, o, name, partition, o))
	}
	return v
}

func TestTopicRecords(t *testing.T) {
	n := sample(t)
	for name, tc := range map[string]struct {
		sel  Selection
		want []string
	}{
		"one partition":      {Selection{Topic: "events", Partition: 0}, want("events", 0, 0, 9)},
		"by id":              {Selection{Topic: topicID(2).String(), Partition: 0}, want("orders", 0, 0, 17)},
		"another journal":    {Selection{Topic: "events", Partition: 5}, want("events", 5, 0, 11)},
		"from":               {Selection{Topic: "events", Partition: 1, From: 150}, want("events", 1, 150, 201)},
		"from and max":       {Selection{Topic: "events", Partition: 1, From: 150, Max: 3}, want("events", 1, 150, 153)},
		"max in all":         {Selection{Partition: -1, Max: 5}, append(want("events", 0, 0, 4), want("events", 1, 0, 1)...)},
		"no such topic":      {Selection{Topic: "nothing", Partition: -1}, nil},
		"behind the end":     {Selection{Topic: "events", Partition: 0, From: 9}, nil},
		"at the last offset": {Selection{Topic: "events", Partition: 0, From: 8}, want("events", 0, 8, 9)},
	} {
		got, err := values(TopicRecords(t.Context(), n.store, tc.sel))
		if err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, %v, want %q", name, got, err, tc.want)
		}
	}
}

// TestTopicRecordsFromSegments: below the settled point records come from the listed segments, also while the journal has them still.
func TestTopicRecordsFromSegments(t *testing.T) {
	n := newNamespace(t)
	n.append(0, part{1, "events", 0, 3})
	n.append(0, part{1, "events", 0, 3})
	object, _, err := kfs.SealSegment(0, [][]byte{n.batch(record.None, "events", 0, 0, 4)})
	if err != nil {
		t.Fatal(err)
	}
	key := kfs.SegmentKey(topicID(1), "events", 0, 0)
	n.put(key, object)
	c := n.checkpoint(0, 0)
	c.Partitions[0].Settled = []kfs.SettledSegment{{Key: key, Span: kfs.Span{Next: 4}, Length: int64(len(object))}}
	n.putCheckpoint(c)
	got, err := values(TopicRecords(t.Context(), n.store, Selection{Topic: "events", Partition: -1}))
	if err != nil || !slices.Equal(got, want("events", 0, 0, 8)) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestObjectRecords(t *testing.T) {
	n := sample(t)
	got, err := values(ObjectRecords(t.Context(), n.store, kfs.ObjectKey(0, 4), Selection{Partition: -1}))
	if err != nil || !slices.Equal(got, append(want("events", 0, 6, 9), want("orders", 0, 7, 17)...)) {
		t.Errorf("journal object: %q, %v", got, err)
	}
	got, err = values(ObjectRecords(t.Context(), n.store, kfs.SegmentKey(topicID(9), "old", 3, 60), Selection{Partition: -1, From: 118}))
	if err != nil || !slices.Equal(got, want("old", 3, 118, 120)) {
		t.Errorf("settled segment: %q, %v", got, err)
	}
	n.put("legacy/old/3/segment-00000000000000000060.kfs", n.get(kfs.SegmentKey(topicID(9), "old", 3, 60)))
	got, err = values(ObjectRecords(t.Context(), n.store, "legacy/old/3/segment-00000000000000000060.kfs", Selection{Topic: "old", Partition: 3, Max: 1}))
	if err != nil || !slices.Equal(got, want("old", 3, 60, 61)) {
		t.Errorf("segment of KafScale: %q, %v", got, err)
	}
}

// TestRecordsStopAtDamage: what lies before is printed, and the error names object and place.
func TestRecordsStopAtDamage(t *testing.T) {
	n := sample(t)
	n.flip(kfs.ObjectKey(0, 3), 50)
	got, err := values(TopicRecords(t.Context(), n.store, Selection{Topic: "events", Partition: 0}))
	if err == nil || !strings.Contains(err.Error(), kfs.ObjectKey(0, 3)) || !strings.Contains(err.Error(), "events/0 [4, 6) at byte 32") {
		t.Errorf("error %v", err)
	}
	if !slices.Equal(got, want("events", 0, 0, 4)) {
		t.Errorf("before the damage: %q", got)
	}
	if _, err := values(ObjectRecords(t.Context(), n.store, kfs.CheckpointKey(0, 1), Selection{})); err == nil {
		t.Error("records of a checkpoint")
	}
	if _, err := values(TopicRecords(t.Context(), newNamespace(t).store, Selection{})); err == nil {
		t.Error("records of an empty namespace")
	}
}

func TestHeaders(t *testing.T) {
	n := sample(t)
	for r, err := range ObjectRecords(t.Context(), n.store, kfs.ObjectKey(0, 4), Selection{}) {
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range r.Headers.All() {
			if string(k) != "h" || string(v) != "v" || string(r.Key) != "k" {
				t.Errorf("offset %d: key %q, header %q: %q", r.Offset, r.Key, k, v)
			}
		}
		if r.Headers.Len() != 1 || r.Timestamp != 1_700_000_000_000+r.Offset {
			t.Errorf("offset %d: %d headers, time %d", r.Offset, r.Headers.Len(), r.Timestamp)
		}
	}
}
