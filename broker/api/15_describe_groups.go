package api

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/group"
)

// DescribeGroups: versions 0 to 6, all that kmsg knows.
//
// A group that is not there, or is one of the consumer protocol, is described as dead; from version 6 on that is an error too.
func describeGroups(g *Groups) API {
	return serve(15, concurrent(func(ctx context.Context, r *Request) (kmsg.Response, error) {
		req := r.Body.(*kmsg.DescribeGroupsRequest)
		resp := req.ResponseKind().(*kmsg.DescribeGroupsResponse)
		for _, name := range req.Groups {
			described := kmsg.NewDescribeGroupsResponseGroup()
			described.Group = name
			if err := g.describe(ctx, r, &described); err != nil {
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

// describe fills in a group that has its name. The error is that there is no memory for the answer.
func (g *Groups) describe(ctx context.Context, r *Request, d *kmsg.DescribeGroupsResponseGroup) error {
	c, err := g.coordinator(d.Group)
	if err != nil {
		d.ErrorCode, d.ErrorMessage = groupError(err).Code, message(err)
		return nil
	}
	found, err := c.Describe(d.Group)
	if r.Body.GetVersion() < 6 && (errors.Is(err, group.ErrNotFound) || errors.Is(err, group.ErrNotClassic)) {
		err = nil
	}
	d.State, d.ProtocolType, d.Protocol = string(found.State), found.ProtocolType, found.Protocol
	if err != nil {
		d.ErrorCode, d.ErrorMessage = groupError(err).Code, message(err)
		return nil
	}
	if err := r.Reserve(ctx, describedBytes(found)); err != nil {
		return err
	}
	for _, m := range found.Members {
		member := kmsg.NewDescribeGroupsResponseGroupMember()
		member.MemberID, member.InstanceID, member.ClientID, member.ClientHost = m.MemberID, nullable(m.InstanceID), m.ClientID, "/"+m.Host
		member.ProtocolMetadata, member.MemberAssignment = m.Metadata, m.Assignment
		d.Members = append(d.Members, member)
	}
	return nil
}

func describedBytes(d group.Description) int64 {
	n := 0
	for _, m := range d.Members {
		n += len(m.MemberID) + len(m.InstanceID) + len(m.ClientID) + len(m.Host) + len(m.Metadata) + len(m.Assignment) + elementBytes
	}
	return int64(n)
}
