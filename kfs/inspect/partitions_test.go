package inspect

import (
	"errors"
	"testing"

	"github.com/firn-io/firn/kfs"
)

func TestEnds(t *testing.T) {
	n := sample(t)
	// Behind the newest checkpoint: a trim, and the end of a topic.
	j := n.journal(0)
	m, bodies := n.object(j)
	m.Entries = []kfs.Entry{kfs.Trim{Topic: topicID(1), Partition: 1, LogStart: 150}, kfs.Ended{Topic: topicID(2)}}
	n.write(j, m, bodies)
	e, err := ReadEnds(t.Context(), n.store)
	if err != nil {
		t.Fatal(err)
	}
	want := []Partition{
		{PartitionID: kfs.PartitionID{Topic: topicID(1)}, Name: "events", Next: 9},
		{PartitionID: kfs.PartitionID{Topic: topicID(1), Partition: 1}, Name: "events", Start: 150, Next: 201},
		{PartitionID: kfs.PartitionID{Topic: topicID(1), Partition: 5}, Name: "events", Journal: 2, Next: 11},
		{PartitionID: kfs.PartitionID{Topic: topicID(2)}, Name: "orders", Start: 17, Next: 17, Ended: true},
	}
	got := e.All()
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%+v, want %+v", got[i], want[i])
		}
	}
	for _, c := range []struct {
		partition int32
		offset    int64
		sequence  int64 // of the object, -1 if none holds it
	}{{0, 0, 1}, {0, 3, 1}, {0, 4, 3}, {0, 8, 4}, {0, 9, -1}, {1, 200, 1}, {5, 10, 1}, {7, 0, -1}} {
		at, ok, err := e.Written(t.Context(), kfs.PartitionID{Topic: topicID(1), Partition: c.partition}, c.offset)
		if err != nil || ok != (c.sequence >= 0) || ok && at != 1_700_000_000_000+c.sequence {
			t.Errorf("%+v: %d %t %v", c, at, ok, err)
		}
	}
}

func TestEndsOfDamage(t *testing.T) {
	n := sample(t)
	n.flip(kfs.ObjectKey(0, 4), -40)
	if _, err := ReadEnds(t.Context(), n.store); !errors.Is(err, kfs.ErrCorrupt) {
		t.Errorf("%v", err)
	}
}
