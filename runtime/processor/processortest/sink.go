// Package processortest is the suite that every sink has to pass. The author of a plug-in runs it on his sink:
//
//	func TestSink(t *testing.T) {
//		processortest.Sink(t, func(t *testing.T) processortest.Table { return processortest.Table{Open: …, Offsets: …} })
//	}
//
// A sink that passes gets every offset exactly once from the runtime: it stores its position together with its rows. One that cannot do
// that says AtLeastOnce. It is then held to lose nothing, and that is all that can be said of it: the runtime keeps no position of its
// own, so after a start such a sink gets the records again from where source.from says, and whatever was committed is there twice.
package processortest

import (
	"context"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
)

// Table is one table for one test, which does not exist yet.
type Table struct {
	// Open opens a sink of the table, as another process would: it knows nothing but what the table has. One that is an io.Closer is closed.
	Open func(ctx context.Context) (processor.Sink, error)
	// Offsets reads what is visible: the offsets of the rows of a source, in any order, as often as they are there.
	Offsets func(ctx context.Context, source processor.Source) ([]int64, error)
	// AtLeastOnce says that the sink cannot store its position with its rows.
	AtLeastOnce bool
}

// Sink runs the suite. newTable is called for every test.
func Sink(t *testing.T, newTable func(t *testing.T) Table) {
	tests := []struct {
		name string
		run  func(*suite)
		once bool // only for sinks that store their position
	}{
		{"a table that does not exist has no position", (*suite).testNew, false},
		{"what is staged is invisible", (*suite).testStaged, false},
		{"a commit shows rows and moves the position", (*suite).testCommit, true},
		{"commits of a sink without a position", (*suite).testCommitAlone, false},
		{"spans without rows move the position", (*suite).testNoRows, true},
		{"one commit of several groups", (*suite).testGroups, false},
		{"staged output travels to another process", (*suite).testTravels, false},
		{"a commit that begins elsewhere is refused", (*suite).testMoved, true},
		{"the same group again is refused", (*suite).testAgain, true},
		{"of two writers one wins", (*suite).testTwoWriters, true},
		{"what was discarded never comes", (*suite).testDiscard, false},
		{"sources are apart", (*suite).testSources, true},
		{"columns are added", (*suite).testColumns, false},
		{"every offset once, whenever the process dies", (*suite).testDeaths, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			table := newTable(t)
			if test.once && table.AtLeastOnce {
				t.Skip("the sink stores no position: it gets every offset at least once")
			}
			mem := memory.NewCheckedAllocator(overwriting{memory.NewGoAllocator()})
			s := &suite{t, table, mem}
			test.run(s)
			mem.AssertSize(t, 0)
		})
	}
}

func (s *suite) testNew() {
	s.wantPosition(first, -1)
	s.wantOffsets(first, 0)
}

func (s *suite) testStaged() {
	sink := s.open()
	defer s.close(sink)
	s.stage(sink, s.batch(first, 0, 10))
	s.wantPosition(first, -1)
	s.wantOffsets(first, 0)
}

func (s *suite) testCommit() {
	sink := s.open()
	defer s.close(sink)
	s.mustCommit(sink, first, 0, 10, s.stage(sink, s.batch(first, 0, 10)))
	s.wantPosition(first, 10)
	s.wantOffsets(first, 10)
	s.mustCommit(sink, first, 10, 15, s.stage(sink, s.batch(first, 10, 12), s.batch(first, 12, 15)))
	s.wantPosition(first, 15)
	s.wantOffsets(first, 15)
}

func (s *suite) testCommitAlone() {
	sink := s.open()
	defer s.close(sink)
	s.mustCommit(sink, first, 0, 10, s.stage(sink, s.batch(first, 0, 10)))
	s.wantOffsets(first, 10)
}

func (s *suite) testNoRows() {
	sink := s.open()
	defer s.close(sink)
	empty := func(base, next int64) processor.Batch {
		return processor.Batch{Source: first, Span: kfs.Span{Base: base, Next: next}}
	}
	// Without a table there may be nothing to store the position with yet; whoever comes then begins anew, and nothing was there.
	s.mustCommit(sink, first, 0, 5, s.stage(sink, empty(0, 5)))
	s.mustCommit(sink, first, 5, 12, s.stage(sink, s.batch(first, 5, 8), empty(8, 12)))
	s.wantPosition(first, 12)
	s.mustCommit(sink, first, 12, 20, s.stage(sink, empty(12, 20)))
	s.wantPosition(first, 20)
	s.wantOffsets(first, 8, 0, 1, 2, 3, 4)
}

func (s *suite) testGroups() {
	sink := s.open()
	defer s.close(sink)
	a, b := s.stage(sink, s.batch(first, 0, 4)), s.stage(sink, s.batch(first, 4, 9))
	s.mustCommit(sink, first, 0, 9, a, b)
	s.wantOffsets(first, 9)
}

func (s *suite) testTravels() {
	one, other := s.open(), s.open()
	defer s.close(other)
	staged := s.stage(one, s.batch(first, 0, 10))
	s.close(one)
	s.mustCommit(other, first, 0, 10, staged)
	s.wantOffsets(first, 10)
}

func (s *suite) testMoved() {
	sink := s.open()
	defer s.close(sink)
	s.mustCommit(sink, first, 0, 10, s.stage(sink, s.batch(first, 0, 10)))
	s.wantMoved("a commit behind a gap", s.commit(sink, first, 12, 15, s.stage(sink, s.batch(first, 12, 15))))
	s.wantMoved("a commit over what is there", s.commit(sink, first, 5, 15, s.stage(sink, s.batch(first, 5, 15))))
	s.wantPosition(first, 10)
	s.wantOffsets(first, 10)
	s.mustCommit(sink, first, 10, 11, s.stage(sink, s.batch(first, 10, 11)))
	s.wantOffsets(first, 11)
}

func (s *suite) testAgain() {
	sink := s.open()
	defer s.close(sink)
	staged := s.stage(sink, s.batch(first, 0, 10))
	s.mustCommit(sink, first, 0, 10, staged)
	s.wantMoved("the same group again", s.commit(sink, first, 0, 10, staged))
	s.wantOffsets(first, 10)
}

func (s *suite) testTwoWriters() {
	one, other := s.open(), s.open()
	defer s.close(one)
	defer s.close(other)
	for _, sink := range []processor.Sink{one, other} {
		if _, err := sink.Committed(s.Context()); err != nil {
			s.Fatal(err)
		}
	}
	a, b := s.stage(one, s.batch(first, 0, 10)), s.stage(other, s.batch(first, 0, 7))
	s.mustCommit(one, first, 0, 10, a)
	s.wantMoved("the second writer", s.commit(other, first, 0, 7, b))
	s.wantPosition(first, 10)
	s.wantOffsets(first, 10)
}

func (s *suite) testDiscard() {
	sink := s.open()
	defer s.close(sink)
	if err := sink.Discard(s.Context(), []processor.Staged{s.stage(sink, s.batch(first, 0, 10))}); err != nil {
		s.Fatalf("discard: %v", err)
	}
	s.mustCommit(sink, first, 0, 3, s.stage(sink, s.batch(first, 0, 3)))
	s.wantOffsets(first, 3)
}

func (s *suite) testSources() {
	sink := s.open()
	defer s.close(sink)
	staged := s.stage(sink, s.batch(first, 0, 4), s.batch(second, 0, 6))
	from, to := processor.Positions{first: 0, second: 0}, processor.Positions{first: 4, second: 6}
	if err := sink.Commit(s.Context(), from, to, []processor.Staged{staged}); err != nil {
		s.Fatalf("commit: %v", err)
	}
	s.wantPosition(first, 4)
	s.wantPosition(second, 6)
	s.wantPosition(again, -1)
	// All or nothing: one of two sources stands elsewhere.
	staged = s.stage(sink, s.batch(first, 4, 5), s.batch(second, 7, 8))
	from, to = processor.Positions{first: 4, second: 7}, processor.Positions{first: 5, second: 8}
	s.wantMoved("one source of two behind a gap", sink.Commit(s.Context(), from, to, []processor.Staged{staged}))
	s.wantPosition(first, 4)
	s.wantOffsets(first, 4)
	s.wantOffsets(second, 6)
}

func (s *suite) testColumns() {
	sink := s.open()
	defer s.close(sink)
	s.mustCommit(sink, first, 0, 5, s.stage(sink, s.batch(first, 0, 5)))
	s.mustCommit(sink, first, 5, 9, s.stage(sink, s.batch(first, 5, 9, "more")))
	s.mustCommit(sink, first, 9, 10, s.stage(sink, s.batch(first, 9, 10)))
	s.wantOffsets(first, 10)
}

// testDeaths commits two sources in steps of chance, and begins anew in another process after any operation.
func (s *suite) testDeaths() {
	seed := rand.Uint64()
	s.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	const end = 40
	ends := map[processor.Source]int64{first: end, second: end}
	for starts := 0; ; starts++ {
		if starts > 1000 {
			s.Fatalf("not done after %d starts", starts)
		}
		sink := s.open()
		at, err := sink.Committed(s.Context())
		if err != nil {
			s.Fatalf("committed: %v", err)
		}
		done := true
		for source, next := range ends {
			done = done && at[source] >= next
		}
		if done {
			s.close(sink)
			break
		}
		s.life(sink, maps.Clone(at), ends, random)
		s.close(sink)
	}
	s.wantOffsets(first, end)
	s.wantOffsets(second, end)
}

// life goes on from a position until it dies.
func (s *suite) life(sink processor.Sink, at, ends processor.Positions, random *rand.Rand) {
	dies := func() bool { return random.IntN(6) == 0 }
	if at == nil {
		at = processor.Positions{}
	}
	for !dies() {
		from, to := processor.Positions{}, processor.Positions{}
		var batches []processor.Batch
		for _, source := range []processor.Source{first, second} {
			if next := min(ends[source], at[source]+1+random.Int64N(5)); next > at[source] {
				batches = append(batches, s.batch(source, at[source], next))
				from[source], to[source] = at[source], next
			}
		}
		if len(batches) == 0 {
			return
		}
		staged := s.stage(sink, batches...)
		if dies() {
			return
		}
		if err := sink.Commit(s.Context(), from, to, []processor.Staged{staged}); err != nil {
			s.Fatalf("commit: %v", err)
		}
		if dies() {
			return // before it could take note of it
		}
		maps.Copy(at, to)
	}
}
