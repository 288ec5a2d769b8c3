package tail_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/tail"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

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
