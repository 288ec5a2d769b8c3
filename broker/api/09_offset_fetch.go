package api

import (
	"cmp"
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/group"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
)

// OffsetFetch: versions 0 to 10, all that kmsg knows.
//
// Up to version 7 a request is about one group, from then on about several. From version 2 on no topics means all that the group has
// offsets of. A partition without an offset is answered with -1, in version 0 too (Kafka kept those offsets in ZooKeeper). An offset of
// a topic that was deleted and created again under the same name is not one of the new topic. Topics are identified by id from
// version 10 on. All offsets are stable, for there are no transactions. From version 9 on a member of the consumer protocol
// can say who it is, and has to know its epoch then.
func offsetFetch(g *Groups) API {
	return serve(9, serial(func(ctx context.Context, r *Request) (kmsg.Response, error) {
		req := r.Body.(*kmsg.OffsetFetchRequest)
		resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
		if req.Version < 8 {
			return resp, g.fetchOne(ctx, r, req, resp)
		}
		for _, q := range req.Groups {
			answer := g.fetchOffsets(req.Version, q)
			if err := r.Reserve(ctx, offsetsBytes(&answer)); err != nil {
				return nil, err
			}
			resp.Groups = append(resp.Groups, answer)
		}
		return resp, nil
	}))
}

// fetchOne answers in the form of the versions before 8.
func (g *Groups) fetchOne(ctx context.Context, r *Request, req *kmsg.OffsetFetchRequest, resp *kmsg.OffsetFetchResponse) error {
	q := kmsg.OffsetFetchRequestGroup{Group: req.Group, MemberEpoch: -1}
	if req.Topics != nil || req.Version < 2 {
		q.Topics = []kmsg.OffsetFetchRequestGroupTopic{}
	}
	for _, t := range req.Topics {
		q.Topics = append(q.Topics, kmsg.OffsetFetchRequestGroupTopic{Topic: t.Topic, Partitions: t.Partitions})
	}
	answer := g.fetchOffsets(req.Version, q)
	resp.ErrorCode = answer.ErrorCode
	for _, t := range answer.Topics {
		topic := kmsg.NewOffsetFetchResponseTopic()
		topic.Topic = t.Topic
		for _, p := range t.Partitions {
			topic.Partitions = append(topic.Partitions, kmsg.OffsetFetchResponseTopicPartition(p))
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return r.Reserve(ctx, offsetsBytes(&answer))
}

// offsetsBytes is about what a group's offsets take in an answer, decoded and encoded. They are built first, which takes no more than
// the group's offsets and the request do already.
func offsetsBytes(answer *kmsg.OffsetFetchResponseGroup) int64 {
	n := 0
	for _, t := range answer.Topics {
		n += elementBytes + 2*len(t.Topic)
		for _, p := range t.Partitions {
			n += elementBytes + len(deref(p.Metadata))
		}
	}
	return int64(n)
}

func (g *Groups) fetchOffsets(version int16, q kmsg.OffsetFetchRequestGroup) kmsg.OffsetFetchResponseGroup {
	answer := kmsg.NewOffsetFetchResponseGroup()
	answer.Group = q.Group
	offsets, err := g.offsets(q.Group, deref(q.MemberID), q.MemberEpoch)
	if err != nil {
		answer.ErrorCode = groupError(err).Code
	}
	state := g.Cluster.State()
	if q.Topics == nil {
		answer.Topics = allOffsets(state, offsets)
		return answer
	}
	have := make(map[kfs.PartitionID]kfs.GroupOffset, len(offsets))
	for _, o := range offsets {
		have[kfs.PartitionID{Topic: o.TopicID, Partition: o.Partition}] = o
	}
	for _, t := range q.Topics {
		topic := kmsg.NewOffsetFetchResponseGroupTopic()
		topic.Topic, topic.TopicID = t.Topic, t.TopicID
		found, unknown := topicOf(state, version >= 10, t.Topic, t.TopicID)
		for _, number := range t.Partitions {
			p := noOffset(number)
			switch {
			case err != nil:
				p.ErrorCode = answer.ErrorCode
			case unknown == nil:
				if o, ok := have[kfs.PartitionID{Topic: found.ID, Partition: number}]; ok {
					p = offsetOf(o)
				}
			case version >= 10:
				p.ErrorCode = Code(unknown) // by name it just has no offset
			}
			topic.Partitions = append(topic.Partitions, p)
		}
		answer.Topics = append(answer.Topics, topic)
	}
	return answer
}

// offsets are a group's durable offsets, if its coordinator is here also after they were read: else another may have newer ones.
func (g *Groups) offsets(name, memberID string, epoch int32) ([]kfs.GroupOffset, error) {
	c, err := g.coordinator(name)
	if err != nil {
		return nil, err
	}
	offsets, err := c.Offsets(name, memberID, epoch)
	if err != nil {
		return nil, err
	}
	if still, err := g.coordinator(name); err != nil || still != c {
		return nil, cmp.Or(err, group.ErrStopped)
	}
	return offsets, nil
}

// allOffsets answers with all offsets of topics that are still there, in order of topic and partition.
func allOffsets(s *metadata.State, offsets []kfs.GroupOffset) []kmsg.OffsetFetchResponseGroupTopic {
	sorted := slices.Clone(offsets)
	slices.SortFunc(sorted, func(a, b kfs.GroupOffset) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	var topics []kmsg.OffsetFetchResponseGroupTopic
	for _, o := range sorted {
		if t, err := byName(s, o.Topic); err != nil || t.ID != o.TopicID {
			continue
		}
		if n := len(topics); n == 0 || topics[n-1].Topic != o.Topic {
			topic := kmsg.NewOffsetFetchResponseGroupTopic()
			topic.Topic, topic.TopicID = o.Topic, o.TopicID
			topics = append(topics, topic)
		}
		last := &topics[len(topics)-1]
		last.Partitions = append(last.Partitions, offsetOf(o))
	}
	return topics
}

func offsetOf(o kfs.GroupOffset) kmsg.OffsetFetchResponseGroupTopicPartition {
	p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = o.Partition, o.Offset, o.LeaderEpoch, &o.Metadata
	return p
}

func noOffset(partition int32) kmsg.OffsetFetchResponseGroupTopicPartition {
	return offsetOf(kfs.GroupOffset{Partition: partition, Offset: -1, LeaderEpoch: -1})
}
