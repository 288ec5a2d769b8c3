package broker

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firn-io/firn/kfs/blob"
)

// TestDeletedRecordsAreGoneAtOnce deletes by an admin client what a consumer then does not get any more, also after a restart.
func TestDeletedRecordsAreGoneAtOnce(t *testing.T) {
	store := blob.NewMemory(time.Now)
	r := start(t, store, nil)
	ctx := within(t, 30*time.Second)
	client := r.client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	admin := kadm.NewClient(client)
	if _, err := admin.CreateTopic(ctx, 2, 1, nil, "events"); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		for p := range int32(2) {
			if err := client.ProduceSync(ctx, &kgo.Record{Topic: "events", Partition: p, Value: fmt.Append(nil, i)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: "events", Partition: 0, At: 7})
	offsets.Add(kadm.Offset{Topic: "events", Partition: 1, At: -1})
	answers, err := admin.DeleteRecords(ctx, offsets)
	if err != nil || answers.Error() != nil {
		t.Fatal(err, answers.Error())
	}
	for p, want := range map[int32]int64{0: 7, 1: 10} {
		if got, _ := answers.Lookup("events", p); got.LowWatermark != want {
			t.Errorf("partition %d: low watermark %d, want %d", p, got.LowWatermark, want)
		}
	}
	check := func() {
		t.Helper()
		starts, err := kadm.NewClient(r.client(t)).ListStartOffsets(ctx, "events")
		if err != nil {
			t.Fatal(err)
		}
		for p, want := range map[int32]int64{0: 7, 1: 10} {
			if got, _ := starts.Lookup("events", p); got.Offset != want {
				t.Errorf("partition %d starts at %d, want %d", p, got.Offset, want)
			}
		}
		reader := r.client(t, kgo.ConsumeTopics("events"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		for i, record := range consume(t, ctx, reader, 3) {
			if record.Partition != 0 || record.Offset != int64(7+i) || string(record.Value) != fmt.Sprint(7+i) {
				t.Errorf("%d/%d: %q", record.Partition, record.Offset, record.Value)
			}
		}
		before := r.client(t, kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"events": {0: kgo.NewOffset().At(6)}}))
		var refused error
		before.PollFetches(ctx).EachError(func(_ string, _ int32, err error) { refused = err })
		if !errors.Is(refused, kerr.OffsetOutOfRange) {
			t.Errorf("a deleted offset: %v", refused)
		}
	}
	check()
	offsets = nil
	offsets.Add(kadm.Offset{Topic: "events", Partition: 0, At: 11})
	answers, err = admin.DeleteRecords(ctx, offsets)
	if err != nil || !errors.Is(answers.Error(), kerr.OffsetOutOfRange) {
		t.Errorf("beyond the end: %v, %v", err, answers.Error())
	}
	r.end(t)
	r = start(t, store, nil)
	check()
}
