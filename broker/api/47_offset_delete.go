package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/group"
)

// OffsetDelete: version 0, all that there is. Offsets of topics that a member reads stay, and say so; what has no offset is deleted
// without one.
func offsetDelete(g *Groups) API {
	return serve(47, func(_ context.Context, r *Request) Finish {
		req := r.Body.(*kmsg.OffsetDeleteRequest)
		var subscribed map[string]bool
		wait := func(context.Context) (group.Answer, error) { return nil, nil }
		if c, err := g.memberCoordinator(req.Group); err != nil {
			wait = func(context.Context) (group.Answer, error) { return nil, err }
		} else {
			var call *group.Call
			subscribed, call = c.DeleteOffsets(req.Group, named(req))
			wait = call.Wait
		}
		return func(ctx context.Context) (kmsg.Response, error) {
			answer, err := wait(ctx)
			if gone(ctx, err) {
				return nil, err
			}
			resp := req.ResponseKind().(*kmsg.OffsetDeleteResponse)
			if resp.ErrorCode = doneCode(answer, err); resp.ErrorCode == 0 {
				resp.Topics = g.deleted(req, subscribed)
			}
			return resp, nil
		}
	})
}

// named reports which offsets a request is about.
func named(req *kmsg.OffsetDeleteRequest) func(topic string, partition int32) bool {
	type key struct {
		topic     string
		partition int32
	}
	all := map[key]bool{}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			all[key{t.Topic, p.Partition}] = true
		}
	}
	return func(topic string, partition int32) bool { return all[key{topic, partition}] }
}

// deleted says of each partition what became of its offset.
func (g *Groups) deleted(req *kmsg.OffsetDeleteRequest, subscribed map[string]bool) []kmsg.OffsetDeleteResponseTopic {
	var topics []kmsg.OffsetDeleteResponseTopic
	state := g.Cluster.State()
	for _, t := range req.Topics {
		topic := kmsg.NewOffsetDeleteResponseTopic()
		topic.Topic = t.Topic
		known, err := byName(state, t.Topic)
		for _, p := range t.Partitions {
			partition := kmsg.NewOffsetDeleteResponseTopicPartition()
			partition.Partition = p.Partition
			switch {
			case err != nil:
				partition.ErrorCode = Code(err)
			case p.Partition < 0 || p.Partition >= known.Partitions():
				partition.ErrorCode = kerr.UnknownTopicOrPartition.Code
			case subscribed[t.Topic]:
				partition.ErrorCode = kerr.GroupSubscribedToTopic.Code
			}
			topic.Partitions = append(topic.Partitions, partition)
		}
		topics = append(topics, topic)
	}
	return topics
}
