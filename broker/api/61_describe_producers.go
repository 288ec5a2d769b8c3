package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/metadata"
)

// DescribeProducers: version 0, all that kmsg knows.
//
// It tells the idempotent producers that a partition remembers, by which it knows retries. A producer's last timestamp is when its last
// batch was written, by the store's clock (Kafka tells the timestamp of that batch); where the partition's leader has changed
// since, it may be the time of that change. There are no transactions, so nobody has one open.
func describeProducers(b *Backend) API {
	d := &producerDescriber{b}
	return serve(61, concurrent(d.handle))
}

type producerDescriber struct{ *Backend }

// producerBytes is about what a producer takes in an answer, decoded and encoded.
const producerBytes = 128

func (d *producerDescriber) handle(ctx context.Context, r *Request) (kmsg.Response, error) {
	req := r.Body.(*kmsg.DescribeProducersRequest)
	resp := req.ResponseKind().(*kmsg.DescribeProducersResponse)
	state := d.Cluster.State()
	for _, t := range req.Topics {
		answer := kmsg.NewDescribeProducersResponseTopic()
		answer.Topic = t.Topic
		topic, err := byValidName(state, t.Topic)
		for _, number := range t.Partitions {
			part := kmsg.NewDescribeProducersResponseTopicPartition()
			part.Partition = number
			refused := err
			if refused == nil {
				refused = d.describe(topic, &part)
			}
			if err := r.Reserve(ctx, int64(len(part.ActiveProducers))*producerBytes); err != nil {
				return nil, err
			}
			part.ErrorCode, part.ErrorMessage = Code(refused), message(refused)
			answer.Partitions = append(answer.Partitions, part)
		}
		resp.Topics = append(resp.Topics, answer)
	}
	return resp, nil
}

func (d *producerDescriber) describe(topic *metadata.Topic, answer *kmsg.DescribeProducersResponseTopicPartition) error {
	p, err := d.partition(topic, answer.Partition)
	if err != nil {
		return err
	}
	known := p.journal.Producers(p.id)
	if err := p.journal.Serving(); err != nil {
		return err
	}
	for _, k := range known {
		active := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
		active.ProducerID, active.ProducerEpoch = k.ID, int32(k.Epoch)
		active.LastSequence, active.LastTimestamp = k.LastSequence, k.Seen
		active.CoordinatorEpoch = -1
		answer.ActiveProducers = append(answer.ActiveProducers, active)
	}
	return nil
}
