package journal

import (
	"bytes"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
)

var (
	simSeed  = flag.Uint64("sim.seed", 0, "run the simulation with this seed only, and say what happens")
	simSeeds = flag.Uint64("sim.seeds", 400, "how many seeds the simulation runs")
)

// simulation drives several cores on one goroutine: one store with its own clock, a network that delays, loses, repeats late and
// reorders, owners that pause (their clocks stand still) and die, and somebody who deletes what the format allows to delete.
type simulation struct {
	t       *testing.T
	rng     *rand.Rand
	verbose bool
	trace   strings.Builder

	clock   time.Time // of the store
	objects map[string]simObject
	first   map[string][]byte // the first object that a key ever had: the truth
	owners  []*simOwner
	network []simRequest
	answers []simAnswer
	clients []*simClient
	calm    bool // owners live long, and time passes fast: what is deleted, and when

	acks, takeovers, strays, deleted, fences, checkpoints, settled, adopted int
}

type simObject struct{ body []byte }

type simOwner struct {
	n        int
	core     *core
	now      time.Time
	dead     bool
	paused   bool
	waits    map[*request]*simClient
	opened   bool
	halted   error
	hasEnded bool
}

type simRequest struct {
	owner *simOwner
	op    effect
	late  bool // its answer is lost already
}

type simAnswer struct {
	owner *simOwner
	answered
}

// simClient is an idempotent producer of one partition, with one batch under way at a time.
type simClient struct {
	producer  int64
	partition int32
	sequence  int32
	waiting   *request // nil: for nothing
	at        *simOwner
	acked     map[int64]string // by offset
}

const (
	simPartitions = 2
	simCheckpoint = 4
)

func newSimulation(t *testing.T, seed uint64) *simulation {
	s := &simulation{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), clock: time.UnixMilli(1_800_000_000_000), objects: map[string]simObject{},
		first: map[string][]byte{}, calm: seed%2 == 0,
	}
	for p := range int64(3) {
		s.clients = append(s.clients, &simClient{producer: p + 1, partition: int32(p % simPartitions), acked: map[int64]string{}})
	}
	return s
}

func (s *simulation) say(format string, args ...any) {
	if s.verbose {
		fmt.Fprintf(&s.trace, format+"\n", args...)
	}
}

func (s *simulation) startOwner() {
	n := len(s.owners)
	o := &simOwner{n: n, now: time.UnixMilli(1_700_000_000_000 + s.rng.Int64N(1e11)), waits: map[*request]*simClient{}}
	o.core = newCore(settings{
		journal: 0, writer: kfs.WriterID{0: 1, 15: byte(n + 1)}, seed: uint64(n), flushInterval: 200 * time.Millisecond, gather: 5 * time.Millisecond,
		objectBytes: 8 << 20, appendTimeout: 20 * time.Second, checkpointEvery: simCheckpoint, producerExpiry: 100_000 * time.Hour,
		settleBytes: 400, settleAge: 30 * time.Second, settleMemory: 2000, grace: MinGrace,
		bootstrap: append(metadata.Bootstrap(kfs.ClusterID{1}, kfs.TopicID{1}, 1), kfs.Topic{
			ID: topicID(1), Name: "events", State: kfs.TopicLive, Journals: make([]uint32, simPartitions),
		}),
	}, new(index))
	s.owners = append(s.owners, o)
	s.say("owner %d starts", n)
	s.step(o, started{})
	s.step(o, running{})
}

func (s *simulation) step(o *simOwner, ev event) {
	for _, e := range o.core.Step(o.now, ev) {
		switch e := e.(type) {
		case putOp, getOp, listOp, deleteOp, buildOp:
			s.network = append(s.network, simRequest{owner: o, op: e})
		case reply:
			s.replied(o, e)
		case committed:
			if key := kfs.ObjectKey(0, e.sequence); !bytes.Equal(s.first[key], e.body) {
				s.t.Errorf("owner %d takes %s for committed, but it is a stray", o.n, key)
			}
			s.say("owner %d committed %d", o.n, e.sequence)
		case deleted:
			if _, _, ok := kfs.ParseObjectKey(e.key); ok {
				s.deleted++
			}
			s.say("owner %d deleted %s", o.n, e.key)
		case checkpointWritten:
			s.checkpoints++
			s.say("owner %d wrote checkpoint %d", o.n, e.sequence)
		case opened:
			o.opened = true
			s.takeovers++
			s.say("owner %d owns with epoch %d at %d", o.n, e.epoch, o.core.state.sequence)
		case halted:
			o.hasEnded, o.halted = true, e.err
			s.say("owner %d ends: %v", o.n, e.err)
			if errors.Is(e.err, ErrFenced) {
				s.fences++
			} else if e.err != nil {
				s.t.Errorf("owner %d ends with %v", o.n, e.err)
			}
		case logged:
			s.say("owner %d: %s %v", o.n, e.text, e.args)
		}
	}
}

func (s *simulation) replied(o *simOwner, e reply) {
	c, ok := o.waits[e.request]
	if !ok {
		return // a trim
	}
	delete(o.waits, e.request)
	if c.waiting != e.request {
		return // the client has gone elsewhere
	}
	c.waiting = nil
	r := e.results[0]
	s.say("owner %d answers producer %d, sequence %d: %d %v", o.n, c.producer, c.sequence, r.Base, r.Err)
	switch {
	case r.Err == nil:
		s.acks++
		if v, twice := c.acked[r.Base]; twice {
			s.t.Errorf("offset %d of partition %d is %q and %q", r.Base, c.partition, v, c.value())
		}
		c.acked[r.Base] = c.value()
		c.sequence++
	case errors.Is(r.Err, ErrNotOwner), errors.Is(r.Err, ErrUnavailable):
	case errors.Is(r.Err, ErrOutOfOrderSequence) && o.stale(s):
	default:
		s.t.Errorf("owner %d: producer %d, sequence %d: %v", o.n, c.producer, c.sequence, r.Err)
	}
}

// stale tells whether somebody else has taken over since.
func (o *simOwner) stale(s *simulation) bool {
	_, ok := s.first[kfs.ObjectKey(0, o.core.state.next())]
	return ok
}

func (c *simClient) value() string { return fmt.Sprintf("%d #%d", c.producer, c.sequence) }

// send has a client send its batch to some owner that it believes in.
func (s *simulation) send(c *simClient) {
	var open []*simOwner
	for _, o := range s.owners {
		if o.opened && !o.dead && !o.hasEnded {
			open = append(open, o)
		}
	}
	if len(open) == 0 {
		return
	}
	o := open[s.rng.IntN(len(open))]
	b := batch(s.t, 1, "events", c.partition, &record.Producer{ID: c.producer, Sequence: c.sequence}, 0, c.value())
	h, err := record.ParseHeader(b.Records)
	if err != nil {
		s.t.Fatal(err)
	}
	r := &request{batches: []gatheredBatch{{Batch: b, headers: []record.Header{h}}}, bytes: int64(len(b.Records))}
	c.waiting, c.at = r, o
	o.waits[r] = c
	s.step(o, arrived{[]*request{r}})
}

// trim has an owner trim a partition, so that objects are released.
func (s *simulation) trim(o *simOwner) {
	if !o.opened || o.dead || o.hasEnded {
		return
	}
	id := id(1, int32(s.rng.IntN(simPartitions)))
	if p, ok := o.core.index.partitions[id]; ok {
		at := p.start + s.rng.Int64N(p.next-p.start+1)
		s.step(o, arrived{[]*request{{entries: []kfs.Entry{kfs.Trim{Topic: id.Topic, Partition: id.Partition, LogStart: at}}, bytes: 1}}})
	}
}

// turn does one thing at random.
func (s *simulation) turn() {
	alive := func() *simOwner { return s.owners[s.rng.IntN(len(s.owners))] }
	if s.calm && s.rng.IntN(150) == 0 {
		s.pass(time.Duration(s.rng.Int64N(int64(40 * time.Minute))))
	}
	n := s.rng.IntN(1000)
	if trouble := n >= 957 && n < 963 || n >= 990; trouble && s.calm && s.rng.IntN(10) > 0 {
		return
	}
	switch {
	case n < 350 && len(s.network) > 0:
		i := s.rng.IntN(len(s.network))
		if slow := s.network[i].late || s.network[i].owner.paused; !slow || s.rng.IntN(200) == 0 {
			s.carry(i)
		}
	case n < 700 && len(s.answers) > 0:
		i := s.rng.IntN(len(s.answers))
		if a := s.answers[i]; a.owner.dead || !a.owner.paused {
			s.answers = slices.Delete(s.answers, i, i+1)
			if !a.owner.dead {
				s.step(a.owner, a.answered)
			}
		}
	case n < 800:
		c := s.clients[s.rng.IntN(len(s.clients))]
		if c.waiting == nil || c.at.dead || s.rng.IntN(50) == 0 {
			s.send(c)
		}
	case n < 950:
		s.pass(time.Duration(s.rng.Int64N(int64(300 * time.Millisecond))))
	case n < 955:
		s.pass(time.Duration(s.rng.Int64N(int64(time.Minute))))
	case n < 957:
		s.pass(time.Duration(s.rng.Int64N(int64(5 * time.Hour))))
	case n < 963:
		o := alive()
		o.paused = !o.paused
		s.say("owner %d paused: %v", o.n, o.paused)
	case n < 980:
		s.trim(alive())
	case n < 993:
		if len(s.owners) < 20 {
			s.startOwner()
		}
	case n < 995:
		o := alive()
		o.dead = true
		s.say("owner %d dies", o.n)
	}
}

// pass lets time pass for the store and for those who are not paused.
func (s *simulation) pass(d time.Duration) {
	s.clock = s.clock.Add(d)
	for _, o := range s.owners {
		if o.paused || o.dead || o.hasEnded {
			continue
		}
		o.now = o.now.Add(d)
		if at := o.core.wake(); !at.IsZero() && !at.After(o.now) {
			s.step(o, tick{})
		}
	}
}

// carry has a request reach the store, or not, and its answer on its way, or not.
func (s *simulation) carry(i int) {
	q := s.network[i]
	s.network = slices.Delete(s.network, i, i+1)
	fate := s.rng.IntN(20)
	if s.calm {
		fate = s.rng.IntN(400)
	}
	if q.late {
		s.apply(q.op)
		return
	}
	number := opNumber(q.op)
	switch fate {
	case 0: // it never arrives
		s.answers = append(s.answers, simAnswer{q.owner, answered{number, result{err: errors.New("lost")}}})
	case 1: // it arrives later, when its sender has given it up
		s.answers = append(s.answers, simAnswer{q.owner, answered{number, result{err: errors.New("timed out")}}})
		q.late = true
		s.network = append(s.network, q)
	case 2: // it arrives, and the answer is lost
		s.apply(q.op)
		s.answers = append(s.answers, simAnswer{q.owner, answered{number, result{err: errors.New("no answer")}}})
	default:
		s.answers = append(s.answers, simAnswer{q.owner, answered{number, s.apply(q.op)}})
	}
}

func opNumber(e effect) uint64 {
	switch e := e.(type) {
	case putOp:
		return e.op
	case getOp:
		return e.op
	case listOp:
		return e.op
	case deleteOp:
		return e.op
	case buildOp:
		return e.op
	}
	return 0
}

// apply does an operation on the store.
func (s *simulation) apply(op effect) result {
	r := result{outcome: done, time: s.clock.UnixMilli()}
	switch e := op.(type) {
	case putOp:
		if _, ok := s.objects[e.key]; ok {
			r.outcome = exists
			break
		}
		s.objects[e.key] = simObject{e.body}
		if first, ok := s.first[e.key]; !ok {
			s.first[e.key] = e.body
		} else {
			s.strays++
			s.say("%s is a stray (the same bytes: %v)", e.key, bytes.Equal(first, e.body))
		}
	case getOp:
		o, ok := s.objects[e.key]
		if !ok {
			r.outcome = absent
			break
		}
		off, n, err := e.rng.Resolve(int64(len(o.body)))
		if err != nil {
			s.t.Fatal(err)
		}
		r.body, r.size = o.body[off:off+n], int64(len(o.body))
	case listOp:
		for key := range s.objects {
			if strings.HasPrefix(key, e.prefix) && key > e.after {
				r.keys = append(r.keys, key)
			}
		}
		slices.Sort(r.keys)
	case deleteOp:
		delete(s.objects, e.key)
	case buildOp:
		if e.parts[0].exact {
			s.adopted++
		}
		var failed error
		err := build(e.parts, func(sequence uint64, off, n int64) ([]byte, error) {
			o, ok := s.objects[kfs.ObjectKey(0, sequence)]
			if !ok {
				return nil, errors.New("gone")
			}
			return o.body[off : off+n], nil
		}, func(f func() error) { failed = cmp.Or(failed, f()) }, func() error { return failed })
		if err != nil {
			return result{err: err}
		}
	}
	return r
}

// settle lets everything come to an end: all requests arrive, a last owner takes over.
func (s *simulation) settle() *core {
	for len(s.network) > 0 {
		q := s.network[0]
		s.network = s.network[1:]
		s.apply(q.op)
	}
	for _, o := range s.owners {
		o.dead = true
	}
	s.answers = nil
	s.startOwner()
	last := s.owners[len(s.owners)-1]
	for range 100_000 {
		switch {
		case last.opened && len(s.network) == 0 && len(s.answers) == 0 || last.hasEnded:
			return last.core
		case len(s.network) > 0:
			q := s.network[0]
			s.network = s.network[1:]
			s.answers = append(s.answers, simAnswer{last, answered{opNumber(q.op), s.apply(q.op)}})
		case len(s.answers) > 0:
			a := s.answers[0]
			s.answers = s.answers[1:]
			s.step(last, a.answered)
		default:
			s.pass(time.Second)
		}
	}
	s.t.Fatal("the last owner does not come to an end")
	return nil
}

// check compares what the last owner finds with what was acknowledged.
func (s *simulation) check(c *core) {
	if c.phase != owning {
		s.t.Fatalf("the last owner ended with %v", c.err)
	}
	for number := range int32(simPartitions) {
		p, ok := c.index.partitions[id(1, number)]
		if !ok {
			p = &partition{}
		}
		found := map[int64]string{}
		next := map[string]int{} // of each producer
		for _, body := range s.bodies(p) {
			for _, rec := range records(s.t, body) {
				if found[rec.Offset] != "" {
					s.t.Errorf("partition %d has offset %d twice", number, rec.Offset)
				}
				found[rec.Offset] = string(rec.Value)
				var sequence int
				var producer string
				if _, err := fmt.Sscanf(string(rec.Value), "%s #%d", &producer, &sequence); err != nil {
					s.t.Fatal(err)
				}
				if want, ok := next[producer]; ok && sequence != want {
					s.t.Errorf("partition %d, offset %d: %q where #%d was expected", number, rec.Offset, rec.Value, want)
				}
				next[producer] = sequence + 1
			}
		}
		for _, client := range s.clients {
			for offset, value := range client.acked {
				if client.partition == number && offset >= p.start && found[offset] != value {
					s.t.Errorf("partition %d, offset %d: %q was acknowledged, %q is there", number, offset, value, found[offset])
				}
			}
		}
	}
}

// bodies are the records of a partition: of its segments, and from its settled point on of journal objects.
func (s *simulation) bodies(p *partition) [][]byte {
	var all [][]byte
	for _, e := range p.settled {
		object := s.objects[e.Key].body
		h, err := kfs.OpenSegment(object)
		switch {
		case e.Span.Next <= p.start:
			continue // it may be gone
		case err != nil:
			s.t.Errorf("%s: %v", e.Key, err)
			continue
		case h.Span != e.Span || int64(len(object)) != e.Length || kfs.Checksum(object[:len(object)-kfs.SegmentFooterSize]) != e.CRC:
			s.t.Errorf("%s holds %s in %d bytes, the journal says %s in %d", e.Key, h.Span, len(object), e.Span, e.Length)
		}
		x, err := kfs.DecodeIndex(s.objects[kfs.IndexKey(p.id.Topic, p.name, p.id.Partition, e.Span.Base)].body)
		if err == nil {
			err = x.Check(object)
		}
		if err != nil {
			s.t.Errorf("index of %s: %v", e.Key, err)
		}
		s.settled++
		all = append(all, object[kfs.SegmentHeaderSize:len(object)-kfs.SegmentFooterSize])
	}
	for _, r := range p.refs {
		if r.span.Base < p.settledPoint() {
			s.t.Errorf("object %d still counts for %s, settled up to %d", r.sequence, r.span, p.settledPoint())
		}
		body := s.objects[kfs.ObjectKey(0, r.sequence)].body
		if len(body) == 0 {
			s.t.Errorf("object %d with %s is gone", r.sequence, r.span)
			continue
		}
		all = append(all, body[r.position:r.position+r.length])
	}
	return all
}

func TestSimulation(t *testing.T) {
	var sum simulation
	run := func(seed uint64, verbose bool) {
		s := newSimulation(t, seed)
		s.verbose = verbose
		s.startOwner()
		for range 6000 {
			s.turn()
		}
		s.check(s.settle())
		sum.acks += s.acks
		sum.takeovers += s.takeovers
		sum.fences += s.fences
		sum.strays += s.strays
		sum.deleted += s.deleted
		sum.checkpoints += s.checkpoints
		sum.settled += s.settled
		sum.adopted += s.adopted
		if verbose {
			t.Log(s.trace.String())
		}
		if t.Failed() {
			t.Fatalf("seed %d; run with -sim.seed=%d", seed, seed)
		}
	}
	if *simSeed != 0 {
		run(*simSeed, true)
		return
	}
	for seed := range *simSeeds {
		run(seed+1, false)
	}
	t.Logf("%d seeds: %d batches acknowledged, %d takeovers, %d fenced, %d checkpoints, %d objects deleted, %d strays, %d segments read at the end, %d adopted",
		*simSeeds, sum.acks, sum.takeovers, sum.fences, sum.checkpoints, sum.deleted, sum.strays, sum.settled, sum.adopted)
	if *simSeeds >= 100 && (sum.acks == 0 || sum.takeovers == 0 || sum.fences == 0 || sum.checkpoints == 0 || sum.deleted == 0 || sum.strays == 0 ||
		sum.settled == 0 || sum.adopted == 0) {
		t.Error("the simulation does not meet what it is made for")
	}
}
