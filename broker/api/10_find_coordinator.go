package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// FindCoordinator: versions 0 to 6, all that kmsg knows.
//
// Up to version 3 a request names one key, from then on several. A group's coordinator is the owner of the journal that the group's
// slot is placed on. Who asks for one gets the topic __consumer_offsets created, as with Kafka (internal_topics.go). There are no coordinators of transactions here, and the code is TRANSACTIONAL_ID_AUTHORIZATION_FAILED with a text
// that says so: librdkafka takes that code alone for final and asks forever on any other. Nor are there any of share groups:
// INVALID_REQUEST.
func findCoordinator(g *Groups) API {
	return serve(10, concurrent(func(ctx context.Context, r *Request) (kmsg.Response, error) {
		req := r.Body.(*kmsg.FindCoordinatorRequest)
		resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
		if req.CoordinatorType == 0 {
			g.OffsetsTopic(ctx)
		}
		if req.Version < 4 {
			c := g.findCoordinator(req.CoordinatorType, req.CoordinatorKey)
			resp.ErrorCode, resp.ErrorMessage = c.ErrorCode, c.ErrorMessage
			resp.NodeID, resp.Host, resp.Port = c.NodeID, c.Host, c.Port
			return resp, nil
		}
		for _, key := range req.CoordinatorKeys {
			resp.Coordinators = append(resp.Coordinators, g.findCoordinator(req.CoordinatorType, key))
		}
		return resp, nil
	}))
}

func (g *Groups) findCoordinator(kind int8, key string) kmsg.FindCoordinatorResponseCoordinator {
	c := kmsg.NewFindCoordinatorResponseCoordinator()
	c.Key, c.NodeID, c.Port = key, -1, -1
	n, err := g.ownerOf(kind, key)
	if err != nil {
		c.ErrorCode, c.ErrorMessage = groupError(err).Code, message(err)
		return c
	}
	c.NodeID, c.Host, c.Port = n.ID, n.Host, n.Port
	return c
}

// ownerOf is the broker that coordinates a group.
func (g *Groups) ownerOf(kind int8, key string) (Broker, error) {
	switch {
	case kind == 1:
		return Broker{}, refuse(kerr.TransactionalIDAuthorizationFailed, "this broker has no transactions: leave out transactional.id")
	case kind != 0:
		return Broker{}, refuse(kerr.InvalidRequest, "share groups have no coordinators here")
	case len(key) > maxGroupName:
		return Broker{}, refuse(kerr.InvalidGroupID, "the group id is too long")
	}
	owner, ok := g.Cluster.Owner(g.Cluster.State().GroupJournal(key))
	if ok {
		for _, n := range g.Cluster.Brokers() {
			if n.ID == owner.Broker {
				return n, nil
			}
		}
	}
	return Broker{}, refuse(kerr.CoordinatorNotAvailable, "no broker owns the group's journal right now")
}
