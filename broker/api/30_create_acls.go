package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// CreateACLs: versions 0 to 3, all that kmsg knows.
//
// SECURITY_DISABLED for each, as from a Kafka broker without an authorizer: an ACL that nobody enforces must not look as if it were there.
func createACLs() API {
	return serve(30, concurrent(func(_ context.Context, r *Request) (kmsg.Response, error) {
		req := r.Body.(*kmsg.CreateACLsRequest)
		resp := req.ResponseKind().(*kmsg.CreateACLsResponse)
		for range req.Creations {
			result := kmsg.NewCreateACLsResponseResult()
			result.ErrorCode, result.ErrorMessage = Code(errNoAuthorizer), message(errNoAuthorizer)
			resp.Results = append(resp.Results, result)
		}
		return resp, nil
	}))
}
