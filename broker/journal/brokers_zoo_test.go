package journal_test

import (
	"cmp"
	"slices"
	"testing"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/kfs"
)

// mistake is something that brokers do wrong, so that we know that the simulation would notice. It is made around the product, in what it is told and
// what is done with what it says, or in its memory: nothing in the product itself could turn one on.
type mistake struct {
	name, what string
	seed       uint64 // that has noticed it: it is tried first; 0 is 1

	of       func(*world) journal.Mistake            // around each step of a journal
	takeover func(*journal.Stepped)                  // when a journal was taken over
	put      func(*world, *journal.Operation)        // before a PUT sets out
	answer   func(*world, *transfer) (taken bool)    // before an answer of the store is taken
	puts     func(key string) (unconditionally bool) // nil: none

	leaseForEver  bool // a lease is valid whatever the time
	freeEarly     bool // a name is free before all journals have ended the topic
	endedOnHope   bool // a journal tells that it has ended a topic before that is durable
	offsetsOnHope bool // a commit of offsets is answered before it is durable
	oldNews       bool // what a follower reads that had begun before the broker had journal 0 itself replaces what it knew then
}

func (m *mistake) overwrites(key string) bool { return m.puts != nil && m.puts(key) }

// brokersZoo is one mistake of each kind. Those of the glue between the parts come first; those of journals, of which zoo_test.go has more, show that
// they are noticed from far as well. Not noticed within 500 seeds are two that need a writer who sleeps for longer than grace (what is known of the end
// counts however old it is; the broker's clock stands in for the store's Date), which zoo_test.go has, and one that needs a broker which takes a
// journal over between the end of a topic that has no records there and the news of it (it serves without having read journal 0 anew).
var brokersZoo = []mistake{
	{name: "lease-for-ever", what: "a broker answers although its lease has passed", leaseForEver: true},
	{name: "free-early", what: "the name of a topic is free before all journals have ended it", freeEarly: true},
	{name: "ended-on-hope", seed: 25, what: "a journal tells that it has ended a topic before that is durable", endedOnHope: true},
	{name: "offsets-on-hope", what: "committed offsets are acknowledged before they are durable", offsetsOnHope: true},
	{name: "old-news", what: "what a follower read before replaces what the owner of journal 0 knew", oldNews: true},
	{name: "forget-producers", what: "a takeover knows no idempotent producers", takeover: func(s *journal.Stepped) { s.Forget(true, false) }},
	{name: "forget-groups", what: "a takeover knows no committed offsets", takeover: func(s *journal.Stepped) { s.Forget(false, true) }},

	{name: "acknowledge-early", what: "batches are acknowledged before their PUT has an answer", of: func(*world) journal.Mistake {
		return journal.Mistake{After: func(s *journal.Stepped) { s.Acknowledge() }}
	}},
	{name: "lease-only", what: "the lease is trusted: a PUT has no condition", puts: isObject},
	{name: "exists-is-ours", what: "a failed precondition is taken for our own first try", answer: func(_ *world, a *transfer) bool {
		if a.op.JournalObject && a.op.Put {
			a.answer.Exists = false
		}
		return false
	}},
	{name: "other-bytes", what: "after an unknown outcome the object is sealed anew", answer: func(_ *world, a *transfer) bool {
		return a.op.Put && a.answer.Err != nil && a.op.Owner.Reseal(a.op)
	}},
	{name: "skip-offset", what: "an offset stays empty", of: skipOffset},
	{name: "same-epoch", what: "a takeover goes on with the epoch of the owner before", put: func(w *world, op *journal.Operation) {
		if err := op.Owner.EpochBack(op); err != nil {
			w.wrong("seal: %v", err)
		}
	}},
	{name: "overwrite-segment", what: "a segment is put over one that is there", puts: isSegment},
	{name: "no-grace", what: "what is released is deleted at once", of: graceFrom(func(*world, string) int64 { return 1 })},
	{name: "grace-from-created", what: "grace is counted from when an object says that it was created", of: graceFrom(func(w *world, key string) int64 {
		m, _, err := kfs.Open(w.store.first[key])
		if err != nil {
			return 0
		}
		return m.Created
	})},
	{name: "segments-at-once", seed: 90, what: "segments that nobody needs are deleted at once", of: func(*world) journal.Mistake {
		return journal.Mistake{Before: func(s *journal.Stepped) { s.Unnote() }}
	}},
}

func skipOffset(w *world) journal.Mistake {
	seen := 0
	return journal.Mistake{After: func(s *journal.Stepped) {
		for ; seen < len(s.Written); seen++ {
			if m, _, err := kfs.Open(s.Written[seen].Body); err == nil && len(m.Segments) > 0 && w.once(4) {
				s.Skip(m.Segments[0].ID())
			}
		}
	}}
}

// graceFrom has the newest checkpoint carry another time for each object that is released.
func graceFrom(since func(w *world, key string) int64) func(*world) journal.Mistake {
	return func(w *world) journal.Mistake {
		return journal.Mistake{Before: func(s *journal.Stepped) {
			s.GraceFrom(func(sequence uint64) int64 { return since(w, kfs.ObjectKey(s.Number(), sequence)) })
		}}
	}
}

func mistakeNamed(t *testing.T, name string) mistake {
	i := slices.IndexFunc(brokersZoo, func(m mistake) bool { return m.name == name })
	if i < 0 {
		if name != "" {
			t.Fatalf("there is no mistake %q", name)
		}
		return mistake{}
	}
	return brokersZoo[i]
}

// TestBrokersZoo has brokers make each mistake, until the simulation notices.
func TestBrokersZoo(t *testing.T) {
	const within = 500
	for _, m := range brokersZoo {
		t.Run(m.name, func(t *testing.T) {
			for n := range uint64(within + 1) {
				seed := cmp.Or(n, m.seed, 1)
				if w := runWorld(t, seed, m, false); len(w.wrongs) > 0 {
					t.Logf("%s: seed %d: %s", m.what, seed, w.wrongs[0])
					return
				}
			}
			t.Errorf("%s: not noticed within %d seeds", m.what, within)
		})
	}
}
