package route

import (
	"context"
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
)

// void is a table that takes everything and keeps nothing.
type void struct{}

func (void) Committed(context.Context) (processor.Positions, error) { return nil, nil }
func (void) Stage(context.Context, processor.Batch) error           { return nil }
func (void) Seal(context.Context) (processor.Staged, error)         { return processor.Staged{}, nil }
func (void) Commit(context.Context, processor.Positions, processor.Positions, []processor.Staged) error {
	return nil
}
func (void) Discard(context.Context, []processor.Staged) error { return nil }

// BenchmarkStage is what a row costs on its way to one of many tables.
func BenchmarkStage(b *testing.B) {
	const n = 16384
	columns := []arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "a", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "b", Type: arrow.BinaryTypes.String, Nullable: true}, {Name: "c", Type: arrow.PrimitiveTypes.Float64, Nullable: true}, {Name: "kind", Type: arrow.PrimitiveTypes.Int64}}
	for _, tables := range []int{1, 10, 100, 500} {
		b.Run(fmt.Sprint(tables), func(b *testing.B) {
			var rows []string
			for i := range n {
				rows = append(rows, fmt.Sprintf(`{"kafka_topic":"events","kafka_partition":0,"kafka_offset":%d,"id":%d,"a":"user-%d","b":"/catalog/items/%d","c":1.5,"kind":%d}`, i, i, i, i, i*7919%tables))
			}
			batch := processor.Batch{Source: processor.Source{Topic: "events"}, Span: kfs.Span{Next: n}, Records: rowsOf(b, columns, rows...)}
			b.ReportAllocs()
			for b.Loop() {
				sink := NewSink(Config{Route: routeOf(b, "db.{field:kind}"), Tables: NewTables(1000), Allocator: memory.DefaultAllocator, Inferred: true,
					Open: func(context.Context, string, string) (processor.Sink, error) { return void{}, nil }})
				if err := sink.Stage(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/row")
		})
	}
}
