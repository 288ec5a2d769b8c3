package iceberg

import (
	"slices"
	"testing"

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
