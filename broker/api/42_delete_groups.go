package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/group"
)

// DeleteGroups: versions 0 to 3, all that kmsg knows. A group with members is not deleted. A group is gone when its offsets are durably
// gone.
func deleteGroups(g *Groups) API {
	return serve(42, func(_ context.Context, r *Request) Finish {
		req := r.Body.(*kmsg.DeleteGroupsRequest)
		waits := make([]func(context.Context) (group.Answer, error), len(req.Groups))
		for i, name := range req.Groups {
			waits[i] = g.do(name, group.Delete{})
		}
		return func(ctx context.Context) (kmsg.Response, error) {
			resp := req.ResponseKind().(*kmsg.DeleteGroupsResponse)
			for i, name := range req.Groups {
				answer, err := waits[i](ctx)
				if gone(ctx, err) {
					return nil, err
				}
				deleted := kmsg.NewDeleteGroupsResponseGroup()
				deleted.Group, deleted.ErrorCode = name, doneCode(answer, err)
				resp.Groups = append(resp.Groups, deleted)
			}
			return resp, nil
		}
	})
}
