package iceberg

import (
	"fmt"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// TestWithoutDictionary judges columns of all shapes: those named "new" never repeat a value.
func TestWithoutDictionary(t *testing.T) {
	text, long := arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "old", Type: text},
		{Name: "new", Type: text},
		{Name: "s", Type: arrow.StructOf(arrow.Field{Name: "old", Type: long}, arrow.Field{Name: "new", Type: long})},
		{Name: "l", Type: arrow.ListOf(arrow.StructOf(arrow.Field{Name: "old", Type: text}, arrow.Field{Name: "new", Type: arrow.BinaryTypes.Binary}))},
		{Name: "few", Type: text, Nullable: true},
		{Name: "flag", Type: arrow.FixedWidthTypes.Boolean},
	}, nil)
	rows := func(n int) arrow.RecordBatch {
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		for i := range n {
			old, fresh := fmt.Sprint("v", i%100), fmt.Sprint("v", i)
			b.Field(0).(*array.StringBuilder).Append(old)
			b.Field(1).(*array.StringBuilder).Append(fresh)
			s := b.Field(2).(*array.StructBuilder)
			s.Append(true)
			s.FieldBuilder(0).(*array.Int64Builder).Append(int64(i % 7))
			s.FieldBuilder(1).(*array.Int64Builder).Append(int64(i))
			l := b.Field(3).(*array.ListBuilder)
			l.Append(true)
			e := l.ValueBuilder().(*array.StructBuilder)
			e.Append(true)
			e.FieldBuilder(0).(*array.StringBuilder).Append("same")
			e.FieldBuilder(1).(*array.BinaryBuilder).Append([]byte(fresh))
			if i < leastSample-1 { // all different, and too few to tell
				b.Field(4).(*array.StringBuilder).Append(fresh)
			} else {
				b.Field(4).AppendNull()
			}
			b.Field(5).(*array.BooleanBuilder).Append(true)
		}
		return b.NewRecordBatch()
	}
	for n, want := range map[int][]string{
		0:               nil,
		leastSample - 1: nil,
		leastSample:     {"new", "s.new", "l.list.element.new"},
		50_000:          {"new", "s.new", "l.list.element.new"},
	} {
		// What is judged must be how files are written: every name is a column of Parquet's.
		got, err := withoutDictionary(rows(n), parquet.NewWriterProperties(), pqarrow.NewArrowWriterProperties())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d rows: %v, want %v", n, got, want)
		}
	}
}
