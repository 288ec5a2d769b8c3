package journal

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"hash/crc64"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
)

var (
	simSeed    = flag.Uint64("sim.seed", 0, "run the simulation with this seed only, and say what happens")
	simMistake = flag.String("sim.mistake", "", "with -sim.seed: the mistake of zoo_test.go that all owners make")
	simSeeds   = flag.Uint64("sim.seeds", DefaultSeeds, "how many seeds the simulation runs")
)

// simulation drives several cores on one goroutine: one store with its own clock, a network that delays, loses, repeats late and
// reorders, owners that pause (their clocks stand still) and die, and somebody who deletes what the format allows to delete. It is made of
// its seed: the same seed does the same things in the same order. What is wrong it collects.
type simulation struct {
	t       *testing.T
	rng     *rand.Rand
	mistake mistake // that all owners make
	verbose bool
	trace   strings.Builder
	hash    uint64 // of all that happened
	wrongs  []string

	clock   time.Time // of the store
	objects map[string]simObject
	first   map[string][]byte // the first object that a key ever had: the truth
	owners  []*simOwner
	network []simRequest
	answers []simAnswer
	clients []simClient
	truth   [simPartitions]simTruth // what clients were told
	calm    bool                    // owners live long
	succeed bool                    // an owner starts at once
	brisk   bool                    // time passes fast: what is deleted, and when

	simCounts
}

// simCounts say whether the simulation meets what it is made for.
type simCounts struct {
	acks, again, commits, trims, takeovers, strays, deleted, fences, checkpoints, settled, adopted, followed int
}

func (a *simCounts) add(b simCounts) {
	a.acks, a.again, a.commits, a.trims = a.acks+b.acks, a.again+b.again, a.commits+b.commits, a.trims+b.trims
	a.takeovers, a.strays, a.deleted, a.fences = a.takeovers+b.takeovers, a.strays+b.strays, a.deleted+b.deleted, a.fences+b.fences
	a.checkpoints, a.settled, a.adopted = a.checkpoints+b.checkpoints, a.settled+b.settled, a.adopted+b.adopted
	a.followed += b.followed
}

type simOwner struct {
	n        int
	core     *core
	now      time.Time
	dead     bool
	paused   bool
	waits    map[*request]func([]Result)
	opened   bool
	hasEnded bool
	follows  bool      // it only reads along
	look     time.Time // of a follower: when it reads on; zero while it reads

	partitions map[kfs.PartitionID]*partition // of a mistake: what it goes on from
}

const (
	simPartitions = 2
	simCheckpoint = 4
	simTurns      = 6000
	simOwners     = 20
)

func newSimulation(t *testing.T, seed uint64) *simulation {
	s := &simulation{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), clock: time.UnixMilli(1_800_000_000_000), objects: map[string]simObject{},
		first: map[string][]byte{}, calm: seed%3 > 0, brisk: seed%3 == 1,
	}
	for p := range s.truth {
		s.truth[p].acked = map[int64]string{}
	}
	for p := range int64(3) {
		s.clients = append(s.clients, &simProducer{producer: p + 1, partition: int32(p % simPartitions), last: -1})
	}
	s.clients = append(s.clients, &simGroup{})
	return s
}

// simulate runs a seed to its end, or to where something is wrong.
func simulate(t *testing.T, seed uint64, m mistake, verbose bool) (s *simulation) {
	s = newSimulation(t, seed)
	s.mistake, s.verbose = m, verbose
	defer func() {
		if r := recover(); r != nil {
			if m.name == "" {
				panic(fmt.Sprintf("seed %d: %v", seed, r))
			}
			s.wrong("panic: %v", r)
		}
	}()
	s.startOwner()
	s.startFollower()
	for range simTurns {
		if s.turn(); len(s.wrongs) > 0 {
			return s
		}
	}
	if c := s.settle(); c != nil {
		s.check(c)
	}
	return s
}

// wrong notes something that must not be.
func (s *simulation) wrong(format string, args ...any) {
	s.wrongs = append(s.wrongs, fmt.Sprintf(format, args...))
	s.say("WRONG: "+format, args...)
}

func (s *simulation) say(format string, args ...any) {
	if s.verbose {
		fmt.Fprintf(&s.trace, format+"\n", args...)
	}
}

var simHash = crc64.MakeTable(crc64.ECMA)

// note adds something that happened to the hash of the trace.
func (s *simulation) note(o *simOwner, what any, key string, body []byte) {
	s.hash = crc64.Update(s.hash, simHash, fmt.Appendf(nil, "%d %d %d %T %s", o.n, o.now.UnixNano(), s.clock.UnixNano(), what, key))
	s.hash = crc64.Update(s.hash, simHash, body)
}

func (s *simulation) startOwner() {
	o := s.newOwner()
	s.say("owner %d starts", o.n)
	s.step(o, started{})
	s.step(o, running{})
}

// startFollower starts one that reads along.
func (s *simulation) startFollower() {
	o := s.newOwner()
	o.follows = true
	s.say("owner %d follows", o.n)
	s.step(o, followed{})
}

func (s *simulation) newOwner() *simOwner {
	n := len(s.owners)
	o := &simOwner{n: n, now: time.UnixMilli(1_700_000_000_000 + s.rng.Int64N(1e11)), waits: map[*request]func([]Result){}}
	o.core = newCore(settings{
		journal: 0, writer: kfs.WriterID{0: 1, 15: byte(n + 1)}, seed: uint64(n), flushInterval: 200 * time.Millisecond, gather: 5 * time.Millisecond,
		objectBytes: 8 << 20, appendTimeout: 20 * time.Second, checkpointEvery: simCheckpoint, producerExpiry: 100_000 * time.Hour,
		settleBytes: 400, settleAge: 30 * time.Second, settleMemory: 2000, grace: MinGrace,
		bootstrap: append(metadata.Bootstrap(kfs.ClusterID{1}, kfs.TopicID{1}, 1), kfs.Topic{
			ID: topicID(1), Name: "events", State: kfs.TopicLive, Journals: make([]uint32, simPartitions),
		}),
	}, new(index))
	s.owners = append(s.owners, o)
	return o
}

// serves reports whether clients can reach the owner.
func (o *simOwner) serves() bool { return o.opened && !o.dead && !o.hasEnded }

// step feeds a core.
func (s *simulation) step(o *simOwner, ev event) {
	s.note(o, ev, "", nil)
	if s.mistake.before != nil {
		s.mistake.before(s, o, ev)
	}
	effects := o.core.Step(o.now, ev)
	if s.mistake.after != nil {
		effects = s.mistake.after(s, o, effects)
	}
	for _, e := range effects {
		switch e := e.(type) {
		case putOp, getOp, listOp, deleteOp, buildOp:
			s.ask(o, e)
		case reply:
			if then, ok := o.waits[e.request]; ok {
				delete(o.waits, e.request)
				then(e.results)
			}
		case committed:
			s.note(o, e, "", e.body)
			// Mistakes have to be noticed by what is told and what is there, without this look from above.
			if key := kfs.ObjectKey(0, e.sequence); s.mistake.name == "" && !bytes.Equal(s.first[key], e.body) {
				s.wrong("owner %d takes %s for committed, but it is a stray", o.n, key)
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
		case caughtUp:
			s.followed++
			s.checkFollower(o)
			o.look = o.now.Add(time.Duration(s.rng.Int64N(int64(2 * followEvery))))
		case opened:
			o.opened = true
			s.takeovers++
			s.say("owner %d owns with epoch %d at %d", o.n, e.epoch, o.core.state.sequence)
		case halted:
			o.hasEnded = true
			s.say("owner %d ends: %v", o.n, e.err)
			if errors.Is(e.err, ErrFenced) {
				s.fences++
			} else if e.err != nil {
				s.wrong("owner %d ends with %v", o.n, e.err)
			}
		case logged:
			s.say("owner %d: %s %v", o.n, e.text, e.args)
		}
	}
}

// turn does one thing at random.
func (s *simulation) turn() {
	alive := func() *simOwner { return s.owners[s.rng.IntN(len(s.owners))] }
	if s.succeed && len(s.owners) < simOwners {
		s.succeed = false
		s.startOwner()
	}
	if s.calm && !s.brisk && s.rng.IntN(simTurns/2) == 0 {
		s.pass(3 * time.Hour)
		if len(s.owners) < simOwners { // who has to read what is old, just when it may be released
			s.startFollower()
		}
	}
	if s.brisk && s.rng.IntN(150) == 0 {
		s.pass(time.Duration(s.rng.Int64N(int64(40 * time.Minute))))
	}
	n := s.rng.IntN(1000)
	if trouble := n >= 986; trouble && s.calm && s.rng.IntN(10) > 0 {
		return
	}
	switch {
	case n < 350 && len(s.network) > 0:
		for range 4 { // who is slow does not hold the others up
			i := s.rng.IntN(len(s.network))
			if q := &s.network[i]; !q.late && !q.owner.paused || s.rng.IntN(q.slowness()) == 0 {
				s.carry(i)
				break
			}
		}
	case n < 700 && len(s.answers) > 0:
		i := s.rng.IntN(len(s.answers))
		if a := s.answers[i]; a.owner.dead || !a.owner.paused {
			s.answers = slices.Delete(s.answers, i, i+1)
			if !a.owner.dead {
				s.answer(a)
			}
		}
	case n < 800:
		s.send(s.clients[s.rng.IntN(len(s.clients))])
	case n < 950:
		s.pass(time.Duration(s.rng.Int64N(int64(300 * time.Millisecond))))
	case n < 955:
		s.pass(time.Duration(s.rng.Int64N(int64(time.Minute))))
	case n < 957 && s.calm && !s.brisk:
		s.pass(time.Duration(s.rng.Int64N(int64(10 * time.Minute))))
	case n < 957:
		s.pass(time.Duration(s.rng.Int64N(int64(5 * time.Hour))))
	case n < 963:
		o := alive()
		if !o.paused && s.calm && s.rng.IntN(10) > 0 {
			return
		}
		o.paused = !o.paused
		s.say("owner %d paused: %v", o.n, o.paused)
	case n < 986:
		s.trim(alive())
	case n < 993:
		if len(s.owners) < simOwners {
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
		if !o.look.IsZero() && !o.look.After(o.now) {
			o.look = time.Time{}
			s.step(o, looked{})
		}
	}
}

func TestSimulation(t *testing.T) {
	if *simSeed != 0 {
		s := simulate(t, *simSeed, mistakeNamed(t, *simMistake), true)
		t.Log(s.trace.String())
		if len(s.wrongs) > 0 {
			t.Errorf("seed %d: %s", *simSeed, strings.Join(s.wrongs, "\n"))
		}
		return
	}
	var sum simCounts
	for seed := range *simSeeds {
		s := simulate(t, seed+1, mistake{}, false)
		if len(s.wrongs) > 0 {
			t.Fatalf("seed %d: %s\nrun with -sim.seed=%d", seed+1, strings.Join(s.wrongs, "\n"), seed+1)
		}
		sum.add(s.simCounts)
	}
	t.Logf("%d seeds: %+v", *simSeeds, sum)
	if *simSeeds >= 100 && (sum.acks == 0 || sum.again == 0 || sum.commits == 0 || sum.trims == 0 || sum.takeovers == 0 || sum.fences == 0 ||
		sum.checkpoints == 0 || sum.deleted == 0 || sum.strays == 0 || sum.settled == 0 || sum.adopted == 0 || sum.followed == 0) {
		t.Error("the simulation does not meet what it is made for")
	}
}

// TestSimulationReplays runs seeds twice: a finding can be run again.
func TestSimulationReplays(t *testing.T) {
	hashes := map[uint64]bool{}
	for seed := range uint64(ReplaySeeds) {
		a, b := simulate(t, seed+1, mistake{}, false).hash, simulate(t, seed+1, mistake{}, false).hash
		if a != b {
			t.Errorf("seed %d: the trace's hash is %016x, and then %016x", seed+1, a, b)
		}
		hashes[a] = true
	}
	if len(hashes) != ReplaySeeds {
		t.Errorf("%d seeds have %d traces", ReplaySeeds, len(hashes))
	}
}
