package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

// How long a journal that is left may take.
const (
	LeaveTimeout = leaveTimeout
	DrainTimeout = drainTimeout
)

// Stepped is a Journal without goroutines, for the simulation of whole brokers. Everything but the loop is the product's: the core, the inbox, what
// callers see. Who drives it tells it time, carries its operations on the store out, and feeds back what came of them.
type Stepped struct {
	*Journal
	Mistake Mistake
	carry   func(*Operation)
	now     func() time.Time

	Opened, AtEnd, Halted bool
	Err                   error // why it halted
	Written               []Committed
	Checkpoints, Deleted  int
}

// Committed is an object that an owner has taken into the journal.
type Committed struct {
	Key  string
	Body []byte
}

// Operation is one on the store. One of the four kinds.
type Operation struct {
	Owner                   *Stepped
	Number                  uint64
	Put, Get, List, Delete  bool
	Build                   bool
	Key                     string
	Body                    []byte
	Range                   blob.Range
	Prefix, After           string
	parts                   []*part
	Takeover, JournalObject bool // of a put
}

// Answer is what came of an Operation. With Err nothing is known.
type Answer struct {
	Absent, Exists bool
	Body           []byte
	Size           int64
	Keys           []string
	Time           int64 // the store's
	Err            error
}

// NewStepped makes a journal that has not begun. carry has an operation set out.
func NewStepped(cfg Config, carry func(*Operation)) (*Stepped, error) {
	j, err := newJournal(cfg)
	if err != nil {
		return nil, err
	}
	j.core.producerExpiry = 100_000 * time.Hour
	j.shell.init(context.Background())
	return &Stepped{Journal: j, carry: carry, now: cfg.Now}, nil
}

// What can happen to it. Take takes what was appended.
func (s *Stepped) Start()  { s.step(started{}) }
func (s *Stepped) Serve()  { s.step(running{}) }
func (s *Stepped) Follow() { s.AtEnd = false; s.step(followed{}) }
func (s *Stepped) Look()   { s.AtEnd = false; s.step(looked{}) }
func (s *Stepped) Leave()  { s.step(leaving{}) }

// Close is what the loop does when it is to end: no more appends are taken.
func (s *Stepped) Close() {
	s.Take()
	s.step(closed{})
}

// Take takes what was appended since.
func (s *Stepped) Take() {
	if requests, _ := s.collect(); len(requests) > 0 {
		s.step(arrived{requests})
	}
}

// Tick lets time pass.
func (s *Stepped) Tick() {
	if at := s.core.wake(); !at.IsZero() && !at.After(s.now()) {
		s.step(tick{})
	}
}

// End is what follows the loop: nobody waits any more.
func (s *Stepped) End() { s.Journal.close() }

// Writing tells whether a checkpoint is being written.
func (s *Stepped) Writing() bool { return s.core.upkeep.writing != nil }

// Head is what a follower or owner has read last.
func (s *Stepped) Head() (sequence uint64, crc uint32, begun bool) {
	return s.core.state.sequence, s.core.state.crc, s.core.state.begun
}

// News is what a follower tells.
func (s *Stepped) News() (*metadata.State, uint64) {
	return s.core.state.metadata, s.core.state.sequence
}

// Waiting tells whether anything waits to be deleted.
func (s *Stepped) Waiting() bool { return s.core.waiting() }

// Live is the sequence of the first object that somebody needs.
func (s *Stepped) Live() uint64 { return s.core.state.live() }

// Lists tells whether the journal lists a segment, may yet adopt it, or cannot tell: below the log start, while one is listed that holds its base,
// by the journal or by one of the two newest checkpoints.
func (s *Stepped) Lists(key string) bool {
	topic, _, number, base, ok := kfs.ParseSegmentKey(key)
	id := kfs.PartitionID{Topic: topic, Partition: number}
	p, known := s.index.partitions[id]
	if !ok || !known {
		return false
	}
	for _, k := range []*kept{s.core.sweep.newest, s.core.sweep.older} {
		if k != nil && base < p.start && k.settled[id].Contains(base) {
			return true
		}
	}
	if e := p.settledAt(base); e != nil && (e.Span.Base == base || base < p.start) {
		return true
	}
	return !p.ended && base >= p.settledPoint()
}

// Forgotten are partitions of topics that are gone and have not ended here.
func (s *Stepped) Forgotten(state *metadata.State) (forgotten []kfs.PartitionID) {
	for id, p := range s.index.partitions {
		if _, ok := state.TopicByID(id.Topic); !ok && !p.ended {
			forgotten = append(forgotten, id)
		}
	}
	return forgotten
}

// Unsettled tells whether settling gave a partition up.
func (s *Stepped) Unsettled() bool { return len(s.core.settling.stopped) > 0 }

// Answer feeds back what came of an operation.
func (s *Stepped) Answer(o *Operation, a Answer) {
	r := result{outcome: done, body: a.Body, size: a.Size, keys: a.Keys, time: a.Time, err: a.Err}
	switch {
	case a.Err != nil:
		r = result{err: a.Err}
	case a.Absent:
		r.outcome = absent
	case a.Exists:
		r.outcome = exists
	}
	s.step(answered{o.Number, r})
}

// step feeds the core, hands out what it asks of the store, and does the rest as the product does.
func (s *Stepped) step(ev event) {
	if s.Mistake.Before != nil {
		s.Mistake.Before(s)
	}
	for _, e := range s.core.Step(s.now(), ev) {
		s.effect(e)
	}
	if s.Mistake.After != nil {
		s.Mistake.After(s)
	}
}

func (s *Stepped) effect(e effect) {
	switch e := e.(type) {
	case putOp:
		_, _, object := kfs.ParseObjectKey(e.key)
		s.carry(&Operation{Owner: s, Number: e.op, Put: true, Key: e.key, Body: e.body, JournalObject: object, Takeover: object && s.core.phase == opening})
	case getOp:
		s.carry(&Operation{Owner: s, Number: e.op, Get: true, Key: e.key, Range: e.rng})
	case listOp:
		s.carry(&Operation{Owner: s, Number: e.op, List: true, Prefix: e.prefix, After: e.after})
	case deleteOp:
		s.carry(&Operation{Owner: s, Number: e.op, Delete: true, Key: e.key})
	case buildOp:
		s.carry(&Operation{Owner: s, Number: e.op, Build: true, parts: e.parts})
	case committed:
		s.Written = append(s.Written, Committed{kfs.ObjectKey(s.cfg.Journal, e.sequence), e.body})
		s.carryOut(e)
	case opened:
		s.Opened = true
		s.carryOut(e)
	case caughtUp:
		s.AtEnd = true
	case halted:
		s.Halted, s.Err = true, e.err
	default:
		switch e.(type) {
		case checkpointWritten:
			s.Checkpoints++
		case deleted:
			s.Deleted++
		}
		s.carryOut(e)
	}
}

// Make makes the segments that a Build is about, of what get gives of the objects.
func (o *Operation) Make(get func(key string) ([]byte, bool)) error {
	var failed error
	return build(o.parts, func(sequence uint64, off, n int64) ([]byte, error) {
		body, ok := get(kfs.ObjectKey(o.Owner.cfg.Journal, sequence))
		if !ok {
			return nil, errors.New("gone")
		}
		return body[off : off+n], nil
	}, func(f func() error) {
		if err := f(); err != nil && failed == nil {
			failed = err
		}
	}, func() error { return failed })
}

// Mistake is something that a journal of the simulation does wrong; see brokers_zoo_test.go.
type Mistake struct{ Before, After func(*Stepped) }

// Acknowledge answers who waits for the object that is on its way.
func (s *Stepped) Acknowledge() {
	if f := s.core.flight; f != nil && s.core.phase == owning {
		for _, r := range f.requests {
			if !r.answered && r.then == nil {
				r.answered = true
				s.carryOut(reply{r, r.results})
			}
		}
	}
}

// KnowEnd has the journal believe that it knew the end at a time of the store.
func (s *Stepped) KnowEnd(at int64) { s.core.known = at }

// Forget has a journal that was just taken over know no producers, or no committed offsets.
func (s *Stepped) Forget(producers, offsets bool) {
	if producers {
		for _, p := range s.index.partitions {
			clear(p.producers)
		}
	}
	if offsets {
		clear(s.core.state.groups)
		s.groups.reset(nil)
	}
}

// Skip leaves out an offset of a partition.
func (s *Stepped) Skip(id kfs.PartitionID) {
	if p, ok := s.index.partitions[id]; ok {
		p.next++
	}
}

// Reseal makes the object on its way anew after an unknown outcome, with other bytes: whoever has come since is in it too.
func (s *Stepped) Reseal(o *Operation) bool {
	f := s.core.flight
	if f == nil || f.key != o.Key || s.core.phase != owning || len(s.core.gathered) == 0 {
		return false
	}
	delete(s.core.ops, o.Number)
	s.core.gathered, s.core.flight = append(append([]*request(nil), f.requests...), s.core.gathered...), nil
	for _, r := range f.requests {
		s.core.gatheredBytes += r.bytes
	}
	s.step(tick{})
	return true
}

// GraceFrom has the newest checkpoint carry another time for each object that is released.
func (s *Stepped) GraceFrom(since func(sequence uint64) int64) {
	k := s.core.sweep.newest
	if k == nil || len(k.released) == 0 {
		return
	}
	last := k.released[len(k.released)-1].Last
	k.released = nil
	for sequence := s.core.sweep.lowest; sequence <= last; sequence++ {
		k.released = append(k.released, kfs.Run{First: sequence, Last: sequence, Since: since(sequence)})
	}
}

// Unnote has segments that nobody needs be known as such for ever.
func (s *Stepped) Unnote() {
	for key := range s.core.sweep.noted {
		s.core.sweep.noted[key] = 1
	}
}

// EpochBack has the takeover object on its way carry the epoch of the owner before.
func (s *Stepped) EpochBack(o *Operation) error {
	f := s.core.flight
	if f == nil || f.key != o.Key || !o.Takeover || f.sequence == 0 || f.tries != 1 {
		return nil
	}
	f.manifest.Epoch--
	var err error
	if f.body, f.crc, err = kfs.Seal(f.manifest, nil); err == nil {
		o.Body = f.body
	}
	return err
}

// Deleting says where deleting stands.
func (s *Stepped) Deleting() string {
	c := s.core
	text := fmt.Sprintf("objects: lowest %d, goal %d, live %d, at %d, checkpoint %d; running %v, look %v, now %v", c.sweep.lowest, c.state.goal, c.state.live(), c.state.sequence, c.state.checkpoint, c.sweep.running, c.sweep.look, s.now())
	if k := c.sweep.newest; k != nil {
		text += fmt.Sprintf(", released by the newest %v", k.released)
	}
	if k := c.sweep.older; k != nil {
		text += fmt.Sprintf(", by the older %v of %d", k.released, k.sequence)
	}
	for id, p := range c.index.partitions {
		if len(p.settled) > 0 && p.settled[0].Span.Next <= p.start {
			text += fmt.Sprintf(", %s has segments %v and begins at %d", id, p.settled[0].Span, p.start)
		}
	}
	return text
}
