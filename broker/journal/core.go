package journal

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

// The numbers of the format that the core lives by.
const (
	// renewAfter is after what time by its own clock an idle owner reads the end before it writes.
	renewAfter = limit / 2

	retryFirst = 50 * time.Millisecond // first wait before a request is tried again; doubles, with jitter
	retryMax   = 5 * time.Second
	chainReads = 16 // objects read at a time on the way to the end
	maxMeta    = 1 << 30
)

// settings are the numbers that a core is given.
type settings struct {
	journal         uint32
	writer          kfs.WriterID
	bootstrap       []kfs.Entry // what a new journal begins with
	seed            uint64      // of the jitter
	flushInterval   time.Duration
	gather          time.Duration
	objectBytes     int64
	appendTimeout   time.Duration
	checkpointEvery uint64
	producerExpiry  time.Duration // by the store's clock
	settleBytes     int64         // of a partition that are settled as soon as they are there
	settleAge       time.Duration // of records that are settled however few they are
	settleMemory    int64         // of the segments that are made at a time
	grace           time.Duration // for how long at least nobody has needed what is deleted, by the store's clock
}

// core is the journal's state machine. It is fed with Step and never called concurrently; what readers need of it is in index, which
// has a lock of its own.
type core struct {
	settings
	rng   *rand.Rand
	phase phase
	err   error // why it stopped
	state *state
	index *index

	known   int64     // the store's time of what is known of the end, Unix milliseconds
	knownAt time.Time // when that was learnt, by our clock

	gathered      []*request
	gatheredBytes int64
	flight        *flight
	lastFlush     time.Time
	bodies        []byte   // room that sealing uses again
	end           *endRead // not nil while the end is read
	expected      map[producerKey]expectation
	upkeep        upkeep
	settling      settling
	sweep         sweeping
	closing       bool
	unreachable   bool      // the store answers nobody: whoever waits is told at once
	now           time.Time // of the event that is taken

	out    []effect
	ops    map[uint64]func(time.Time, result)
	lastOp uint64
	timers []timer
}

type phase uint8

const (
	idle    phase = iota // not started
	opening              // reading the end, putting the takeover object
	owning
	following // reading along, never writing
	reading   // reading to the end once, never writing
	stopped
)

type timer struct {
	at time.Time
	do func(time.Time)
}

// Events.
type (
	event    interface{ event() }
	started  struct{}                      // take the journal over
	running  struct{}                      // the owner is served from here on: upkeep may begin
	tick     struct{}                      // the time that wake told has come
	arrived  struct{ requests []*request } // appends, in order
	answered struct {                      // a store operation has ended
		op uint64
		result
	}
	leaving struct{} // write a checkpoint, if another owner would have more to read than he reads at a time
	closed  struct{} // write what waits, then stop
	reached struct { // the store answers, or nothing is taken until it does
		ok bool
	}
	followed struct{} // read what there is, as one who never writes
	looked   struct{} // read on
	asked    struct{} // read to the end, once
)

func (started) event()  {}
func (running) event()  {}
func (tick) event()     {}
func (arrived) event()  {}
func (answered) event() {}
func (leaving) event()  {}
func (closed) event()   {}
func (reached) event()  {}
func (followed) event() {}
func (looked) event()   {}
func (asked) event()    {}

// outcome is what a store operation came to.
type outcome uint8

const (
	unknown outcome = iota // anything may have happened
	done
	absent // there is no such object
	exists // the object is there already
)

// result is the answer of the store to an operation.
type result struct {
	outcome outcome
	body    []byte   // of a get
	size    int64    // of the whole object, of a get
	keys    []string // of a list
	time    int64    // the store's clock, Unix milliseconds
	err     error    // of an unknown outcome
}

// Effects. Operations on the store carry a number, which their answer names.
type (
	effect interface{ effect() }
	putOp  struct { // if absent
		op   uint64
		key  string
		body []byte
	}
	getOp struct {
		op       uint64
		key      string
		rng      blob.Range
		atMost   int64 // bytes
		expected int64 // bytes, if there may be many
	}
	listOp struct {
		op            uint64
		prefix, after string
		first         bool // only the first page
	}
	deleteOp struct {
		op  uint64
		key string
	}
	buildOp struct { // make segments of ranges of journal objects
		op    uint64
		parts []*part
	}
	deleted   struct{ key string } // for good
	passEnded struct{}             // the memory of segments is free
	reply     struct {             // a request is answered
		request *request
		results []Result
	}
	committed struct { // an object is in the journal
		sequence uint64
		body     []byte
		manifest *kfs.Manifest
	}
	checkpointWritten struct {
		sequence uint64
		took     time.Duration
	}
	opened   struct{ epoch int32 }
	caughtUp struct{}            // who only reads has read to the end
	halted   struct{ err error } // the core has stopped; nil: as it was asked to
	logged   struct {
		level slog.Level
		text  string
		args  []any
	}
)

func (putOp) effect()             {}
func (getOp) effect()             {}
func (listOp) effect()            {}
func (deleteOp) effect()          {}
func (buildOp) effect()           {}
func (passEnded) effect()         {}
func (deleted) effect()           {}
func (reply) effect()             {}
func (committed) effect()         {}
func (opened) effect()            {}
func (caughtUp) effect()          {}
func (checkpointWritten) effect() {}
func (halted) effect()            {}
func (logged) effect()            {}

func newCore(s settings, ix *index) *core {
	return &core{
		settings: s, index: ix, rng: rand.New(rand.NewPCG(s.seed, uint64(s.journal))),
		state: newState(s.journal, ix), ops: map[uint64]func(time.Time, result){}, expected: map[producerKey]expectation{},
	}
}

// Step takes one event and gives what is to be done about it, in order.
func (c *core) Step(now time.Time, ev event) []effect {
	c.out, c.now = nil, now
	switch ev := ev.(type) {
	case started:
		c.phase = opening
		c.unlessRestoring(c.takeOver)
	case running:
		c.upkeep.enabled = true
		c.toSettle(now)
		c.toCheckpoint(now)
		c.toSweep(now)
	case arrived:
		c.take(now, ev.requests)
	case answered:
		if then, ok := c.ops[ev.op]; ok {
			delete(c.ops, ev.op)
			if c.phase != stopped {
				then(now, ev.result)
			}
		}
	case leaving:
		c.upkeep.leaving = true
	case closed:
		c.closing = true
	case reached:
		c.reach(ev.ok)
	case followed:
		c.phase = following
		c.unlessRestoring(c.followAnew)
	case looked:
		c.look(now)
	case asked:
		c.phase = reading
		c.unlessRestoring(c.readState)
	}
	c.fire(now)
	if c.phase == owning {
		c.expire(now)
		c.tryFlush(now)
		c.tryCheckpoint(now)
		c.trySettle(now)
		c.trySweep(now)
	}
	if c.closing && c.phase != stopped && (c.phase != owning || c.flight == nil && c.end == nil && len(c.gathered) == 0) {
		c.stop(nil)
	}
	return c.out
}

// fire runs the timers that are due.
func (c *core) fire(now time.Time) {
	var due []timer
	kept := c.timers[:0]
	for _, t := range c.timers {
		if t.at.After(now) {
			kept = append(kept, t)
		} else {
			due = append(due, t)
		}
	}
	c.timers = kept
	for _, t := range due {
		if c.phase != stopped {
			t.do(now)
		}
	}
}

// wake is when the core wants its next tick; zero if it waits for events only.
func (c *core) wake() time.Time {
	if c.phase == stopped {
		return time.Time{}
	}
	var at time.Time
	sooner := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	for _, t := range c.timers {
		sooner(t.at)
	}
	if c.phase == owning {
		if t, ok := c.flushDue(); ok {
			sooner(t)
		}
		if t, ok := c.deadline(); ok {
			sooner(t)
		}
		if s := &c.settling; c.upkeep.enabled && s.pass == nil && !s.look.IsZero() && !c.closing {
			sooner(s.look)
		}
		if s := &c.sweep; c.upkeep.enabled && s.older != nil && !s.running && !s.look.IsZero() && !c.closing {
			sooner(s.look)
		}
		if u := &c.upkeep; u.enabled && u.writing == nil && !u.look.IsZero() && !c.closing {
			sooner(u.look)
		}
	}
	return at
}

func (c *core) emit(e effect) { c.out = append(c.out, e) }

func (c *core) log(level slog.Level, text string, args ...any) {
	c.emit(logged{level, text, args})
}

// op numbers an operation of which then takes the answer.
func (c *core) op(then func(time.Time, result)) uint64 {
	c.lastOp++
	c.ops[c.lastOp] = then
	return c.lastOp
}

func (c *core) put(key string, body []byte, then func(time.Time, result)) {
	c.emit(putOp{c.op(then), key, body})
}

// after runs do a while from now: the tries-th wait of a row, with jitter.
func (c *core) after(now time.Time, tries int, do func(time.Time)) {
	wait := retryMax
	if tries < 8 {
		wait = min(retryMax, retryFirst<<tries)
	}
	wait = wait/2 + time.Duration(c.rng.Int64N(int64(wait)))
	c.timers = append(c.timers, timer{now.Add(wait), do})
}

// read gets a range of an object, again and again while the outcome is unknown: reading does no harm.
func (c *core) read(key string, rng blob.Range, atMost int64, then func(time.Time, result)) {
	c.readLarge(key, rng, atMost, 0, then)
}

// readLarge is read where as many bytes as expected are no surprise.
func (c *core) readLarge(key string, rng blob.Range, atMost, expected int64, then func(time.Time, result)) {
	var try func(tries int)
	try = func(tries int) {
		c.emit(getOp{c.op(func(now time.Time, r result) {
			if r.outcome == unknown {
				c.log(slog.LevelWarn, "read fails, trying again", "key", key, "err", r.err)
				c.after(now, tries, func(time.Time) { try(tries + 1) })
				return
			}
			then(now, r)
		}), key, rng, atMost, expected})
	}
	try(0)
}

// list lists keys, again and again while that fails.
func (c *core) list(prefix, after string, first bool, then func(time.Time, result)) {
	var try func(tries int)
	try = func(tries int) {
		c.emit(listOp{c.op(func(now time.Time, r result) {
			if r.outcome == unknown {
				c.log(slog.LevelWarn, "list fails, trying again", "prefix", prefix, "err", r.err)
				c.after(now, tries, func(time.Time) { try(tries + 1) })
				return
			}
			then(now, r)
		}), prefix, after, first})
	}
	try(0)
}

// object is what can be said of a journal object from its end.
type object struct {
	manifest *kfs.Manifest
	crc      uint32
	size     int64
	time     int64 // the store's clock when it was read
}

// readObject reads the manifest of the object at a sequence; nil if there is none. Damage is an error.
func (c *core) readObject(sequence uint64, then func(now time.Time, o *object, at int64, err error)) {
	key := kfs.ObjectKey(c.journal, sequence)
	var tail func(n int64)
	tail = func(n int64) {
		c.read(key, blob.Last(n), maxMeta, func(now time.Time, r result) {
			if r.outcome == absent {
				then(now, nil, r.time, nil)
				return
			}
			m, crc, need, err := kfs.OpenTail(r.body, r.size)
			switch {
			case err == nil && need > n:
				tail(need)
				return
			case err == nil && need > 0:
				err = fmt.Errorf("object of %d bytes has no room for its manifest: %w", r.size, kfs.ErrCorrupt)
			case err == nil && (m.Journal != c.journal || m.Sequence != sequence):
				err = fmt.Errorf("it says that it is object %d of journal %d: %w", m.Sequence, m.Journal, kfs.ErrCorrupt)
			}
			if err != nil {
				then(now, nil, r.time, fmt.Errorf("%s: %w", key, err))
				return
			}
			then(now, &object{m, crc, r.size, r.time}, r.time, nil)
		})
	}
	tail(kfs.TailSize)
}

// within reports whether what is known of the end is fresh enough for an answer of that store time.
func (c *core) within(at int64) bool { return at-c.known <= limit.Milliseconds() }

// learn notes that the end was known at a time of the store.
func (c *core) learn(now time.Time, at int64) { c.known, c.knownAt = at, now }

// stop ends the core: everything that waits fails.
func (c *core) stop(err error) {
	c.phase, c.err = stopped, err
	if c.flight != nil {
		c.failAll(c.flight.requests, ErrNotOwner)
	}
	c.failAll(c.gathered, ErrNotOwner)
	c.gathered, c.gatheredBytes, c.timers = nil, 0, nil
	c.emit(halted{err})
}
