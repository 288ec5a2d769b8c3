package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// DeleteACLs: versions 0 to 3, all that kmsg knows.
//
// SECURITY_DISABLED for each filter, as from a Kafka broker without an authorizer.
func deleteACLs() API {
	return serve(31, concurrent(func(_ context.Context, r *Request) (kmsg.Response, error) {
		req := r.Body.(*kmsg.DeleteACLsRequest)
		resp := req.ResponseKind().(*kmsg.DeleteACLsResponse)
		for range req.Filters {
			result := kmsg.NewDeleteACLsResponseResult()
			result.ErrorCode, result.ErrorMessage = Code(errNoAuthorizer), message(errNoAuthorizer)
			resp.Results = append(resp.Results, result)
		}
		return resp, nil
	}))
}
