package group

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firn-io/firn/kfs"
)

// TestClassicModel leads groups of the classic protocol through the lives of clients that do as they should, eager or cooperative:
// they come, go, crash and start anew, and answers are lost. No two members of a generation read the same partition, every commit of
// one is allowed and no other one, and once nothing fails any more all partitions are read. A failure names its seed.
func TestClassicModel(t *testing.T) {
	eachSeed(t, 2000, func(seed uint64, log io.Writer) { newClassicLife(seed, log).live() })
}

// classicLife is one random life.
type classicLife struct {
	rnd         *rand.Rand
	log         io.Writer // nil for none
	now         time.Time
	g           *Group
	cooperative bool
	clients     []*joiner
	waiting     map[Token]*joiner // nil: the client has given up
	names       int
	last        Token
	calm        bool // nothing fails any more
}

func newClassicLife(seed uint64, log io.Writer) *classicLife {
	l := &classicLife{rnd: rand.New(rand.NewPCG(seed, 2)), log: log, now: start, waiting: map[Token]*joiner{}}
	l.cooperative = l.one(2)
	l.g = New(l.now, Config{OffsetRetention: time.Hour})
	return l
}

func (l *classicLife) fail(format string, args ...any) { panic(failure(fmt.Sprintf(format, args...))) }

func (l *classicLife) note(format string, args ...any) {
	if l.log != nil {
		fmt.Fprintf(l.log, "%s "+format+"\n", append([]any{l.now.Sub(start)}, args...)...)
	}
}

// one reports whether something happens that does once in n times.
func (l *classicLife) one(n int) bool { return l.rnd.IntN(n) == 0 }

func (l *classicLife) newID() string {
	l.names++
	return fmt.Sprintf("m%03d", l.names)
}

func (l *classicLife) live() {
	for range 150 {
		l.event()
		if l.one(3) {
			l.pass(time.Duration(l.rnd.IntN(4000)) * time.Millisecond)
		}
	}
	l.calm = true
	l.clients = slices.DeleteFunc(l.clients, func(j *joiner) bool { return j.silent })
	for range 600 { // ten minutes: a client that was given up while it joined is waited for for five
		if l.pass(time.Second); l.settled() == "" {
			break
		}
		for _, j := range l.clients {
			l.drive(j)
		}
	}
	if why := l.settled(); why != "" {
		l.fail("after ten minutes without a failure %s", why)
	}
	l.clients = nil
	l.pass(3 * time.Hour)
	if !l.g.Ended() || l.g.Bytes() != 0 || len(l.waiting) != 0 {
		l.fail("after hours of silence the group is %s with %d bytes, and %d wait for answers", l.g.State(), l.g.Bytes(), len(l.waiting))
	}
}

// event is something that happens.
func (l *classicLife) event() {
	if len(l.clients) == 0 || len(l.clients) < maxReaders && l.one(12) {
		j := &joiner{cooperative: l.cooperative, stage: joins}
		if l.one(3) {
			j.instance = fmt.Sprintf("i%d", l.rnd.IntN(3))
		}
		if !slices.ContainsFunc(l.clients, func(o *joiner) bool { return j.instance != "" && o.instance == j.instance }) {
			l.clients = append(l.clients, j)
		}
		return
	}
	i := l.rnd.IntN(len(l.clients))
	j := l.clients[i]
	switch l.rnd.IntN(30) {
	case 0: // it leaves, a static one without a word
		l.clients = slices.Delete(l.clients, i, i+1)
		l.giveUp(j)
		if j.id != "" && j.instance == "" {
			l.step(j, Leave{Members: []LeavingMember{{MemberID: j.id}}})
		}
	case 1:
		j.silent = !j.silent
	case 2: // it starts anew
		l.giveUp(j)
		*j = joiner{instance: j.instance, cooperative: j.cooperative, stage: joins}
	case 3: // it gets no answer for too long
		if l.giveUp(j) {
			j.stage = joins
		}
	case 4, 5, 6:
		l.commit(j)
	default:
		if !j.silent {
			l.drive(j)
		}
	}
}

// giveUp lets a client forget what it has asked.
func (l *classicLife) giveUp(j *joiner) bool {
	_, waits := l.waiting[j.token]
	if waits {
		l.waiting[j.token] = nil
	}
	return waits
}

// drive lets a client do what is next.
func (l *classicLife) drive(j *joiner) {
	ev := j.next(l.newID)
	switch {
	case ev == nil:
	case !l.calm && l.one(15):
		l.note("%s: lost on its way", j)
		j.stage = joins
	default:
		l.step(j, ev)
	}
}

// commit lets a client commit what it reads.
func (l *classicLife) commit(j *joiner) {
	if j.stage == joins || j.owns == "" {
		return
	}
	allowed := l.current(j) && l.g.State() != CompletingRebalance
	ev := Commit{MemberID: j.id, InstanceID: j.instance, Generation: j.generation, Offsets: []kfs.GroupOffset{{Offset: 1}}}
	l.last++
	for _, e := range l.g.Step(l.now, ev.with(l.last)) {
		if _, persists := e.(Persist); persists != allowed {
			l.fail("%s commits: %+v", j, e)
		}
	}
}

// current reports whether the coordinator has the client in the group's present generation.
func (l *classicLife) current(j *joiner) bool {
	c, ok := l.g.protocol.(*classic)
	return ok && c.byID[j.id] != nil && c.generation == j.generation
}

// step gives a client's request to the group, and the answers to whom they are for.
func (l *classicLife) step(j *joiner, ev Event) {
	if l.g.Ended() { // the coordinator would have made a new one
		l.g = New(l.now, Config{OffsetRetention: time.Hour})
	}
	if j != nil {
		l.last++
		j.token = l.last
		l.waiting[l.last] = j
	}
	l.note("%T %+v", ev, ev)
	for _, e := range slices.Clone(l.g.Step(l.now, ev.with(l.last))) {
		reply, ok := e.(Reply)
		if !ok {
			continue
		}
		l.note("    %d: %+v", reply.To, reply.Answer)
		to, asked := l.waiting[reply.To]
		if !asked {
			l.fail("an answer to %d, who was not asked, or was answered", reply.To)
		}
		delete(l.waiting, reply.To)
		switch {
		case to == nil || to.token != reply.To:
		case !l.calm && l.one(15):
			l.note("%s: the answer is lost", to)
			to.stage = joins
		default:
			to.answered(reply.Answer)
		}
	}
	l.check()
}

func (l *classicLife) pass(d time.Duration) {
	end := l.now.Add(d)
	for n := 0; ; n++ {
		next := l.g.Next()
		if next.IsZero() || next.After(end) {
			break
		}
		if next.After(l.now) {
			l.now = next
		} else if n > 100 {
			l.fail("ticks do not lead on")
		}
		l.step(nil, Tick{})
	}
	l.now = end
}

// check: no two members of the present generation read the same partition.
func (l *classicLife) check() {
	owner := map[rune]*joiner{}
	for _, j := range l.clients {
		if !l.current(j) {
			continue
		}
		for _, p := range j.owns {
			if owner[p] != nil {
				l.fail("%c is read by %s and by %s", p, owner[p], j)
			}
			owner[p] = j
		}
	}
}

// settled says what is missing until everyone reads.
func (l *classicLife) settled() string {
	all := ""
	for _, j := range l.clients {
		if j.stage != reads || !l.current(j) {
			return j.String()
		}
		all += j.owns
	}
	if len(l.clients) > 0 && (l.g.State() != Stable || len(all) != len(allPartitions) || strings.Trim(all, allPartitions) != "") {
		return fmt.Sprintf("%q is read in a group that is %s", all, l.g.State())
	}
	return ""
}
