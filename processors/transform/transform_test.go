package transform

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/goccy/go-yaml"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/schema"
)

// fields are the columns of the tests' batches, behind the coordinates.
var fields = schema.Schema{Fields: []schema.Field{
	{Name: "id", Type: schema.Type{Kind: schema.Long}},
	{Name: "name", Type: schema.Type{Kind: schema.String}},
	{Name: "price", Type: schema.Type{Kind: schema.Double}},
	{Name: "ok", Type: schema.Type{Kind: schema.Boolean}},
	{Name: "at", Type: schema.Type{Kind: schema.Timestamptz}},
	{Name: "day", Type: schema.Type{Kind: schema.Date}},
	{Name: "amount", Type: schema.Type{Kind: schema.Decimal, Precision: 9, Scale: 2}},
	{Name: "geo", Type: schema.StructOf(schema.Field{Name: "lat", Type: schema.Type{Kind: schema.Double}},
		schema.Field{Name: "place", Type: schema.StructOf(schema.Field{Name: "city", Type: schema.Type{Kind: schema.String}})})},
	{Name: "tags", Type: schema.ListOf(schema.Type{Kind: schema.String})},
	{Name: "user-id", Type: schema.Type{Kind: schema.Int}},
}}

func columns() *arrow.Schema { return withCoordinates(fields) }

// withCoordinates are the coordinates and columns behind them.
func withCoordinates(fields schema.Schema) *arrow.Schema {
	tz := schema.Type{Kind: schema.Timestamptz}
	s := schema.Schema{Fields: []schema.Field{
		{Name: "kafka_topic", Type: schema.Type{Kind: schema.String}, Required: true},
		{Name: "kafka_partition", Type: schema.Type{Kind: schema.Int}, Required: true},
		{Name: "kafka_offset", Type: schema.Type{Kind: schema.Long}, Required: true},
		{Name: "kafka_timestamp", Type: tz, Required: true},
		{Name: "kafka_key", Type: schema.Type{Kind: schema.String}},
		{Name: "kafka_headers", Type: schema.ListOf(schema.StructOf(
			schema.Field{Name: "key", Type: schema.Type{Kind: schema.String}, Required: true}, schema.Field{Name: "value", Type: schema.Type{Kind: schema.Binary}}))},
	}}
	s.Fields = append(s.Fields, fields.Fields...)
	return arrow.NewSchema(s.Arrow(), nil)
}

// batch makes rows of JSON objects, at offsets 10, 11, …
func batch(t testing.TB, mem memory.Allocator, rows ...string) processor.Batch {
	t.Helper()
	return batchOf(t, mem, columns(), rows...)
}

// batchOf makes rows of other columns.
func batchOf(t testing.TB, mem memory.Allocator, columns *arrow.Schema, rows ...string) processor.Batch {
	t.Helper()
	var docs []string
	for i, row := range rows {
		docs = append(docs, strings.Replace(fmt.Sprintf(`{"kafka_topic":"events","kafka_partition":1,"kafka_offset":%d,"kafka_timestamp":"2026-01-31T12:00:00Z",`+
			`"kafka_key":"k%d","kafka_headers":[{"key":"tenant","value":"YQ=="}],%s`, 10+i, i, row[1:]), ",}", "}", 1))
	}
	records, _, err := array.RecordFromJSON(mem, columns, strings.NewReader("["+strings.Join(docs, ",")+"]"))
	if err != nil {
		t.Fatal(err)
	}
	return processor.Batch{Source: processor.Source{Topic: "events", Partition: 1}, Span: kfs.Span{Base: 10, Next: 10 + int64(len(rows))}, Records: records}
}

// open makes a transform of its settings as a job file has them.
func open(mem memory.Allocator, kind, settings string) (processor.Transform, error) {
	decode := func(into any) error { return yaml.UnmarshalWithOptions([]byte(settings), into, yaml.Strict()) }
	return Kinds()[kind].Open(decode, plugin.Env{Allocator: mem, Logger: slog.New(slog.DiscardHandler)})
}

// payload is the rows of a batch as JSON, without the coordinates but for the offset.
func payload(t testing.TB, b processor.Batch) string {
	t.Helper()
	if b.Records == nil {
		return ""
	}
	text, err := b.Records.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var rows []map[string]any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&rows); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, row := range rows {
		o := row["kafka_offset"]
		for name, v := range row {
			if strings.HasPrefix(name, "kafka_") || v == nil {
				delete(row, name)
			}
		}
		text, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%v:%s", o, text))
	}
	return strings.Join(out, " ")
}

func rejections(b processor.Batch) string {
	var out []string
	for _, r := range b.Rejected {
		out = append(out, fmt.Sprintf("%d %s: %s", r.Offset, r.Class, r.Message))
	}
	return strings.Join(out, " | ")
}

func TestTransforms(t *testing.T) {
	for _, c := range []example{
		{"select", "[name, nothing]", []string{`{"id":1,"name":"a"}`}, `10:{"name":"a"}`, ""},
		{"drop", "[name, nothing]", []string{`{"id":1,"name":"a"}`}, `10:{"id":1}`, ""},
		{"rename", "{name: title, nothing: else}", []string{`{"id":1,"name":"a"}`}, `10:{"id":1,"title":"a"}`, ""},
		{"rename", "{name: id, id: name}", []string{`{"id":1,"name":"a"}`}, `10:{"id":"a","name":1}`, ""},
		{"rename", "{name: ID}", []string{`{"name":"a"}`, `{"id":1,"name":"b"}`}, `10:{"ID":"a"}`,
			"11 name_taken: field id has the name that another column was given by rename"},

		{"cast", "{id: string, name: long, nothing: long}", []string{`{"id":1,"name":"7"}`, `{"name":"x"}`, `{}`}, `10:{"id":"1","name":7} 12:{}`,
			`11 cast_failed: column name: "x" is no long`},
		{"cast", "{id: int}", []string{`{"id":2147483647}`, `{"id":2147483648}`}, `10:{"id":2147483647}`, `11 cast_failed: column id: "2147483648" is no int`},
		{"cast", "{price: long}", []string{`{"price":5.0}`, `{"price":5.5}`, `{"price":9.3e18}`}, `10:{"price":5}`,
			`11 cast_failed: column price: "5.5" is no long | 12 cast_failed: column price: "9300000000000000000" is no long`},
		{"cast", "{id: double}", []string{`{"id":9007199254740993}`, `{"id":9007199254740992}`}, `11:{"id":9007199254740992}`, `10 cast_failed: column id: "9007199254740993" is no double`},
		{"cast", `{price: "decimal(4, 1)"}`, []string{`{"price":1.5}`, `{"price":1.25}`, `{"price":1000}`}, `10:{"price":"1.5"}`,
			`11 cast_failed: column price: "1.25" is no decimal(4, 1) | 12 cast_failed: column price: "1000" is no decimal(4, 1)`},
		{"cast", "{amount: string, ok: string, price: string, day: string, at: string}",
			[]string{`{"amount":"-1.50","ok":true,"price":0.1,"day":"2026-02-01","at":"2026-01-31T12:00:00.000001Z"}`},
			`10:{"amount":"-1.50","at":"2026-01-31T12:00:00.000001Z","day":"2026-02-01","ok":"true","price":"0.1"}`, ""},
		{"cast", "{name: boolean}", []string{`{"name":"true"}`, `{"name":"yes"}`}, `10:{"name":true}`, `11 cast_failed: column name: "yes" is no boolean`},
		{"cast", "{name: date}", []string{`{"name":"2026-02-01"}`, `{"name":"2026-02-30"}`}, `10:{"name":"2026-02-01"}`, `11 cast_failed: column name: "2026-02-30" is no date`},
		{"cast", "{at: date}", []string{`{"at":"1969-12-31T23:59:59Z"}`}, `10:{"at":"1969-12-31"}`, ""},
		{"cast", "{name: double}", []string{`{"name":"1e3"}`, `{"name":"NaN"}`, `{"name":"0x10"}`}, `10:{"name":1000}`,
			`11 cast_failed: column name: "NaN" is no double | 12 cast_failed: column name: "0x10" is no double`},
		{"cast", "{tags: string}", []string{`{"id":1}`, `{"tags":["a"]}`}, `10:{"id":1}`, `11 cast_failed: column tags: a list<string> is no string`},

		{"timestamp", "{field: id, unit: s, column: event_time}", []string{`{"id":1769860800}`, `{"id":9223372036854775807}`, `{}`},
			`10:{"event_time":"2026-01-31T12:00:00Z","id":1769860800} 12:{}`,
			"11 cast_failed: column id: 9223372036854775807 is beyond what microseconds in 64 bits hold"},
		{"timestamp", "{field: id}", []string{`{"id":1769860800001}`}, `10:{"id":"2026-01-31T12:00:00.001Z"}`, ""},
		{"timestamp", "{field: price, unit: s}", []string{`{"price":1769860800.25}`}, `10:{"price":"2026-01-31T12:00:00.25Z"}`, ""},
		{"timestamp", "{field: name}", []string{`{"name":"2026-01-31T13:00:00+01:00"}`, `{"name":"noon"}`}, `10:{"name":"2026-01-31T12:00:00Z"}`,
			`11 cast_failed: column name: "noon" is no timestamptz`},
		{"timestamp", "{field: name, unit: ns}", []string{`{"name":"1769860800000001999"}`}, `10:{"name":"2026-01-31T12:00:00.000001Z"}`, ""},
		{"timestamp", "{field: id, unit: s, column: AT}", []string{`{"id":1769860800,"at":"2025-01-01T00:00:00Z"}`}, `10:{"AT":"2026-01-31T12:00:00Z","id":1769860800}`, ""},
		{"timestamp", "{field: nothing, column: event_time}", []string{`{"id":1}`}, `10:{"id":1}`, ""},

		{"filter", "id > 1", []string{`{"id":1}`, `{"id":2}`, `{}`}, `11:{"id":2}`, ""},
		{"filter", "'id == null || id > 1'", []string{`{"id":1}`, `{"id":2}`, `{}`}, `11:{"id":2} 12:{}`, ""},
		{"filter", "'!(id > 1)'", []string{`{"id":1}`, `{"id":2}`, `{}`}, `10:{"id":1}`, ""},
		{"filter", "price > 1 && ok", []string{`{"price":1.5,"ok":true}`, `{"price":1.5,"ok":false}`, `{"price":1.5}`}, `10:{"ok":true,"price":1.5}`, ""},
		{"filter", "10 / id > 1", []string{`{"id":0}`, `{"id":5}`, `{}`}, `11:{"id":5}`, `10 expression_failed: filter "10 / id > 1": division by zero`},
		{"filter", "nothing == 'x' || id == 1", []string{`{"id":1}`, `{"id":2}`}, `10:{"id":1}`, ""},
		{"filter", "nothing < 5", []string{`{"id":1}`}, "", ""},
		{"filter", `geo.lat > 1.0 && geo.place.city.startsWith("B")`, []string{`{"geo":{"lat":2,"place":{"city":"Bern"}}}`, `{"geo":{"lat":2}}`, `{}`},
			`10:{"geo":{"lat":2,"place":{"city":"Bern"}}}`, ""},
		{"filter", `has(geo.place)`, []string{`{"geo":{"lat":2,"place":{"city":"Bern"}}}`, `{"geo":{"lat":2}}`, `{}`}, `10:{"geo":{"lat":2,"place":{"city":"Bern"}}}`, ""},
		{"filter", `'"a" in tags && size(tags) == 2'`, []string{`{"tags":["a","b"]}`, `{"tags":["b"]}`, `{}`}, `10:{"tags":["a","b"]}`, ""},
		{"filter", `tags.exists(t, t.matches("^a+$"))`, []string{`{"tags":["b","aa"]}`, `{"tags":["b"]}`}, `10:{"tags":["b","aa"]}`, ""},
		{"filter", "at > timestamp('2026-01-01T00:00:00Z') && at.getFullYear() == 2026", []string{`{"at":"2026-01-31T12:00:00Z"}`, `{"at":"2025-01-31T12:00:00Z"}`},
			`10:{"at":"2026-01-31T12:00:00Z"}`, ""},
		{"filter", "row.`user-id` == 7", []string{`{"user-id":7}`, `{"user-id":8}`}, `10:{"user-id":7}`, ""},
		{"filter", `kafka_headers.exists(h, h.key == "tenant" && h.value == b"a") && kafka_key == "k1"`, []string{`{"id":1}`, `{"id":2}`}, `11:{"id":2}`, ""},
		{"compute", "{NAME: string(id), other: name}", []string{`{"id":1,"name":"a"}`}, `10:{"NAME":"1","id":1,"other":"a"}`, ""},
		{"compute", "{NAME: 'null'}", []string{`{"id":1,"name":"a"}`}, `10:{"id":1}`, ""},
		// A null that decided nothing hides no error.
		{"filter", "nothing == null && 10 / id > 1", []string{`{"id":0}`, `{"id":5}`, `{}`}, `11:{"id":5}`,
			`10 expression_failed: filter "nothing == null && 10 / id > 1": division by zero`},
		{"filter", "'name == null ? 10 / id > 1 : true'", []string{`{"id":0}`, `{"id":5}`, `{}`, `{"name":"x","id":0}`}, `11:{"id":5} 13:{"id":0,"name":"x"}`,
			`10 expression_failed: filter "name == null ? 10 / id > 1 : true": division by zero`},
		{"filter", "name == null && tags[1] == 'b'", []string{`{"tags":["a"]}`, `{"tags":["a","b"]}`, `{}`}, `11:{"tags":["a","b"]}`,
			`10 expression_failed: filter "name == null && tags[1] == 'b'": index out of bounds: 1`},
		{"filter", "name == null && tags.exists(t, int(t) > 1)", []string{`{"tags":["x"]}`, `{"tags":["2"]}`, `{"tags":["x","2"]}`, `{}`}, `11:{"tags":["2"]} 12:{"tags":["x","2"]}`,
			`10 expression_failed: filter "name == null && tags.exists(t, int(t) > 1)": type conversion error from 'string' to 'int'`},
		{"filter", "name == null && int(string(geo.lat)) > 1", []string{`{"geo":{"lat":1.5}}`, `{"geo":{}}`, `{}`}, "",
			`10 expression_failed: filter "name == null && int(string(geo.lat)) > 1": type conversion error from 'string' to 'int'`},
		{"filter", "'(name == null) == (10 / id > 1)'", []string{`{"id":0}`, `{"id":5}`, `{}`}, `11:{"id":5}`, `10 expression_failed: filter "(name == null) == (10 / id > 1)": division by zero`},
		{"filter", "id + 1 > 0 && 10 / id > 1", []string{`{}`}, "", ""},
		{"filter", "nothing.deep.er == 1", []string{`{"id":1}`}, "", ""},
		{"filter", "tags[id] == 'b'", []string{`{"tags":["a","b"],"id":1}`, `{"tags":["a"]}`, `{"id":1}`, `{"tags":["a"],"id":1}`}, `10:{"id":1,"tags":["a","b"]}`,
			`13 expression_failed: filter "tags[id] == 'b'": index out of bounds: 1`},
		{"compute", "{a: 'nothing == null ? 10 / id : 0'}", []string{`{"id":0}`, `{"id":5}`, `{}`}, `11:{"a":2,"id":5} 12:{}`,
			`10 expression_failed: column a, expression "nothing == null ? 10 / id : 0": division by zero`},
		{"filter", "'nothing == null && [1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, a+b+c+d+e+id > 0)))))'",
			[]string{`{"id":1}`}, "",
			`10 expression_failed: filter "nothing == null && [1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, a+b+c+d+e+id > 0)))))": operation cancelled: actual cost limit exceeded`},
		{"filter", "name < 5", []string{`{"name":"x"}`, `{}`}, "", `10 expression_failed: filter "name < 5": no such overload`},
		{"filter", "dyn(name)", []string{`{"name":"x"}`}, "", `10 expression_failed: filter "dyn(name)": string is neither true nor false`},

		{"filter", "'[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, a+b+c+d+e+id > 0)))))'",
			[]string{`{"id":1}`}, "", `10 expression_failed: filter "[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, a+b+c+d+e+id > 0)))))": operation cancelled: actual cost limit exceeded`},

		{"compute", "{total: price * 2.0, upper: name.upperAscii(), id: string(id)}", []string{`{"id":1,"name":"a","price":1.5}`, `{"id":2}`},
			`10:{"id":"1","name":"a","price":1.5,"total":3,"upper":"A"} 11:{"id":"2"}`, ""},
		{"compute", "{n: {expr: int(name), type: int}}", []string{`{"name":"5"}`, `{"name":"x"}`, `{"name":"3000000000"}`}, `10:{"n":5,"name":"5"}`,
			`11 expression_failed: column n, expression "int(name)": type conversion error from 'string' to 'int' | ` +
				`12 expression_failed: column n, expression "int(name)": "3000000000" is no int`},
		{"compute", "{x: nothing + 1}", []string{`{"id":1}`}, `10:{"id":1}`, ""},
		{"compute", "{x: {expr: nothing + 1, type: long}}", []string{`{"id":1}`}, `10:{"id":1}`, ""},
		{"compute", "{x: 'nothing == null ? id : 0'}", []string{`{"id":1}`}, `10:{"id":1,"x":1}`, ""},
		{"compute", "{id: nothing}", []string{`{"id":1,"ok":true}`}, `10:{"ok":true}`, ""},
		{"compute", "{x: at}", []string{`{"at":"2026-01-31T12:00:00Z"}`}, `10:{"at":"2026-01-31T12:00:00Z","x":"2026-01-31T12:00:00Z"}`, ""},
	} {
		c.run(t, columns())
	}
}

// example is rows, a transform, and what becomes of them.
type example struct {
	kind, settings string
	rows           []string
	want, rejected string
}

// run takes the rows through the transform, as they are and as the end of a longer batch.
func (c example) run(t *testing.T, columns *arrow.Schema) {
	t.Helper()
	for _, before := range []int{0, 3} {
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		tr, err := open(mem, c.kind, c.settings)
		if err != nil {
			t.Errorf("%s %s: %v", c.kind, c.settings, err)
			return
		}
		in := batchOf(t, mem, columns, c.rows...)
		if before > 0 {
			longer := batchOf(t, mem, columns, append(slices.Repeat([]string{"{}"}, before), c.rows...)...)
			end := longer.Records.NewSlice(int64(before), longer.Records.NumRows())
			longer.Records.Release()
			// The rows of the slice are the same ones, in arrays that do not begin with them.
			in.Records = sameCoordinates(end, in.Records)
		}
		in.Records.Retain()
		after, err := tr.Apply(t.Context(), in)
		if err != nil {
			t.Errorf("%s %s: %v", c.kind, c.settings, err)
			return
		}
		if err := processor.CheckApplied(in, after); err != nil {
			t.Errorf("%s %s: %v", c.kind, c.settings, err)
		}
		for i, column := range after.Records.Columns() {
			if err := array.ValidateFull(column); err != nil || !arrow.TypeEqual(column.DataType(), after.Records.Schema().Field(i).Type) {
				t.Errorf("%s %s: column %s is %s: %v", c.kind, c.settings, after.Records.ColumnName(i), column.DataType(), err)
			}
		}
		if got := payload(t, after); got != c.want {
			t.Errorf("%s %s, %d rows before: got %s\nwant %s", c.kind, c.settings, before, got, c.want)
		}
		if got := rejections(after); got != c.rejected {
			t.Errorf("%s %s: rejected %s\nwant %s", c.kind, c.settings, got, c.rejected)
		}
		in.Records.Release()
		after.Records.Release()
		mem.AssertSize(t, 0)
	}
}

// sameCoordinates is the rows with the coordinates of others. It takes ownership of both.
func sameCoordinates(rows, others arrow.RecordBatch) arrow.RecordBatch {
	defer rows.Release()
	defer others.Release()
	columns := append(slices.Clone(others.Columns()[:processor.Coordinates]), rows.Columns()[processor.Coordinates:]...)
	return array.NewRecordBatch(rows.Schema(), columns, rows.NumRows())
}
