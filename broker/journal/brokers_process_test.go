package journal_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/firn-io/firn/broker/api"
	"github.com/firn-io/firn/broker/cluster"
	"github.com/firn-io/firn/broker/group"
	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs/lease"
)

// process is one run of a broker.
type process struct {
	w    *world
	slot *slot
	id   int32
	rng  *rand.Rand // its ids
	view *cluster.View

	skew    time.Duration // of its clock, which stands still while it is suspended
	paused  bool
	long    bool      // it is paused for long
	stopped time.Time // of the world, when it was suspended; zero if its clock goes on
	leaving bool      // it was asked to stop
	dead    bool

	session    int64     // 0: none
	until      time.Time // of the session, by its own clock
	keepAlive  time.Time // when to send the next
	registered bool
	seen       int             // of what the lease service holds
	told       *metadata.State // of journal 0, that the others were told of
	heard      string          // that others have told

	tenures      []*tenure
	follower     *follower // nil while journal 0 is here
	memory       *journal.Memory
	registry     *api.Registry
	coordinators map[*journal.Journal]*group.Coordinator
	tasks        []*task
	freeing      bool
	news         int // sequence of journal 0 that it has known
}

// follower reads journal 0 along.
type follower struct {
	*journal.Stepped
	tenures          int // of the view, when it began
	began, completed int // readings
	look             time.Time
}

func (w *world) startProcess(b *slot) {
	p := &process{
		w: w, slot: b, id: b.id, rng: rand.New(rand.NewPCG(w.rng.Uint64(), 3)), skew: time.Duration(w.rng.Int64N(int64(4*time.Minute))) - 2*time.Minute,
		view:         cluster.NewView(cluster.Broker{ID: b.id, Host: fmt.Sprintf("broker%d", b.id), Port: 9092}, slog.New(slog.DiscardHandler)),
		coordinators: map[*journal.Journal]*group.Coordinator{}, memory: journal.NewMemory(2000, 1<<20),
	}
	if w.once(8) {
		p.skew *= 30
	}
	for number := range w.journals {
		p.tenures = append(p.tenures, &tenure{p: p, number: number})
	}
	p.registry = newRegistry(p)
	b.process = p
	w.say("broker %d starts", p.id)
	p.manage()
}

func (p *process) now() time.Time { return p.w.clock.Add(p.skew) }

// Read gives random bytes.
func (p *process) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(p.rng.Uint32())
	}
	return len(b), nil
}

// pause stops the process in the middle of whatever it does; suspended, its clock stands still too, as that of a machine does.
func (p *process) pause(suspended bool) {
	if p.paused || p.dead {
		return
	}
	p.paused = true
	p.w.Pauses++
	if suspended {
		p.stopped = p.w.clock
		p.w.Suspensions++
	}
	p.w.say("broker %d is paused, and its clock: %v", p.id, suspended)
}

func (p *process) resume() {
	if !p.paused {
		return
	}
	p.paused = false
	if !p.stopped.IsZero() {
		p.skew -= p.w.clock.Sub(p.stopped)
		p.stopped = time.Time{}
		p.w.doubt(lease.DefaultTTL)
	}
	p.long = false
	p.w.say("broker %d goes on", p.id) // with what it finds first: its clock, or what has come for it meanwhile
}

// kill ends the process at once. What it has sent is on its way.
func (p *process) kill() {
	p.dead, p.slot.process = true, nil
	p.abandonTasks()
	for _, c := range p.w.calls {
		if c.process == p {
			c.disconnect()
		}
	}
}

// journal makes a journal that the process drives.
func (p *process) journal(number uint32) *journal.Stepped {
	s, err := journal.NewStepped(journal.Config{
		Store: reading{p.w.store}, Journal: number, Journals: p.w.journals, FlushInterval: 200 * time.Millisecond, AppendTimeout: 20 * time.Second,
		CheckpointEvery: 4, SettleBytes: 400, SettleAge: 30 * time.Second, SettleMemory: 4000, Grace: journal.MinGrace, Memory: p.memory, Now: p.now, Rand: p,
	}, func(op *journal.Operation) {
		if m := p.w.mistake.put; m != nil && op.Put {
			m(p.w, op)
		}
		p.w.store.ask(p, op)
	})
	if err != nil {
		p.w.t.Fatal(err)
	}
	if m := p.w.mistake.of; m != nil {
		s.Mistake = m(p.w)
	}
	return s
}

// tick lets time pass for all that the process does.
func (p *process) tick() {
	p.keepSession()
	for _, t := range p.tenures {
		if t.s != nil {
			t.s.Tick()
		}
	}
	for _, t := range p.tenures {
		if t.coordinator != nil {
			t.coordinator.Tick()
		}
	}
	if f := p.follower; f != nil {
		f.Tick()
		if !f.look.IsZero() && !f.look.After(p.now()) {
			f.read()
		}
	}
	p.manage()
}

// keepSession is what a lease.Session and the watches of a cluster.Cluster do.
func (p *process) keepSession() {
	now, l := p.now(), p.w.leases
	if p.session != 0 && !now.Before(p.until) {
		p.loseSession("it has passed")
	}
	if p.slot.cut {
		return
	}
	if p.session == 0 && !p.leaving && p.idle() {
		p.session, p.until, p.keepAlive, p.registered, p.seen = l.grant(), now.Add(lease.DefaultTTL), now.Add(lease.DefaultTTL/3), false, -1
	}
	if p.session != 0 && !now.Before(p.keepAlive) {
		if p.extend(); p.keepAlive.Equal(now) || p.keepAlive.Before(now) {
			p.loseSession("the service has forgotten it")
			return
		}
	}
	if p.session == 0 {
		return
	}
	if !p.registered {
		p.registered = l.create(p.session, fmt.Sprintf("%s%d", cluster.BrokersPrefix, p.id), fmt.Sprintf(`{"id":%d,"host":"broker%d","port":9092}`, p.id, p.id))
	}
	if p.registered && p.seen != l.changes && p.w.rng.IntN(4) > 0 { // else the news are late
		p.seen = l.changes
		p.view.SeeBrokers(l.list(cluster.BrokersPrefix))
		p.view.SeeOwners(l.list(cluster.JournalsPrefix))
		p.view.SeeEnded(l.list(cluster.EndedPrefix))
		if told := l.keys[cluster.MetadataKey].value; told != p.heard {
			p.heard = told
			if f := p.follower; f != nil && !f.look.IsZero() {
				f.read()
			}
		}
	}
}

// extend keeps a session alive, if there is one.
func (p *process) extend() {
	if p.session != 0 && p.w.leases.keepAlive(p.session) {
		p.until, p.keepAlive = p.now().Add(lease.DefaultTTL), p.now().Add(lease.DefaultTTL/3)
	}
}

func (p *process) loseSession(why string) {
	if p.w.mistake.leaseForEver {
		return
	}
	p.w.LostLeases++
	p.w.say("broker %d loses its leases: %s", p.id, why)
	p.session, p.registered, p.seen = 0, false, -1
	p.view.SessionLost()
}

// connected tells whether the process has a session and reaches the lease service.
func (p *process) connected() bool {
	return p.session != 0 && p.registered && !p.slot.cut
}

// idle tells whether no journal is here.
func (p *process) idle() bool {
	for _, t := range p.tenures {
		if t.stage != nothing {
			return false
		}
	}
	return true
}

// manage does what has come to be due.
func (p *process) manage() {
	if p.paused || p.dead {
		return
	}
	for again := true; again; { // a journal that comes or goes changes what the others wait for
		again = p.follow()
		for _, t := range p.tenures {
			again = t.manage() || again
		}
	}
	p.free()
	p.runTasks()
	p.checkNews()
	if p.leaving && p.idle() {
		if p.session != 0 && !p.slot.cut {
			p.w.leases.end(p.session)
		}
		p.w.say("broker %d has stopped", p.id)
		p.kill()
	}
}

// follow is what a Cluster and a Follower do where journal 0 is another's.
func (p *process) follow() (again bool) {
	f, oldNews := p.follower, p.w.mistake.oldNews && p.follower != nil
	if p.here(0) {
		if f != nil && !oldNews {
			f.End()
			p.follower = nil
		}
		return false
	}
	if oldNews {
		f.tenures = p.view.Tenures()
	}
	if f == nil || f.tenures != p.view.Tenures() {
		p.follower = &follower{Stepped: p.journal(0), tenures: p.view.Tenures(), began: 1}
		p.follower.Follow()
		return true
	}
	if f.Halted {
		p.w.wrong("broker %d follows journal 0, and ends with %v", p.id, f.Err)
	}
	if f.AtEnd && f.look.IsZero() {
		f.completed = f.began
		f.look = p.now().Add(time.Minute)
		p.w.truth.followed(p, f)
		state, sequence := f.News()
		p.view.News(f.tenures, state, sequence)
		return true
	}
	return false
}

// read begins a reading.
func (f *follower) read() {
	f.began++
	f.look = time.Time{}
	f.Look()
}

// refresh has the follower read all that is there now. It gives what to wait for.
func (p *process) refresh() int {
	f := p.follower
	if f == nil {
		return 0
	}
	wanted := f.began + 1
	if !f.look.IsZero() {
		f.read()
	} else {
		f.look = time.Time{}
	}
	return wanted
}

// fresh tells whether what refresh wanted has been read.
func (p *process) fresh(t *tenure) bool {
	f := p.follower
	switch {
	case p.here(0):
		return true
	case f == nil:
		return false
	case t.reads != f: // another has come since: it has to read anew
		t.reads, t.wanted = f, p.refresh()
	case f.completed < t.wanted && f.began < t.wanted && !f.look.IsZero():
		f.read()
	}
	return f.completed >= t.wanted
}

// here tells whether a journal is here, as the view says.
func (p *process) here(number uint32) bool {
	t := p.tenures[number]
	return t.gained
}

// checkNews checks that what is known of the metadata does not go back.
func (p *process) checkNews() {
	state, sequence := p.view.StateAt()
	if state.Cluster().ID.IsZero() {
		return
	}
	if int(sequence) < p.news {
		p.w.wrong("broker %d knew journal 0 up to %d, and knows it up to %d", p.id, p.news, sequence)
	}
	p.news = int(sequence)
	p.w.truth.stateAt(p, state, sequence)
}
