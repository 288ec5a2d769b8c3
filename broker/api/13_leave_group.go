package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/group"
)

// LeaveGroup: versions 0 to 5, all that kmsg knows.
//
// Up to version 2 one member leaves, and the answer has one error; from then on several may, static ones also by their instance id
// alone (a tool does that), and each has its own.
func leaveGroup(g *Groups) API {
	return serve(13, func(_ context.Context, r *Request) Finish {
		req := r.Body.(*kmsg.LeaveGroupRequest)
		var ev group.Leave
		if req.Version < 3 {
			ev.Members = []group.LeavingMember{{MemberID: req.MemberID}}
		}
		for _, m := range req.Members {
			ev.Members = append(ev.Members, group.LeavingMember{MemberID: m.MemberID, InstanceID: deref(m.InstanceID)})
		}
		wait := g.doMember(req.Group, ev)
		return func(ctx context.Context) (kmsg.Response, error) {
			answer, err := wait(ctx)
			if gone(ctx, err) {
				return nil, err
			}
			resp := req.ResponseKind().(*kmsg.LeaveGroupResponse)
			left, ok := answer.(group.Left)
			if err != nil || !ok {
				resp.ErrorCode = groupError(err).Code
				return resp, nil
			}
			if req.Version < 3 {
				resp.ErrorCode = code(left.Members[0].Err)
				return resp, nil
			}
			for _, m := range left.Members {
				member := kmsg.NewLeaveGroupResponseMember()
				member.MemberID, member.InstanceID, member.ErrorCode = m.MemberID, nullable(m.InstanceID), code(m.Err)
				resp.Members = append(resp.Members, member)
			}
			return resp, nil
		}
	})
}
