package api

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/kfs"
)

func deletionOf(topic string, partition int32, offset int64) *kmsg.DeleteRecordsRequest {
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: topic, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: partition, Offset: offset}}}}
	return req
}

func TestDeleteRecords(t *testing.T) {
	for name, test := range map[string]struct {
		topic     string
		partition int32
		offset    int64
		low       int64
		want      *kerr.Error
		trims     int
	}{
		"some":              {"events", 0, 3, 3, nil, 1},
		"all":               {"events", 0, 4, 4, nil, 1},
		"to the end":        {"events", 0, -1, 4, nil, 1},
		"those that went":   {"events", 0, 2, 2, nil, 0},
		"fewer":             {"events", 0, 0, 2, nil, 0},
		"beyond the end":    {"events", 0, 5, -1, kerr.OffsetOutOfRange, 0},
		"negative":          {"events", 0, -2, -1, kerr.OffsetOutOfRange, 0},
		"empty, to the end": {"events", 1, -1, 0, nil, 0},
		"empty, beyond":     {"events", 1, 1, -1, kerr.OffsetOutOfRange, 0},
		"unknown partition": {"events", 9, 0, -1, kerr.UnknownTopicOrPartition, 0},
		"unknown topic":     {"nobody", 0, 0, -1, kerr.UnknownTopicOrPartition, 0},
		"evil topic":        {"../../evil", 0, 0, -1, kerr.UnknownTopicOrPartition, 0},
		"another broker's":  {"far", 0, 0, -1, kerr.NotLeaderForPartition, 0},
		"compacted":         {"kept", 0, -1, -1, kerr.PolicyViolation, 0},
		"compacted as well": {"both", 0, -1, 0, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			for version := int16(0); version <= 2; version++ {
				f := newFake(t, topic(1, "events", 2), kfs.Topic{ID: kfs.TopicID{2}, Name: "far", State: kfs.TopicLive, Journals: []uint32{1}},
					topic(3, "kept", 1, kfs.Config{Key: "cleanup.policy", Value: "compact"}), topic(4, "both", 1, kfs.Config{Key: "cleanup.policy", Value: "compact, delete"}))
				f.fill(t, 0, batch(t, 0, "a", "b"), batch(t, 0, "c", "d"))
				f.log(kfs.PartitionID{Topic: kfs.TopicID{1}}).start = 2
				resp := f.call(t, version, deletionOf(test.topic, test.partition, test.offset)).(*kmsg.DeleteRecordsResponse)
				got := resp.Topics[0].Partitions[0]
				want := int16(0)
				if test.want != nil {
					want = test.want.Code
				}
				if got.ErrorCode != want || got.LowWatermark != test.low || got.Partition != test.partition || resp.Topics[0].Topic != test.topic {
					t.Errorf("v%d: %+v, want error %d and low watermark %d", version, got, want, test.low)
				}
				if f.trimmed != test.trims {
					t.Errorf("v%d: %d trims, want %d", version, f.trimmed, test.trims)
				}
			}
		})
	}
}

// TestDeleteRecordsApart: partitions are judged one by one, and reads see the new log start.
func TestDeleteRecordsApart(t *testing.T) {
	f := newFake(t, topic(1, "events", 2))
	f.fill(t, 0, batch(t, 0, "a", "b"))
	f.fill(t, 1, batch(t, 0, "a"), batch(t, 0, "b"))
	req := deletionOf("events", 0, 9)
	req.Topics[0].Partitions = append(req.Topics[0].Partitions, kmsg.DeleteRecordsRequestTopicPartition{Partition: 1, Offset: 1})
	got := f.call(t, 2, req).(*kmsg.DeleteRecordsResponse).Topics[0].Partitions
	if got[0].ErrorCode != kerr.OffsetOutOfRange.Code || got[1].ErrorCode != 0 || got[1].LowWatermark != 1 {
		t.Errorf("%+v", got)
	}
	starts := kmsg.NewPtrListOffsetsRequest()
	part := kmsg.NewListOffsetsRequestTopicPartition()
	part.Partition, part.Timestamp = 1, earliestOffset
	starts.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "events", Partitions: []kmsg.ListOffsetsRequestTopicPartition{part}}}
	if p := f.call(t, 5, starts).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]; p.Offset != 1 {
		t.Errorf("the log starts at %d", p.Offset)
	}
}

func TestDeleteRecordsFails(t *testing.T) {
	for cause, want := range map[error]*kerr.Error{
		journal.ErrUnavailable: kerr.RequestTimedOut, journal.ErrNotOwner: kerr.NotLeaderForPartition, journal.ErrTopicEnded: kerr.UnknownTopicOrPartition,
	} {
		f := newFake(t, topic(1, "events", 1))
		f.fill(t, 0, batch(t, 0, "a", "b"))
		f.failing = cause
		got := f.call(t, 2, deletionOf("events", 0, 1)).(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0]
		if got.ErrorCode != want.Code || got.LowWatermark != -1 {
			t.Errorf("%v: %+v, want %v", cause, got, want)
		}
	}
	f := newFake(t, topic(1, "events", 1))
	f.fill(t, 0, batch(t, 0, "a", "b"))
	f.passed = journal.ErrNotOwner
	if got := f.call(t, 2, deletionOf("events", 0, 1)).(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0]; got.ErrorCode != kerr.NotLeaderForPartition.Code {
		t.Errorf("without the lease: %+v", got)
	}
}
