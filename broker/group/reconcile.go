package group

import (
	"slices"

	"github.com/firn-io/firn/kfs"
)

// phase is where a member is on its way to its target.
type phase string

const (
	settled   phase = "settled"   // it has what it is to have, of its epoch
	releasing phase = "releasing" // it must let go of partitions first
	waiting   phase = "waiting"   // others must let go of partitions that it is to have
)

// moveOn begins the group's next epoch, unless what members are to have is still undecided in this one.
func (c *consumer) moveOn() {
	if c.epoch == c.target {
		c.epoch++
	}
}

// retarget decides what each member is to have, if the group has moved on since it was decided last.
func (c *consumer) retarget() {
	if c.epoch == c.target {
		return
	}
	name := c.vote()
	members := make([]assignee, len(c.members))
	for i, m := range c.members {
		members[i] = assignee{key: m.key, topics: m.sub.topics, has: m.target}
	}
	by, _ := assignorOf(name)
	for i, target := range by.assign(members) {
		c.members[i].target = target
	}
	c.target, c.assignor = c.epoch, name
}

// vote is the assignor that most members ask for; among equals the order of the assignors decides.
func (c *consumer) vote() string {
	votes := map[string]int{}
	for _, m := range c.members {
		votes[m.assignor]++
	}
	best := uniformName
	for _, a := range assignors() {
		if votes[a.name] > votes[best] {
			best = a.name
		}
	}
	return best
}

// reconcile moves a member on towards its target, as far as what it owns, and what others have, allow. It reports whether the member
// is in another state then. owned is nil if the member does not say.
func (c *consumer) reconcile(m *consumerMember, owned []kfs.PartitionID) bool {
	var mine partitions
	if owned != nil {
		mine = setOf(slices.Clone(owned))
	}
	holds := func(p partitions) bool { return len(p) > 0 && (owned == nil || mine.meets(p)) }
	switch {
	case m.phase == settled && m.epoch == c.target:
		return false
	case m.phase == releasing && holds(m.letGo):
		return false
	}
	keep, drop := m.has.split(m.target)
	if holds(drop) {
		c.hold(m, keep, drop)
		m.phase = releasing
		return true
	}
	_, want := m.target.split(keep)
	var free partitions
	for _, p := range want {
		if by := c.held[p].by; by == nil || by == m {
			free = append(free, p)
		}
	}
	next := settled
	if len(free) < len(want) {
		next = waiting
	}
	moved := m.epoch != c.target || m.phase != next || len(free)+len(drop) > 0
	if moved {
		m.epoch, m.phase = c.target, next
		c.hold(m, keep.plus(free), nil)
	}
	return moved
}

// hold notes what a member has, what is new of it since its present epoch, and what it must let go of. Everything else that it had is
// free.
func (c *consumer) hold(m *consumerMember, has, letGo partitions) {
	before, now := m.has.plus(m.letGo), has.plus(letGo)
	_, free := before.split(now)
	for _, p := range free {
		delete(c.held, p)
	}
	_, given := now.split(before)
	for _, p := range given {
		c.held[p] = holding{m, m.epoch}
	}
	m.has, m.letGo = has, letGo
}
