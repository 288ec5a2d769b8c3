package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/group"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
)

// OffsetCommit: versions 0 to 10, all that kmsg knows.
//
// Version 0 names no member, and is a commit from outside of the group like one with generation -1 (Kafka kept those in ZooKeeper).
// The retention that versions 1 to 4 may ask for is ignored, as Kafka has ignored it since 2.1: offsets live as long as their group.
// Members of the consumer protocol need version 9, which can say that their epoch is an old one (STALE_MEMBER_EPOCH).
// Topics are named up to version 9, and identified by id from then on. Partitions that do not exist are refused one by one, and the
// others are committed. The group without a name keeps no offsets: INVALID_GROUP_ID, where Kafka's brokers still allow what KIP-289 took
// from its clients.
func offsetCommit(g *Groups) API {
	return serve(8, func(_ context.Context, r *Request) Finish {
		req := r.Body.(*kmsg.OffsetCommitRequest)
		resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
		offsets, known := g.toCommit(req, resp)
		if len(known) == 0 {
			return func(context.Context) (kmsg.Response, error) { return resp, nil }
		}
		wait := g.doMember(req.Group, group.Commit{
			MemberID: req.MemberID, InstanceID: deref(req.InstanceID), Generation: req.Generation, NoEpochs: req.Version < 9, Offsets: offsets,
		})
		return func(ctx context.Context) (kmsg.Response, error) {
			answer, err := wait(ctx)
			if gone(ctx, err) {
				return nil, err
			}
			if failed := doneCode(answer, err); failed != 0 {
				for _, at := range known {
					resp.Topics[at.topic].Partitions[at.partition].ErrorCode = failed
				}
			}
			return resp, nil
		}
	})
}

// maxOffsetMetadata is Kafka's default of offset.metadata.max.bytes.
const maxOffsetMetadata = 4096

// answered is a partition's place in an answer.
type answered struct{ topic, partition int }

// toCommit gives the offsets of a request that can be committed, and puts all of its partitions, with what is wrong with the others,
// into the answer. known are the partitions that exist: what the group says of the request is said of them.
func (g *Groups) toCommit(req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse) (offsets []kfs.GroupOffset, known []answered) {
	state, now := g.Cluster.State(), g.Clock()
	for _, t := range req.Topics {
		answer := kmsg.NewOffsetCommitResponseTopic()
		answer.Topic, answer.TopicID = t.Topic, t.TopicID
		topic, err := topicOf(state, req.Version >= 10, t.Topic, t.TopicID)
		for _, p := range t.Partitions {
			partition := kmsg.NewOffsetCommitResponseTopicPartition()
			partition.Partition = p.Partition
			exists := err == nil && p.Partition >= 0 && p.Partition < topic.Partitions()
			if exists {
				known = append(known, answered{len(resp.Topics), len(answer.Partitions)})
			}
			switch {
			case err != nil:
				partition.ErrorCode = Code(err)
			case !exists:
				partition.ErrorCode = kerr.UnknownTopicOrPartition.Code
			case len(deref(p.Metadata)) > maxOffsetMetadata:
				partition.ErrorCode = kerr.OffsetMetadataTooLarge.Code
			default:
				offsets = append(offsets, kfs.GroupOffset{
					Group: req.Group, Topic: topic.Name, TopicID: topic.ID, Partition: p.Partition, Offset: max(p.Offset, -1),
					LeaderEpoch: max(p.LeaderEpoch, -1), Metadata: deref(p.Metadata), Committed: now,
				})
			}
			answer.Partitions = append(answer.Partitions, partition)
		}
		resp.Topics = append(resp.Topics, answer)
	}
	return offsets, known
}

// topicOf finds a topic as a request names it: by its id or by its name.
func topicOf(s *metadata.State, ids bool, name string, id kfs.TopicID) (*metadata.Topic, error) {
	if ids {
		return byID(s, id)
	}
	return byName(s, name)
}
