package journal_test

import (
	"flag"
	"fmt"
	"hash/crc64"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/kfs/lease"
)

// This is a simulation of several whole brokers, in the files brokers_*_test.go: the brokers' cores and handlers, an object store, the lease service,
// clients, and what goes wrong between them, on one goroutine and made of one seed. simulation_test.go beside it looks closer at the owners of one journal.
//
// Of the product it drives: journals with their inboxes, caches and published state (but their loop), followers of journal 0, metadata and its plans,
// cluster.View with the placement of journals, group coordinators with both kinds of groups, and the handlers of Kafka's APIs, which run as coroutines
// where they block. It stands in for what is left: the loops of journal.Journal and journal.Follower, what cluster.Cluster and lease.Session do in goroutines
// (taking, handing over and losing leases, brokers_tenure_test.go), the broker's controller and deletion (brokers_requests_test.go), and connections.
// Those run as they are, without a claim of replay, in broker/whole_test.go. Not in here are retention by time and size (log starts move by
// DeleteRecords), groups of the consumer protocol, growing to more journals, restore points, and pauses in the middle of reading records.

var (
	brokersSeed    = flag.Uint64("brokers.seed", 0, "run the simulation of brokers with this seed only, and say what happens")
	brokersMistake = flag.String("brokers.mistake", "", "with -brokers.seed: the mistake of brokers_zoo_test.go that is made")
	brokersSeeds   = flag.Uint64("brokers.seeds", journal.DefaultSeeds, "how many seeds the simulation of brokers runs")
)

// world is all that there is. What is wrong it collects.
type world struct {
	t       testing.TB
	seed    uint64
	rng     *rand.Rand
	mistake mistake // that all brokers make
	verbose bool
	trace   strings.Builder
	hash    uint64 // of all that happened
	wrongs  []string
	steps   int // turns so far: the order of what clients saw

	clock    time.Time // the store's, and the lease service's
	store    *store
	leases   *leases
	brokers  []*slot
	journals uint32
	calls    []*call
	running  *call // whose coroutine runs
	clients  []client
	truth    *truth
	calm     bool      // faults are seldom
	brisk    bool      // time passes fast: what is deleted, and when
	faults   bool      // there are any
	unsure   time.Time // until then leases may overlap: the lease service has lost everything, or a clock has stood still

	worldCounts
}

// worldCounts say whether the simulation meets what it is made for.
type worldCounts struct {
	Acks, Again, GivenUp, Read, Commits, Fetched, Rebalances, Created, Deleted, Altered, Grown, Trims   int
	Takeovers, HandOvers, Fenced, Kills, Restarts, Pauses, Suspensions, Cuts, Wipes, Strays, LostLeases int
	Checkpoints, Swept, Settled, Witnessed, Refused                                                     int
}

func (a *worldCounts) add(b worldCounts) {
	for i, p := range a.all() {
		*p += *b.all()[i]
	}
}

func (a *worldCounts) all() []*int {
	return []*int{
		&a.Acks, &a.Again, &a.GivenUp, &a.Read, &a.Commits, &a.Fetched, &a.Rebalances, &a.Created, &a.Deleted, &a.Altered, &a.Grown, &a.Trims,
		&a.Takeovers, &a.HandOvers, &a.Fenced, &a.Kills, &a.Restarts, &a.Pauses, &a.Suspensions, &a.Cuts, &a.Wipes, &a.Strays, &a.LostLeases,
		&a.Checkpoints, &a.Swept, &a.Settled, &a.Witnessed, &a.Refused,
	}
}

// slot is a broker id, and the process that runs under it.
type slot struct {
	id      int32
	process *process // nil while there is none
	cut     bool     // from the lease service
}

const worldTurns = 7000

func newWorld(t testing.TB, seed uint64, m mistake, verbose bool) *world {
	w := &world{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 2)), mistake: m, verbose: verbose, clock: time.UnixMilli(1_800_000_000_000),
		calm: seed%4 > 0, brisk: seed%4 == 1, faults: true,
	}
	w.store, w.leases, w.truth = newStore(w), newLeases(w), newTruth(w)
	w.journals = 1 + uint32(w.rng.IntN(3))
	for id := range int32(2 + w.rng.IntN(3)) {
		w.brokers = append(w.brokers, &slot{id: id + 1})
	}
	admin := newAdmin(w)
	w.clients = append(w.clients, admin)
	for n := range 3 {
		w.clients = append(w.clients, newProducer(w, n))
	}
	w.clients = append(w.clients, newPlain(w), newWitness(w))
	for n := range 2 {
		m := newMember(w, n)
		w.clients = append(w.clients, newReader(w, n), m, m, m) // much goes to and fro before a member commits
	}
	return w
}

// runWorld runs a seed to its end, or to where something is wrong.
func runWorld(t testing.TB, seed uint64, m mistake, verbose bool) (w *world) {
	w = newWorld(t, seed, m, verbose)
	defer func() {
		r := recover()
		w.close()
		if r != nil {
			if m.name == "" {
				panic(fmt.Sprintf("seed %d: %v\n%s", seed, r, w.trace.String()))
			}
			w.wrong("panic: %v", r)
		}
	}()
	for _, b := range w.brokers {
		w.startProcess(b)
	}
	for range worldTurns {
		if w.turn(); len(w.wrongs) > 0 {
			return w
		}
	}
	w.settle()
	return w
}

// close ends what still runs as a coroutine.
func (w *world) close() {
	for _, c := range w.calls {
		c.abandon()
	}
	for _, b := range w.brokers {
		if b.process != nil {
			b.process.abandonTasks()
		}
	}
}

// wrong notes something that must not be.
func (w *world) wrong(format string, args ...any) {
	w.wrongs = append(w.wrongs, fmt.Sprintf(format, args...))
	w.say("WRONG: "+format, args...)
}

func (w *world) say(format string, args ...any) {
	if w.verbose {
		fmt.Fprintf(&w.trace, "%d %s "+format+"\n", append([]any{w.steps, w.clock.Format("15:04:05.000")}, args...)...)
	}
}

var worldHash = crc64.MakeTable(crc64.ECMA)

// note adds something that happened to the hash of the trace.
func (w *world) note(body []byte, format string, args ...any) {
	w.hash = crc64.Update(w.hash, worldHash, fmt.Appendf(nil, "%d ", w.clock.UnixNano()))
	w.hash = crc64.Update(w.hash, worldHash, fmt.Appendf(nil, format, args...))
	w.hash = crc64.Update(w.hash, worldHash, body)
}

// once is true one time in n.
func (w *world) once(n int) bool { return w.rng.IntN(n) == 0 }

// turn does one thing at random.
func (w *world) turn() {
	w.steps++
	w.mend()
	n := w.rng.IntN(1000)
	switch {
	case n < 320:
		w.store.carry()
	case n < 560:
		w.store.deliver()
	case n < 740:
		w.carryCall()
	case n < 870:
		w.clients[w.rng.IntN(len(w.clients))].act()
	case n < 980:
		w.pass(time.Duration(w.rng.Int64N(int64(200 * time.Millisecond))))
	case n < 983:
		w.pass(time.Duration(w.rng.Int64N(int64(4 * time.Second))))
	default:
		w.trouble(n - 983)
	}
}

// mend has something go on that has not for a while.
func (w *world) mend() {
	b := w.brokers[w.rng.IntN(len(w.brokers))]
	switch {
	case b.process == nil && w.once(60):
		w.Restarts++
		w.startProcess(b)
	case b.process != nil && b.process.paused && w.once(80) && (!b.process.long || w.once(20)):
		b.process.resume()
	case b.cut && w.once(100):
		b.cut = false
		w.say("broker %d reaches the lease service again", b.id)
	}
}

// trouble is what goes wrong, out of 17.
func (w *world) trouble(n int) {
	if w.brisk && w.once(3) {
		w.pass(time.Duration(w.rng.Int64N(int64(40 * time.Minute))))
		return
	}
	if w.rng.IntN(w.rarely(3)) > 0 {
		return
	}
	b := w.brokers[w.rng.IntN(len(w.brokers))]
	p := b.process
	switch {
	case n < 5 && p != nil:
		p.pause(w.once(8))
	case n < 7 && p != nil:
		w.Kills++
		w.say("broker %d is killed", b.id)
		p.kill()
	case n < 9 && p != nil:
		w.say("broker %d is to stop", b.id)
		p.leaving = true
	case n < 12 && !b.cut:
		b.cut = true
		w.Cuts++
		w.say("broker %d is cut from the lease service", b.id)
	case n < 13 && w.once(2):
		w.leases.wipe()
	case n < 15:
		w.pass(time.Duration(w.rng.Int64N(int64(time.Minute))))
	case n < 16 && w.once(3):
		w.pass(time.Duration(w.rng.Int64N(int64(3 * time.Hour))))
	}
}

// pass lets time pass for everything that is not paused.
func (w *world) pass(d time.Duration) {
	w.clock = w.clock.Add(d)
	if d > lease.DefaultTTL/3 { // who can has kept its session alive meanwhile
		for _, b := range w.brokers {
			if p := b.process; p != nil && !p.paused && !b.cut {
				p.extend()
			}
		}
	}
	w.leases.expire()
	for _, b := range w.brokers {
		if p := b.process; p != nil && !p.paused {
			p.tick()
		}
	}
}

func TestBrokers(t *testing.T) {
	if *brokersSeed != 0 {
		w := runWorld(t, *brokersSeed, mistakeNamed(t, *brokersMistake), true)
		t.Log(w.trace.String())
		if len(w.wrongs) > 0 {
			t.Errorf("seed %d: %s", *brokersSeed, strings.Join(w.wrongs, "\n"))
		}
		return
	}
	var sum worldCounts
	for seed := range *brokersSeeds {
		w := runWorld(t, seed+1, mistake{}, false)
		if len(w.wrongs) > 0 {
			t.Fatalf("seed %d: %s\nrun with -brokers.seed=%d", seed+1, strings.Join(w.wrongs, "\n"), seed+1)
		}
		sum.add(w.worldCounts)
	}
	t.Logf("%d seeds: %+v", *brokersSeeds, sum)
	if *brokersSeeds >= 100 && slices.ContainsFunc(sum.all(), func(n *int) bool { return *n == 0 }) {
		t.Error("the simulation does not meet what it is made for")
	}
}

// TestBrokersReplay runs seeds twice: a finding can be run again.
func TestBrokersReplay(t *testing.T) {
	hashes := map[uint64]bool{}
	for seed := range uint64(journal.ReplaySeeds) {
		a, b := runWorld(t, seed+1, mistake{}, false).hash, runWorld(t, seed+1, mistake{}, false).hash
		if a != b {
			t.Errorf("seed %d: the trace's hash is %016x, and then %016x", seed+1, a, b)
		}
		hashes[a] = true
	}
	if len(hashes) != journal.ReplaySeeds {
		t.Errorf("%d seeds have %d traces", journal.ReplaySeeds, len(hashes))
	}
}
