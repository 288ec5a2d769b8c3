package api

import (
	"bytes"
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/group"
)

// SyncGroup: versions 0 to 5, all that kmsg knows.
//
// Version 3 brought static members. From version 5 on the client must say which protocol it believes in; a wrong one is refused
// whenever it is said. The answer waits until the leader has assigned.
func syncGroup(g *Groups) API {
	return serve(14, func(_ context.Context, r *Request) Finish {
		req := r.Body.(*kmsg.SyncGroupRequest)
		ev := group.Sync{
			MemberID: req.MemberID, InstanceID: deref(req.InstanceID), Generation: req.Generation,
			ProtocolType: deref(req.ProtocolType), Protocol: deref(req.Protocol),
		}
		for _, a := range req.GroupAssignment {
			ev.Assignments = append(ev.Assignments, group.Assignment{MemberID: a.MemberID, Bytes: bytes.Clone(a.MemberAssignment)})
		}
		wait := func(context.Context) (group.Answer, error) {
			return nil, refuse(kerr.InconsistentGroupProtocol, "the protocol is missing")
		}
		if req.Version < 5 || req.ProtocolType != nil && req.Protocol != nil {
			wait = g.doMember(req.Group, ev)
		}
		return func(ctx context.Context) (kmsg.Response, error) {
			answer, err := wait(ctx)
			if gone(ctx, err) {
				return nil, err
			}
			synced, ok := answer.(group.Synced)
			if err != nil || !ok {
				synced = group.Synced{Err: groupError(err)}
			}
			resp := req.ResponseKind().(*kmsg.SyncGroupResponse)
			resp.ErrorCode, resp.MemberAssignment = code(synced.Err), synced.Assignment
			resp.ProtocolType, resp.Protocol = nullable(synced.ProtocolType), nullable(synced.Protocol)
			return resp, nil
		}
	})
}
