package group

import (
	"cmp"
	"errors"
	"slices"

	"github.com/firn-io/firn/kfs"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Listed is a group in a list.
type Listed struct {
	Group        string
	State        State
	ProtocolType string
}

// ErrNotFound says that there is no such group: nobody is in it, and it has no offsets.
var ErrNotFound = errors.New("no such group")

// List gives all groups that have members or offsets, in order of name. The error is ErrStopped.
func (c *Coordinator) List() ([]Listed, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return nil, ErrStopped
	}
	list := make([]Listed, 0, len(c.groups))
	for name, e := range c.groups {
		list = append(list, Listed{name, e.group.state, e.group.protocolType})
	}
	slices.SortFunc(list, func(a, b Listed) int { return cmp.Compare(a.Group, b.Group) })
	return list, nil
}

// Describe gives a group as it is now. Errors are ErrNotFound and ErrStopped.
func (c *Coordinator) Describe(group string) (Description, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return Description{}, ErrStopped
	}
	e := c.groups[group]
	if e == nil {
		return Description{State: Dead}, ErrNotFound
	}
	return e.group.Describe(), nil
}

// Offsets are the durable offsets of a group, in no order. The error is ErrStopped.
func (c *Coordinator) Offsets(group string) ([]kfs.GroupOffset, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return nil, ErrStopped
	}
	return c.log.Offsets(group), nil
}

// DeleteOffsets deletes the offsets that want says yes to, except those of topics that a member reads: these topics are given back.
// want is called under the coordinator's lock and must be quick. The call's answer is Done.
func (c *Coordinator) DeleteOffsets(group string, want func(topic string, partition int32) bool) (subscribed map[string]bool, call *Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	call = &Call{done: make(chan struct{})}
	e := c.groups[group]
	switch {
	case c.stopped:
		call.finish(nil, ErrStopped)
		return nil, call
	case e == nil:
		call.finish(Done{Err: kerr.GroupIDNotFound}, nil)
		return nil, call
	case len(e.group.members) > 0 && e.group.protocolType != "consumer":
		call.finish(Done{Err: kerr.NonEmptyGroup}, nil)
		return nil, call
	}
	subscribed = map[string]bool{}
	dead := c.tombstones(e, func(o kfs.GroupOffset) bool {
		if !want(o.Topic, o.Partition) {
			return false
		}
		if _, known := subscribed[o.Topic]; !known {
			subscribed[o.Topic] = e.group.Subscribed(o.Topic)
		}
		return !subscribed[o.Topic]
	})
	call.append = c.persist(e, dead)
	call.finish(Done{}, nil)
	return subscribed, call
}
