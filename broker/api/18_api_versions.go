package api

import (
	"context"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ApiVersions: versions 0 to 5, all that kmsg knows.
//
// A client asks this before it knows what the broker speaks. So the answer's header is always the oldest one, also where the body is
// flexible, and a version that the broker does not know is answered with UNSUPPORTED_VERSION in a body of version 0 that lists what
// it does know (UnsupportedVersion). Features are not announced: there are none to choose from.
//
// From version 3 on a client says what software it is; a name or version of another form than Kafka's is INVALID_REQUEST.
func apiVersions(r *Registry) API {
	return serve(18, concurrent(func(_ context.Context, req *Request) (kmsg.Response, error) {
		client := req.Body.(*kmsg.ApiVersionsRequest)
		resp := client.ResponseKind().(*kmsg.ApiVersionsResponse)
		if client.Version >= 3 && !(isSoftware(client.ClientSoftwareName) && isSoftware(client.ClientSoftwareVersion)) {
			resp.ErrorCode = kerr.InvalidRequest.Code
			return resp, nil
		}
		resp.ApiKeys = r.versions()
		return resp, nil
	}))
}

// isSoftware tells whether a string can be the name or the version of a client's software: letters and digits, with hyphens and dots between them.
func isSoftware(s string) bool {
	inside := func(c rune) bool { return c == '-' || c == '.' }
	odd := func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || inside(c))
	}
	return s != "" && strings.TrimFunc(s, inside) == s && !strings.ContainsFunc(s, odd)
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
