package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ListPartitionReassignments: version 0, all that kmsg knows.
//
// Partitions have no replicas on brokers, so none are ever on their way to another one, and none are listed; a topic that is not there
// is not either, as in Kafka. `kafka-topics --describe` asks this.
func listPartitionReassignments() API {
	return serve(46, concurrent(func(_ context.Context, r *Request) (kmsg.Response, error) {
		return r.Body.ResponseKind(), nil
	}))
}
