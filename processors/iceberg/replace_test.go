package iceberg

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/runtime/processor"
)

// quakes makes a batch whose payload is a struct with a column cdi of the given type, one record per value; "null" is null.
func quakes(t *testing.T, mem memory.Allocator, cdi arrow.DataType, base int64, values ...string) processor.Batch {
	t.Helper()
	coordinates := eventSchema.Fields()[:4]
	s := arrow.NewSchema(append(append([]arrow.Field{}, coordinates...),
		arrow.Field{Name: "properties", Nullable: true, Type: arrow.StructOf(
			arrow.Field{Name: "place", Type: arrow.BinaryTypes.String, Nullable: true},
			arrow.Field{Name: "cdi", Type: cdi, Nullable: true},
			arrow.Field{Name: "felt", Type: arrow.PrimitiveTypes.Int64, Nullable: true})},
		arrow.Field{Name: "list", Nullable: true, Type: arrow.ListOfField(arrow.Field{Name: "element", Type: cdi, Nullable: true})},
	), nil)
	var rows []string
	for i, v := range values {
		rows = append(rows, fmt.Sprintf(`{"kafka_topic":"events","kafka_partition":0,"kafka_offset":%d,"kafka_timestamp":"2024-10-05T00:00:00Z","properties":{"place":"p%d","cdi":%s,"felt":%d},"list":[%s,%s]}`,
			base+int64(i), i, v, i, v, v))
	}
	rec, _, err := array.RecordFromJSON(mem, s, strings.NewReader("["+strings.Join(rows, ",")+"]"))
	if err != nil {
		t.Fatal(err)
	}
	return processor.Batch{Source: source0, Span: kfs.Span{Base: base, Next: base + int64(len(values))}, Records: rec}
}

// cdis reads the column back, by offset.
func cdis(t *testing.T, s *Sink) map[int64]string {
	t.Helper()
	table, err := s.committer.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, batches, err := table.Scan().ToArrowRecords(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[int64]string{}
	for rec, err := range batches {
		if err != nil {
			t.Fatal(err)
		}
		offset := rec.Column(rec.Schema().FieldIndices("kafka_offset")[0]).(*array.Int64)
		properties := rec.Column(rec.Schema().FieldIndices("properties")[0]).(*array.Struct)
		list := rec.Column(rec.Schema().FieldIndices("list")[0]).(array.ListLike)
		at, _ := properties.DataType().(*arrow.StructType).FieldIdx("cdi")
		for i := range int(rec.NumRows()) {
			from, to := list.ValueOffsets(i)
			elements := array.NewSlice(list.ListValues(), from, to)
			out[offset.Value(i)] = properties.Field(at).ValueStr(i) + fmt.Sprint(elements)
			elements.Release()
		}
		rec.Release()
	}
	return out
}

func TestLongBecomesDouble(t *testing.T) {
	s, mem := openSink(t, openSQLite(t), processors.Table{Name: "default.quakes", Partition: []string{"day(kafka_timestamp)"}}, nil)
	commit := func(from, to int64) {
		t.Helper()
		err := s.Commit(t.Context(), processor.Positions{source0: from}, processor.Positions{source0: to}, []processor.Staged{seal(t, s)})
		if err != nil {
			t.Fatal(err)
		}
	}
	stage(t, s, events(mem, source0, 0, 2)) // files without the column stay
	stage(t, s, quakes(t, mem, arrow.PrimitiveTypes.Int32, 2, "null", "2"))
	commit(0, 4)
	stage(t, s, quakes(t, mem, arrow.PrimitiveTypes.Int64, 4, "3", "null"))
	stage(t, s, quakes(t, mem, arrow.PrimitiveTypes.Float64, 6, "9.5"))
	stage(t, s, quakes(t, mem, arrow.PrimitiveTypes.Int64, 7, "4"))
	commit(4, 8)
	want := map[int64]string{
		0: "(null)[]", 1: "(null)[]", 2: "(null)[(null) (null)]", 3: "2[2 2]", 4: "3[3 3]", 5: "(null)[(null) (null)]", 6: "9.5[9.5 9.5]", 7: "4[4 4]",
	}
	got := cdis(t, s)
	for offset, v := range want {
		if got[offset] != v {
			t.Errorf("offset %d has %s, want %s", offset, got[offset], v)
		}
	}
	wantOffsets(t, s, map[int64]int64{0: 8})
	if at, err := s.Committed(t.Context()); err != nil || at[source0] != 8 {
		t.Errorf("the table stands at %v, %v", at, err)
	}
}

func TestLongStaysWhereDoubleIsNotExact(t *testing.T) {
	s, mem := openSink(t, openSQLite(t), processors.Table{Name: "default.quakes"}, nil)
	stage(t, s, quakes(t, mem, arrow.PrimitiveTypes.Int64, 0, "9007199254740993"))
	err := s.Commit(t.Context(), processor.Positions{source0: 0}, processor.Positions{source0: 1}, []processor.Staged{seal(t, s)})
	if err != nil {
		t.Fatal(err)
	}
	b := quakes(t, mem, arrow.PrimitiveTypes.Float64, 1, "0.5")
	defer b.Records.Release()
	var unfit processor.Unfit
	if err := s.Stage(t.Context(), b); !errors.As(err, &unfit) {
		t.Fatalf("stage: %v, want an error that names the column", err)
	}
	if got := unfit.UnfitColumn(); got != "properties.cdi" {
		t.Errorf("the column is %s", got)
	}
	if got := cdis(t, s)[0]; got != "9007199254740993[9007199254740993 9007199254740993]" {
		t.Errorf("offset 0 has %s", got)
	}
}

// TestReplacedByAnother has another process replace a column under files that are staged and not committed: they are not committed as if they
// were of the new schema, where nobody would find the column's values.
func TestReplacedByAnother(t *testing.T) {
	lake, spec := openSQLite(t), processors.Table{Name: "default.quakes"}
	s, mem := openSink(t, lake, spec, nil)
	stage(t, s, quakes(t, mem, arrow.PrimitiveTypes.Int64, 0, "1"))
	if err := s.Commit(t.Context(), processor.Positions{source0: 0}, processor.Positions{source0: 1}, []processor.Staged{seal(t, s)}); err != nil {
		t.Fatal(err)
	}
	other, _ := openSink(t, lake, spec, nil)
	stage(t, s, quakes(t, mem, arrow.PrimitiveTypes.Int64, 1, "2", "3"))
	stage(t, other, quakes(t, mem, arrow.PrimitiveTypes.Float64, 1, "0.5"))
	b := events(mem, source0, 3, 5)
	defer b.Records.Release()
	if err := s.Stage(t.Context(), b); !errors.Is(err, processor.ErrMoved) {
		t.Fatalf("rows of another schema, after the column was replaced: %v", err)
	}
	stage(t, s, quakes(t, mem, arrow.PrimitiveTypes.Int64, 1, "2", "3"))
	stage(t, s, events(mem, source0, 3, 5))
	if err := s.Commit(t.Context(), processor.Positions{source0: 1}, processor.Positions{source0: 5}, []processor.Staged{seal(t, s)}); err != nil {
		t.Fatal(err)
	}
	got := cdis(t, s)
	for offset, want := range map[int64]string{0: "1[1 1]", 1: "2[2 2]", 2: "3[3 3]", 3: "(null)[]", 4: "(null)[]"} {
		if got[offset] != want {
			t.Errorf("offset %d has %s, want %s", offset, got[offset], want)
		}
	}
}
