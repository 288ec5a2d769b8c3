package api

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/metadata"
)

// ListOffsets: versions 0 to 11, all that kmsg knows.
//
// Special times: -1 the end, -2 the start, -3 the record with the latest timestamp, -4 the start of what is on local disk and -5 the end of
// what is not: all of a log is equally near here, so -4 is the start and -5 is unknown. They came with versions 7, 8 and 9. Version 0 answers a list of offsets, of
// which there is one. There are no transactions, so the isolation level changes nothing.
func listOffsets(b *Backend) API {
	l := &offsetLister{b}
	return serve(2, concurrent(l.handle))
}

type offsetLister struct{ *Backend }

const (
	latestOffset        = -1
	earliestOffset      = -2
	maxTimestampOffset  = -3
	earliestLocalOffset = -4
	latestTieredOffset  = -5
)

func (l *offsetLister) handle(ctx context.Context, r *Request) (kmsg.Response, error) {
	req := r.Body.(*kmsg.ListOffsetsRequest)
	resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
	state := l.Cluster.State()
	for _, t := range req.Topics {
		answer := kmsg.NewListOffsetsResponseTopic()
		answer.Topic = t.Topic
		topic, err := byName(state, t.Topic)
		seen := map[int32]bool{}
		for i := range t.Partitions {
			p := &t.Partitions[i]
			part := kmsg.NewListOffsetsResponseTopicPartition()
			part.Partition = p.Partition
			refused := err
			if seen[p.Partition] {
				refused = refuse(kerr.InvalidRequest, fmt.Sprintf("partition %d comes twice", p.Partition))
			}
			seen[p.Partition] = true
			if unknown := checkTime(p.Timestamp, req.Version); unknown != nil {
				refused = unknown
			}
			if refused == nil {
				refused = l.find(ctx, topic, p, &part)
			}
			if part.ErrorCode = readCode(refused); part.ErrorCode == kerr.KafkaStorageError.Code {
				l.Log.Error("list offsets", "topic", t.Topic, "partition", p.Partition, "error", refused)
			}
			if refused != nil {
				part.Offset, part.Timestamp, part.LeaderEpoch = -1, -1, -1
			}
			if refused == nil && req.Version == 0 && part.Offset >= 0 && p.MaxNumOffsets > 0 {
				part.OldStyleOffsets = []int64{part.Offset}
			}
			answer.Partitions = append(answer.Partitions, part)
		}
		resp.Topics = append(resp.Topics, answer)
	}
	return resp, nil
}

// checkTime refuses special times that a version does not have.
func checkTime(timestamp int64, version int16) error {
	since := int16(0)
	switch timestamp {
	case latestOffset, earliestOffset:
	case maxTimestampOffset:
		since = 7
	case earliestLocalOffset:
		since = 8
	case latestTieredOffset:
		since = 9
	default:
		if timestamp < 0 {
			return refuse(kerr.UnsupportedVersion, fmt.Sprintf("the special time %d is not known", timestamp))
		}
	}
	if version < since {
		return refuse(kerr.UnsupportedVersion, fmt.Sprintf("the special time %d needs version %d", timestamp, since))
	}
	return nil
}

func (l *offsetLister) find(ctx context.Context, topic *metadata.Topic, req *kmsg.ListOffsetsRequestTopicPartition, answer *kmsg.ListOffsetsResponseTopicPartition) error {
	p, err := l.partition(topic, req.Partition)
	if err != nil {
		return err
	}
	if err := p.checkEpoch(req.CurrentLeaderEpoch); err != nil {
		return err
	}
	if err := p.list(ctx, req.Timestamp, answer); err != nil {
		return err
	}
	if answer.Offset >= 0 {
		answer.LeaderEpoch = p.owner.Epoch
	}
	return p.journal.Serving()
}

// list finds the offset of a time, special or not, that checkTime has let pass. Where there is no such record the answer stays as it is, all -1.
func (p *partition) list(ctx context.Context, timestamp int64, answer *kmsg.ListOffsetsResponseTopicPartition) error {
	start, next := p.journal.Offsets(p.id)
	switch timestamp {
	case latestOffset:
		answer.Offset = next
	case earliestOffset, earliestLocalOffset:
		answer.Offset = start
	case latestTieredOffset:
	case maxTimestampOffset:
		if latest := p.journal.MaxTimestamp(p.id); latest >= 0 {
			return p.byTime(ctx, latest, answer)
		}
	default:
		return p.byTime(ctx, timestamp, answer)
	}
	return nil
}

func (p *partition) byTime(ctx context.Context, timestamp int64, answer *kmsg.ListOffsetsResponseTopicPartition) error {
	offset, at, ok, err := p.journal.OffsetFor(ctx, p.id, timestamp)
	if err != nil {
		return err
	}
	if ok {
		answer.Offset, answer.Timestamp = offset, at
	}
	return nil
}
