package group

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// consumerMember is a member of a group of the consumer protocol.
type consumerMember struct {
	id, instance string
	key          string // sorts members: static ones first, by what stays when they start anew
	rack         string
	client, host string
	rebalance    time.Duration
	assignor     string // that it asks for; "" for any
	sub          *subscription
	bytes        int // of all that it says of itself, without the subscription

	epoch, known int32 // its epoch, and the last that it has shown to know
	phase        phase
	has          partitions // it may read these
	letGo        partitions // it must let go of these, and has not said that it has
	target       partitions // it is to have these

	session time.Time // it is removed then, if it says nothing
	release time.Time // and then, if it has not let go; zero unless it must
}

func newConsumerMember(id, instance string) *consumerMember {
	m := &consumerMember{id: id, instance: instance, phase: settled, key: "1" + id}
	if instance != "" {
		m.key = "0" + instance
	}
	return m
}

// due is when the member is removed.
func (m *consumerMember) due() time.Time {
	if !m.release.IsZero() && m.release.Before(m.session) {
		return m.release
	}
	return m.session
}

// Bytes is the memory that a member takes, about: all that it says of itself, and what is needed to know it.
func (ev *ConsumerHeartbeat) Bytes() int {
	n := 512 + len(ev.MemberID) + len(ev.NewID) + len(ev.InstanceID) + len(ev.ClientID) + len(ev.Host) + len(ev.Assignor)
	if ev.Rack != nil {
		n += len(*ev.Rack)
	}
	if ev.Regex != nil && *ev.Regex != "" {
		n += regexBytes
	}
	for _, t := range ev.Topics {
		n += 48 + 3*len(t) // see subscription.bytes
	}
	return n
}

func (c *consumer) heartbeat(now time.Time, ev ConsumerHeartbeat) {
	refuse := func(err *kerr.Error, message string) {
		c.reply(ev.Token, Beaten{Err: err, Message: message, MemberID: ev.MemberID})
	}
	if c.dead {
		refuse(kerr.CoordinatorNotAvailable, "")
		return
	}
	if err := ev.check(); err != nil {
		refuse(err.code, err.text)
		return
	}
	if ev.Epoch == epochLeave || ev.Epoch == epochLeaveStatic {
		c.leave(now, ev, refuse)
		return
	}
	if ev.MemberID == "" {
		ev.MemberID = ev.NewID
	}
	m, err := c.member(ev)
	if err == nil {
		err = c.room(ev, m)
	}
	if err != nil {
		refuse(err.code, err.text)
		return
	}
	m = c.admit(m, ev)
	c.look(ev)
	c.update(m, ev)
	c.retarget()
	had := m.has
	if c.reconcile(m, ev.Owned) {
		m.release = time.Time{}
		if m.phase == releasing {
			m.release = now.Add(m.rebalance)
		}
	}
	m.known, m.session = ev.Epoch, now.Add(c.cfg.Session)
	c.reply(ev.Token, Beaten{
		MemberID: m.id, Epoch: m.epoch, Interval: c.cfg.Interval, Assignment: m.has,
		// A member that says all of itself has lost an answer, or is new.
		Assigned: ev.whole() || !slices.Equal(m.has, had),
	})
}

// maxOwned is how many partitions a member may say it owns: more than anybody has, but a client can send any number.
const maxOwned = 200_000

// whole reports whether the member says all of itself.
func (ev *ConsumerHeartbeat) whole() bool {
	return ev.Epoch == epochJoin || ev.Rebalance > 0 && (ev.Topics != nil || ev.Regex != nil) && ev.Owned != nil
}

// refusal is why a heartbeat is refused.
type refusal struct {
	code *kerr.Error
	text string
}

// check finds what is wrong with a request by itself.
func (ev *ConsumerHeartbeat) check() *refusal {
	invalid := func(text string) *refusal { return &refusal{kerr.InvalidRequest, text} }
	switch {
	case ev.Epoch < epochLeaveStatic:
		return invalid(fmt.Sprintf("The member epoch %d is none.", ev.Epoch))
	case ev.MemberID == "" && ev.Epoch != epochJoin:
		return invalid("The member id is empty.")
	case ev.Epoch == epochLeaveStatic && ev.InstanceID == "":
		return invalid("A member without an instance id cannot leave for a while.")
	case ev.Epoch == epochJoin && ev.Rebalance <= 0:
		return invalid("A member that joins has to say its rebalance timeout.")
	case ev.Epoch == epochJoin && (ev.Owned == nil || len(ev.Owned) > 0):
		return invalid("A member that joins owns no partitions, and has to say so.")
	case ev.Epoch == epochJoin && ev.Topics == nil && ev.Regex == nil:
		return invalid("A member that joins has to say which topics it wants.")
	}
	if len(ev.Owned) > maxOwned {
		return invalid(fmt.Sprintf("A member says that it owns %d partitions, %d are allowed.", len(ev.Owned), maxOwned))
	}
	if _, known := assignorOf(ev.Assignor); ev.Assignor != "" && !known {
		text := fmt.Sprintf("The assignor %q is not one of those that are there:", ev.Assignor)
		for _, a := range assignors() {
			text += " " + a.name
		}
		return &refusal{kerr.UnsupportedAssignor, text}
	}
	if ev.Regex != nil && *ev.Regex != "" {
		if _, err := compileRegex(*ev.Regex); err != nil {
			return &refusal{kerr.InvalidRegularExpression, err.Error()}
		}
	}
	return nil
}

// member finds who sends a heartbeat; nil for a new member. A member that joins under an id, or the instance id, of one that has left
// for a while or says that it begins anew, is that one.
func (c *consumer) member(ev ConsumerHeartbeat) (*consumerMember, *refusal) {
	m := c.byID[ev.MemberID]
	joins := ev.Epoch == epochJoin
	if ev.InstanceID != "" {
		s := c.static[ev.InstanceID]
		switch {
		case joins && m != nil && m != s:
			return nil, &refusal{kerr.InvalidRequest, "A member cannot change its instance id."}
		case joins && s != nil && s.id != ev.MemberID && s.epoch != epochLeaveStatic:
			return nil, &refusal{kerr.UnreleasedInstanceID, fmt.Sprintf("The instance id %q is still that of member %q.", s.instance, s.id)}
		case !joins && s != nil && s.id != ev.MemberID:
			return nil, &refusal{kerr.FencedInstanceID, fmt.Sprintf("The instance id %q is that of member %q.", s.instance, s.id)}
		}
		m = s
	}
	switch {
	case joins:
		return m, nil
	case m == nil:
		return nil, &refusal{kerr.UnknownMemberID, ""}
	case ev.Epoch == m.epoch, ev.Epoch == m.known && ev.Owned != nil && setOf(slices.Clone(ev.Owned)).within(m.has):
		return m, nil // the answer that told the epoch may have been lost
	}
	return nil, &refusal{kerr.FencedMemberEpoch, fmt.Sprintf("The member's epoch is %d, not %d. It must let go of its partitions and join again.", m.epoch, ev.Epoch)}
}

// room refuses a member that the group cannot hold, in place of m if that is not nil.
func (c *consumer) room(ev ConsumerHeartbeat, m *consumerMember) *refusal {
	switch {
	case m == nil && len(c.members) >= MaxMembers:
		return &refusal{kerr.GroupMaxSizeReached, fmt.Sprintf("The group has %d members, more are not allowed.", len(c.members))}
	case c.said+ev.Bytes() > MaxBytes && (m == nil || ev.Topics != nil || ev.Regex != nil):
		return &refusal{kerr.GroupMaxSizeReached, fmt.Sprintf("The group's members say %d bytes of themselves, more are not allowed.", c.said)}
	}
	return nil
}

// admit gives the member that a heartbeat comes from. One that joins has let go of everything.
func (c *consumer) admit(m *consumerMember, ev ConsumerHeartbeat) *consumerMember {
	switch {
	case m == nil:
		m = newConsumerMember(ev.MemberID, ev.InstanceID)
		at, _ := slices.BinarySearchFunc(c.members, m, func(a, b *consumerMember) int { return cmp.Compare(a.key, b.key) })
		c.members = slices.Insert(c.members, at, m)
		c.moveOn()
	case ev.Epoch != epochJoin:
		return m
	default:
		delete(c.byID, m.id)
		m.id, m.epoch = ev.MemberID, epochJoin
	}
	c.byID[m.id] = m
	if m.instance != "" {
		c.static[m.instance] = m
	}
	return m
}

// update takes what a member says of itself.
func (c *consumer) update(m *consumerMember, ev ConsumerHeartbeat) {
	m.client, m.host = ev.ClientID, ev.Host
	if ev.Rack != nil {
		m.rack = *ev.Rack
	}
	if ev.Rebalance > 0 {
		m.rebalance = max(ev.Rebalance, minRebalance)
	}
	if ev.Assignor != "" && ev.Assignor != m.assignor {
		m.assignor = ev.Assignor
		c.moveOn()
	}
	c.said -= m.bytes
	m.bytes = 512 + len(m.id) + len(m.instance) + len(m.rack) + len(m.client) + len(m.host) + len(m.assignor)
	c.said += m.bytes
	if ev.Topics == nil && ev.Regex == nil {
		return
	}
	var names []string
	regex := ""
	if m.sub != nil {
		names, regex = m.sub.names, m.sub.regex
	}
	if ev.Topics != nil {
		names = sortedNames(ev.Topics)
	}
	if ev.Regex != nil {
		regex = *ev.Regex
	}
	c.subscribe(m, names, regex)
}

// subscribe changes what a member wants to read.
func (c *consumer) subscribe(m *consumerMember, names []string, regex string) {
	key := subscriptionKey(names, regex)
	if m.sub != nil && m.sub.key == key {
		return
	}
	s := c.subs[key]
	if s == nil {
		s = &subscription{key: key, names: names, regex: regex}
		if regex != "" {
			s.pattern, _ = compileRegex(regex) // it did before
		}
		s.resolve(c.cluster)
		c.subs[key] = s
		c.said += s.bytes()
	}
	s.members++
	c.unsubscribe(m)
	m.sub = s
	c.moveOn()
}

func (c *consumer) unsubscribe(m *consumerMember) {
	s := m.sub
	if s == nil {
		return
	}
	if s.members--; s.members == 0 {
		c.said -= s.bytes()
		delete(c.subs, s.key)
	}
	m.sub = nil
}

// look takes notice of topics that have come, grown or gone.
func (c *consumer) look(ev ConsumerHeartbeat) {
	if ev.Cluster == c.cluster {
		return
	}
	c.cluster = ev.Cluster
	changed := false
	for _, s := range c.subs {
		before := s.bytes()
		changed = s.resolve(c.cluster) || changed
		c.said += s.bytes() - before
	}
	if changed {
		c.moveOn()
	}
}

// leave takes a member out, or lets a static one be away for as long as its session lasts: nobody else gets what it has meanwhile.
func (c *consumer) leave(now time.Time, ev ConsumerHeartbeat, refuse func(*kerr.Error, string)) {
	m := c.byID[ev.MemberID]
	if ev.InstanceID != "" {
		if m = c.static[ev.InstanceID]; m != nil && m.id != ev.MemberID {
			refuse(kerr.FencedInstanceID, fmt.Sprintf("The instance id %q is that of member %q.", m.instance, m.id))
			return
		}
	}
	if m == nil {
		refuse(kerr.UnknownMemberID, "")
		return
	}
	if ev.Epoch == epochLeave {
		c.remove(now, m)
	} else {
		c.hold(m, m.has, nil)
		m.epoch, m.known, m.phase, m.release = epochLeaveStatic, epochLeaveStatic, settled, time.Time{}
	}
	c.reply(ev.Token, Beaten{MemberID: ev.MemberID, Epoch: ev.Epoch})
}

// remove takes a member out. Others get what it had.
func (c *consumer) remove(now time.Time, m *consumerMember) {
	c.hold(m, nil, nil)
	c.unsubscribe(m)
	c.said -= m.bytes
	c.members = slices.DeleteFunc(c.members, func(o *consumerMember) bool { return o == m })
	delete(c.byID, m.id)
	if m.instance != "" {
		delete(c.static, m.instance)
	}
	c.moveOn()
	if len(c.members) == 0 {
		c.target, c.emptySince = c.epoch, now
	}
}
