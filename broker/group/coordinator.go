package group

import (
	"container/heap"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Log is where committed offsets are durable: the journal that a coordinator's groups are placed on.
type Log interface {
	// Append enqueues offsets, in the order of calls, and does not block. Those that change nothing cost no write.
	Append(offsets []kfs.GroupOffset) Append
	// Offsets are the durable offsets of a group.
	Offsets(group string) []kfs.GroupOffset
	// Groups are the groups that have durable offsets.
	Groups() []string
}

// Append is an append under way.
type Append interface {
	// Done is closed when it is durable or has failed.
	Done() <-chan struct{}
	// Err is why it failed, once it is done.
	Err() error
}

// ErrStopped is what a coordinator answers when its journal is not this broker's any more.
var ErrStopped = errors.New("the group coordinator has stopped")

// What one coordinator holds.
const (
	MaxGroups           = 50_000
	MaxCoordinatorBytes = 256 << 20 // of the members of all groups
)

// Coordinator serves the groups of one journal. All methods are for concurrent use, and none of them but Run blocks.
type Coordinator struct {
	cfg    Config
	log    Log
	now    func() time.Time
	topics func() *metadata.State
	newID  func() string
	wake   chan struct{} // to Run: something is due earlier than it knows

	mu      sync.Mutex // guards what follows; never held while anything waits
	groups  map[string]*entry
	due     timers
	armed   time.Time // what Run waits for; zero if for nothing
	bytes   int
	last    Token
	waiting map[Token]*Call
	stopped bool
}

// entry is a group with what the coordinator knows of it.
type entry struct {
	name    string
	group   *Group
	bytes   int
	at      time.Time // its next tick
	index   int       // in the timers, -1 if not there
	flights []flight  // commits that are not durable yet, oldest first
}

type flight struct {
	append  Append
	offsets []kfs.GroupOffset
}

// NewCoordinator makes the coordinator of a journal that was just taken over: its groups have offsets, but no members yet. topics
// gives the cluster's topics as they are known here now, newID a random name each time, for members.
func NewCoordinator(cfg Config, log Log, topics func() *metadata.State, now func() time.Time, newID func() string) *Coordinator {
	c := &Coordinator{cfg: cfg.withDefaults(), log: log, topics: topics, now: now, newID: newID, wake: make(chan struct{}, 1),
		groups: map[string]*entry{}, waiting: map[Token]*Call{}}
	at := now()
	for _, name := range log.Groups() {
		e := c.add(name, New(at, c.cfg))
		c.schedule(e)
	}
	return c
}

// Run lets time pass for the groups until ctx is done, and stops the coordinator then.
func (c *Coordinator) Run(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if next := c.Tick(); next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(next.Sub(c.now()))
		}
		select {
		case <-ctx.Done():
			c.Stop()
			return nil
		case <-c.wake:
		case <-timer.C:
		}
	}
}

// Tick does what is due and gives the time of what comes next; zero if nothing does. It is for who has no Run.
func (c *Coordinator) Tick() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	for len(c.due) > 0 && !c.due[0].at.After(now) {
		c.step(c.due[0], now, Tick{}, nil)
	}
	c.armed = time.Time{}
	if len(c.due) > 0 {
		c.armed = c.due[0].at
	}
	return c.armed
}

// Stop ends the coordinator: everyone who waits gets ErrStopped, as does every later request.
func (c *Coordinator) Stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	for _, call := range c.waiting {
		call.finish(nil, ErrStopped)
	}
	clear(c.waiting)
	clear(c.groups)
	c.due, c.bytes = nil, 0
}

// Do hands a request to a group. Requests of one group take effect in the order of the calls. The token of the event is set here, the
// new id of a member that joins, and the topics of a ConsumerHeartbeat.
func (c *Coordinator) Do(group string, ev Event) *Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	call := &Call{done: make(chan struct{})}
	if c.stopped {
		call.finish(nil, ErrStopped)
		return call
	}
	ev = c.complete(ev)
	now := c.now()
	e, err := c.find(group, ev, now)
	if err != nil {
		call.finish(refused(ev, err), nil)
		return call
	}
	c.last++
	c.waiting[c.last] = call
	c.step(e, now, ev.with(c.last), call)
	return call
}

// complete adds to an event what a client does not know.
func (c *Coordinator) complete(ev Event) Event {
	switch ev := ev.(type) {
	case Join:
		if ev.MemberID == "" {
			ev.NewID = c.name(ev)
		}
		return ev
	case ConsumerHeartbeat:
		ev.Cluster = c.topics()
		if ev.MemberID == "" {
			ev.NewID = c.newID()
		}
		return ev
	}
	return ev
}

// refused is the answer to an event that no group takes.
func refused(ev Event, err *kerr.Error) Answer {
	switch ev := ev.(type) {
	case Join:
		return Joined{Err: err, Generation: -1, MemberID: ev.MemberID}
	case ConsumerHeartbeat:
		return Beaten{Err: err, MemberID: ev.MemberID}
	}
	return Done{Err: err}
}

// name makes an id for a member that says who it is to those who look at the group.
func (c *Coordinator) name(ev Join) string {
	name := ev.InstanceID
	if name == "" {
		name = ev.ClientID
	}
	return name[:min(len(name), maxNameBytes)] + "-" + c.newID()
}

const maxNameBytes = 100

// find gives the group that a request is for. Only those who join and those who commit without being members make a new one; others
// talk to an empty group, which knows what to answer, and is forgotten.
func (c *Coordinator) find(name string, ev Event, now time.Time) (*entry, *kerr.Error) {
	creates := false
	switch ev := ev.(type) {
	case Join:
		if c.bytes+ev.Bytes() > MaxCoordinatorBytes {
			return nil, kerr.GroupMaxSizeReached
		}
		creates = true
	case ConsumerHeartbeat:
		if creates = ev.Epoch == epochJoin; creates && c.bytes+ev.Bytes() > MaxCoordinatorBytes {
			return nil, kerr.GroupMaxSizeReached
		}
	case Commit:
		creates = ev.Generation < 0
	case Delete:
		if c.groups[name] == nil {
			return nil, kerr.GroupIDNotFound
		}
	}
	if e := c.groups[name]; e != nil {
		return e, nil
	}
	if _, commits := ev.(Commit); commits && !creates {
		return nil, kerr.IllegalGeneration // of a group that is no more
	}
	if creates && len(c.groups) >= MaxGroups {
		return nil, kerr.CoordinatorNotAvailable
	}
	return c.add(name, New(now, c.cfg)), nil // forgotten again after the step if there is nothing to remember
}

func (c *Coordinator) add(name string, g *Group) *entry {
	e := &entry{name: name, group: g, index: -1}
	c.groups[name] = e
	return e
}

// step gives an event to a group and does what follows. call is the request's own, nil for a tick.
func (c *Coordinator) step(e *entry, now time.Time, ev Event, call *Call) {
	var durable Append // what the group's answer waits for
	for _, effect := range e.group.Step(now, ev) {
		switch effect := effect.(type) {
		case Reply:
			to := c.waiting[effect.To]
			delete(c.waiting, effect.To)
			if to == call {
				to.append = durable
			}
			to.finish(effect.Answer, nil)
		case Persist:
			delete(c.waiting, effect.To)
			call.append = c.persist(e, effect.Offsets)
			call.finish(Done{}, nil)
		case Expire:
			durable = c.persist(e, c.tombstones(e, nil))
		}
	}
	c.bytes += e.group.Bytes() - e.bytes
	e.bytes = e.group.Bytes()
	if !c.forgotten(e) {
		c.schedule(e)
	}
}

// forgotten drops a group of which nothing is left to remember.
func (c *Coordinator) forgotten(e *entry) bool {
	if !e.group.Ended() && (!e.group.Idle() || e.flying() || len(c.log.Offsets(e.name)) > 0) {
		return false
	}
	delete(c.groups, e.name)
	e.at = time.Time{}
	c.unschedule(e)
	return true
}

// persist enqueues offsets, and gives nil if there are none.
func (c *Coordinator) persist(e *entry, offsets []kfs.GroupOffset) Append {
	if len(offsets) == 0 {
		return nil
	}
	e.flying() // forget what has landed
	a := c.log.Append(offsets)
	e.flights = append(e.flights, flight{a, offsets})
	return a
}

// flying reports whether commits are under way, and forgets those that have landed.
func (e *entry) flying() bool {
	for len(e.flights) > 0 {
		select {
		case <-e.flights[0].append.Done():
			e.flights = e.flights[1:]
		default:
			return true
		}
	}
	e.flights = nil
	return false
}

// tombstones delete the group's offsets, durable and under way, of which want says yes; nil wants all.
func (c *Coordinator) tombstones(e *entry, want func(kfs.GroupOffset) bool) []kfs.GroupOffset {
	type key struct {
		topic     string
		partition int32
	}
	var out []kfs.GroupOffset
	seen := map[key]bool{}
	add := func(offsets []kfs.GroupOffset) {
		for _, o := range offsets {
			if k := (key{o.Topic, o.Partition}); !seen[k] && (want == nil || want(o)) {
				seen[k] = true
				out = append(out, kfs.GroupOffset{Group: e.name, Topic: o.Topic, TopicID: o.TopicID, Partition: o.Partition,
					Offset: -1, LeaderEpoch: -1, Committed: c.now().UnixMilli()})
			}
		}
	}
	add(c.log.Offsets(e.name))
	for _, f := range e.flights {
		add(f.offsets)
	}
	return out
}

// schedule puts the group's next tick among the timers.
func (c *Coordinator) schedule(e *entry) {
	e.at = e.group.Next()
	switch {
	case e.at.IsZero():
		c.unschedule(e)
		return
	case e.index < 0:
		heap.Push(&c.due, e)
	default:
		heap.Fix(&c.due, e.index)
	}
	if first := c.due[0].at; c.armed.IsZero() || first.Before(c.armed) {
		c.armed = first
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

func (c *Coordinator) unschedule(e *entry) {
	if e.index >= 0 {
		heap.Remove(&c.due, e.index)
	}
}

// timers are groups in order of their next tick.
type timers []*entry

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].at.Before(t[j].at) }

func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].index, t[j].index = i, j
}

// Push is heap.Interface's.
func (t *timers) Push(x any) {
	e := x.(*entry)
	e.index = len(*t)
	*t = append(*t, e)
}

// Pop is heap.Interface's.
func (t *timers) Pop() any {
	e := (*t)[len(*t)-1]
	e.index = -1
	(*t)[len(*t)-1] = nil
	*t = (*t)[:len(*t)-1]
	return e
}

// Call is a request that a coordinator has taken.
type Call struct {
	done   chan struct{}
	answer Answer
	err    error
	append Append // what has to be durable before the answer holds; nil for nothing
}

func (c *Call) finish(a Answer, err error) {
	c.answer, c.err = a, err
	close(c.done)
}

// Wait blocks until there is an answer, and until what it says is durable. Errors are ErrStopped, those of the log, and ctx's. What is
// there is given also to whose ctx has ended, so that one who must not block can ask again and again.
func (c *Call) Wait(ctx context.Context) (Answer, error) {
	if err := wait(ctx, c.done); err != nil {
		return nil, err
	}
	if c.append == nil {
		return c.answer, c.err
	}
	if err := wait(ctx, c.append.Done()); err != nil {
		return nil, err
	}
	return c.answer, c.append.Err()
}

// wait waits for done. The error is that of ctx.
func wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	default:
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
