package iceberg

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/runtime/processor"
)

func TestDeadOffsets(t *testing.T) {
	s, mem := openSink(t, openSQLite(t), processors.Table{Name: "default.job_dead_letter"}, nil)
	if got, err := s.DeadOffsets(t.Context(), source0, kfs.Span{Base: 0, Next: 10}); err != nil || len(got) != 0 {
		t.Fatalf("a table that does not exist holds %v, %v", got, err)
	}
	stage(t, s, events(mem, source0, 0, 5))
	stage(t, s, events(mem, source1, 0, 9))
	b := events(mem, source0, 7, 9)
	b.Span = kfs.Span{Base: 5, Next: 20} // 5, 6 and 9 to 19 were rows
	stage(t, s, b)
	err := s.Commit(t.Context(), processor.Positions{source0: 0, source1: 0}, processor.Positions{source0: 20, source1: 9}, []processor.Staged{seal(t, s)})
	if err != nil {
		t.Fatal(err)
	}
	for span, want := range map[kfs.Span][]int64{
		{Base: 3, Next: 8}:   {3, 4, 7},
		{Base: 8, Next: 100}: {8},
		{Base: 9, Next: 20}:  nil,
		{Base: 4, Next: 4}:   nil,
	} {
		got, err := s.DeadOffsets(t.Context(), source0, span)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", span, got, want)
		}
	}
}

// TestAmend brings in letters that the position has passed without them: each once, and resolved ones again.
func TestAmend(t *testing.T) {
	s, mem := openSink(t, openSQLite(t), processors.Table{Name: "default.job_dead_letter"}, nil)
	stage(t, s, events(mem, source0, 12, 14))
	err := s.Commit(t.Context(), processor.Positions{source0: 12}, processor.Positions{source0: 14}, []processor.Staged{seal(t, s)})
	if err != nil {
		t.Fatal(err)
	}
	b := events(mem, source0, 16, 17)
	b.Span = kfs.Span{Base: 14, Next: 20} // all but 16 were rows
	stage(t, s, b)
	if err = s.Commit(t.Context(), processor.Positions{source0: 14}, processor.Positions{source0: 20}, []processor.Staged{seal(t, s)}); err != nil {
		t.Fatal(err)
	}
	amend := func(offset int64) error {
		t.Helper()
		stage(t, s, events(mem, source0, offset, offset+1))
		return s.Amend(t.Context(), seal(t, s), map[processor.Source][]int64{source0: {offset}})
	}
	want := func(offsets ...int64) {
		t.Helper()
		if got, err := s.DeadOffsets(t.Context(), source0, kfs.Span{Base: 0, Next: 100}); err != nil || !slices.Equal(got, offsets) {
			t.Errorf("letters %v, %v, want %v", got, err, offsets)
		}
		if at, err := s.Committed(t.Context()); err != nil || at[source0] != 20 {
			t.Errorf("the table stands at %v, %v", at, err)
		}
	}
	if err := amend(15); err != nil {
		t.Fatal(err)
	}
	want(12, 13, 15, 16)
	if err := amend(15); !errors.Is(err, ErrRowsThere) {
		t.Errorf("a letter that is there: %v", err)
	}
	if _, err := s.Resolve(t.Context(), map[processor.Source][]int64{{Topic: "events"}: {13, 15}}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	want(12, 16)
	if err := amend(15); err != nil {
		t.Errorf("a letter that was resolved: %v", err)
	}
	want(12, 15, 16)
	var halt *processor.HaltError
	for _, offset := range []int64{11, 20} {
		if err := amend(offset); !errors.As(err, &halt) {
			t.Errorf("offset %d, which is not accounted for: %v", offset, err)
		}
	}
	want(12, 15, 16)
}
