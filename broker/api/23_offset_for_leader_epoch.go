package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/metadata"
)

// OffsetForLeaderEpoch: versions 0 to 4, all that kmsg knows.
//
// Consumers ask where the log of an epoch ends, to find out whether what they have read was cut off by an election. Here nothing that
// was ever readable can be cut off: a record is readable when the object store has it. So an epoch up to the present one ends
// where the log ends, and a consumer goes on. An epoch that is not known yet has no end.
func offsetForLeaderEpoch(b *Backend) API {
	return serve(23, concurrent(func(_ context.Context, r *Request) (kmsg.Response, error) {
		req := r.Body.(*kmsg.OffsetForLeaderEpochRequest)
		resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
		state := b.Cluster.State()
		for _, t := range req.Topics {
			answer := kmsg.NewOffsetForLeaderEpochResponseTopic()
			answer.Topic = t.Topic
			topic, err := byName(state, t.Topic)
			for i := range t.Partitions {
				part := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
				part.Partition, part.LeaderEpoch, part.EndOffset = t.Partitions[i].Partition, -1, -1
				refused := err
				if refused == nil {
					refused = b.endOfEpoch(topic, &t.Partitions[i], &part)
				}
				part.ErrorCode = readCode(refused)
				answer.Partitions = append(answer.Partitions, part)
			}
			resp.Topics = append(resp.Topics, answer)
		}
		return resp, nil
	}))
}

func (b *Backend) endOfEpoch(topic *metadata.Topic, req *kmsg.OffsetForLeaderEpochRequestTopicPartition, answer *kmsg.OffsetForLeaderEpochResponseTopicPartition) error {
	p, err := b.partition(topic, req.Partition)
	if err != nil {
		return err
	}
	if err := p.checkEpoch(req.CurrentLeaderEpoch); err != nil {
		return err
	}
	_, next := p.journal.Offsets(p.id)
	if req.LeaderEpoch >= 0 && req.LeaderEpoch <= p.owner.Epoch {
		answer.LeaderEpoch, answer.EndOffset = req.LeaderEpoch, next
	}
	return p.journal.Serving()
}
