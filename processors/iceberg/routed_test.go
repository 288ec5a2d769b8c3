package iceberg

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/catalogtest"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/route"
)

// kinds are the tables of the offsets of a routed run, four a commit: a table comes anew with the first, the second and the third.
var kinds = []string{"a", "b", "a", "b", "c", "a", "c", "a", "b", "d", "b", "d"}

// named makes a batch whose names are the kinds of its offsets.
func named(mem memory.Allocator, base, next int64) processor.Batch {
	b := events(mem, source0, base, next)
	defer b.Records.Release()
	names := array.NewStringBuilder(mem)
	defer names.Release()
	for offset := base; offset < next; offset++ {
		names.Append(kinds[offset])
	}
	column := names.NewArray()
	defer column.Release()
	fields, columns := slices.Clone(b.Records.Schema().Fields()[:4]), slices.Clone(b.Records.Columns()[:4])
	for _, f := range []arrow.Field{
		{Name: "kafka_key", Type: arrow.BinaryTypes.Binary, Nullable: true},
		{Name: "kafka_headers", Type: arrow.ListOf(arrow.StructOf(arrow.Field{Name: "key", Type: arrow.BinaryTypes.String}, arrow.Field{Name: "value", Type: arrow.BinaryTypes.Binary, Nullable: true})), Nullable: true},
	} {
		nulls := array.MakeArrayOfNull(mem, f.Type, int(next-base))
		defer nulls.Release()
		fields, columns = append(fields, f), append(columns, nulls)
	}
	schema := arrow.NewSchema(append(fields, b.Records.Schema().Field(4)), nil)
	b.Records = array.NewRecordBatch(schema, append(columns, column), next-base)
	return b
}

// routedSink opens the sink of a topic whose records name their tables.
func routedSink(t *testing.T, c *catalog.Catalog, mem memory.Allocator) *route.Sink {
	t.Helper()
	template, err := route.Parse("default.{topic}_{field:name}", "")
	if err != nil {
		t.Fatal(err)
	}
	f := New(Config{Catalog: c, Options: catalog.Options{Job: "job", Writer: t.Name(), Sleep: awake}, Allocator: mem})
	return route.NewSink(route.Config{
		Route: template.Of("events"), Tables: route.NewTables(10), Allocator: mem, AtATime: 1,
		Open: func(ctx context.Context, table, label string) (processor.Sink, error) {
			return f.Open(ctx, processors.Table{Name: table, Properties: map[string]string{route.Label: label}})
		},
		List: func(ctx context.Context) ([]string, error) { return f.List(ctx, "default") },
	})
}

// driveRouted brings all kinds into their tables, four offsets a commit. After an error it begins anew, with the same sink or another.
func driveRouted(t *testing.T, open func() *route.Sink, again bool, mem memory.Allocator) {
	t.Helper()
	const size = 4
	s := open()
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	try := func() error {
		at, err := s.Committed(t.Context())
		if err != nil {
			return err
		}
		for next := at[source0]; next < int64(len(kinds)); {
			end := min(next-next%size+size, int64(len(kinds)))
			b := named(mem, next, end)
			err := s.Stage(t.Context(), b)
			b.Records.Release()
			if err != nil {
				return err
			}
			sealed, err := s.Seal(t.Context())
			if err != nil {
				return err
			}
			if err := s.Commit(t.Context(), processor.Positions{source0: next}, processor.Positions{source0: end}, []processor.Staged{sealed}); err != nil {
				return err
			}
			next = end
		}
		if _, err := s.CatchUp(t.Context(), true); err != nil {
			return err
		}
		at, err = s.Committed(t.Context())
		if err == nil && at[source0] != int64(len(kinds)) {
			err = fmt.Errorf("the tables stand at %d", at[source0])
		}
		return err
	}
	for failures := 0; ; failures++ {
		err := try()
		if err == nil {
			return
		}
		if failures > 20 {
			t.Fatalf("the run does not end: %v", err)
		}
		if again {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			s = open()
		}
	}
}

// walkRouted lets operations of a run into several tables, one of stride times oneOf, fail in every way; afterwards each offset is in its table once.
func walkRouted(t *testing.T, client func(t *testing.T) catalog.Client, stride int) {
	run := func(t *testing.T, again bool, inject func(catalogtest.Op) catalogtest.Fault) *catalogtest.Faulty {
		truth := client(t)
		faulty := catalogtest.NewFaulty(truth, inject)
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		defer mem.AssertSize(t, 0)
		driveRouted(t, func() *route.Sink { return routedSink(t, catalog.New(faulty), mem) }, again, mem)
		faulty.Settle()
		want := map[string][]int64{}
		for offset, kind := range kinds {
			want[kind] = append(want[kind], int64(offset))
		}
		for kind, offsets := range want {
			reader, _ := openSink(t, catalog.New(truth), processors.Table{Name: "default.events_" + kind}, func(c *Config) { c.Options.Sleep = awake })
			found, err := readOffsets(t, reader)
			if err != nil || !slices.Equal(found, offsets) {
				t.Errorf("table of %s has offsets %v, want %v: %v", kind, found, offsets, err)
			}
			at, err := reader.Committed(t.Context())
			if err != nil || at[source0] != int64(len(kinds)) {
				t.Errorf("table of %s stands at %v: %v", kind, at, err)
			}
		}
		return faulty
	}
	trace := run(t, false, nil).Trace()
	for n := 0; n < len(trace); n += stride * oneOf {
		name, _, _ := strings.Cut(trace[n], " assert")
		for _, fault := range catalogtest.Faults {
			for _, again := range []bool{false, true} {
				t.Run(fmt.Sprintf("%03d %s %s/again=%t", n, name, fault, again), func(t *testing.T) {
					run(t, again, func(op catalogtest.Op) catalogtest.Fault {
						if op.N == n {
							return fault
						}
						return catalogtest.None
					})
				})
			}
		}
	}
}

func TestRoutedFaultsOnFake(t *testing.T) {
	walkRouted(t, func(*testing.T) catalog.Client { return catalogtest.NewFake() }, 13)
}

func TestRoutedFaultsOnSQLite(t *testing.T) { walkRouted(t, newSQLite, 37) }

// readOffsets reads the offsets of a table's rows, in order; those that are there twice are twice in it.
func readOffsets(t *testing.T, s *Sink) ([]int64, error) {
	times, err := offsets(t.Context(), s)
	var all []int64
	for at, n := range times {
		all = append(all, slices.Repeat([]int64{at[1]}, n)...)
	}
	slices.Sort(all)
	return all, err
}
