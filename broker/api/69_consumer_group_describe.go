package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/group"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
)

// ConsumerGroupDescribe: versions 0 and 1, all that kmsg knows. Version 1 brought the member's type, which is that of the consumer
// protocol for all: a group here speaks one protocol.
//
// A group that is not there, or is one of the classic protocol, is GROUP_ID_NOT_FOUND with a text that says which. Topics that
// are gone are left out of assignments.
func consumerGroupDescribe(g *Groups) API {
	return serve(69, concurrent(func(ctx context.Context, r *Request) (kmsg.Response, error) {
		req := r.Body.(*kmsg.ConsumerGroupDescribeRequest)
		resp := req.ResponseKind().(*kmsg.ConsumerGroupDescribeResponse)
		for _, name := range req.Groups {
			described := kmsg.NewConsumerGroupDescribeResponseGroup()
			described.Group = name
			if err := g.describeConsumer(ctx, r, &described); err != nil {
				return nil, err
			}
			if req.IncludeAuthorizedOperations {
				described.AuthorizedOperations = groupOperations
			}
			resp.Groups = append(resp.Groups, described)
		}
		return resp, nil
	}))
}

// consumerMember is the type of a member of the consumer protocol.
const consumerMember = 1

// describeConsumer fills in a group that has its name. The error is that there is no memory for the answer.
func (g *Groups) describeConsumer(ctx context.Context, r *Request, d *kmsg.ConsumerGroupDescribeResponseGroup) error {
	var found group.ConsumerDescription
	c, err := g.memberCoordinator(d.Group)
	if err == nil {
		found, err = c.DescribeConsumer(d.Group)
	}
	if err != nil {
		d.ErrorCode, d.ErrorMessage = groupError(err).Code, message(err)
		return nil
	}
	d.State, d.Epoch, d.AssignmentEpoch, d.AssignorName = string(found.State), found.Epoch, found.Target, found.Assignor
	state := g.Cluster.State()
	for _, m := range found.Members {
		member := kmsg.NewConsumerGroupDescribeResponseGroupMember()
		member.MemberID, member.InstanceID, member.RackID, member.MemberEpoch = m.MemberID, nullable(m.InstanceID), nullable(m.Rack), m.Epoch
		member.ClientID, member.ClientHost, member.MemberType = m.ClientID, "/"+m.Host, consumerMember
		member.SubscribedTopics, member.SubscribedTopicRegex = m.Topics, nullable(m.Regex)
		if err := r.Reserve(ctx, describedConsumerBytes(m)); err != nil {
			return err
		}
		member.Assignment, member.TargetAssignment = namedAssignment(state, m.Has), namedAssignment(state, m.Target)
		d.Members = append(d.Members, member)
	}
	return nil
}

func namedAssignment(s *metadata.State, sorted []kfs.PartitionID) kmsg.Assignment {
	a := kmsg.NewAssignment()
	for len(sorted) > 0 {
		id := sorted[0].Topic
		part := kmsg.NewAssignmentTopicPartition()
		part.TopicID = id
		for len(sorted) > 0 && sorted[0].Topic == id {
			part.Partitions = append(part.Partitions, sorted[0].Partition)
			sorted = sorted[1:]
		}
		if t, err := byID(s, id); err == nil {
			part.Topic = t.Name
			a.TopicPartitions = append(a.TopicPartitions, part)
		}
	}
	return a
}

func describedConsumerBytes(m group.DescribedConsumer) int64 {
	n := len(m.MemberID) + len(m.InstanceID) + len(m.Rack) + len(m.ClientID) + len(m.Host) + len(m.Regex) + 2*elementBytes
	for _, t := range m.Topics {
		n += len(t) + elementBytes
	}
	return int64(n) + assignmentBytes(m.Has) + assignmentBytes(m.Target)
}
