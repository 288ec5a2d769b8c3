package group

import (
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/firn-io/firn/kfs"
)

// TestRandom leads groups of the classic protocol through random requests, of which few make sense, and checks after each step what
// must always hold. A failure names its seed.
func TestRandom(t *testing.T) { eachSeed(t, 2000, randomRequests) }

func randomRequests(seed uint64, log io.Writer) {
	l := &walk{log: log, rnd: rand.New(rand.NewPCG(seed, 0)), now: start, waiting: map[Token]Event{}}
	l.g = newClassic(l.now, Config{InitialDelay: time.Second, OffsetRetention: time.Hour}.withDefaults())
	for range 200 {
		l.step(l.event())
		if l.rnd.IntN(3) == 0 {
			l.pass(time.Duration(l.rnd.IntN(8000)) * time.Millisecond)
		}
	}
	// Nobody says anything any more: everyone is answered, and the group ends.
	l.pass(3 * time.Hour)
	if len(l.waiting) > 0 {
		l.fail("requests were never answered: %v", l.waiting)
	}
	if l.g.State() != Dead || !l.expired || len(l.g.members)+len(l.g.pending)+l.g.Bytes() != 0 {
		l.fail("after hours of silence it is %s with %d members, %d pending, %d bytes", l.g.State(), len(l.g.members), len(l.g.pending), l.g.Bytes())
	}
}

// walk is one random life, with everything that was done, for the message if it fails.
type walk struct {
	log     io.Writer // nil for none
	rnd     *rand.Rand
	g       *classic
	now     time.Time
	last    Token
	ids     []string // of all members that ever were
	waiting map[Token]Event
	expired bool
	highest int32
}

func (l *walk) fail(format string, args ...any) { panic(failure(fmt.Sprintf(format, args...))) }

func (l *walk) note(format string, args ...any) {
	if l.log != nil {
		fmt.Fprintf(l.log, format+"\n", args...)
	}
}

// event is a random one: mostly what a client could send, from a member that may be gone.
func (l *walk) event() Event {
	l.last++
	token := l.last
	id, generation := "", l.g.generation
	if len(l.ids) > 0 {
		id = l.ids[max(0, len(l.ids)-1-l.rnd.IntN(8))]
	}
	instance := ""
	if m := l.g.byID[id]; m != nil {
		instance = m.instance
	}
	if l.rnd.IntN(20) == 0 {
		instance = fmt.Sprintf("i%d", l.rnd.IntN(3))
	}
	if l.rnd.IntN(20) == 0 {
		generation--
	}
	switch l.rnd.IntN(12) {
	case 0, 1, 2:
		if l.rnd.IntN(2) == 0 {
			id = ""
		}
		return l.joinEvent(token, id, instance)
	case 3, 4, 5, 6:
		ev := Sync{Token: token, MemberID: id, InstanceID: instance, Generation: generation}
		if id == l.g.leader {
			for i, m := range l.g.members {
				ev.Assignments = append(ev.Assignments, Assignment{m.id, []byte{byte(i)}})
			}
		}
		return ev
	case 7, 8:
		return Heartbeat{Token: token, MemberID: id, InstanceID: instance, Generation: generation}
	case 9:
		return Leave{Token: token, Members: []LeavingMember{{id, instance}}}
	case 10:
		return Delete{Token: token}
	default:
		if l.rnd.IntN(4) == 0 {
			id, instance, generation = "", "", -1
		}
		return Commit{Token: token, MemberID: id, InstanceID: instance, Generation: generation, Offsets: []kfs.GroupOffset{{Offset: 1}}}
	}
}

func (l *walk) joinEvent(token Token, id, instance string) Join {
	ev := Join{Token: token, MemberID: id, InstanceID: instance, Session: MinSession + time.Duration(l.rnd.IntN(5000))*time.Millisecond,
		Rebalance: time.Duration(l.rnd.IntN(20)) * time.Second, ProtocolType: "consumer",
		RequireMemberID: l.rnd.IntN(2) == 0, SkipAssignment: l.rnd.IntN(2) == 0}
	for _, name := range []string{"range", "sticky", "robin"} {
		if l.rnd.IntN(3) > 0 {
			ev.Protocols = append(ev.Protocols, Protocol{name, []byte{byte(l.rnd.IntN(2))}})
		}
	}
	if l.rnd.IntN(10) == 0 {
		ev.ProtocolType = "connect"
	}
	if id == "" {
		ev.NewID = fmt.Sprintf("m%d", len(l.ids))
		if instance == "" && l.rnd.IntN(3) == 0 {
			ev.InstanceID = fmt.Sprintf("i%d", l.rnd.IntN(3))
		}
		l.ids = append(l.ids, ev.NewID)
	}
	return ev
}

func (l *walk) pass(d time.Duration) {
	end := l.now.Add(d)
	for n := 0; ; n++ {
		next := l.g.Next()
		if next.IsZero() || next.After(end) {
			break
		}
		if next.After(l.now) {
			l.now = next
		} else if n > 1000 {
			l.fail("ticks do not lead on from %s", l.now.Sub(start))
		}
		l.step(Tick{})
	}
	l.now = end
}

func (l *walk) step(ev Event) {
	if l.g.State() == Dead { // the coordinator would have made a new one
		l.g = newClassic(l.now, Config{InitialDelay: time.Second, OffsetRetention: time.Hour}.withDefaults())
		l.highest = 0
	}
	l.note("%s %T%+v", l.now.Sub(start), ev, ev)
	token := tokenOf(ev)
	if token != 0 {
		l.waiting[token] = ev
	}
	l.expired = false
	for _, e := range l.g.Step(l.now, ev) {
		switch e := e.(type) {
		case Reply:
			l.note("    %d: %+v", e.To, e.Answer)
			l.answered(e)
		case Persist:
			c, ok := l.waiting[e.To].(Commit)
			delete(l.waiting, e.To)
			m := l.g.byID[c.MemberID]
			if !ok || !(l.g.state == Empty && c.Generation < 0) && (m == nil || c.Generation != l.g.generation) {
				l.fail("%+v was allowed", c)
			}
		case Expire:
			l.expired = true
		}
	}
	if _, waits := l.waiting[token]; waits {
		switch ev.(type) {
		case Join, Sync:
		default:
			l.fail("%T was not answered", ev)
		}
	}
	l.check()
}

func tokenOf(ev Event) Token {
	switch ev := ev.(type) {
	case Join:
		return ev.Token
	case Sync:
		return ev.Token
	case Heartbeat:
		return ev.Token
	case Leave:
		return ev.Token
	case Commit:
		return ev.Token
	case Delete:
		return ev.Token
	}
	return 0
}

// answered checks one answer against its request.
func (l *walk) answered(r Reply) {
	ev, ok := l.waiting[r.To]
	if !ok {
		l.fail("%d is answered twice, or never asked", r.To)
	}
	delete(l.waiting, r.To)
	switch a := r.Answer.(type) {
	case Joined:
		j, ok := ev.(Join)
		if !ok {
			l.fail("%T is answered with %T", ev, a)
		}
		if a.Err == nil && (a.Generation != l.g.generation || l.g.byID[a.MemberID] == nil || len(a.Members) > 0 != (a.MemberID == a.Leader)) {
			l.fail("%+v is answered with %+v", j, a)
		}
	case Synced:
		if s, ok := ev.(Sync); !ok || a.Err == nil && (l.g.state != Stable || s.Generation != l.g.generation) {
			l.fail("%+v is answered with %+v", ev, a)
		}
	}
}

// check is what holds between any two events.
func (l *walk) check() {
	g := l.g
	bytes, instances := 0, 0
	for _, m := range g.members {
		bytes += m.bytes
		if m.instance != "" {
			instances++
		}
		switch {
		case g.byID[m.id] != m, m.instance != "" && g.static[m.instance] != m:
			l.fail("%s cannot be found", m.id)
		case m.joining != 0 && g.state != PreparingRebalance:
			l.fail("%s joins a group that is %s", m.id, g.state)
		case m.syncing != 0 && g.state != CompletingRebalance:
			l.fail("%s syncs with a group that is %s", m.id, g.state)
		case (g.state == CompletingRebalance || g.state == Stable) && !m.supports(g.protocol):
			l.fail("%s does not know %q", m.id, g.protocol)
		case m.joining != 0 && l.waiting[m.joining] == nil, m.syncing != 0 && l.waiting[m.syncing] == nil:
			l.fail("%s waits for what was answered", m.id)
		}
	}
	waits := 0
	for _, m := range g.members {
		if m.joining != 0 {
			waits++
		}
		if m.syncing != 0 {
			waits++
		}
	}
	switch {
	case bytes != g.bytes || len(g.byID) != len(g.members) || len(g.static) != instances:
		l.fail("%d bytes counted as %d, %d members known as %d, %d static as %d", bytes, g.bytes, len(g.members), len(g.byID), instances, len(g.static))
	case waits != len(l.waiting):
		l.fail("%d requests wait, %d members do", len(l.waiting), waits)
	case g.generation < l.highest:
		l.fail("generation %d after %d", g.generation, l.highest)
	case len(g.members) > 0 != (g.byID[g.leader] != nil):
		l.fail("leader %q of %d members", g.leader, len(g.members))
	case len(g.members) > 0 && (g.state == Empty || g.state == Dead):
		l.fail("%s with %d members", g.state, len(g.members))
	case g.state == PreparingRebalance && g.deadline.IsZero(), g.state == Empty && !g.deadline.IsZero():
		l.fail("%s until %s", g.state, g.deadline)
	case g.state != Dead && g.Next().IsZero():
		l.fail("nothing will ever happen to it")
	}
	l.highest = g.generation
}
