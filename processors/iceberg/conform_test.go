package iceberg

import (
	"errors"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	iceberglib "github.com/apache/iceberg-go"

	"github.com/firn-io/firn/runtime/processor"
)

// Values arrive in the table's type or not at all.
func TestConform(t *testing.T) {
	ms := &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "UTC"}
	structOf := func(t arrow.DataType) arrow.DataType {
		return arrow.StructOf(arrow.Field{Name: "f", Type: t, Nullable: true})
	}
	icebergStruct := func(t iceberglib.Type) iceberglib.Type {
		return &iceberglib.StructType{FieldList: []iceberglib.NestedField{{ID: 2, Name: "f", Type: t}, {ID: 3, Name: "other", Type: iceberglib.PrimitiveTypes.String}}}
	}
	list := &iceberglib.ListType{ElementID: 2, Element: iceberglib.PrimitiveTypes.Float64}
	for _, c := range []struct {
		name  string
		from  arrow.DataType
		to    iceberglib.Type
		value string
		want  string // the array, or a part of the error
		fails bool
	}{
		{"the same", arrow.PrimitiveTypes.Int64, iceberglib.PrimitiveTypes.Int64, `7`, `[7 (null)]`, false},
		{"int to long", arrow.PrimitiveTypes.Int32, iceberglib.PrimitiveTypes.Int64, `7`, `[7 (null)]`, false},
		{"short to int", arrow.PrimitiveTypes.Int16, iceberglib.PrimitiveTypes.Int32, `7`, `[7 (null)]`, false},
		{"int to double", arrow.PrimitiveTypes.Int32, iceberglib.PrimitiveTypes.Float64, `7`, `[7 (null)]`, false},
		{"long to double", arrow.PrimitiveTypes.Int64, iceberglib.PrimitiveTypes.Float64, `9007199254740992`, `[9.007199254740992e+15 (null)]`, false},
		{"long that is no double", arrow.PrimitiveTypes.Int64, iceberglib.PrimitiveTypes.Float64, `9007199254740993`, "column c, row 0: 9007199254740993 is no exact double, and the column is double", true},
		{"the largest long", arrow.PrimitiveTypes.Int64, iceberglib.PrimitiveTypes.Float64, `9223372036854775807`, "is no exact double, and the column is double", true},
		{"float to double", arrow.PrimitiveTypes.Float32, iceberglib.PrimitiveTypes.Float64, `0.5`, `[0.5 (null)]`, false},
		{"double to long", arrow.PrimitiveTypes.Float64, iceberglib.PrimitiveTypes.Int64, `0.5`, "the table has long, the records have float64", true},
		{"unsigned beyond int", arrow.PrimitiveTypes.Uint32, iceberglib.PrimitiveTypes.Int32, `4294967295`, "not in range", true},
		{"unsigned to long", arrow.PrimitiveTypes.Uint32, iceberglib.PrimitiveTypes.Int64, `4294967295`, `[4294967295 (null)]`, false},
		{"string to long", arrow.BinaryTypes.String, iceberglib.PrimitiveTypes.Int64, `"7"`, "the table has long, the records have utf8", true},
		{"large string", arrow.BinaryTypes.LargeString, iceberglib.PrimitiveTypes.String, `"x"`, `["x" (null)]`, false},
		{"milliseconds", ms, iceberglib.PrimitiveTypes.TimestampTz, `"2024-01-01T00:00:00.5Z"`, `[1704067200500000 (null)]`, false},
		{"in a struct", structOf(arrow.PrimitiveTypes.Int32), icebergStruct(iceberglib.PrimitiveTypes.Int64), `{"f":3}`, `{[3 (null)]}`, false},
		{"in a list", arrow.ListOf(arrow.PrimitiveTypes.Int64), list, `[1,2]`, `[[1 2] (null)]`, false},
		{"in a list, not exact", arrow.ListOf(arrow.PrimitiveTypes.Int64), list, `[1,9007199254740993]`, "column c.element, row 1: 9007199254740993 is no exact double, and the column is double", true},
		{"a struct for a string", structOf(arrow.PrimitiveTypes.Int32), iceberglib.PrimitiveTypes.String, `{"f":3}`, "the table has string, the records have struct<f: int32 nullable>", true},
		{"an unknown field", arrow.StructOf(arrow.Field{Name: "g", Type: arrow.PrimitiveTypes.Int32}), icebergStruct(iceberglib.PrimitiveTypes.Int64), `{"g":3}`, "column c.g: the table has no such column", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
			defer mem.AssertSize(t, 0)
			source := arrow.NewSchema([]arrow.Field{{Name: "c", Type: c.from, Nullable: true}, {Name: "nothing", Type: arrow.Null, Nullable: true}}, nil)
			rec, _, err := array.RecordFromJSON(mem, source, strings.NewReader(`[{"c":`+c.value+`},{"c":null}]`))
			if err != nil {
				t.Fatal(err)
			}
			defer rec.Release()
			out, err := conformed(t, mem, rec, iceberglib.NewSchema(0, iceberglib.NestedField{ID: 1, Name: "c", Type: c.to}))
			var unfit processor.Unfit
			switch {
			case c.fails:
				if !errors.As(err, &unfit) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want %q in it", err, c.want)
				}
			case err != nil:
				t.Error(err)
			case out != c.want:
				t.Errorf("%s, want %s", out, c.want)
			}
		})
	}
}

// conformed is the first column of the record in the table's form, as text.
func conformed(t *testing.T, mem memory.Allocator, rec arrow.RecordBatch, to *iceberglib.Schema) (string, error) {
	c, err := newConformer(mem, rec.Schema(), to)
	if err != nil {
		return "", err
	}
	out, err := c.apply(t.Context(), rec)
	if err != nil {
		return "", err
	}
	defer out.Release()
	if id, ok := out.Schema().Field(0).Metadata.GetValue("PARQUET:field_id"); !ok || id != "1" {
		t.Errorf("field id %q", id)
	}
	// A slice has an offset: everything in it must be counted from there.
	tail := rec.NewSlice(1, 2)
	defer tail.Release()
	last, err := c.apply(t.Context(), tail)
	if err != nil {
		return "", err
	}
	defer last.Release()
	if !last.Column(0).IsNull(0) {
		t.Errorf("the second row alone is %v", last.Column(0))
	}
	return out.Column(0).String(), nil
}
