package route

import (
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

var headers = arrow.ListOf(arrow.StructOf(arrow.Field{Name: "key", Type: arrow.BinaryTypes.String}, arrow.Field{Name: "value", Type: arrow.BinaryTypes.Binary, Nullable: true}))

// rowsOf makes rows of coordinates and more columns by JSON, a row each.
func rowsOf(t testing.TB, columns []arrow.Field, rows ...string) arrow.RecordBatch {
	t.Helper()
	fields := []arrow.Field{{Name: "kafka_topic", Type: arrow.BinaryTypes.String}, {Name: "kafka_partition", Type: arrow.PrimitiveTypes.Int32}, {Name: "kafka_offset", Type: arrow.PrimitiveTypes.Int64},
		{Name: "kafka_timestamp", Type: arrow.FixedWidthTypes.Timestamp_us}, {Name: "kafka_key", Type: arrow.BinaryTypes.Binary}, {Name: "kafka_headers", Type: headers}}
	batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, arrow.NewSchema(append(fields, columns...), nil), strings.NewReader("["+strings.Join(rows, ",")+"]"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(batch.Release)
	return batch
}

func routeOf(t testing.TB, table string) *Route {
	t.Helper()
	template, err := Parse(table, "")
	if err != nil {
		t.Fatal(err)
	}
	return template.Of("events")
}

// TestAssign finds the tables of rows by columns of each type, and by headers.
func TestAssign(t *testing.T) {
	text := arrow.Field{Name: "a", Type: arrow.BinaryTypes.String, Nullable: true}
	typed := func(t arrow.DataType) arrow.Field { return arrow.Field{Name: "a", Type: t, Nullable: true} }
	for _, c := range []struct {
		part   string
		column arrow.Field
		row    string
		want   string // the table's last part; or the class, and what the message ends with
	}{
		{"{field:a}", text, `{"a": "x-1"}`, "x_1"},
		{"{field:a}", text, `{"a": ""}`, "route_missing: there is no value"},
		{"{field:a}", text, `{}`, "route_missing: there is no value"},
		{"{field:a|none}", text, `{}`, "none"},
		{"{field:b|none}", text, `{"a": "x"}`, "none"},
		{"{field:a}", text, `{"a": "` + strings.Repeat("x", maxName) + `"}`, "route_value: 200 at most"},
		{"{field:a}", typed(arrow.FixedWidthTypes.Boolean), `{"a": true}`, "true"},
		{"{field:a}", typed(arrow.PrimitiveTypes.Int8), `{"a": -8}`, "_8"},
		{"{field:a}", typed(arrow.PrimitiveTypes.Int16), `{"a": 1600}`, "1600"},
		{"{field:a}", typed(arrow.PrimitiveTypes.Int32), `{"a": 320000}`, "320000"},
		{"{field:a}", typed(arrow.PrimitiveTypes.Int64), `{"a": 9007199254740993}`, "9007199254740993"},
		{"{field:a}", typed(arrow.FixedWidthTypes.Date32), `{"a": "2024-02-29"}`, "2024_02_29"},
		{"{field:a}", typed(arrow.PrimitiveTypes.Float64), `{"a": 1.5}`, "route_value: a float64 names no table"},
		{"{field:a|none}", typed(arrow.PrimitiveTypes.Float64), `{}`, "none"},
		{"{field:a|none}", typed(arrow.Null), `{}`, "none"},
		{"{field:a.b}", typed(arrow.StructOf(arrow.Field{Name: "b", Type: arrow.PrimitiveTypes.Int64, Nullable: true})), `{"a": {"b": 7}}`, "7"},
		{"{field:a.b|none}", typed(arrow.StructOf(arrow.Field{Name: "b", Type: arrow.PrimitiveTypes.Int64, Nullable: true})), `{"a": null}`, "none"},
		{"{header:h}", text, `{"kafka_headers": [{"key": "h", "value": "b25l"}, {"key": "h", "value": "dHdv"}, {"key": "i", "value": "b25l"}]}`, "two"},
		{"{header:h}", text, `{"kafka_headers": [{"key": "h", "value": "b25l"}, {"key": "h", "value": null}]}`, "route_missing: there is no value"},
		{"{header:h}", text, `{"kafka_headers": [{"key": "h", "value": "/w=="}]}`, "route_value: text that is not UTF-8 names no table"},
		{"{header:h|none}", text, `{}`, "none"},
		{"{field:a}_{header:h}", text, `{"a": "x", "kafka_headers": [{"key": "h", "value": "b25l"}]}`, "x_one"},
	} {
		a, err := routeOf(t, "db."+c.part).assign(rowsOf(t, []arrow.Field{c.column}, c.row))
		if err != nil {
			t.Errorf("%s of %s: %v", c.part, c.row, err)
			continue
		}
		class, message, refused := strings.Cut(c.want, ": ")
		switch why := a.refused[0]; {
		case refused && (why.class != class || !strings.HasSuffix(why.message, message)):
			t.Errorf("%s of %s is refused as %q, want %s", c.part, c.row, why, c.want)
		case !refused && (why.class != "" || a.dests[0].name != "db."+c.want):
			t.Errorf("%s of %s: table %s, refused %q; want %s", c.part, c.row, a.dests[0].name, why, c.want)
		}
	}
}

// TestAssignKeepsValuesApart puts two columns together in one key.
func TestAssignKeepsValuesApart(t *testing.T) {
	columns := []arrow.Field{{Name: "a", Type: arrow.BinaryTypes.String, Nullable: true}, {Name: "b", Type: arrow.BinaryTypes.String, Nullable: true}}
	a, err := routeOf(t, "db.{field:a|0}{field:b|0}").assign(rowsOf(t, columns, `{"a": "x", "b": "yz"}`, `{"a": "xy", "b": "z"}`, `{"a": "x"}`, `{"a": "x", "b": "0"}`, `{"a": "xy", "b": "z"}`))
	if err != nil {
		t.Fatal(err)
	}
	if want := "[0 1 2 3 1]"; fmt.Sprint(a.of) != want || a.dests[0].label != `a="x" b="yz"` || a.dests[2].label != `a="x" b="0"` {
		t.Errorf("rows go to %v, want %s: %+v", a.of, want, a.dests)
	}
}
