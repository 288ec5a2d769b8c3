package group

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
	"github.com/twmb/franz-go/pkg/kerr"
)

// TestConsumerRandom leads groups of the consumer protocol through random lives: members that come, go, crash and come back, answers
// that are lost, topics that grow, go and come again, and takeovers. After each step it checks what must always hold, and at the end
// of each life, when requests cease to fail, that everyone comes to have what it is to have. A failure names its seed.
func TestConsumerRandom(t *testing.T) {
	eachSeed(t, 2000, func(seed uint64, log io.Writer) { newConsumerLife(seed, log).live() })
}

const (
	rebalanceTime = 20 * time.Second
	lifeSteps     = 120
	maxReaders    = 6
)

// consumerLife is one random life.
type consumerLife struct {
	rnd     *rand.Rand
	log     io.Writer // nil for none
	now     time.Time
	g       *Group
	readers []*reader
	names   int
	last    Token
	cluster *metadata.State
	sizes   map[string]int // partitions of the topics that are there
	lives   map[string]int // how often a topic has been created
	calm    bool           // nothing fails any more
	seen    protocol       // what the group was last, and its epoch then
	highest int32
}

func newConsumerLife(seed uint64, log io.Writer) *consumerLife {
	l := &consumerLife{rnd: rand.New(rand.NewPCG(seed, 1)), log: log, now: start, sizes: map[string]int{}, lives: map[string]int{}}
	l.takeover()
	for range 2 {
		l.changeTopics()
	}
	return l
}

func (l *consumerLife) fail(format string, args ...any) { panic(failure(fmt.Sprintf(format, args...))) }

func (l *consumerLife) note(format string, args ...any) {
	if l.log != nil {
		fmt.Fprintf(l.log, "%s "+format+"\n", append([]any{l.now.Sub(start)}, args...)...)
	}
}

// one reports whether something happens that does once in n times.
func (l *consumerLife) one(n int) bool { return l.rnd.IntN(n) == 0 }

func (l *consumerLife) live() {
	for range lifeSteps {
		l.event()
		if l.one(3) {
			l.pass(time.Duration(l.rnd.IntN(8000)) * time.Millisecond)
		}
	}
	l.settle()
	l.end()
}

// event is something that happens.
func (l *consumerLife) event() {
	switch l.rnd.IntN(30) {
	case 0, 1, 2:
		if len(l.readers) < maxReaders {
			l.readers = append(l.readers, l.newReader())
		}
	case 3:
		l.leave()
	case 4:
		l.crash()
	case 5:
		l.changeTopics()
	case 6:
		l.resubscribe()
	case 7:
		if l.one(5) {
			l.takeover()
		}
	case 8:
		l.stranger()
	case 9, 10, 11:
		l.commit()
	default:
		if r := l.any(); r != nil && !r.silent {
			l.beat(r)
		}
	}
}

func (l *consumerLife) any() *reader {
	if len(l.readers) == 0 {
		return nil
	}
	return l.readers[l.rnd.IntN(len(l.readers))]
}

func (l *consumerLife) newID() string {
	l.names++
	return fmt.Sprintf("m%03d", l.names)
}

// newReader is a client that starts, maybe one that takes up the instance id of another.
func (l *consumerLife) newReader() *reader {
	r := &reader{id: l.newID()}
	if l.one(3) {
		r.instance = fmt.Sprintf("i%d", l.rnd.IntN(3))
	}
	l.wish(r)
	return r
}

// wish lets a reader want topics: mostly the same as everyone.
func (l *consumerLife) wish(r *reader) {
	r.topics, r.regex, r.assignor = []string{"a", "b"}, "", ""
	switch l.rnd.IntN(6) {
	case 0:
		r.topics = []string{[]string{"a", "b", "c", "none"}[l.rnd.IntN(4)]}
	case 1:
		r.topics, r.regex = nil, []string{"[ab]", "c.*|a", "x"}[l.rnd.IntN(3)]
	}
	if r.topics == nil {
		r.topics = []string{}
	}
	if l.one(6) {
		r.assignor = []string{uniformName, rangeName}[l.rnd.IntN(2)]
	}
}

func (l *consumerLife) resubscribe() {
	if r := l.any(); r != nil {
		l.wish(r)
		r.full = true
	}
}

// beat lets a reader send a heartbeat, of which the request or the answer may be lost.
func (l *consumerLife) beat(r *reader) {
	ev := r.beat(l.rnd)
	if !l.calm && l.one(10) {
		l.note("%s: lost on its way", r)
		r.full = true
		return
	}
	a := l.step(ev).(Beaten)
	if a.Err == nil && ev.Epoch == epochJoin {
		r.zombie = false // also if it does not hear of it
	}
	if !l.calm && l.one(10) {
		l.note("%s: the answer is lost", r)
		r.full = true
		l.check()
		return
	}
	r.answered(l.rnd, ev, a, l.newID)
	l.check()
}

// leave lets a reader leave: a static one for a while, mostly. Its request may be lost.
func (l *consumerLife) leave() {
	i := l.rnd.IntN(max(len(l.readers), 1))
	if i >= len(l.readers) {
		return
	}
	r := l.readers[i]
	l.readers = slices.Delete(l.readers, i, i+1)
	if !r.in || l.one(5) {
		return
	}
	ev := ConsumerHeartbeat{MemberID: r.id, InstanceID: r.instance, Epoch: epochLeave}
	if r.instance != "" && !l.one(3) {
		ev.Epoch = epochLeaveStatic
	}
	if a := l.step(ev).(Beaten); a.Err != nil && !r.zombie {
		l.fail("%s could not leave: %s", r, a.Err.Message)
	}
	l.check()
}

// crash lets a client fall silent, or speak again. It reads on.
func (l *consumerLife) crash() {
	if r := l.any(); r != nil {
		r.silent = !r.silent
		r.full = true
	}
}

// changeTopics creates, grows or deletes a topic.
func (l *consumerLife) changeTopics() {
	name := []string{"a", "b", "c", "cc"}[l.rnd.IntN(4)]
	switch {
	case l.sizes[name] == 0:
		l.sizes[name] = 1 + l.rnd.IntN(5)
		l.lives[name]++
	case l.one(3):
		delete(l.sizes, name)
	default:
		l.sizes[name] += l.rnd.IntN(3)
	}
	d := new(metadata.State).Edit()
	entries := metadata.Bootstrap(kfs.TopicID{1}, kfs.TopicID{2}, 1)
	for name, n := range l.sizes {
		entries = append(entries, kfs.Topic{ID: topicID(fmt.Sprint(name, l.lives[name])), Name: name, State: kfs.TopicLive, Journals: make([]uint32, n)})
	}
	for _, e := range entries {
		if err := d.Apply(e); err != nil {
			l.fail("topics: %v", err)
		}
	}
	l.cluster = d.State()
	l.note("topics %v", l.sizes)
}

// takeover gives the group to a coordinator that knows nothing of its members.
func (l *consumerLife) takeover() {
	l.note("takeover")
	l.g = New(l.now, Config{OffsetRetention: time.Hour})
	for _, r := range l.readers {
		r.zombie = true
	}
}

// stranger sends what is none of a member's business.
func (l *consumerLife) stranger() {
	members := l.g.State() != Empty && !l.g.Ended()
	switch l.rnd.IntN(5) {
	case 0:
		if a := l.step(Join{MemberID: "x", Session: MinSession, ProtocolType: "consumer", Protocols: []Protocol{{Name: "p"}}}).(Joined); a.Err == nil {
			l.fail("a classic member was let in: %+v", a)
		}
	case 1:
		if a := l.step(Sync{MemberID: "x"}).(Synced); a.Err != kerr.UnknownMemberID {
			l.fail("a classic member synced: %+v", a)
		}
	case 2:
		if a := l.step(Commit{Generation: -1, Offsets: []kfs.GroupOffset{{}}}).(Done); members != (a.Err != nil) {
			l.fail("a tool commits to a group with members %v: %v", members, a.Err)
		}
	case 3:
		if a := l.step(Delete{}).(Done); members != (a.Err != nil) {
			l.fail("a group with members %v is deleted: %v", members, a.Err)
		}
	case 4:
		r := l.any()
		if r == nil || r.instance == "" {
			return
		}
		l.step(Leave{Members: []LeavingMember{{InstanceID: r.instance}}})
	}
	l.check()
}

// commit lets a reader commit what it reads: whoever the coordinator knows may, and nobody else.
func (l *consumerLife) commit() {
	r := l.any()
	if r == nil || !r.in || len(r.owns) == 0 {
		return
	}
	ev := Commit{MemberID: r.id, InstanceID: r.instance, Generation: r.epoch}
	for _, p := range r.owns {
		ev.Offsets = append(ev.Offsets, kfs.GroupOffset{TopicID: p.Topic, Partition: p.Partition})
	}
	if l.one(3) {
		l.impostor(r)
	}
	if a := l.step(ev).(Done); r.zombie != (a.Err != nil) {
		l.fail("%s commits: %v", r, a.Err)
	}
}

// impostor commits what another reads, as a member that has not heard of its present epoch might.
func (l *consumerLife) impostor(r *reader) {
	other := l.any()
	c, ok := l.g.protocol.(*consumer)
	if !ok || c.byID[other.id] == nil || r.zombie || r == other {
		return
	}
	p := r.owns[l.rnd.IntN(len(r.owns))]
	ev := Commit{MemberID: other.id, Generation: c.byID[other.id].epoch - 1, Offsets: []kfs.GroupOffset{{TopicID: p.Topic, Partition: p.Partition}}}
	if a := l.step(ev).(Done); a.Err != kerr.StaleMemberEpoch {
		l.fail("%s commits %s, which %s reads: %v", other, describePartitions([]kfs.PartitionID{p}), r, a.Err)
	}
}

// step gives an event to the group, and gives its one answer. A commit that is allowed is answered with Done.
func (l *consumerLife) step(ev Event) Answer {
	if l.g.Ended() { // the coordinator would have made a new one
		l.takeover()
	}
	if beat, ok := ev.(ConsumerHeartbeat); ok {
		beat.Cluster = l.cluster
		ev = beat
	}
	l.last++
	l.note("%T %+v", ev, ev)
	var answer Answer
	for _, e := range l.g.Step(l.now, ev.with(l.last)) {
		l.note("    %+v", e)
		to := l.last
		switch e := e.(type) {
		case Reply:
			to = e.To
			if answer != nil {
				l.fail("%T is answered twice", ev)
			}
			answer = e.Answer
		case Persist:
			to, answer = e.To, Done{}
			if commit, ok := ev.(Commit); !ok || !slices.Equal(e.Offsets, commit.Offsets) {
				l.fail("%T makes %v durable", ev, e.Offsets)
			}
		case Expire:
		}
		if to != l.last {
			l.fail("an answer to %d, who was not asked", to)
		}
	}
	if _, tick := ev.(Tick); !tick && answer == nil {
		l.fail("%T is not answered", ev)
	}
	l.hear()
	return answer
}

// hear notes who has been removed and does not know.
func (l *consumerLife) hear() {
	c, ok := l.g.protocol.(*consumer)
	for _, r := range l.readers {
		if r.in && (!ok || c.byID[r.id] == nil) {
			r.zombie = true
		}
	}
}

func (l *consumerLife) pass(d time.Duration) {
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
		l.step(Tick{})
		l.check()
	}
	l.now = end
}

// settle lets everyone send its heartbeats, and expects that all have what they want soon.
func (l *consumerLife) settle() {
	l.calm = true
	l.readers = slices.DeleteFunc(l.readers, func(r *reader) bool { return r.silent })
	still := 0
	for range 60 {
		for _, r := range l.readers {
			l.beat(r)
		}
		l.pass(5 * time.Second)
		if still++; l.settled() != "" {
			still = 0
		}
		if still == 3 {
			return
		}
	}
	l.fail("after five minutes without a failure %s", l.settled())
}

// settled says what is missing until everyone has what it wants.
func (l *consumerLife) settled() string {
	if len(l.readers) == 0 {
		return ""
	}
	c, ok := l.g.protocol.(*consumer)
	if !ok || c.State() != Stable || len(c.members) != len(l.inGroup()) {
		return fmt.Sprintf("the group is %s with %d members", l.g.State(), len(l.readers))
	}
	owner := map[kfs.PartitionID]*reader{}
	for _, r := range l.inGroup() {
		m := c.byID[r.id]
		if m == nil || !slices.Equal(r.owns, m.target) || r.epoch != c.target {
			return fmt.Sprintf("%s is not where it is to be", r)
		}
		for _, p := range r.owns {
			owner[p] = r
		}
	}
	for _, r := range l.inGroup() {
		for _, t := range l.wanted(r) {
			for p := range t.partitions {
				if owner[kfs.PartitionID{Topic: t.id, Partition: p}] == nil {
					return fmt.Sprintf("nobody reads %s/%d", t.id, p)
				}
			}
		}
	}
	return ""
}

// inGroup are the readers that can be in the group: of those with one instance id, only the one that has it.
func (l *consumerLife) inGroup() []*reader {
	c, _ := l.g.protocol.(*consumer)
	return slices.DeleteFunc(slices.Clone(l.readers), func(r *reader) bool {
		return r.instance != "" && c != nil && c.static[r.instance] != nil && c.static[r.instance].id != r.id
	})
}

// wanted are the topics that a reader means, found out in the plainest way.
func (l *consumerLife) wanted(r *reader) (want []topic) {
	for _, t := range l.cluster.Topics() {
		named := slices.Contains(r.topics, t.Name)
		switch r.regex {
		case "[ab]":
			named = named || t.Name == "a" || t.Name == "b"
		case "c.*|a":
			named = named || t.Name == "a" || strings.HasPrefix(t.Name, "c")
		}
		if named {
			want = append(want, topic{t.ID, t.Partitions()})
		}
	}
	return want
}

// end lets everyone fall silent: nothing is left.
func (l *consumerLife) end() {
	l.readers = nil
	l.pass(2 * time.Hour)
	if !l.g.Ended() || l.g.Bytes() != 0 {
		l.fail("after hours of silence the group is %s with %d bytes", l.g.State(), l.g.Bytes())
	}
	if c, ok := l.g.protocol.(*consumer); ok && len(c.members)+len(c.byID)+len(c.static)+len(c.subs)+len(c.held)+c.said != 0 {
		l.fail("after hours of silence there is something left: %+v", c)
	}
}
