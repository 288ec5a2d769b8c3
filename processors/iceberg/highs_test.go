package iceberg

import (
	"testing"

	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/memory"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/runtime/processor"
)

// TestHighsAllocateNothingForARow reads the greatest offsets of a table of many rows: all of them have to be looked at.
func TestHighsAllocateNothingForARow(t *testing.T) {
	const rows = 100_000
	s, mem := openSink(t, catalog.New(memory.New()), processors.Table{Name: "lake.events"}, nil)
	stage(t, s, events(mem, source0, 0, rows))
	stage(t, s, events(mem, source1, 0, 10))
	from := processor.Positions{source0: 0, source1: 0}
	if err := s.Commit(t.Context(), from, processor.Positions{source0: rows, source1: 10}, []processor.Staged{seal(t, s)}); err != nil {
		t.Fatal(err)
	}
	loaded, err := s.committer.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var high map[string]int64
	allocated := testing.AllocsPerRun(1, func() {
		if high, err = s.highs(t.Context(), loaded, []string{SourceKey(source0), SourceKey(source1)}); err != nil {
			t.Fatal(err)
		}
	})
	if len(high) != 2 || high[SourceKey(source0)] != rows-1 || high[SourceKey(source1)] != 9 {
		t.Errorf("greatest offsets %v", high)
	}
	if allocated > rows/2 {
		t.Errorf("%.0f allocations for %d rows", allocated, rows)
	}
}

// TestHighsWhereColumnsHaveMoved has somebody else put the columns in another order.
func TestHighsWhereColumnsHaveMoved(t *testing.T) {
	client := memory.New()
	s, mem := openSink(t, catalog.New(client), processors.Table{Name: "lake.events"}, nil)
	stage(t, s, events(mem, source0, 0, 10))
	if err := s.Commit(t.Context(), processor.Positions{source0: 0}, processor.Positions{source0: 10}, []processor.Staged{seal(t, s)}); err != nil {
		t.Fatal(err)
	}
	alter(t, client, s, func(tx *table.Transaction) error {
		return tx.UpdateSchema(true, false).MoveFirst([]string{"kafka_offset"}).Commit()
	})
	loaded, err := s.committer.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	high, err := s.highs(t.Context(), loaded, []string{SourceKey(source0)})
	if err != nil || high[SourceKey(source0)] != 9 {
		t.Errorf("greatest offsets %v, %v", high, err)
	}
}
