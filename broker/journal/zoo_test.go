package journal

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/firn-io/firn/kfs"
)

// mistake is something that owners do wrong, so that we know that the simulation would notice. It is made around the core, by what the core
// is told and what is done with what it says, or in the core's memory: nothing in the core itself could turn one on.
type mistake struct {
	name, what string
	seed       uint64 // that has noticed it: it is tried first; 0 is 1

	before func(*simulation, *simOwner, event)             // before each event
	after  func(*simulation, *simOwner, []effect) []effect // after it, before its effects take place
	answer func(*simulation, *simAnswer) (taken bool)      // before an answer of the store is taken
	puts   func(key string) (unconditionally bool)         // nil: none
}

func (m *mistake) overwrites(key string) bool { return m.puts != nil && m.puts(key) }

// zooSeeds is within how many seeds a mistake has to be noticed.
const zooSeeds = 500

// zoo is one mistake of each kind.
var zoo = []mistake{
	{name: "acknowledge-early", what: "batches are acknowledged before their PUT has an answer", after: acknowledgeEarly},
	{name: "lease-only", what: "the lease is trusted: a PUT has no condition", puts: isObject},
	{name: "no-limit", seed: 130, what: "what is known of the end counts however old it is", before: func(s *simulation, o *simOwner, _ event) {
		o.core.known = s.clock.UnixMilli()
	}},
	{name: "slow-read", seed: 40, what: "a read of the end counts from its last answer on, not from its first LIST", before: func(s *simulation, o *simOwner, _ event) {
		if o.core.end != nil {
			o.core.end.time = s.clock.UnixMilli()
		}
	}},
	{name: "own-clock", seed: 54, what: "the owner's clock stands in for the store's Date", answer: func(_ *simulation, a *simAnswer) bool {
		a.time = a.owner.now.UnixMilli()
		return false
	}},
	{name: "exists-is-ours", what: "a failed precondition is taken for our own first try", answer: func(_ *simulation, a *simAnswer) bool {
		if put, ok := a.op.(putOp); ok && isObject(put.key) && a.outcome == exists {
			a.outcome = done
		}
		return false
	}},
	{name: "unknown-is-failure", what: "after an unknown outcome waiters are told that nothing was written, and the next object takes the key", answer: unknownFails},
	{name: "other-bytes", what: "after an unknown outcome the object is sealed anew", answer: otherBytes},
	{name: "judge-in-flight", what: "a batch that is on its way already is answered as a duplicate", before: judgeInFlight},
	{name: "skip-offset", what: "an offset stays empty", after: skipOffset},
	{name: "same-epoch", what: "a takeover goes on with the epoch of the owner before", after: sameEpoch},
	{name: "head-only", what: "a takeover has the end from a hint, and what is there from the checkpoint, without the chain between", after: headOnly},
	{name: "forget-producers", what: "a takeover knows no idempotent producers", after: atTakeover(func(c *core) {
		for _, p := range c.index.partitions {
			clear(p.producers)
		}
	})},
	{name: "forget-groups", what: "a takeover knows no committed offsets", after: atTakeover(func(c *core) { clear(c.state.groups) })},
	{name: "overwrite-segment", seed: 25, what: "a segment is put over one that is there", puts: isSegment},
	{name: "trust-segment", seed: 16, what: "a segment that is there is taken for ours, unseen", answer: trustSegment},
	{name: "segment-on-hope", seed: 16, what: "a segment is entered in the journal though the outcome of its PUT is unknown", answer: segmentOnHope},
	{name: "no-grace", seed: 110, what: "what is released is deleted at once", before: graceFrom(func(*simulation, uint64) int64 { return 1 })},
	// By the store's own date of the object this is not noticed. Whoever could still acknowledge N knew the end before N was written, so N is
	// younger than LIMIT. It would harm only one who begins to read at an N that was written longer than grace ago and is released, named by
	// two checkpoints and deleted before his read is over: seeds do not get there.
	{name: "grace-from-created", seed: 110, what: "grace is counted from when an object says that it was created", before: graceFrom(func(s *simulation, sequence uint64) int64 {
		m, _, err := kfs.Open(s.first[kfs.ObjectKey(0, sequence)])
		if err != nil {
			return 0
		}
		return m.Created
	})},
}

func isObject(key string) bool {
	_, _, ok := kfs.ParseObjectKey(key)
	return ok
}

func isSegment(key string) bool { return strings.HasPrefix(key, kfs.SegmentsPrefix) }

// tell answers requests behind the core's back.
func (o *simOwner) tell(r *request, results []Result) {
	if then, ok := o.waits[r]; ok {
		delete(o.waits, r)
		then(results)
	}
}

func acknowledgeEarly(_ *simulation, o *simOwner, effects []effect) []effect {
	if f := o.core.flight; f != nil && o.core.phase == owning {
		for _, r := range f.requests {
			o.tell(r, r.results)
		}
	}
	return effects
}

// lostPut is the flight of which an answer leaves the outcome unknown.
func lostPut(a *simAnswer) *flight {
	c := a.owner.core
	put, ok := a.op.(putOp)
	if !ok || a.outcome != unknown || c.phase != owning || c.flight == nil || c.flight.key != put.key {
		return nil
	}
	return c.flight
}

func unknownFails(s *simulation, a *simAnswer) bool {
	f, c := lostPut(a), a.owner.core
	if f == nil {
		return false
	}
	delete(c.ops, a.answered.op)
	c.out, c.flight = nil, nil
	c.failAll(f.requests, ErrUnavailable)
	for _, e := range c.out {
		if r, ok := e.(reply); ok {
			a.owner.tell(r.request, r.results)
		}
	}
	s.step(a.owner, tick{})
	return true
}

func otherBytes(s *simulation, a *simAnswer) bool {
	f, c := lostPut(a), a.owner.core
	if f == nil {
		return false
	}
	delete(c.ops, a.answered.op)
	c.gathered, c.flight = append(slices.Clone(f.requests), c.gathered...), nil
	for _, r := range f.requests {
		c.gatheredBytes += r.bytes
	}
	s.step(a.owner, tick{})
	return true
}

func judgeInFlight(_ *simulation, o *simOwner, ev event) {
	e, ok := ev.(arrived)
	if !ok || o.core.flight == nil {
		return
	}
	for _, r := range e.requests {
		for i := range r.batches {
			b := &r.batches[i]
			for _, seg := range o.core.flight.manifest.Segments {
				for _, p := range seg.Producers {
					if h := b.headers[0]; seg.ID() == b.id() && p.ProducerID == h.ProducerID && p.FirstSequence == h.BaseSequence {
						o.tell(r, []Result{{Base: p.BaseOffset, AppendTime: -1}})
					}
				}
			}
		}
	}
}

func skipOffset(_ *simulation, o *simOwner, effects []effect) []effect {
	for _, e := range effects {
		if e, ok := e.(committed); ok && len(e.manifest.Segments) > 0 {
			o.core.index.partitions[e.manifest.Segments[0].ID()].next++
		}
	}
	return effects
}

func sameEpoch(s *simulation, o *simOwner, effects []effect) []effect {
	for i, e := range effects {
		f := o.core.flight
		if e, ok := e.(putOp); ok && o.core.phase == opening && f != nil && f.key == e.key && f.tries == 1 && f.sequence > 0 {
			var err error
			f.manifest.Epoch--
			if f.body, f.crc, err = kfs.Seal(f.manifest, nil); err != nil {
				s.wrong("seal: %v", err)
			}
			effects[i] = putOp{e.op, e.key, f.body}
		}
	}
	return effects
}

// atTakeover does something to a core that has just taken over.
func atTakeover(do func(*core)) func(*simulation, *simOwner, []effect) []effect {
	return func(_ *simulation, o *simOwner, effects []effect) []effect {
		for _, e := range effects {
			if _, ok := e.(opened); ok {
				do(o.core)
			}
		}
		return effects
	}
}

// headOnly keeps what an owner to be has read of the checkpoint, and has it go on from that.
func headOnly(s *simulation, o *simOwner, effects []effect) []effect {
	c := o.core
	if c.phase == opening && c.state.covered && c.state.sequence == c.state.checkpoint {
		o.partitions = map[kfs.PartitionID]*partition{}
		for id, p := range c.index.partitions {
			p := *p
			p.refs, p.settled, p.producers = slices.Clone(p.refs), slices.Clone(p.settled), maps.Clone(p.producers)
			o.partitions[id] = &p
		}
	}
	return atTakeover(func(c *core) {
		if o.partitions != nil {
			c.index.partitions = o.partitions
		}
	})(s, o, effects)
}

func trustSegment(_ *simulation, a *simAnswer) bool {
	get, ok := a.op.(getOp)
	if pass := a.owner.core.settling.pass; ok && pass != nil {
		for _, p := range pass.parts {
			switch {
			case p.object == nil:
			case get.key == p.segment.Key:
				a.outcome, a.body = done, p.object
			case get.key == kfs.IndexKey(p.id.Topic, p.name, p.id.Partition, p.segment.Span.Base):
				a.outcome, a.body = done, p.index
			}
		}
	}
	return false
}

func segmentOnHope(s *simulation, a *simAnswer) bool {
	if put, ok := a.op.(putOp); ok && isSegment(put.key) && a.outcome == unknown {
		a.outcome = done
	}
	return trustSegment(s, a)
}

// graceFrom has the newest checkpoint carry another time for each object that is released.
func graceFrom(since func(s *simulation, sequence uint64) int64) func(*simulation, *simOwner, event) {
	return func(s *simulation, o *simOwner, _ event) {
		k := o.core.sweep.newest
		if k == nil || len(k.released) == 0 {
			return
		}
		last := k.released[len(k.released)-1].Last
		k.released = nil
		for sequence := o.core.sweep.lowest; sequence <= last; sequence++ {
			k.released = append(k.released, kfs.Run{First: sequence, Last: sequence, Since: since(s, sequence)})
		}
	}
}

func mistakeNamed(t *testing.T, name string) mistake {
	i := slices.IndexFunc(zoo, func(m mistake) bool { return m.name == name })
	if i < 0 {
		if name != "" {
			t.Fatalf("there is no mistake %q", name)
		}
		return mistake{}
	}
	return zoo[i]
}

// TestZoo has owners make each mistake, until the simulation notices.
func TestZoo(t *testing.T) {
	for _, m := range zoo {
		t.Run(m.name, func(t *testing.T) {
			for n := range uint64(zooSeeds + 1) {
				seed := cmp.Or(n, m.seed, 1)
				if s := simulate(t, seed, m, false); len(s.wrongs) > 0 {
					t.Logf("%s: seed %d: %s", m.what, seed, s.wrongs[0])
					return
				}
			}
			t.Errorf("%s: not noticed within %d seeds", m.what, zooSeeds)
		})
	}
}
