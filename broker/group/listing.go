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
	Type         Type
	State        State
	ProtocolType string
}

// Why a group cannot be described.
var (
	ErrNotFound    = errors.New("no such group")                     // nobody is in it, and it has no offsets
	ErrNotClassic  = errors.New("the group is not a classic group")  // but one of the consumer protocol
	ErrNotConsumer = errors.New("the group is not a consumer group") // but one of the classic protocol
)

// List gives all groups that have members or offsets, in order of name. The error is ErrStopped.
func (c *Coordinator) List() ([]Listed, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return nil, ErrStopped
	}
	list := make([]Listed, 0, len(c.groups))
	for name, e := range c.groups {
		if c.forgotten(e) {
			continue
		}
		of, protocolType := e.group.Kind()
		list = append(list, Listed{name, of, e.group.State(), protocolType})
	}
	slices.SortFunc(list, func(a, b Listed) int { return cmp.Compare(a.Group, b.Group) })
	return list, nil
}

// Describe gives a group of the classic protocol as it is now. Errors are ErrNotFound, ErrNotClassic and ErrStopped.
func (c *Coordinator) Describe(group string) (Description, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of, err := c.existing(group)
	if err != nil {
		return Description{State: Dead}, err
	}
	g, ok := of.protocol.(*classic)
	if !ok {
		return Description{State: Dead}, ErrNotClassic
	}
	return g.Describe(), nil
}

// DescribeConsumer gives a group of the consumer protocol as it is now. Errors are ErrNotFound, ErrNotConsumer and ErrStopped.
func (c *Coordinator) DescribeConsumer(group string) (ConsumerDescription, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of, err := c.existing(group)
	if err != nil {
		return ConsumerDescription{}, err
	}
	g, ok := of.protocol.(*consumer)
	if !ok {
		return ConsumerDescription{}, ErrNotConsumer
	}
	return g.Describe(), nil
}

// existing is a group that is there.
func (c *Coordinator) existing(group string) (*Group, error) {
	if c.stopped {
		return nil, ErrStopped
	}
	e := c.groups[group]
	if e == nil || c.forgotten(e) { // its last offsets may have been deleted since its last step
		return nil, ErrNotFound
	}
	return e.group, nil
}

// Offsets are the durable offsets of a group, in no order. Who asks as a member of the consumer protocol, by an id and an epoch, must
// be one that knows its epoch; others have "" and -1. Errors are ErrStopped, or *kerr.Error for such a member.
func (c *Coordinator) Offsets(group, memberID string, epoch int32) ([]kfs.GroupOffset, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return nil, ErrStopped
	}
	if e := c.groups[group]; e != nil {
		if err := e.group.MayFetch(memberID, epoch); err != nil {
			return nil, err
		}
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
	case e == nil || c.forgotten(e):
		call.finish(Done{Err: kerr.GroupIDNotFound}, nil)
		return nil, call
	case e.group.State() != Empty && !e.group.reads():
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
