package group

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

func (g *classic) join(now time.Time, ev Join) {
	refuse := func(err *kerr.Error) {
		g.reply(ev.Token, Joined{Err: err, Generation: -1, MemberID: ev.MemberID})
	}
	switch {
	case g.state == Dead:
		refuse(kerr.CoordinatorNotAvailable) // the client looks for the coordinator again and finds a new group
	case ev.Session < MinSession || ev.Session > MaxSession:
		refuse(kerr.InvalidSessionTimeout)
	case !g.compatible(ev):
		refuse(kerr.InconsistentGroupProtocol)
	case ev.MemberID == "":
		g.joinNew(now, ev, refuse)
	case ev.InstanceID == "" && g.forget(ev.MemberID): // only dynamic members are sent back with an id
		if !g.room(ev, nil) {
			refuse(kerr.GroupMaxSizeReached)
			return
		}
		g.add(now, ev, ev.MemberID)
	default:
		m, err := g.find(ev.MemberID, ev.InstanceID)
		switch {
		case err != nil:
			refuse(err)
		case !g.room(ev, m):
			refuse(kerr.GroupMaxSizeReached)
		default:
			g.rejoin(now, m, ev)
		}
	}
}

// compatible reports whether the member speaks a protocol that all members speak.
func (g *classic) compatible(ev Join) bool {
	if ev.ProtocolType == "" || len(ev.Protocols) == 0 || len(ev.Protocols) > MaxProtocols {
		return false
	}
	if len(g.members) == 0 {
		return true
	}
	return ev.ProtocolType == g.protocolType && slices.ContainsFunc(ev.Protocols, func(p Protocol) bool { return g.allSupport(p.Name) })
}

func (g *classic) allSupport(protocol string) bool {
	return !slices.ContainsFunc(g.members, func(m *member) bool { return !m.supports(protocol) })
}

// room reports whether the group can hold the member that joins, in place of m if that is not nil.
func (g *classic) room(ev Join, m *member) bool {
	if m != nil {
		return g.bytes-m.bytes+ev.Bytes() <= MaxBytes
	}
	return g.bytes+ev.Bytes() <= MaxBytes && len(g.members)+len(g.pending) < MaxMembers
}

// Bytes is the memory that a member takes, about: all that it says of itself, and what is needed to know it.
func (ev *Join) Bytes() int {
	n := 512 + len(ev.MemberID) + len(ev.NewID) + len(ev.InstanceID) + len(ev.ClientID) + len(ev.Host) + len(ev.ProtocolType)
	for _, p := range ev.Protocols {
		n += 40 + len(p.Name) + len(p.Metadata)
	}
	return n
}

// forget takes an id out of the pending ones and reports whether it was there.
func (g *classic) forget(id string) bool {
	i := slices.IndexFunc(g.pending, func(p pendingMember) bool { return p.id == id })
	if i < 0 {
		return false
	}
	g.pending = slices.Delete(g.pending, i, i+1)
	return true
}

// joinNew takes in a member without an id.
func (g *classic) joinNew(now time.Time, ev Join, refuse func(*kerr.Error)) {
	old := g.static[ev.InstanceID]
	switch {
	case !g.room(ev, old):
		refuse(kerr.GroupMaxSizeReached)
	case old != nil:
		g.replace(now, old, ev)
	case ev.InstanceID == "" && ev.RequireMemberID:
		g.pending = append(g.pending, pendingMember{ev.NewID, now.Add(ev.Session)})
		g.reply(ev.Token, Joined{Err: kerr.MemberIDRequired, Generation: -1, MemberID: ev.NewID})
	default:
		g.add(now, ev, ev.NewID)
	}
}

func (g *classic) add(now time.Time, ev Join, id string) {
	m := &member{id: id, instance: ev.InstanceID, fresh: true}
	if len(g.members) == 0 {
		g.protocolType = ev.ProtocolType
	}
	if g.leader == "" {
		g.leader = id
	}
	g.members = append(g.members, m)
	g.byID[id] = m
	if m.instance != "" {
		g.static[m.instance] = m
	}
	g.update(m, ev)
	m.deadline = now.Add(newMemberWait)
	g.grown = true
	g.prepare(now)
}

// update takes what a member says of itself, and the request that waits now.
func (g *classic) update(m *member, ev Join) {
	if m.joining != 0 {
		// The client sent it again, so nobody listens to the first any more; but its connection may, for answers go out in order.
		g.reply(m.joining, Joined{Err: kerr.RebalanceInProgress, Generation: -1, MemberID: m.id})
	}
	g.bytes += ev.Bytes() - m.bytes
	m.bytes = ev.Bytes()
	m.client, m.host = ev.ClientID, ev.Host
	m.session, m.rebalance = ev.Session, max(ev.Rebalance, minRebalance)
	m.protocols, m.joining = ev.Protocols, ev.Token
}

// rejoin takes in a member that is known.
func (g *classic) rejoin(now time.Time, m *member, ev Join) {
	same := slices.EqualFunc(m.protocols, ev.Protocols, func(a, b Protocol) bool {
		return a.Name == b.Name && string(a.Metadata) == string(b.Metadata)
	})
	g.update(m, ev)
	switch {
	case same && g.state == CompletingRebalance, same && g.state == Stable && m.id != g.leader:
		// It may not have had the answer the first time: the same again. The leader of a stable group asks for a rebalance this way.
		g.answerJoin(now, m)
	default:
		g.prepare(now)
	}
}

// replace puts a static member that started anew into the place of what it was before, which is fenced from here on.
func (g *classic) replace(now time.Time, m *member, ev Join) {
	if m.joining != 0 {
		g.reply(m.joining, Joined{Err: kerr.FencedInstanceID, Generation: -1, MemberID: m.id})
		m.joining = 0
	}
	if m.syncing != 0 {
		g.reply(m.syncing, Synced{Err: kerr.FencedInstanceID})
		m.syncing = 0
	}
	oldID, wasLeader := m.id, m.id == g.leader
	delete(g.byID, m.id)
	m.id = ev.NewID
	g.byID[m.id] = m
	if wasLeader {
		g.leader = m.id
	}
	g.update(m, ev)
	m.alive(now)
	if g.state != Stable || g.vote() != g.protocol {
		g.prepare(now)
		return
	}
	// The member takes over the assignment without a rebalance, also if its metadata differs: a consumer that starts anew no longer
	// names the partitions that it owned, and asks for a rebalance itself if it wants other topics. A leader must not assign. A
	// client that cannot be told so is told that the leader is someone else: who it was before.
	answer := g.joined(m)
	if wasLeader && ev.SkipAssignment {
		answer.SkipAssignment = true
	} else if wasLeader {
		answer.Leader, answer.Members = oldID, nil
	}
	m.joining = 0
	g.reply(ev.Token, answer)
}

// vote is the protocol that most members like best of those that all support. Among equals the leader's order decides.
func (g *classic) vote() string {
	leader := g.byID[g.leader]
	votes := map[string]int{}
	for _, p := range leader.protocols {
		if g.allSupport(p.Name) {
			votes[p.Name] = 0
		}
	}
	for _, m := range g.members {
		for _, p := range m.protocols {
			if _, common := votes[p.Name]; common {
				votes[p.Name]++
				break
			}
		}
	}
	best := ""
	for _, p := range leader.protocols {
		if votes[p.Name] > votes[best] {
			best = p.Name
		}
	}
	return best
}

// prepare begins a rebalance, unless one is at that point already.
func (g *classic) prepare(now time.Time) {
	switch g.state {
	case PreparingRebalance:
		g.tryCompleteJoin(now)
		return
	case Empty:
		g.initial = true
		g.extend = g.rebalanceTimeout()
		g.state = PreparingRebalance
		g.delayInitially(now)
		return
	case CompletingRebalance:
		for _, m := range g.members {
			if m.syncing != 0 {
				g.answerSync(now, m, Synced{Err: kerr.RebalanceInProgress})
			}
		}
	}
	g.state = PreparingRebalance
	g.deadline = now.Add(g.rebalanceTimeout())
	g.tryCompleteJoin(now)
}

// delayInitially waits for the initial delay, of what is left to extend it by.
func (g *classic) delayInitially(now time.Time) {
	delay := min(g.cfg.InitialDelay, g.extend)
	g.extend -= delay
	g.grown = false
	g.deadline = now.Add(delay)
}

// rebalanceTimeout is the longest that any member asks for.
func (g *classic) rebalanceTimeout() time.Duration {
	var d time.Duration
	for _, m := range g.members {
		d = max(d, m.rebalance)
	}
	return d
}

// tryCompleteJoin ends the joining if everyone has joined.
func (g *classic) tryCompleteJoin(now time.Time) {
	if g.state != PreparingRebalance || g.initial || len(g.pending) > 0 {
		return
	}
	if !slices.ContainsFunc(g.members, func(m *member) bool { return m.joining == 0 }) {
		g.completeJoin(now)
	}
}

// completeJoin begins the next generation with those who have joined. Static members stay until their session ends.
func (g *classic) completeJoin(now time.Time) {
	g.initial = false
	for _, m := range slices.Clone(g.members) {
		if m.joining == 0 && m.instance == "" {
			g.drop(m)
		}
	}
	if len(g.members) > 0 && !g.electJoined() {
		g.deadline = now.Add(g.rebalanceTimeout()) // nobody is there to lead: wait on
		return
	}
	g.generation++
	g.deadline = time.Time{}
	if len(g.members) == 0 {
		g.state, g.protocol, g.assigned, g.emptySince = Empty, "", 0, now
		return
	}
	g.state, g.protocol, g.assigned = CompletingRebalance, g.vote(), 0
	g.deadline = now.Add(g.rebalanceTimeout())
	for _, m := range g.members {
		m.assignment, m.synced = nil, false
		m.alive(now)
	}
	for _, m := range g.members {
		if m.joining != 0 {
			g.answerJoin(now, m)
		}
	}
}

// electJoined keeps the leader if it has joined, or makes the first who has the leader.
func (g *classic) electJoined() bool {
	if m := g.byID[g.leader]; m != nil && m.joining != 0 {
		return true
	}
	for _, m := range g.members {
		if m.joining != 0 {
			g.leader = m.id
			return true
		}
	}
	return false
}

// answerJoin tells a member of the present generation.
func (g *classic) answerJoin(now time.Time, m *member) {
	token := m.joining
	m.joining, m.fresh = 0, false
	m.alive(now)
	g.reply(token, g.joined(m))
}

func (g *classic) joined(m *member) Joined {
	a := Joined{Generation: g.generation, ProtocolType: g.protocolType, Protocol: g.protocol, Leader: g.leader, MemberID: m.id}
	if m.id == g.leader {
		for _, o := range g.members {
			a.Members = append(a.Members, JoinedMember{o.id, o.instance, o.metadata(g.protocol)})
		}
	}
	return a
}
