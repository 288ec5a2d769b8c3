package group

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

func (g *classic) sync(now time.Time, ev Sync) {
	m, err := g.current(ev.MemberID, ev.InstanceID, ev.Generation)
	switch {
	case err != nil:
	case ev.ProtocolType != "" && ev.ProtocolType != g.protocolType, ev.Protocol != "" && ev.Protocol != g.protocol:
		err = kerr.InconsistentGroupProtocol
	case g.state == PreparingRebalance:
		err = kerr.RebalanceInProgress
	}
	if err != nil {
		g.reply(ev.Token, Synced{Err: err})
		return
	}
	if m.syncing != 0 {
		g.reply(m.syncing, Synced{Err: kerr.RebalanceInProgress}) // sent again, as in update
	}
	m.syncing = ev.Token
	if g.state == CompletingRebalance && m.id == g.leader && !g.assign(ev.Assignments) {
		g.answerSync(now, m, Synced{Err: kerr.UnknownServerError}) // what Kafka answers when the assignment is too large
		return
	}
	m.synced = true
	if g.state == Stable {
		for _, o := range g.members {
			if o.syncing != 0 {
				g.answerSync(now, o, Synced{ProtocolType: g.protocolType, Protocol: g.protocol, Assignment: o.assignment})
			}
		}
	}
	if !slices.ContainsFunc(g.members, func(m *member) bool { return !m.synced }) {
		g.deadline = time.Time{}
	}
}

// assign takes the leader's assignment, or refuses one that is too large. A member that it does not name is assigned nothing.
func (g *classic) assign(assignments []Assignment) bool {
	bytes := 0
	for _, a := range assignments {
		bytes += len(a.Bytes)
	}
	if bytes > MaxBytes {
		return false
	}
	for _, a := range assignments {
		if m := g.byID[a.MemberID]; m != nil {
			m.assignment = a.Bytes
		}
	}
	g.state, g.assigned = Stable, bytes
	return true
}

func (g *classic) answerSync(now time.Time, m *member, a Synced) {
	token := m.syncing
	m.syncing = 0
	m.alive(now)
	g.reply(token, a)
}

func (g *classic) heartbeat(now time.Time, ev Heartbeat) {
	m, err := g.current(ev.MemberID, ev.InstanceID, ev.Generation)
	if err == nil {
		m.alive(now)
		if g.state == PreparingRebalance {
			err = kerr.RebalanceInProgress
		}
	}
	g.reply(ev.Token, Done{Err: err})
}

func (g *classic) leave(now time.Time, ev Leave) {
	var left []LeftMember
	var gone []*member
	for _, l := range ev.Members {
		id := l.MemberID
		if m := g.static[l.InstanceID]; m != nil && id == "" {
			id = m.id // a tool takes out a static member without knowing its id
		}
		m, err := g.find(id, l.InstanceID)
		if l.InstanceID == "" && g.forget(id) {
			err = nil
		}
		if m != nil && !slices.Contains(gone, m) {
			gone = append(gone, m)
		}
		left = append(left, LeftMember{l, err})
	}
	g.reply(ev.Token, Left{left})
	for _, m := range gone {
		g.remove(now, m)
	}
	g.tryCompleteJoin(now) // it may have waited for a pending member
	g.emptied(now)
}

// remove takes a member out and rebalances the others.
func (g *classic) remove(now time.Time, m *member) {
	if m.joining != 0 {
		g.reply(m.joining, Joined{Err: kerr.UnknownMemberID, Generation: -1})
	}
	if m.syncing != 0 {
		g.reply(m.syncing, Synced{Err: kerr.UnknownMemberID})
	}
	g.drop(m)
	g.prepare(now)
}

// drop forgets a member that waits for nothing.
func (g *classic) drop(m *member) {
	g.members = slices.DeleteFunc(g.members, func(o *member) bool { return o == m })
	g.bytes -= m.bytes
	delete(g.byID, m.id)
	if m.instance != "" {
		delete(g.static, m.instance)
	}
	if g.leader == m.id {
		g.leader = ""
		if len(g.members) > 0 {
			g.leader = g.members[0].id
		}
	}
}

func (g *classic) commit(now time.Time, ev Commit) {
	if err := g.mayCommit(now, ev); err != nil {
		g.reply(ev.Token, Done{Err: err})
		return
	}
	g.emptied(now)
	g.effect(Persist{To: ev.Token, Offsets: ev.Offsets})
}

// mayCommit: members of the present generation may, and while nobody is in the group, everyone who does not pretend to be a member.
func (g *classic) mayCommit(now time.Time, ev Commit) *kerr.Error {
	switch {
	case g.state == Dead:
		return kerr.CoordinatorNotAvailable
	case g.state == Empty && ev.Generation < 0:
		return nil
	case ev.Generation < 0 && ev.MemberID == "" && ev.InstanceID == "":
		return kerr.UnknownMemberID
	}
	m, err := g.current(ev.MemberID, ev.InstanceID, ev.Generation)
	if err != nil {
		return err
	}
	m.alive(now)
	if g.state == CompletingRebalance {
		return kerr.RebalanceInProgress
	}
	return nil
}
