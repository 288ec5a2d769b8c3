package group

import (
	"bytes"
	"slices"

	"github.com/firn-io/firn/kfs"
)

// check is what holds between any two events.
func (l *consumerLife) check() {
	l.checkOwners()
	c, ok := l.g.protocol.(*consumer)
	if !ok {
		return
	}
	if l.seen != l.g.protocol { // it has changed its protocol meanwhile, or its coordinator
		l.seen, l.highest = l.g.protocol, 0
	}
	said, statics := 0, 0
	held := map[kfs.PartitionID]*consumerMember{}
	subs := map[*subscription]int{}
	for _, m := range c.members {
		said += m.bytes
		subs[m.sub]++
		if m.instance != "" {
			statics++
		}
		switch {
		case c.byID[m.id] != m, m.instance != "" && c.static[m.instance] != m:
			l.fail("%s cannot be found", m.id)
		case m.epoch > c.target || m.known > m.epoch:
			l.fail("%s has epoch %d, and knew %d, in a group of %d", m.id, m.epoch, m.known, c.target)
		case (m.phase == releasing) != (len(m.letGo) > 0), (m.phase == releasing) != !m.release.IsZero():
			l.fail("%s is %s and lets go of %s until %s", m.id, m.phase, describePartitions(m.letGo), m.release)
		case m.phase == settled && m.epoch == c.target && !slices.Equal(m.has, m.target):
			l.fail("%s has %s and not %s", m.id, describePartitions(m.has), describePartitions(m.target))
		case c.Next().After(m.session):
			l.fail("%s will not be missed", m.id)
		}
		for _, p := range slices.Concat(m.has, m.letGo) {
			if held[p] != nil {
				l.fail("%s/%d is %s's and %s's", p.Topic, p.Partition, held[p].id, m.id)
			}
			if held[p] = m; c.held[p].by != m || c.held[p].since > max(m.epoch, c.target) {
				l.fail("%s/%d is %s's, and noted as %+v", p.Topic, p.Partition, m.id, c.held[p])
			}
		}
	}
	for key, s := range c.subs {
		if said += s.bytes(); subs[s] != s.members || s.key != key {
			l.fail("subscription %q of %d members is counted as of %d", key, subs[s], s.members)
		}
	}
	switch {
	case len(held) != len(c.held):
		l.fail("%d partitions are held, %d noted", len(held), len(c.held))
	case len(c.byID) != len(c.members), len(c.static) != statics, len(c.subs) != len(subs), c.said != said:
		l.fail("%d members known as %d, %d static as %d, %d subscriptions as %d, %d bytes as %d", len(c.members), len(c.byID), statics, len(c.static),
			len(subs), len(c.subs), said, c.said)
	case c.epoch < l.highest || c.target > c.epoch:
		l.fail("epoch %d, target %d, after %d", c.epoch, c.target, l.highest)
	case c.Next().IsZero() && !c.dead:
		l.fail("nothing will ever happen to it")
	}
	l.highest = c.epoch
	if c.epoch == c.target && len(c.members) > 0 {
		l.checkTargets(c)
	}
}

// checkOwners: no two readers that the coordinator knows read the same partition.
func (l *consumerLife) checkOwners() {
	owner := map[kfs.PartitionID]*reader{}
	for _, r := range l.readers {
		if r.zombie {
			continue
		}
		for _, p := range r.owns {
			if other := owner[p]; other != nil {
				l.fail("%s/%d is read by %s and by %s", bytes.TrimRight(p.Topic[:], "\x00"), p.Partition, other, r)
			}
			owner[p] = r
		}
	}
}

// checkTargets: what members are to have is each partition of each topic that one of them wants, once, and as even as it can be.
func (l *consumerLife) checkTargets(c *consumer) {
	given := map[kfs.PartitionID]*consumerMember{}
	votes := map[string]int{}
	wanted := map[kfs.PartitionID]bool{}
	least, most := len(c.members[0].target), 0
	for _, m := range c.members {
		if votes[m.assignor]++; m.assignor != "" && votes[m.assignor] > len(c.members)/2 && c.assignor != m.assignor {
			l.fail("most ask for %s, and %s assigns", m.assignor, c.assignor)
		}
		least, most = min(least, len(m.target)), max(most, len(m.target))
		for _, t := range m.sub.topics {
			for p := range t.partitions {
				wanted[kfs.PartitionID{Topic: t.id, Partition: p}] = true
			}
		}
		for _, p := range m.target {
			if given[p] != nil {
				l.fail("%s/%d is given to %s and to %s", p.Topic, p.Partition, given[p].id, m.id)
			}
			given[p] = m
			if !slices.ContainsFunc(m.sub.topics, func(t topic) bool { return t.id == p.Topic && p.Partition < t.partitions }) {
				l.fail("%s did not ask for %s/%d", m.id, p.Topic, p.Partition)
			}
		}
	}
	if len(given) != len(wanted) {
		l.fail("%d partitions are given, %d are wanted", len(given), len(wanted))
	}
	if c.assignor == uniformName && len(c.subs) == 1 && most > least+1 {
		l.fail("one member is to have %d partitions, another %d", most, least)
	}
}
