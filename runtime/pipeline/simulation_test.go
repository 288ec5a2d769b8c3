package pipeline

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"hash/crc64"
	"math/rand/v2"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/catalog/catalogtest"
	"github.com/firn-io/firn/kfs/blob"
)

var (
	simSeed    = flag.Uint64("sim.seed", 0, "run the simulation with this seed only, and say what happens")
	simMistake = flag.String("sim.mistake", "", "with -sim.seed: the mistake of zoo_test.go that all processes make")
	simSeeds   = flag.Uint64("sim.seeds", 100, "how many seeds the simulation runs")
	simFrom    = flag.Uint64("sim.from", 1, "the first of them: a long run may be done in parts")
)

// simulation runs whole jobs, several processes of the same one at a time, on one store, one catalog and one clock. The processes are the
// product's own code, down to manifests and Parquet files: whatever they ask of the store, the catalog or a table's files waits until the
// scheduler lets it happen, one thing at a time, and the workers' loop asks the scheduler what to take first. Processes pause and go on,
// are killed and start; what they ask for fails before it is done or afterwards, loses its reply, or is done when they have given it up.
// Other engines commit to the tables too. It is made of its seed: the same seed does the same things in the same order. What is wrong it
// collects.
type simulation struct {
	t       *testing.T
	seed    uint64
	rng     *rand.Rand // of the scheduler, and of nobody else
	rare    *rand.Rand // of what only some seeds meet
	mistake mistake    // that all processes make
	verbose bool
	trace   strings.Builder
	hash    uint64 // of all that happened
	wrongs  []string

	began     time.Time
	store     *blob.Memory // the bucket
	leases    *simLeases   // nil where processes know nothing of each other
	log       *simLog
	lake      *simLake
	processes []*simProcess
	file      string            // the job's, as it is now; "" if it never changes
	routed    bool              // records name their tables
	recreates bool              // topics are deleted and made again
	restores  bool              // the log is brought back to an earlier state
	point     *simPoint         // that it is brought back to; nil if there is none
	restored  bool              // it was
	rough     bool              // much fails
	dead      bool              // many records are dead letters, and these are rolled back
	calm      bool              // nothing fails, nobody interferes
	foreign   bool              // the commit that has landed last was another engine's
	givenUp   map[simPlace]bool // dead letters that a person goes without
	late      simRows           // dead letters of which another process may have made rows meanwhile

	mu     sync.Mutex        // guards what follows
	stops  []*simStop        // where goroutines wait for the scheduler
	groups map[string]string // what was handed over, by worker and id, as the trace names it
	handed map[string]int    // how many, of each table and worker

	simCounts
}

// simCounts say whether the simulation meets what it is made for.
type simCounts struct {
	Turns, Records, Commits, Rows, Letters, Late, Moved, Kills, Handed, Leases      int
	Foreign, Compactions, Expiries, Rollbacks, LettersBack, Schemas, Trims, Persons int
	Merges, Removals, Recreated, Unseen, Restored, PutBack, Ahead, Dropped          int
}

func (a *simCounts) add(b simCounts) {
	to, from := reflect.ValueOf(a).Elem(), reflect.ValueOf(b)
	for i := range to.NumField() {
		to.Field(i).SetInt(to.Field(i).Int() + from.Field(i).Int())
	}
}

// never names what has never happened.
func (a *simCounts) never() (all []string) {
	v := reflect.ValueOf(*a)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			all = append(all, v.Type().Field(i).Name)
		}
	}
	return all
}

// simStop is where a goroutine of a process waits until the scheduler lets it go on.
type simStop struct {
	process *simProcess
	label   string
	ready   func() bool // nil: at once
	lapsed  bool        // its context has ended; under simulation.mu
	wake    chan simTurn
}

// simTurn is what the scheduler tells a goroutine.
type simTurn struct {
	fault catalogtest.Fault
	n     uint64 // at random
	gone  bool   // its process is dead, or it has given up
}

const (
	simTurns     = 300
	simProcesses = 8  // in all, before the end
	simAlive     = 3  // at a time
	simObjects   = 20 // of records, in all
)

func newSimulation(t *testing.T, seed uint64, m mistake, verbose bool) *simulation {
	s := &simulation{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 2)), rare: rand.New(rand.NewPCG(seed, 3)), dead: seed%6 == 5, mistake: m, verbose: verbose, began: time.Now(), rough: seed%3 == 0, routed: seed%5 == 2, recreates: seed%7 == 6, restores: seed%7 == 0, givenUp: map[simPlace]bool{}, late: simRows{}}
	if seed%4 == 1 {
		s.file = simFirst
	}
	if seed%4 == 3 || seed%8 == 1 {
		s.gather()
	}
	s.store = blob.NewMemory(nil)
	s.log, s.lake = newSimLog(s), newSimLake(s)
	return s
}

// simulate runs a seed to its end, or to where something is wrong.
func simulate(t *testing.T, seed uint64, m mistake, verbose bool) *simulation {
	return simulateAmid(t, -1, seed, m, verbose)
}

// simulateAmid is simulate with a collector that begins when the heap has grown by so many percent; negative: when the seed has ended. It stops
// whoever runs and lets others go first.
func simulateAmid(t *testing.T, percent int, seed uint64, m mistake, verbose bool) (s *simulation) {
	// Where one thing wakes several goroutines they run one after the other, mostly in the same order.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(percent))
	synctest.Test(t, func(t *testing.T) {
		s = newSimulation(t, seed, m, verbose)
		defer s.end()
		s.start()
		for range simTurns {
			if s.turn(); len(s.wrongs) > 0 {
				return
			}
		}
		if s.settle(); len(s.wrongs) == 0 {
			s.check()
		}
	})
	return s
}

// wrong notes something that must not be.
func (s *simulation) wrong(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrongs = append(s.wrongs, fmt.Sprintf(format, args...))
	s.note("WRONG: "+format, args...)
}

// say notes something that happened. It is a part of the trace.
func (s *simulation) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(format, args...)
}

var simHash = crc64.MakeTable(crc64.ECMA)

// note adds a line to the trace. s.mu is held.
func (s *simulation) note(format string, args ...any) {
	line := fmt.Appendf(nil, "%12s  "+format+"\n", append([]any{time.Since(s.began)}, args...)...)
	s.hash = crc64.Update(s.hash, simHash, line)
	if s.verbose {
		s.trace.Write(line)
	}
}

// stop waits until the scheduler lets a goroutine of the process go on, or ctx has ended.
func (p *simProcess) stop(ctx context.Context, label string, ready func() bool) simTurn {
	s := p.simulation
	at := &simStop{process: p, label: fmt.Sprintf("%d %s", p.n, label), ready: ready, wake: make(chan simTurn, 1)}
	s.mu.Lock()
	if p.dead {
		s.mu.Unlock()
		return simTurn{gone: true}
	}
	s.stops = append(s.stops, at)
	s.mu.Unlock()
	select {
	case turn := <-at.wake:
		return turn
	case <-ctx.Done():
	}
	s.mu.Lock()
	if p.dead {
		s.stops = slices.DeleteFunc(s.stops, func(o *simStop) bool { return o == at })
		s.mu.Unlock()
		return simTurn{gone: true}
	}
	at.lapsed = true
	s.mu.Unlock()
	return <-at.wake
}

// wait waits until every goroutine does. What ends at one moment, contexts with limits of their own, ends in any order; so those who waited in
// them go on one after the other, in an order that does not depend on it.
func (s *simulation) wait() {
	for {
		synctest.Wait()
		s.mu.Lock()
		var first *simStop
		for _, at := range s.stops {
			if at.lapsed && (first == nil || at.label < first.label) {
				first = at
			}
		}
		s.stops = slices.DeleteFunc(s.stops, func(at *simStop) bool { return at == first })
		s.mu.Unlock()
		switch {
		case first != nil:
			first.wake <- simTurn{gone: true}
		case s.leases == nil || !s.leases.spread():
			return
		}
	}
}

// ready are the stops whose goroutines may go on, in an order that does not depend on who came first.
func (s *simulation) ready() []*simStop {
	s.wait()
	s.mu.Lock()
	all := slices.Clone(s.stops)
	s.mu.Unlock()
	all = slices.DeleteFunc(all, func(at *simStop) bool { return at.process.paused || at.ready != nil && !at.ready() })
	slices.SortStableFunc(all, func(a, b *simStop) int { return cmp.Compare(a.label, b.label) })
	if s.verbose {
		for _, at := range all {
			fmt.Fprintf(&s.trace, "  (%s)", at.label)
		}
		s.trace.WriteString("\n")
	}
	return all
}

// resume lets one goroutine go on.
func (s *simulation) resume(at *simStop) {
	turn := simTurn{fault: s.fault(at), n: s.rng.Uint64()}
	s.mu.Lock()
	s.stops = slices.DeleteFunc(s.stops, func(o *simStop) bool { return o == at })
	s.note("%s %s", at.label, turn.fault)
	s.mu.Unlock()
	at.wake <- turn
	s.wait()
}

// fault draws how what a goroutine asks for goes wrong.
func (s *simulation) fault(at *simStop) catalogtest.Fault {
	odds := 80
	if strings.Contains(at.label, " commit ") {
		odds = 8
	}
	if s.rough {
		odds /= 4
	}
	if s.calm || at.ready != nil || s.rng.IntN(odds) > 0 {
		return catalogtest.None
	}
	return catalogtest.Faults[s.rng.IntN(len(catalogtest.Faults))]
}

// turn does one thing at random.
func (s *simulation) turn() {
	s.Turns++
	s.befall()
	ready := s.ready()
	switch n := s.rng.IntN(1000); {
	case n < 50:
		s.log.produce()
	case n < 65:
		s.log.upkeep()
	case n < 76:
		s.lake.foreign()
	case n < 90:
		s.lake.land()
	case n < 93:
		s.start()
	case n < 95:
		s.kill(s.anyone())
	case n < 97:
		if p := s.anyone(); p != nil {
			s.say("%d is told to stop", p.n)
			p.cancel()
		}
	case n < 100 && s.file == simFirst:
		s.say("the job file changes")
		s.file = simSecond
	case n < 102 && s.leases != nil:
		s.loseLease(s.anyone())
	case n < 106:
		if p := s.anyone(); p != nil {
			p.paused = !p.paused
			s.say("%d paused: %v", p.n, p.paused)
		}
	case n < 109:
		s.pass(time.Duration(s.rng.Int64N(int64(10 * time.Minute))))
	case n < 110 && s.seed%4 == 0:
		s.pass(time.Duration(s.rng.Int64N(int64(16 * time.Hour))))
	case n < 200 || len(ready) == 0:
		s.pass(time.Duration(s.rng.Int64N(int64(400 * time.Millisecond))))
	default:
		s.resume(ready[s.rng.IntN(len(ready))])
	}
}

// befall lets happen what only some seeds meet. It draws for itself, so that other seeds are what they were.
func (s *simulation) befall() {
	if t := s.lake.tables[simLetters]; s.dead && t != nil && t.now().CurrentSnapshot() != nil && s.rare.IntN(80) == 0 {
		if err := s.lake.rollBack(t, s.rare); err != nil {
			s.wrong("another engine: %v", err)
		}
	}
	if s.recreates {
		s.log.recreates()
	}
	if s.restores {
		s.takeBack()
	}
}

// pass lets time pass.
func (s *simulation) pass(d time.Duration) {
	time.Sleep(d + 1)
	s.wait()
}

// anyone is a process that lives, nil if there is none.
func (s *simulation) anyone() *simProcess {
	alive := s.alive()
	if len(alive) == 0 {
		return nil
	}
	return alive[s.rng.IntN(len(alive))]
}

// alive are the processes that live when whoever was told to stop, or has nothing to wait for, has gone as far as it goes.
func (s *simulation) alive() (all []*simProcess) {
	s.wait()
	for _, p := range s.processes {
		if !p.dead && !p.ended() {
			all = append(all, p)
		}
	}
	return all
}

func TestSimulation(t *testing.T) {
	if *simSeed != 0 {
		s := simulate(t, *simSeed, mistakeNamed(t, *simMistake), true)
		t.Log(s.trace.String())
		t.Logf("%+v", s.simCounts)
		if len(s.wrongs) > 0 {
			t.Errorf("seed %d: %s", *simSeed, strings.Join(s.wrongs, "\n"))
		}
		return
	}
	var sum simCounts
	all := crc64.New(simHash)
	hashes := map[uint64]bool{}
	for seed := *simFrom; seed < *simFrom+*simSeeds; seed++ {
		s := simulate(t, seed, mistake{}, false)
		if len(s.wrongs) > 0 {
			t.Errorf("seed %d: %s\nrun with -sim.seed=%d", seed, strings.Join(s.wrongs, "\n"), seed)
		}
		sum.add(s.simCounts)
		fmt.Fprintf(all, "%016x", s.hash)
		if seed >= *simFrom+simReplays {
			continue
		}
		hashes[s.hash] = true
		if again := simulateAmid(t, 5, seed, mistake{}, false).hash; again != s.hash { // the collector is at work all the time
			t.Errorf("seed %d: the trace's hash is %016x, and then %016x", seed, s.hash, again)
		}
	}
	t.Logf("%d seeds from %d on, whose traces have the hash %016x: %+v", *simSeeds, *simFrom, all.Sum64(), sum)
	if len(hashes) != int(min(*simSeeds, simReplays)) {
		t.Errorf("%d seeds have %d traces", min(*simSeeds, simReplays), len(hashes))
	}
	if never := sum.never(); *simSeeds >= 300 && len(never) > 0 {
		t.Errorf("the simulation does not meet what it is made for: there were no %s", strings.Join(never, ", "))
	}
}
