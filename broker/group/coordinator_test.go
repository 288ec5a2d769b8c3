package group

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
	"github.com/twmb/franz-go/pkg/kerr"
)

// offsetKey names an offset in its group.
type offsetKey struct {
	topic     string
	partition int32
}

func keyOf(o kfs.GroupOffset) offsetKey { return offsetKey{o.Topic, o.Partition} }

// memoryLog is a Log whose appends land when the test says so.
type memoryLog struct {
	mu      sync.Mutex
	offsets map[string]map[offsetKey]kfs.GroupOffset
	flying  []*memoryAppend
	manual  bool // appends wait for land
}

type memoryAppend struct {
	offsets []kfs.GroupOffset
	done    chan struct{}
	err     error
}

func (a *memoryAppend) Done() <-chan struct{} { return a.done }
func (a *memoryAppend) Err() error            { return a.err }

func newLog() *memoryLog { return &memoryLog{offsets: map[string]map[offsetKey]kfs.GroupOffset{}} }

func (l *memoryLog) Append(offsets []kfs.GroupOffset) Append {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := &memoryAppend{offsets: offsets, done: make(chan struct{})}
	l.flying = append(l.flying, a)
	if !l.manual {
		l.landed(nil)
	}
	return a
}

// land ends the oldest append.
func (l *memoryLog) land(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.landed(err)
}

func (l *memoryLog) landed(err error) {
	a := l.flying[0]
	l.flying = l.flying[1:]
	if a.err = err; err == nil {
		for _, o := range a.offsets {
			if l.offsets[o.Group] == nil {
				l.offsets[o.Group] = map[offsetKey]kfs.GroupOffset{}
			}
			if l.offsets[o.Group][keyOf(o)] = o; o.Offset < 0 {
				delete(l.offsets[o.Group], keyOf(o))
			}
		}
	}
	close(a.done)
}

func (l *memoryLog) Offsets(group string) []kfs.GroupOffset {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []kfs.GroupOffset
	for _, o := range l.offsets[group] {
		out = append(out, o)
	}
	return out
}

func (l *memoryLog) Groups() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for g, offsets := range l.offsets {
		if len(offsets) > 0 {
			out = append(out, g)
		}
	}
	return out
}

func newCoordinator(l *memoryLog) *Coordinator {
	n := 0
	return NewCoordinator(Config{}, l, func() *metadata.State { return new(metadata.State) }, time.Now, func() string { n++; return fmt.Sprint(n) })
}

func offset(partition int32, offset int64) kfs.GroupOffset {
	return kfs.GroupOffset{Group: "g", Topic: "t", Partition: partition, Offset: offset, LeaderEpoch: -1}
}

func commit(offsets ...kfs.GroupOffset) Commit { return Commit{Generation: -1, Offsets: offsets} }

// answer gives what a call that must be ready has got. Tests run in synctest, where time passes only while all wait.
func answer(t *testing.T, c *Call) Answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	a, err := c.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// ready reports whether a call has its answer.
func ready(t *testing.T, c *Call) bool {
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	_, err := c.Wait(ctx)
	return !errors.Is(err, context.DeadlineExceeded)
}

func TestCommitsAreDurableAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		l.manual = true
		c := newCoordinator(l)
		var calls []*Call
		for i := range int64(3) {
			calls = append(calls, c.Do("g", commit(offset(0, 5-i))))
		}
		for i, call := range calls {
			if ready(t, call) {
				t.Fatalf("commit %d is answered before it is durable", i)
			}
			l.land(nil)
			if a := answer(t, call); a != (Done{}) {
				t.Errorf("commit %d: %+v", i, a)
			}
		}
		if got := l.Offsets("g"); !reflect.DeepEqual(got, []kfs.GroupOffset{offset(0, 3)}) {
			t.Fatalf("offsets %v", got)
		}
		boom := errors.New("boom")
		call := c.Do("g", commit(offset(0, 9)))
		l.land(boom)
		if _, err := call.Wait(t.Context()); !errors.Is(err, boom) {
			t.Fatalf("a commit that did not land: %v", err)
		}
		if e := c.groups["g"]; e == nil || e.flying() {
			t.Error("a group with offsets is forgotten, or its commits are not")
		}
	})
}

func join(id string) Join {
	return Join{MemberID: id, ClientID: "c", Session: 10 * time.Second, Rebalance: time.Minute, ProtocolType: "consumer",
		Protocols: []Protocol{{"range", []byte{0, 0, 0, 0, 0, 1, 0, 1, 't'}}}}
}

// running runs the coordinator until the test stops it.
func running(t *testing.T, c *Coordinator) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestTakeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		old := newCoordinator(l)
		stop := running(t, old)
		first := old.Do("g", join(""))
		a, err := first.Wait(t.Context())
		j, ok := a.(Joined)
		if err != nil || !ok || j.Err != nil || j.MemberID != "c-1" {
			t.Fatalf("%+v, %v", a, err)
		}
		if a := answer(t, old.Do("g", Sync{MemberID: j.MemberID, Generation: 1, Assignments: []Assignment{{j.MemberID, []byte("x")}}})); !reflect.DeepEqual(a, Synced{
			ProtocolType: "consumer", Protocol: "range", Assignment: []byte("x")}) {
			t.Fatalf("%+v", a)
		}
		if a := answer(t, old.Do("g", Commit{MemberID: j.MemberID, Generation: 1, Offsets: []kfs.GroupOffset{offset(0, 3)}})); a != (Done{}) {
			t.Fatalf("%+v", a)
		}
		waits := old.Do("g", join("")) // until the first comes
		stop()
		if _, err := waits.Wait(t.Context()); !errors.Is(err, ErrStopped) {
			t.Fatalf("who waits gets %v", err)
		}
		if _, err := old.Do("g", Heartbeat{MemberID: j.MemberID, Generation: 1}).Wait(t.Context()); !errors.Is(err, ErrStopped) {
			t.Fatalf("who comes later gets %v", err)
		}
		if _, err := old.Offsets("g", "", -1); !errors.Is(err, ErrStopped) {
			t.Fatalf("offsets of a stopped coordinator: %v", err)
		}

		c := newCoordinator(l)
		defer running(t, c)()
		if list, err := c.List(); err != nil || !reflect.DeepEqual(list, []Listed{{Group: "g", Type: Classic, State: Empty}}) {
			t.Fatalf("%+v, %v", list, err)
		}
		for _, ev := range []Event{Heartbeat{MemberID: j.MemberID, Generation: 1}, Commit{MemberID: j.MemberID, Generation: 1}} {
			if a := answer(t, c.Do("g", ev)); a != (Done{Err: kerr.UnknownMemberID}) {
				t.Errorf("%T of an old member: %+v", ev, a)
			}
		}
		if a := answer(t, c.Do("g", join(j.MemberID))).(Joined); a.Err != kerr.UnknownMemberID {
			t.Errorf("join of an old member: %+v", a)
		}
		if offsets, err := c.Offsets("g", "", -1); err != nil || len(offsets) != 1 || offsets[0] != offset(0, 3) {
			t.Errorf("%+v, %v", offsets, err)
		}
	})
}

func TestRunLetsTimePass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		c := newCoordinator(l)
		defer running(t, c)()
		begin := time.Now()
		if a, err := c.Do("g", join("")).Wait(t.Context()); err != nil || a.(Joined).Err != nil || time.Since(begin) != 100*time.Millisecond {
			t.Fatalf("%+v, %v after %s", a, err, time.Since(begin))
		}
		if d, err := c.Describe("g"); err != nil || d.State != CompletingRebalance || len(d.Members) != 1 {
			t.Fatalf("%+v", d)
		}
		time.Sleep(10 * time.Second) // fake time: its session ends
		synctest.Wait()
		if d, err := c.Describe("g"); err != ErrNotFound || c.bytes != 0 || len(c.due) != 0 {
			t.Fatalf("a group without members and offsets is %+v, with %d bytes and %d timers", d, c.bytes, len(c.due))
		}
		answer(t, c.Do("g", commit(offset(0, 1))))
		time.Sleep(7*24*time.Hour - time.Second)
		synctest.Wait()
		if len(l.Groups()) != 1 {
			t.Fatal("its offsets ended early")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if _, err := c.Describe("g"); err != ErrNotFound || len(l.Groups()) != 0 {
			t.Fatal("its offsets did not end")
		}
	})
}

func TestDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		c := newCoordinator(l)
		if a := answer(t, c.Do("g", Delete{})); a != (Done{Err: kerr.GroupIDNotFound}) {
			t.Fatalf("%+v", a)
		}
		answer(t, c.Do("g", commit(offset(0, 1))))
		l.manual = true
		flying := c.Do("g", commit(offset(1, 1)))
		call := c.Do("g", Delete{})
		l.land(nil)
		if ready(t, call) {
			t.Fatal("deleted before that was durable")
		}
		l.land(nil)
		if list, err := c.List(); err != nil || len(list) != 0 {
			t.Fatalf("left are %v, %v", list, err)
		}
		if answer(t, flying) != (Done{}) || answer(t, call) != (Done{}) || len(l.Groups()) != 0 {
			t.Fatalf("left are %v", l.offsets)
		}
	})
}

// TestNothingIsLeftOfLastOffsets: a group without members is gone with its last offset, once that is durable.
func TestNothingIsLeftOfLastOffsets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := func(string, int32) bool { return true }
		for name, gone := range map[string]func(c *Coordinator) bool{
			"describe": func(c *Coordinator) bool { _, err := c.Describe("g"); return err == ErrNotFound },
			"list":     func(c *Coordinator) bool { list, err := c.List(); return err == nil && len(list) == 0 },
			"delete offsets": func(c *Coordinator) bool {
				_, call := c.DeleteOffsets("g", all)
				return answer(t, call) == Done{Err: kerr.GroupIDNotFound}
			},
		} {
			l := newLog()
			c := newCoordinator(l)
			answer(t, c.Do("g", commit(offset(0, 1))))
			l.manual = true
			_, call := c.DeleteOffsets("g", all)
			if d, err := c.Describe("g"); err != nil || d.State != Empty {
				t.Errorf("%s: before it is durable: %v, %v", name, d.State, err)
			}
			l.land(nil)
			if answer(t, call) != (Done{}) || !gone(c) || len(c.groups) != 0 {
				t.Errorf("%s: the group is still there", name)
			}
		}
	})
}

func TestDeleteOffsets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		c := newCoordinator(l)
		defer running(t, c)()
		all := func(string, int32) bool { return true }
		if _, call := c.DeleteOffsets("g", all); answer(t, call) != (Done{Err: kerr.GroupIDNotFound}) {
			t.Fatal("there is no such group")
		}
		other := offset(0, 1)
		other.Topic = "other"
		answer(t, c.Do("g", commit(offset(0, 1), other)))
		if _, err := c.Do("g", join("")).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		subscribed, call := c.DeleteOffsets("g", all)
		if answer(t, call) != (Done{}) || !reflect.DeepEqual(subscribed, map[string]bool{"t": true, "other": false}) || !reflect.DeepEqual(l.Offsets("g"), []kfs.GroupOffset{offset(0, 1)}) {
			t.Fatalf("%v, left are %v", subscribed, l.offsets)
		}
	})
}

func TestConsumersAreBounded(t *testing.T) {
	cluster := clusterOf(t, "t:1")
	empty := ""
	joins := func(id string, topics ...string) ConsumerHeartbeat {
		return ConsumerHeartbeat{Token: 1, MemberID: id, Rebalance: time.Minute, Topics: topics, Regex: &empty, Owned: []kfs.PartitionID{}, Cluster: cluster}
	}
	answerOf := func(g *Group, ev Event) *kerr.Error { return g.Step(start, ev)[0].(Reply).Answer.(Beaten).Err }
	g := New(start, Config{})
	if err := answerOf(g, joins("first", "t")); err != nil {
		t.Fatal(err)
	}
	c := g.protocol.(*consumer)
	for i := range MaxMembers - 2 { // as if they had joined one by one, which takes seconds
		m := newConsumerMember(fmt.Sprint(i), "")
		m.sub = c.members[0].sub
		m.sub.members++
		c.members, c.byID[m.id] = append(c.members, m), m
	}
	for i, want := range []*kerr.Error{nil, kerr.GroupMaxSizeReached} {
		if err := answerOf(g, joins(fmt.Sprint("late ", i), "t")); err != want {
			t.Errorf("member %d: %v, want %v", len(c.members), err, want)
		}
	}
	if err := answerOf(g, joins("first", "u")); err != nil {
		t.Errorf("a member of a full group changes its mind: %v", err)
	}

	g = New(start, Config{})
	long := strings.Repeat("x", MaxBytes/8)
	for i, want := range []*kerr.Error{nil, nil, kerr.GroupMaxSizeReached} {
		if err := answerOf(g, joins(fmt.Sprint(i), fmt.Sprint(i, long))); err != want {
			t.Errorf("member %d: %v, want %v", i, err, want)
		}
	}
	if n := g.Bytes(); n > MaxBytes || n < MaxBytes/2 {
		t.Errorf("%d bytes of %d are counted", n, MaxBytes)
	}

	much := joins("m", "t")
	much.Epoch, much.Owned = 1, make([]kfs.PartitionID, maxOwned+1)
	if err := answerOf(g, much); err != kerr.InvalidRequest {
		t.Errorf("a member with %d partitions: %v", len(much.Owned), err)
	}
}

func TestMembersAreBounded(t *testing.T) {
	g := New(start, Config{})
	big := join("")
	big.Protocols[0].Metadata = make([]byte, MaxBytes/2)
	for i, want := range []*kerr.Error{nil, kerr.GroupMaxSizeReached} {
		big.Token, big.NewID = Token(i+1), fmt.Sprint(i)
		effects := g.Step(start, big)
		var got *kerr.Error
		if len(effects) > 0 {
			got = effects[0].(Reply).Answer.(Joined).Err
		}
		if got != want {
			t.Errorf("member %d: %v, want %v", i, got, want)
		}
	}
	many := join("")
	many.Protocols = make([]Protocol, MaxProtocols+1)
	if got := New(start, Config{}).Step(start, many)[0].(Reply).Answer.(Joined).Err; got != kerr.InconsistentGroupProtocol {
		t.Errorf("too many protocols: %v", got)
	}
	g = New(start, Config{})
	pending := join("")
	pending.RequireMemberID = true
	for i := range MaxMembers + 1 {
		pending.NewID = fmt.Sprint(i)
		got, want := g.Step(start, pending)[0].(Reply).Answer.(Joined).Err, kerr.MemberIDRequired
		if i == MaxMembers {
			want = kerr.GroupMaxSizeReached
		}
		if got != want {
			t.Fatalf("member %d: %v, want %v", i, got, want)
		}
	}
	long := join("")
	long.ClientID = strings.Repeat("x", 30_000)
	if name := newCoordinator(newLog()).name(long); len(name) != maxNameBytes+2 {
		t.Errorf("a name of %d bytes", len(name))
	}
}

// TestWaitWithoutWaiting asks for an answer with a context that has ended.
func TestWaitWithoutWaiting(t *testing.T) {
	log := &memoryLog{offsets: map[string]map[offsetKey]kfs.GroupOffset{}, manual: true}
	c := NewCoordinator(Config{}, log, func() *metadata.State { return new(metadata.State) }, time.Now, func() string { return "id" })
	over, cancel := context.WithCancel(t.Context())
	cancel()
	call := c.Do("g", Commit{Generation: -1, Offsets: []kfs.GroupOffset{{Group: "g", Topic: "t", Offset: 5}}})
	if _, err := call.Wait(over); !errors.Is(err, context.Canceled) {
		t.Fatalf("what is not durable is answered: %v", err)
	}
	log.land(nil)
	for range 100 {
		if answer, err := call.Wait(over); err != nil || answer != (Done{}) {
			t.Fatalf("what is durable is not answered: %v, %v", answer, err)
		}
	}
}
