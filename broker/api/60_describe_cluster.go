package api

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeCluster: versions 0 to 2, all that kmsg knows.
//
// Version 1 can ask for controllers instead of brokers: there are no separate ones, and Kafka's brokers refuse that as well. No
// broker is ever fenced and listed (version 2): who has no lease is not there.
func describeCluster(b *Backend) API {
	return serve(60, concurrent(func(_ context.Context, r *Request) (kmsg.Response, error) {
		req := r.Body.(*kmsg.DescribeClusterRequest)
		resp := req.ResponseKind().(*kmsg.DescribeClusterResponse)
		resp.EndpointType = req.EndpointType
		if req.Version >= 1 && req.EndpointType != 1 {
			err := refuse(kerr.MismatchedEndpointType, fmt.Sprintf("endpoint type %d: brokers (1) are served here", req.EndpointType))
			resp.ErrorCode, resp.ErrorMessage = Code(err), message(err)
			return resp, nil
		}
		resp.ClusterID = b.Cluster.State().Cluster().ID.String()
		resp.ControllerID = b.controller()
		for _, n := range b.Cluster.Brokers() {
			broker := kmsg.NewDescribeClusterResponseBroker()
			broker.NodeID, broker.Host, broker.Port = n.ID, n.Host, n.Port
			resp.Brokers = append(resp.Brokers, broker)
		}
		if req.IncludeClusterAuthorizedOperations {
			resp.ClusterAuthorizedOperations = clusterOperations
		}
		return resp, nil
	}))
}
