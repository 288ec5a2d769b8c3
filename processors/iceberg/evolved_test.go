package iceberg

import (
	"errors"
	"strings"
	"testing"

	iceberglib "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/memory"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/runtime/processor"
)

// TestPartitionedByOthers has somebody else change how the table is partitioned, while the sink has written to it: at the latest the second commit
// after that has files of the new partitioning, or, where nothing was committed meanwhile, the first. What cannot be written halts.
func TestPartitionedByOthers(t *testing.T) {
	for _, looks := range []bool{false, true} {
		client := memory.New()
		s, mem := openSink(t, catalog.New(client), processors.Table{Name: "lake.events", Partition: []string{"kafka_partition"}}, nil)
		next := int64(0)
		group := func() {
			t.Helper()
			stage(t, s, events(mem, source0, next, next+10))
			if err := s.Commit(t.Context(), processor.Positions{source0: next}, processor.Positions{source0: next + 10}, []processor.Staged{seal(t, s)}); err != nil {
				t.Fatal(err)
			}
			next += 10
		}
		group()
		alter(t, client, s, func(tx *table.Transaction) error {
			return tx.UpdateSpec(true).AddField("name", iceberglib.TruncateTransform{Width: 2}, "begins").RemoveField("kafka_partition").Commit()
		})
		if looks {
			if _, err := s.Committed(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		group()
		group()
		wantOffsets(t, s, map[int64]int64{0: next})
		loaded, err := s.committer.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		tasks, err := loaded.Scan().PlanFiles(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		files, current := map[bool]int{}, loaded.Spec()
		for _, task := range tasks {
			files[int(task.File.SpecID()) == current.ID()]++
		}
		want := map[bool]int{false: 2, true: 1} // names of the last ten begin with n2
		if looks {
			want = map[bool]int{false: 1, true: 2}
		}
		if files[true] != want[true] || files[false] != want[false] {
			t.Errorf("looks %t: %d files are of the table's partitioning and %d of the one before, want %v", looks, files[true], files[false], want)
		}
	}
}

// TestPartitionedBeyondUse: a partitioning that no file can be written by halts.
func TestPartitionedBeyondUse(t *testing.T) {
	schema := iceberglib.NewSchema(0, iceberglib.NestedField{ID: 1, Name: "on", Type: iceberglib.PrimitiveTypes.Bool})
	spec := iceberglib.NewPartitionSpec(iceberglib.PartitionField{SourceIDs: []int{1}, FieldID: 1000, Name: "day", Transform: iceberglib.DayTransform{}})
	gone := iceberglib.NewPartitionSpec(iceberglib.PartitionField{SourceIDs: []int{2}, FieldID: 1000, Name: "day", Transform: iceberglib.DayTransform{}})
	for _, spec := range []iceberglib.PartitionSpec{spec, gone} {
		_, err := newSplitter(nil, spec, schema, eventSchema)
		var halt *catalog.HaltError
		if !errors.As(err, &halt) || !strings.Contains(halt.Reason, "field day") {
			t.Errorf("%s: %v", &spec, err)
		}
	}
}
