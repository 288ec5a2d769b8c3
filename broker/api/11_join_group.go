package api

import (
	"bytes"
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/group"
)

// JoinGroup: versions 0 to 9, all that kmsg knows.
//
// From version 4 on a new member has to come back with the id that it is given (KIP-394); version 5 brought static members, version 9
// leaders that need not assign. Before version 1 there is no rebalance timeout: the session timeout is both. The answer waits until
// the group has its next generation, and holds up what the client sends behind it on the connection, as in Kafka.
func joinGroup(g *Groups) API {
	return serve(11, func(_ context.Context, r *Request) Finish {
		req := r.Body.(*kmsg.JoinGroupRequest)
		ev := group.Join{
			MemberID: req.MemberID, InstanceID: deref(req.InstanceID), ClientID: r.ClientID, Host: r.Host,
			Session: millis(req.SessionTimeoutMillis), Rebalance: millis(req.RebalanceTimeoutMillis), ProtocolType: req.ProtocolType,
			RequireMemberID: req.Version >= 4, SkipAssignment: req.Version >= 9,
		}
		if req.Version < 1 {
			ev.Rebalance = ev.Session
		}
		for _, p := range req.Protocols {
			ev.Protocols = append(ev.Protocols, group.Protocol{Name: p.Name, Metadata: bytes.Clone(p.Metadata)})
		}
		wait := g.doMember(req.Group, ev)
		return func(ctx context.Context) (kmsg.Response, error) {
			answer, err := wait(ctx)
			if gone(ctx, err) {
				return nil, err
			}
			joined, ok := answer.(group.Joined)
			if err != nil || !ok {
				joined = group.Joined{Err: groupError(err), Generation: -1, MemberID: req.MemberID}
			}
			if err := r.Reserve(ctx, joinedBytes(joined)); err != nil {
				return nil, err
			}
			return joinResponse(req, joined), nil
		}
	})
}

func joinResponse(req *kmsg.JoinGroupRequest, joined group.Joined) *kmsg.JoinGroupResponse {
	resp := req.ResponseKind().(*kmsg.JoinGroupResponse)
	resp.ErrorCode = code(joined.Err)
	resp.Generation, resp.LeaderID, resp.MemberID = joined.Generation, joined.Leader, joined.MemberID
	resp.SkipAssignment = joined.SkipAssignment
	resp.ProtocolType, resp.Protocol = nullable(joined.ProtocolType), nullable(joined.Protocol)
	if req.Version < 7 {
		resp.Protocol = &joined.Protocol // could not be null yet
	}
	for _, m := range joined.Members {
		member := kmsg.NewJoinGroupResponseMember()
		member.MemberID, member.InstanceID, member.ProtocolMetadata = m.MemberID, nullable(m.InstanceID), m.Metadata
		resp.Members = append(resp.Members, member)
	}
	return resp
}

func joinedBytes(joined group.Joined) int64 {
	n := 0
	for _, m := range joined.Members {
		n += len(m.MemberID) + len(m.InstanceID) + len(m.Metadata) + elementBytes
	}
	return int64(n)
}

func millis(n int32) time.Duration { return time.Duration(n) * time.Millisecond }
