// Package group coordinates consumer groups: who is in a group, who reads what, and what has been committed.
//
// A Group is the classic protocol (JoinGroup, SyncGroup, Heartbeat, LeaveGroup) as a pure state machine: Step takes the time and an
// event and gives effects, without I/O, clock, goroutine or randomness. The same events give the same effects, so its behaviour is
// written down as scripts in testdata.
//
// A Coordinator is the thin shell for the groups of one journal: it hands events to groups, answers to those who wait, and committed
// offsets to the journal. Only offsets are durable. Members are not: after a takeover groups are empty, members learn so from
// UNKNOWN_MEMBER_ID and join again, as clients of Kafka do.
package group

import (
	"cmp"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Config is what a group needs to know. A zero means the default.
type Config struct {
	// InitialDelay is how long an empty group waits for more members once the first has come, so that members that start together
	// are not rebalanced one by one; each that comes extends it, up to the rebalance timeout. Default 100 ms. Kafka's own default is
	// 3 s, which every start of a single consumer then pays; since the delay is extended, a short one serves many members as well.
	InitialDelay time.Duration
	// OffsetRetention is how long the offsets of a group without members are kept. Default 7 days, as Kafka.
	OffsetRetention time.Duration
}

func (c Config) withDefaults() Config {
	c.InitialDelay = cmp.Or(c.InitialDelay, 100*time.Millisecond)
	c.OffsetRetention = cmp.Or(c.OffsetRetention, 7*24*time.Hour)
	return c
}

// What one group may hold. The session timeouts are Kafka's defaults; Kafka bounds neither members nor bytes, but a coordinator that
// holds what strangers send must.
const (
	MinSession   = 6 * time.Second
	MaxSession   = 30 * time.Minute
	MaxMembers   = 5000     // with those that were given an id and have not come back yet
	MaxProtocols = 50       // of one member; clients have one to three
	MaxBytes     = 16 << 20 // of what the members say, and as much again of what they are assigned
)

// minRebalance is how long a rebalance may take at least, whatever a member asks for: without it a group whose static members are all
// away would begin one rebalance after the other without a pause.
const minRebalance = time.Second

// newMemberWait is how long a new member may wait for its first rebalance to end: it may be gone, and sends no heartbeats meanwhile.
const newMemberWait = 5 * time.Minute

// State is where a group is in its life, by Kafka's names.
type State string

// The states of a group.
const (
	Empty               State = "Empty"               // no members, maybe offsets
	PreparingRebalance  State = "PreparingRebalance"  // members join
	CompletingRebalance State = "CompletingRebalance" // the leader assigns
	Stable              State = "Stable"              // everyone has been assigned
	Dead                State = "Dead"                // not a group any more
)

// Group is one classic consumer group. It is not for concurrent use.
type Group struct {
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

// New makes an empty group. Its offsets, if it has any, are kept for the retention time from now on.
func New(now time.Time, cfg Config) *Group {
	return &Group{cfg: cfg.withDefaults(), state: Empty, emptySince: now, byID: map[string]*member{}, static: map[string]*member{}}
}

// Step takes an event and gives its effects in order. The slice is valid until the next Step. After each Step, Next says when a Tick
// is due.
func (g *Group) Step(now time.Time, ev Event) []Effect {
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
	case Tick:
		g.tick(now)
	}
	return g.out
}

// Next is the time at which the group wants a Tick; zero if at none.
func (g *Group) Next() time.Time {
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

// Bytes is the memory that the members take, about.
func (g *Group) Bytes() int { return g.bytes + g.assigned }

// State is where the group is in its life.
func (g *Group) State() State { return g.state }

// Idle reports whether the group has no members and expects none: without offsets there is nothing to remember of it.
func (g *Group) Idle() bool { return g.state == Empty && len(g.pending) == 0 }

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

func (g *Group) effect(e Effect) { g.out = append(g.out, e) }

func (g *Group) reply(to Token, a Answer) { g.effect(Reply{To: to, Answer: a}) }

// tick does what is due: sessions that ended first, then the phase.
func (g *Group) tick(now time.Time) {
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
func (g *Group) emptied(now time.Time) {
	if g.Idle() {
		g.emptySince = now
	}
}

func (g *Group) die() {
	g.state, g.pending = Dead, nil
	g.effect(Expire{})
}

// delete ends the group if nobody is in it.
func (g *Group) delete(ev Delete) {
	if g.state != Empty {
		g.reply(ev.Token, Done{Err: kerr.NonEmptyGroup})
		return
	}
	g.die()
	g.reply(ev.Token, Done{})
}

// find checks that a request comes from a member, and from the living one of its instance id.
func (g *Group) find(id, instance string) (*member, *kerr.Error) {
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
func (g *Group) current(id, instance string, generation int32) (*member, *kerr.Error) {
	m, err := g.find(id, instance)
	if err == nil && generation != g.generation {
		return nil, kerr.IllegalGeneration
	}
	return m, err
}
