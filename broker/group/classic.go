package group

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// classic is a group of the classic protocol.
type classic struct {
	cfg          Config
	state        State
	generation   int32
	protocolType string
	protocol     string
	leader       string
	members      []*member // in the order in which they came
	byID         map[string]*member
	static       map[string]*member // by instance id
	pending      []pendingMember
	bytes        int       // of the members
	assigned     int       // bytes of the assignments
	emptySince   time.Time // or the last commit to the empty group

	// The phase that the group is in ends at the deadline: joining in PreparingRebalance; syncing from CompletingRebalance on, until
	// everyone has.
	deadline time.Time
	initial  bool          // the group was empty: the deadline is the initial delay
	extend   time.Duration // how far the initial delay may still be extended
	grown    bool          // a member came since the initial delay was last set

	out []Effect
}

// pendingMember was given a member id and has to come back with it.
type pendingMember struct {
	id       string
	deadline time.Time
}

type member struct {
	id, instance string
	client, host string
	session      time.Duration
	rebalance    time.Duration
	protocols    []Protocol
	bytes        int // of all that it says of itself
	assignment   []byte
	joining      Token // the JoinGroup that waits, or 0
	syncing      Token // the SyncGroup that waits, or 0
	fresh        bool  // waits for its first generation
	synced       bool  // in this generation
	deadline     time.Time
}

func newClassic(emptySince time.Time, cfg Config) *classic {
	return &classic{cfg: cfg, state: Empty, emptySince: emptySince, byID: map[string]*member{}, static: map[string]*member{}}
}

func (g *classic) Step(now time.Time, ev Event) []Effect {
	g.out = g.out[:0]
	switch ev := ev.(type) {
	case Join:
		g.join(now, ev)
	case Sync:
		g.sync(now, ev)
	case Heartbeat:
		g.heartbeat(now, ev)
	case Leave:
		g.leave(now, ev)
	case Commit:
		g.commit(now, ev)
	case Delete:
		g.delete(ev)
	case ConsumerHeartbeat:
		g.consumerHeartbeat(ev)
	case Tick:
		g.tick(now)
	}
	return g.out
}

func (g *classic) Next() time.Time {
	if g.state == Dead {
		return time.Time{}
	}
	next := g.deadline
	sooner := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	for _, p := range g.pending {
		sooner(p.deadline)
	}
	for _, m := range g.members {
		if m.expires() {
			sooner(m.deadline)
		}
	}
	if g.Idle() {
		sooner(g.emptySince.Add(g.cfg.OffsetRetention))
	}
	return next
}

func (g *classic) Bytes() int { return g.bytes + g.assigned }

func (g *classic) State() State { return g.state }

func (g *classic) Ended() bool { return g.state == Dead }

func (g *classic) Idle() bool { return g.state == Empty && len(g.pending) == 0 }

func (g *classic) Since() time.Time { return g.emptySince }

func (g *classic) Kind() (Type, string) { return Classic, g.protocolType }

// MayFetch allows everyone: members of this protocol do not say who they are.
func (g *classic) MayFetch(string, int32) *kerr.Error { return nil }

// consumerHeartbeat refuses members of the other protocol: a group with members does not change its protocol. In one without, a
// member of an earlier time, before a takeover or an end of its session, begins anew.
func (g *classic) consumerHeartbeat(ev ConsumerHeartbeat) {
	a := Beaten{Err: kerr.UnknownMemberID}
	wrong := ev.check()
	switch {
	case wrong != nil:
		a = Beaten{Err: wrong.code, Message: wrong.text}
	case g.state == Dead:
		a = Beaten{Err: kerr.CoordinatorNotAvailable}
	case g.state != Empty:
		a = Beaten{Err: kerr.GroupIDNotFound, Message: "The group has members of the classic protocol. A group changes its protocol when it has no members."}
	}
	g.reply(ev.Token, a)
}

// expires reports whether the member's deadline counts: not while it waits for an answer, unless it is new.
func (m *member) expires() bool {
	return m.syncing == 0 && (m.joining == 0 || m.fresh)
}

// alive starts the member's session anew; a new member has none yet.
func (m *member) alive(now time.Time) {
	m.deadline = now.Add(m.session)
	if m.fresh {
		m.deadline = now.Add(newMemberWait)
	}
}

func (m *member) supports(protocol string) bool {
	return slices.ContainsFunc(m.protocols, func(p Protocol) bool { return p.Name == protocol })
}

func (m *member) metadata(protocol string) []byte {
	for _, p := range m.protocols {
		if p.Name == protocol {
			return p.Metadata
		}
	}
	return nil
}

func (g *classic) effect(e Effect) { g.out = append(g.out, e) }

func (g *classic) reply(to Token, a Answer) { g.effect(Reply{To: to, Answer: a}) }

// tick does what is due: sessions that ended first, then the phase.
func (g *classic) tick(now time.Time) {
	due := func(t time.Time) bool { return !now.Before(t) }
	if g.Idle() && due(g.emptySince.Add(g.cfg.OffsetRetention)) {
		g.die()
		return
	}
	if n := len(g.pending); n > 0 {
		g.pending = slices.DeleteFunc(g.pending, func(p pendingMember) bool { return due(p.deadline) })
		if len(g.pending) < n {
			g.tryCompleteJoin(now)
			g.emptied(now)
		}
	}
	phase := g.deadline
	for _, m := range slices.Clone(g.members) {
		if g.byID[m.id] == m && m.expires() && due(m.deadline) {
			g.remove(now, m)
		}
	}
	if g.deadline != phase || phase.IsZero() || !due(phase) {
		return // a phase that began just now has a tick of its own
	}
	switch {
	case g.initial && g.grown && g.extend > 0:
		g.delayInitially(now)
	case g.state == PreparingRebalance:
		g.completeJoin(now)
	default:
		g.deadline = time.Time{}
		late := slices.DeleteFunc(slices.Clone(g.members), func(m *member) bool { return m.synced })
		for _, m := range late {
			g.remove(now, m)
		}
	}
}

// emptied restarts the time of an empty group when its last pending member is gone.
func (g *classic) emptied(now time.Time) {
	if g.Idle() {
		g.emptySince = now
	}
}

func (g *classic) die() {
	g.state, g.pending = Dead, nil
	g.effect(Expire{})
}

// delete ends the group if nobody is in it.
func (g *classic) delete(ev Delete) {
	if g.state != Empty {
		g.reply(ev.Token, Done{Err: kerr.NonEmptyGroup})
		return
	}
	g.die()
	g.reply(ev.Token, Done{})
}

// find checks that a request comes from a member, and from the living one of its instance id.
func (g *classic) find(id, instance string) (*member, *kerr.Error) {
	if instance == "" {
		if m := g.byID[id]; m != nil {
			return m, nil
		}
		return nil, kerr.UnknownMemberID
	}
	m := g.static[instance]
	switch {
	case m == nil:
		return nil, kerr.UnknownMemberID
	case m.id != id:
		return nil, kerr.FencedInstanceID
	}
	return m, nil
}

// current is find for requests that name a generation.
func (g *classic) current(id, instance string, generation int32) (*member, *kerr.Error) {
	m, err := g.find(id, instance)
	if err == nil && generation != g.generation {
		return nil, kerr.IllegalGeneration
	}
	return m, err
}
