package api

import (
	"cmp"
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/group"
	"github.com/firn-io/firn/kfs"
)

// ConsumerGroupHeartbeat: versions 0 and 1, all that kmsg knows.
//
// Version 1 brought regular expressions, and members that name themselves (KIP-1082). Three things differ from Kafka. A member that the
// group does not know is told so with UNKNOWN_MEMBER_ID also where there is no such group, for members are not durable: it joins
// again. A static one that joins again under its own id is taken in at once, as others are, not only when it has left for a while. And the
// answer to a regular expression has its topics already, where Kafka finds them meanwhile and tells of them with a later heartbeat.
func consumerGroupHeartbeat(g *Groups) API {
	return serve(68, func(_ context.Context, r *Request) Finish {
		req := r.Body.(*kmsg.ConsumerGroupHeartbeatRequest)
		resp := req.ResponseKind().(*kmsg.ConsumerGroupHeartbeatResponse)
		if wrong := malformed(req); wrong != "" {
			return func(context.Context) (kmsg.Response, error) {
				resp.ErrorCode, resp.ErrorMessage = kerr.InvalidRequest.Code, &wrong
				return resp, nil
			}
		}
		wait := g.doMember(req.Group, heartbeatEvent(r, req))
		return func(ctx context.Context) (kmsg.Response, error) {
			answer, err := wait(ctx)
			if gone(ctx, err) {
				return nil, err
			}
			beaten, ok := answer.(group.Beaten)
			if err != nil || !ok {
				resp.ErrorCode, resp.ErrorMessage = groupError(err).Code, message(err)
				return resp, nil
			}
			if beaten.Err != nil {
				resp.ErrorCode = beaten.Err.Code
				resp.ErrorMessage = nullable(cmp.Or(beaten.Message, beaten.Err.Description))
				return resp, nil
			}
			resp.MemberID, resp.MemberEpoch = &beaten.MemberID, beaten.Epoch
			resp.HeartbeatIntervalMillis = int32(beaten.Interval.Milliseconds())
			if beaten.Assigned {
				if err := r.Reserve(ctx, assignmentBytes(beaten.Assignment)); err != nil {
					return nil, err
				}
				resp.Assignment = assignmentOf(beaten.Assignment)
			}
			return resp, nil
		}
	})
}

// malformed finds what only the wire can say wrongly: a group does not see the difference.
func malformed(req *kmsg.ConsumerGroupHeartbeatRequest) string {
	switch {
	case req.InstanceID != nil && *req.InstanceID == "":
		return "The instance id is empty: null is none."
	case req.RackID != nil && *req.RackID == "":
		return "The rack id is empty: null is none."
	case req.Version >= 1 && req.MemberID == "":
		return "The member id is empty."
	}
	return ""
}

func heartbeatEvent(r *Request, req *kmsg.ConsumerGroupHeartbeatRequest) group.ConsumerHeartbeat {
	ev := group.ConsumerHeartbeat{
		MemberID: req.MemberID, Epoch: req.MemberEpoch, InstanceID: deref(req.InstanceID), Rack: req.RackID, ClientID: r.ClientID, Host: r.Host,
		Topics: req.SubscribedTopicNames, Regex: req.SubscribedTopicRegex, Assignor: deref(req.ServerAssignor),
	}
	if req.RebalanceTimeoutMillis >= 0 {
		ev.Rebalance = millis(max(req.RebalanceTimeoutMillis, 1))
	}
	if req.Topics != nil {
		ev.Owned = []kfs.PartitionID{}
	}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			ev.Owned = append(ev.Owned, kfs.PartitionID{Topic: t.TopicID, Partition: p})
		}
	}
	return ev
}

func assignmentOf(sorted []kfs.PartitionID) *kmsg.ConsumerGroupHeartbeatResponseAssignment {
	a := kmsg.NewConsumerGroupHeartbeatResponseAssignment()
	for _, p := range sorted {
		if n := len(a.Topics); n == 0 || a.Topics[n-1].TopicID != p.Topic {
			t := kmsg.NewConsumerGroupHeartbeatResponseAssignmentTopic()
			t.TopicID = p.Topic
			a.Topics = append(a.Topics, t)
		}
		last := &a.Topics[len(a.Topics)-1]
		last.Partitions = append(last.Partitions, p.Partition)
	}
	return &a
}

// assignmentBytes is what an assignment takes in an answer, about.
func assignmentBytes(a []kfs.PartitionID) int64 { return 32 * int64(len(a)) }
