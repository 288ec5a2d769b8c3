package group

import (
	"slices"
	"time"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
	"github.com/twmb/franz-go/pkg/kerr"
)

// consumer is a group of the consumer protocol (KIP-848).
//
// The group's epoch moves on whenever something happens that may ask for another assignment: a member comes or goes, wants other
// topics or another assignor, or the topics change. With the next heartbeat of any member the target is made for that epoch: what each
// member is to have. Members move to it one by one (reconcile), each with its own heartbeats, and have the epoch of the target then.
type consumer struct {
	cfg        Config
	epoch      int32
	target     int32  // the epoch that the members' targets are of
	assignor   string // that made them
	cluster    *metadata.State
	members    []*consumerMember // in order of key
	byID       map[string]*consumerMember
	static     map[string]*consumerMember // by instance id
	subs       map[string]*subscription   // by key
	held       map[kfs.PartitionID]holding
	said       int // bytes of what members say of themselves
	dead       bool
	emptySince time.Time

	out []Effect
}

// holding is who has a partition, or has not yet said that it has let go of it, and the epoch in which it was given to it.
type holding struct {
	by    *consumerMember
	since int32
}

func newConsumer(emptySince time.Time, cfg Config) *consumer {
	return &consumer{cfg: cfg, emptySince: emptySince, byID: map[string]*consumerMember{}, static: map[string]*consumerMember{},
		subs: map[string]*subscription{}, held: map[kfs.PartitionID]holding{}}
}

func (c *consumer) Step(now time.Time, ev Event) []Effect {
	c.out = c.out[:0]
	switch ev := ev.(type) {
	case ConsumerHeartbeat:
		c.heartbeat(now, ev)
	case Commit:
		c.commit(now, ev)
	case Join:
		c.reply(ev.Token, Joined{Err: c.alive(kerr.InconsistentGroupProtocol), Generation: -1, MemberID: ev.MemberID})
	case Sync:
		c.reply(ev.Token, Synced{Err: c.alive(kerr.UnknownMemberID)})
	case Heartbeat:
		c.reply(ev.Token, Done{Err: c.alive(kerr.UnknownMemberID)})
	case Leave:
		c.expel(now, ev)
	case Delete:
		c.delete(ev)
	case Tick:
		c.tick(now)
	}
	return c.out
}

// alive is what those are told who speak to the group in a way that it does not understand.
func (c *consumer) alive(err *kerr.Error) *kerr.Error {
	if c.dead {
		return kerr.CoordinatorNotAvailable // the client looks for the coordinator again and finds a new group
	}
	return err
}

func (c *consumer) Next() time.Time {
	if c.dead {
		return time.Time{}
	}
	if len(c.members) == 0 {
		return c.emptySince.Add(c.cfg.OffsetRetention)
	}
	next := c.members[0].due()
	for _, m := range c.members[1:] {
		if due := m.due(); due.Before(next) {
			next = due
		}
	}
	return next
}

func (c *consumer) Bytes() int { return c.said + heldBytes*len(c.held) }

// heldBytes is what a partition takes in held, in what its member has, and in what it is to have, about.
const heldBytes = 100 + 2*partitionBytes

func (c *consumer) State() State {
	switch {
	case c.dead:
		return Dead
	case len(c.members) == 0:
		return Empty
	case c.epoch > c.target:
		return Assigning
	case slices.ContainsFunc(c.members, func(m *consumerMember) bool { return m.phase != settled || m.epoch != c.target }):
		return Reconciling
	}
	return Stable
}

func (c *consumer) Ended() bool { return c.dead }

func (c *consumer) Idle() bool { return !c.dead && len(c.members) == 0 }

func (c *consumer) Since() time.Time { return c.emptySince }

func (c *consumer) Kind() (Type, string) { return Consumer, "consumer" }

func (c *consumer) Subscribed(topic string) bool {
	for _, s := range c.subs {
		if s.wants(topic) {
			return true
		}
	}
	return false
}

func (c *consumer) reply(to Token, a Answer) { c.out = append(c.out, Reply{To: to, Answer: a}) }

// tick removes who was silent for too long, or took too long to let go of partitions.
func (c *consumer) tick(now time.Time) {
	if len(c.members) == 0 {
		if !now.Before(c.emptySince.Add(c.cfg.OffsetRetention)) {
			c.die()
		}
		return
	}
	for _, m := range slices.Clone(c.members) {
		if !now.Before(m.due()) {
			c.remove(now, m)
		}
	}
}

func (c *consumer) die() {
	c.dead = true
	c.out = append(c.out, Expire{})
}

// delete ends the group if nobody is in it.
func (c *consumer) delete(ev Delete) {
	if c.dead || len(c.members) > 0 {
		c.reply(ev.Token, Done{Err: c.alive(kerr.NonEmptyGroup)})
		return
	}
	c.die()
	c.reply(ev.Token, Done{})
}

// expel takes out members whom a tool names, static ones maybe by their instance ids alone: members themselves leave with a heartbeat.
func (c *consumer) expel(now time.Time, ev Leave) {
	var left []LeftMember
	for _, l := range ev.Members {
		m := c.byID[l.MemberID]
		if l.InstanceID != "" {
			m = c.static[l.InstanceID]
		}
		switch {
		case m == nil:
			left = append(left, LeftMember{l, kerr.UnknownMemberID})
		case l.MemberID != "" && m.id != l.MemberID:
			left = append(left, LeftMember{l, kerr.FencedInstanceID})
		default:
			c.remove(now, m)
			left = append(left, LeftMember{LeavingMember: l})
		}
	}
	c.reply(ev.Token, Left{left})
}

func (c *consumer) commit(now time.Time, ev Commit) {
	if err := c.mayCommit(ev); err != nil {
		c.reply(ev.Token, Done{Err: err})
		return
	}
	if len(c.members) == 0 {
		c.emptySince = now
	}
	c.out = append(c.out, Persist{To: ev.Token, Offsets: ev.Offsets})
}

// mayCommit: members may that know their epoch, and while nobody is in the group, everyone who does not pretend to be a member. A
// member may say an epoch that has passed, for it commits while a heartbeat tells it the next: if it has had the partitions since then
// without a break, nobody else has read them (KIP-1251).
func (c *consumer) mayCommit(ev Commit) *kerr.Error {
	switch {
	case c.dead:
		return kerr.CoordinatorNotAvailable
	case len(c.members) == 0 && ev.Generation < 0:
		return nil
	}
	m := c.byID[ev.MemberID]
	switch {
	case m == nil:
		return kerr.UnknownMemberID
	case ev.NoEpochs:
		return kerr.UnsupportedVersion // it could not be told that its epoch is an old one
	case ev.Generation == m.epoch:
		return nil
	case ev.Generation > m.epoch:
		return kerr.StaleMemberEpoch
	}
	for _, o := range ev.Offsets {
		if h := c.held[kfs.PartitionID{Topic: o.TopicID, Partition: o.Partition}]; h.by != m || ev.Generation < h.since {
			return kerr.StaleMemberEpoch
		}
	}
	return nil
}

// MayFetch allows everyone who does not pretend to be a member.
func (c *consumer) MayFetch(memberID string, epoch int32) *kerr.Error {
	if c.dead || memberID == "" && epoch < 0 {
		return nil
	}
	m := c.byID[memberID]
	switch {
	case m == nil:
		return kerr.UnknownMemberID
	case m.epoch != epoch:
		return kerr.StaleMemberEpoch
	}
	return nil
}
