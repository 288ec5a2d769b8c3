package api

import (
	"context"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
)

// DescribeTopicPartitions: version 0, all that kmsg knows.
//
// It pages: topics in order of name, at most so many partitions in one answer, and a cursor from which to go on. No topics named
// means all. There are no replicas, and so none that might or may not become leaders.
func describeTopicPartitions(b *Backend) API {
	d := &partitionDescriber{b}
	return serve(75, concurrent(d.handle))
}

type partitionDescriber struct{ *Backend }

// maxDescribed bounds the partitions of one answer, as in Kafka.
const maxDescribed = 2000

func (d *partitionDescriber) handle(ctx context.Context, r *Request) (kmsg.Response, error) {
	req := r.Body.(*kmsg.DescribeTopicPartitionsRequest)
	resp := req.ResponseKind().(*kmsg.DescribeTopicPartitionsResponse)
	state := d.Cluster.State()
	left := int32(maxDescribed)
	if req.ResponsePartitionLimit > 0 {
		left = min(left, req.ResponsePartitionLimit)
	}
	first, from := "", int32(0)
	if req.Cursor != nil {
		first, from = req.Cursor.Topic, max(req.Cursor.Partition, 0)
	}
	for _, name := range describedNames(state, req, first) {
		if left == 0 {
			resp.NextCursor = cursorAt(name, 0)
			break
		}
		topic, err := byValidName(state, name)
		if err != nil {
			answer := kmsg.NewDescribeTopicPartitionsResponseTopic()
			answer.Topic, answer.ErrorCode = kmsg.StringPtr(name), Code(err)
			resp.Topics = append(resp.Topics, answer)
			continue
		}
		if name != first {
			from = 0
		}
		next := min(topic.Partitions(), max(from, 0)+left)
		if err := r.Reserve(ctx, int64(max(next-from, 0))*partitionBytes); err != nil {
			return nil, err
		}
		resp.Topics = append(resp.Topics, d.describe(topic, from, next))
		left -= max(next-from, 0)
		if next < topic.Partitions() {
			resp.NextCursor = cursorAt(name, next)
			break
		}
	}
	return resp, nil
}

// describedNames are the topics to describe from a name on, sorted.
func describedNames(state *metadata.State, req *kmsg.DescribeTopicPartitionsRequest, first string) []string {
	var names []string
	for _, t := range req.Topics {
		names = append(names, t.Topic)
	}
	if len(req.Topics) == 0 {
		for _, t := range state.Topics() {
			if t.State == kfs.TopicLive {
				names = append(names, t.Name)
			}
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	return slices.DeleteFunc(names, func(n string) bool { return strings.Compare(n, first) < 0 })
}

func cursorAt(topic string, partition int32) *kmsg.DescribeTopicPartitionsResponseNextCursor {
	c := kmsg.NewDescribeTopicPartitionsResponseNextCursor()
	c.Topic, c.Partition = topic, partition
	return &c
}

func (d *partitionDescriber) describe(t *metadata.Topic, from, next int32) kmsg.DescribeTopicPartitionsResponseTopic {
	answer := kmsg.NewDescribeTopicPartitionsResponseTopic()
	answer.Topic, answer.TopicID, answer.IsInternal, answer.AuthorizedOperations = kmsg.StringPtr(t.Name), t.ID, isInternal(t.Name), topicOperations
	for i := from; i < next; i++ {
		p := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
		p.Partition = i
		p.EligibleLeaderReplicas, p.LastKnownELR = []int32{}, []int32{} // not null: Java's admin client does not expect that
		if owner, ok := d.Cluster.Owner(t.Journals[i]); ok {
			p.LeaderID, p.LeaderEpoch = owner.Broker, owner.Epoch
			p.Replicas, p.ISR = []int32{owner.Broker}, []int32{owner.Broker}
		} else {
			p.LeaderID, p.ErrorCode = -1, kerr.LeaderNotAvailable.Code
		}
		answer.Partitions = append(answer.Partitions, p)
	}
	return answer
}
