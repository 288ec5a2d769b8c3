package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/group"
)

// Heartbeat: versions 0 to 4, all that kmsg knows. Version 3 brought static members.
func heartbeat(g *Groups) API {
	return serve(12, func(_ context.Context, r *Request) Finish {
		req := r.Body.(*kmsg.HeartbeatRequest)
		wait := g.doMember(req.Group, group.Heartbeat{MemberID: req.MemberID, InstanceID: deref(req.InstanceID), Generation: req.Generation})
		return func(ctx context.Context) (kmsg.Response, error) {
			answer, err := wait(ctx)
			if gone(ctx, err) {
				return nil, err
			}
			resp := req.ResponseKind().(*kmsg.HeartbeatResponse)
			resp.ErrorCode = doneCode(answer, err)
			return resp, nil
		}
	})
}

// doneCode is the code of a request that is answered with nothing else.
func doneCode(answer group.Answer, err error) int16 {
	if done, ok := answer.(group.Done); ok && err == nil {
		return code(done.Err)
	}
	return groupError(err).Code
}
