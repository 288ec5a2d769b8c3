package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeACLs: versions 0 to 3, all that kmsg knows.
//
// There are no ACLs, and everybody may do everything: SECURITY_DISABLED, the answer of a Kafka broker that has no authorizer. Tools know
// it (MirrorMaker goes on without copying ACLs), while a broker that does not have the API at all is an error to them.
func describeACLs() API {
	return serve(29, concurrent(func(_ context.Context, r *Request) (kmsg.Response, error) {
		resp := r.Body.ResponseKind().(*kmsg.DescribeACLsResponse)
		resp.ErrorCode, resp.ErrorMessage = Code(errNoAuthorizer), message(errNoAuthorizer)
		return resp, nil
	}))
}

// errNoAuthorizer answers whatever is about ACLs.
var errNoAuthorizer = refuse(kerr.SecurityDisabled, "this broker has no authorizer: everybody who reaches it may do everything")
