package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ApiVersions: versions 0 to 5, all that kmsg knows.
//
// A client asks this before it knows what the broker speaks. So the answer's header is always the oldest one, also where the body is
// flexible, and a version that the broker does not know is answered with UNSUPPORTED_VERSION in a body of version 0 that lists what
// it does know (UnsupportedVersion). Features are not announced: there are none to choose from.
func apiVersions(r *Registry) API {
	return serve(18, concurrent(func(_ context.Context, req *Request) (kmsg.Response, error) {
		resp := req.Body.ResponseKind().(*kmsg.ApiVersionsResponse)
		resp.ApiKeys = r.versions()
		return resp, nil
	}))
}

// UnsupportedVersion answers an ApiVersions request of a version that is not known here.
func (r *Registry) UnsupportedVersion() kmsg.Response {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.ErrorCode = kerr.UnsupportedVersion.Code
	resp.ApiKeys = r.versions()
	return resp
}

func (r *Registry) versions() []kmsg.ApiVersionsResponseApiKey {
	keys := make([]kmsg.ApiVersionsResponseApiKey, 0, len(r.keys))
	for _, a := range r.All() {
		k := kmsg.NewApiVersionsResponseApiKey()
		k.ApiKey, k.MinVersion, k.MaxVersion = a.Key, a.Min, a.Max
		keys = append(keys, k)
	}
	return keys
}
