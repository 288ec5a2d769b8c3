package api

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
)

// DeleteRecords: versions 0 to 2, all that kmsg knows.
//
// A partition's log start moves to the wanted offset, -1 being the end; a log start that lies there or behind stays. The move is
// durable, and seen by every read, when it is answered; the objects go later. Topics that are compacted only are refused, as Kafka
// refuses them. The request's time-out is for followers to obey, of which there are none.
func deleteRecords(b *Backend) API {
	d := &recordDeleter{b}
	return serve(21, serial(d.handle))
}

type recordDeleter struct{ *Backend }

// deletion is one partition's deletion under way.
type deletion struct {
	partition
	answer *kmsg.DeleteRecordsResponseTopicPartition
	append Append // nil if there is nothing to move
}

func (d *recordDeleter) handle(_ context.Context, r *Request) (kmsg.Response, error) {
	req := r.Body.(*kmsg.DeleteRecordsRequest)
	resp := req.ResponseKind().(*kmsg.DeleteRecordsResponse)
	state := d.Cluster.State()
	var begun []deletion
	for _, t := range req.Topics {
		answer := kmsg.NewDeleteRecordsResponseTopic()
		answer.Topic = t.Topic
		answer.Partitions = make([]kmsg.DeleteRecordsResponseTopicPartition, len(t.Partitions))
		topic, err := byName(state, t.Topic)
		for i, p := range t.Partitions {
			part := &answer.Partitions[i]
			part.Partition, part.LowWatermark = p.Partition, -1
			refused := err
			if refused == nil {
				var one deletion
				if one, refused = d.begin(topic, p.Partition, p.Offset); refused == nil {
					one.answer = part
					begun = append(begun, one)
				}
			}
			part.ErrorCode = Code(refused)
		}
		resp.Topics = append(resp.Topics, answer)
	}
	for i := range begun {
		begun[i].finish()
	}
	return resp, nil
}

// begin enqueues what moves a partition's log start.
func (d *recordDeleter) begin(topic *metadata.Topic, number int32, offset int64) (deletion, error) {
	p, err := d.partition(topic, number)
	if err != nil {
		return deletion{}, err
	}
	if !topic.Settings.Delete {
		return deletion{}, refuse(kerr.PolicyViolation, fmt.Sprintf("topic %s is compacted: its cleanup.policy does not allow to delete records", topic.Name))
	}
	start, next := p.journal.Offsets(p.id)
	if offset == -1 {
		offset = next
	}
	switch {
	case offset < 0 || offset > next:
		return deletion{}, refuse(kerr.OffsetOutOfRange, fmt.Sprintf("offset %d is not in [0, %d]", offset, next))
	case offset <= start:
		return deletion{partition: p}, nil
	}
	trim := kfs.Trim{Topic: topic.ID, Partition: number, LogStart: offset}
	return deletion{partition: p, append: p.journal.Trim(trim)}, nil
}

// finish waits for the move and answers where the log starts now.
func (d *deletion) finish() {
	var err error
	if d.append != nil {
		err = d.append.Wait()[0].Err
	}
	if err == nil {
		err = d.journal.Serving()
	}
	if d.answer.ErrorCode = Code(err); err == nil {
		d.answer.LowWatermark, _ = d.journal.Offsets(d.id)
	}
}
