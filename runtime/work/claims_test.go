package work

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/firn-io/firn/kfs"
)

var seeds = flag.Int("work.seeds", 100, "seeds of the simulation of workers")

// world is an etcd and workers whose claims cores talk to it: what they put arrives late, what they see is old, sessions are lost, and what
// they give up is settled some time later. Everything that happens is drawn from one seed.
type world struct {
	rand    *rand.Rand
	kept    map[string]put // the keys in etcd
	workers map[string]*simulated
	trace   []string
}

// simulated is one worker.
type simulated struct {
	core   *claims
	alive  bool
	out    []put // under way, in order
	views  []viewed
	held   set
	turn   uint64
	unruly bool // its session was lost, and it has not seen the others since
}

func newWorld(seed uint64) *world {
	return &world{rand: rand.New(rand.NewPCG(seed, 1)), kept: map[string]put{}, workers: map[string]*simulated{}}
}

func (w *world) say(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

func (w *world) names() []string { return slices.Sorted(maps.Keys(w.workers)) }

// look gives every worker what etcd holds now, to be seen in this order some time.
func (w *world) look() {
	for _, name := range w.names() {
		if s := w.workers[name]; s.alive {
			view := viewed{map[string]set{}, w.kept[name].edition}
			for k, kept := range w.kept {
				view.claims[k] = kept.claims
			}
			s.views = append(s.views, view)
		}
	}
}

func (w *world) join(name string, all topics) {
	s := &simulated{core: newClaims(name), alive: true, held: set{}}
	w.workers[name] = s
	s.core.step(opened{})
	for _, topic := range slices.SortedFunc(maps.Keys(all), compareTopics) {
		w.apply(name, s.core.step(found{topic, all[topic]}))
	}
	w.look()
	w.say("%s joins", name)
}

func (w *world) apply(name string, effects []effect) {
	s := w.workers[name]
	for _, e := range effects {
		switch e := e.(type) {
		case put:
			s.out = append(s.out, e)
		case share:
			s.held, s.turn = e.of, e.turn
			w.say("%s reads %d in turn %d", name, len(e.of), e.turn)
		}
	}
}

// drop ends what etcd knows of a worker.
func (w *world) drop(name string) {
	delete(w.kept, name)
	w.look()
}

// step lets one thing happen.
func (w *world) step(faults bool) {
	name := w.names()[w.rand.IntN(len(w.workers))]
	s := w.workers[name]
	if !s.alive {
		return
	}
	switch roll := w.rand.IntN(100); {
	case roll < 45 && len(s.views) > 0:
		// Several changes may be seen as one.
		n := 1 + w.rand.IntN(len(s.views))
		view := s.views[n-1]
		s.views = s.views[n:]
		if view.edition > 0 {
			s.unruly = false
		}
		w.apply(name, s.core.step(view))
	case roll < 80 && len(s.out) > 0:
		w.kept[name] = s.out[0]
		s.out = s.out[1:]
		w.look()
	case roll < 95:
		w.apply(name, s.core.step(settled{s.turn}))
	case faults && roll == 95: // killed
		s.alive, s.held = false, set{}
		w.say("%s dies", name)
		w.drop(name)
	case faults && roll == 96: // its session is lost, and it goes on
		w.say("%s loses its session", name)
		s.out, s.views, s.unruly = nil, nil, true
		w.drop(name)
		s.core.step(opened{})
		w.look()
	case faults && roll == 97 && len(w.workers) < 6:
		w.join(fmt.Sprintf("w%d", len(w.workers)), s.core.topics)
	}
}

// check fails if two workers read a partition, of which neither has lost its session unawares.
func (w *world) check() error {
	owners := map[kfs.PartitionID]string{}
	for _, name := range w.names() {
		s := w.workers[name]
		for id := range s.held {
			if other, ok := owners[id]; ok && !s.unruly && !w.workers[other].unruly {
				return fmt.Errorf("%s and %s both read %s", name, other, id)
			}
			if s.core.claimed[id] == 0 && !s.unruly {
				return fmt.Errorf("%s reads %s and does not claim it", name, id)
			}
			owners[id] = name
		}
	}
	return nil
}

// TestClaimsSimulation lets workers come, die and lose their sessions at random. At no time do two of them read a partition, unless one has
// lost its session and not seen that yet; and when nothing happens any more, all partitions are read, and evenly.
func TestClaimsSimulation(t *testing.T) {
	for seed := range uint64(*seeds) {
		w := newWorld(seed)
		all := topics{topicOf(1): int32(1 + w.rand.IntN(12)), topicOf(2): int32(1 + w.rand.IntN(3))}
		for i := range 1 + w.rand.IntN(3) {
			w.join(fmt.Sprintf("w%d", i), all)
		}
		w.join("last", all)
		for i := range 2000 {
			w.step(i < 1000)
			if err := w.check(); err != nil {
				t.Fatalf("seed %d, step %d: %v\n%v", seed, i, err, w.trace)
			}
			if i == 1000 && !slices.ContainsFunc(w.names(), func(n string) bool { return w.workers[n].alive }) {
				w.join("heir", all)
			}
		}
		placed := map[string]set{}
		for _, name := range w.names() {
			if s := w.workers[name]; s.alive {
				placed[name] = s.held
			}
		}
		checkPlaced(t, placed, all)
		if t.Failed() {
			t.Fatalf("seed %d\n%v", seed, w.trace)
		}
	}
}

// TestClaimsOfTwo follows the messages of a worker that joins another.
func TestClaimsOfTwo(t *testing.T) {
	topic := topicOf(1)
	p := func(n ...int32) set {
		s := set{}
		for _, i := range n {
			s[kfs.PartitionID{Topic: topic, Partition: i}] = true
		}
		return s
	}
	a := newClaims("a")
	a.step(opened{})
	steps := []struct {
		what string
		when event
		want []effect
	}{
		{"nothing is read before the others are seen", found{topic, 4}, nil},
		{"all that is free is claimed", viewed{map[string]set{}, 0}, []effect{put{p(0, 1, 2, 3), 1}}},
		{"and read when nobody else claims it", viewed{map[string]set{"a": p(0, 1, 2, 3)}, 1}, []effect{share{1, p(0, 1, 2, 3)}}},
		{"another gets the half", viewed{map[string]set{"a": p(0, 1, 2, 3), "b": p()}, 1}, []effect{share{2, p(0, 1)}}},
		{"which is not free while only what came before is settled", settled{1}, nil},
		{"which is free when it is settled", settled{2}, []effect{put{p(0, 1), 2}}},
		{"b claims it", viewed{map[string]set{"a": p(0, 1), "b": p(2, 3)}, 2}, nil},
		{"b is gone", viewed{map[string]set{"a": p(0, 1)}, 2}, []effect{put{p(0, 1, 2, 3), 3}}},
		{"and back, and claims what a does: nobody reads that", viewed{map[string]set{"a": p(0, 1, 2, 3), "b": p(2, 3)}, 3}, []effect{put{p(0, 1), 4}}},
	}
	for _, s := range steps {
		if got := a.step(s.when); fmt.Sprint(got) != fmt.Sprint(s.want) {
			t.Fatalf("%s: got %v, want %v", s.what, got, s.want)
		}
	}
}
