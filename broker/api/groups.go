package api

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/firn-io/firn/broker/group"
	"github.com/firn-io/firn/broker/journal"
)

// Groups is what the handlers of consumer groups stand on. All fields must be set.
type Groups struct {
	Cluster      Cluster
	Coordinators Coordinators
	Clock        func() int64          // Unix milliseconds
	OffsetsTopic func(context.Context) // a Backend's CreateOffsetsTopic
}

// Coordinators finds the group coordinators on this broker.
type Coordinators interface {
	// Coordinator is that of the groups placed on a journal. The error is journal.ErrNotOwner if another broker, or none, owns the journal.
	Coordinator(number uint32) (*group.Coordinator, error)
}

// APIs are the APIs of consumer groups.
func (g *Groups) APIs() []API {
	return []API{
		offsetCommit(g), offsetFetch(g), findCoordinator(g), joinGroup(g), heartbeat(g), leaveGroup(g), syncGroup(g), describeGroups(g),
		listGroups(g), deleteGroups(g), offsetDelete(g), consumerGroupHeartbeat(g), consumerGroupDescribe(g),
	}
}

// maxGroupName bounds what is kept of strangers' groups. Kafka has no such bound; names are words or UUIDs.
const maxGroupName = 1000

// groupOperations are what a client may do with a group when there are no ACLs: read, delete, describe.
const groupOperations = 1<<3 | 1<<6 | 1<<8

// coordinator finds the coordinator of a group.
func (g *Groups) coordinator(name string) (*group.Coordinator, error) {
	if len(name) > maxGroupName {
		return nil, refuse(kerr.InvalidGroupID, fmt.Sprintf("a group id of %d bytes, %d are allowed", len(name), maxGroupName))
	}
	return g.Coordinators.Coordinator(g.Cluster.State().GroupJournal(name))
}

// do hands an event to a group and gives how to wait for the answer. Members' requests and commits need a group id; what only asks or
// deletes finds nothing in the group without a name.
func (g *Groups) do(name string, ev group.Event) func(context.Context) (group.Answer, error) {
	c, err := g.coordinator(name)
	return doWith(c, err, name, ev)
}

func (g *Groups) doMember(name string, ev group.Event) func(context.Context) (group.Answer, error) {
	c, err := g.memberCoordinator(name)
	return doWith(c, err, name, ev)
}

func doWith(c *group.Coordinator, err error, name string, ev group.Event) func(context.Context) (group.Answer, error) {
	if err != nil {
		return func(context.Context) (group.Answer, error) { return nil, err }
	}
	return c.Do(name, ev).Wait
}

// memberCoordinator finds the coordinator of a group that can have members.
func (g *Groups) memberCoordinator(name string) (*group.Coordinator, error) {
	if name == "" {
		return nil, refuse(kerr.InvalidGroupID, "the group id is empty")
	}
	return g.coordinator(name)
}

// groupError is the code for an error of a group or its coordinator. What is not known to have failed for good lets the client look
// for the coordinator again.
func groupError(err error) *kerr.Error {
	if coded, ok := errors.AsType[errCode](err); ok {
		return coded.code
	}
	if refused, ok := errors.AsType[*kerr.Error](err); ok {
		return refused
	}
	switch {
	case errors.Is(err, journal.ErrNotOwner), errors.Is(err, group.ErrStopped):
		return kerr.NotCoordinator
	case errors.Is(err, group.ErrNotFound), errors.Is(err, group.ErrNotClassic), errors.Is(err, group.ErrNotConsumer):
		return kerr.GroupIDNotFound
	}
	return kerr.CoordinatorNotAvailable
}

// gone reports whether a request ended because its client did: there is nobody to answer.
func gone(ctx context.Context, err error) bool {
	return err != nil && ctx.Err() != nil
}

// code is the number of an error of a group; 0 for nil.
func code(err *kerr.Error) int16 {
	if err == nil {
		return 0
	}
	return err.Code
}

// deref is the text of a nullable string; "" for null.
func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// nullable is a text in which "" is null.
func nullable(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
