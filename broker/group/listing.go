package group

import (
	"cmp"
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

// List gives all groups that have members or offsets, in order of name.
func (c *Coordinator) List() []Listed {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]Listed, 0, len(c.groups))
	for name, e := range c.groups {
		list = append(list, Listed{name, e.group.state, e.group.protocolType})
	}
	slices.SortFunc(list, func(a, b Listed) int { return cmp.Compare(a.Group, b.Group) })
	return list
}

// Describe gives a group as it is now; false if there is none.
func (c *Coordinator) Describe(group string) (Description, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.groups[group]
	if e == nil {
		return Description{State: Dead}, false
	}
	return e.group.Describe(), true
}

// Offsets are the durable offsets of a group. The error is ErrStopped.
func (c *Coordinator) Offsets(group string) ([]kfs.GroupOffset, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return nil, ErrStopped
	}
	return c.log.Offsets(group), nil
}

// DeleteOffsets deletes the offsets of partitions that want says yes to, unless a member reads their topic: those topics are given
// back. The call's answer is Done.
func (c *Coordinator) DeleteOffsets(group string, want func(kfs.GroupOffset) bool) (subscribed []string, call *Call) {
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
	dead := c.tombstones(e, func(o kfs.GroupOffset) bool {
		switch {
		case !want(o):
			return false
		case e.group.Subscribed(o.Topic):
			subscribed = append(subscribed, o.Topic)
			return false
		}
		return true
	})
	call.append = c.persist(e, dead)
	call.finish(Done{}, nil)
	return subscribed, call
}
