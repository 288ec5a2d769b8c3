package decode

import (
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/runtime/schema"
)

func TestDeclared(t *testing.T) {
	s := schema.Schema{Fields: []schema.Field{
		{Name: "id", Type: schema.Type{Kind: schema.Long}, Required: true},
		{Name: "geo", Type: schema.StructOf(schema.Field{Name: "lat", Type: schema.Type{Kind: schema.Double}, Required: true})},
		{Name: "tags", Type: schema.Type{Kind: schema.List, Fields: []schema.Field{{Name: "element", Type: schema.Type{Kind: schema.String}, Required: true}}}},
	}}
	d := newDecoder(t, Config{Declared: &s}, nil)
	appendJSON(t, d,
		`{"id":1,"other":{"x":[1,2]},"geo":{"lat":1.5,"lon":2},"tags":["a"]}`,
		`{"geo":null}`,
		`{"id":null}`,
		`{"id":4,"geo":{}}`,
		`{"id":5,"tags":["a",null]}`,
		`{"id":6,"other":tru}`,
		`{"id":"7"}`,
		`{"id":"8","id":8}`,
		`{"id":9,"id":null}`,
		`{"id":"10","x":}`,
		`{"geo":null,"tags":null,"id":11}`)
	sc, rows, letters := payloadRows(t, d)
	if want := schema.StructOf(s.Fields...).String(); sc != want {
		t.Errorf("schema is %s, want %s", sc, want)
	}
	equalLines(t, "rows", rows, []string{`id=1 geo={"lat":1.5} tags=["a"]`, "id=8 geo=(null) tags=(null)", "id=11 geo=(null) tags=(null)"})
	equalLines(t, "dead letters", letters, []string{"1 missing_field", "2 missing_field", "3 missing_field", "4 missing_field", "5 invalid_json",
		"6 type_conflict", "8 missing_field", "9 invalid_json"})
}

// Columns that a table has are filled by their own rules, and widen as merging allows.
func TestTableColumns(t *testing.T) {
	typ, err := schema.ParseType("struct<i: int, j: int, f: float, g: float, day: date, at: timestamptz, d: decimal(9, 2), b: binary, other: boolean>")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{}.withDefaults()
	table := arrow.NewSchema(append(cfg.coordinateFields(), schema.Schema{Fields: typ.Fields}.Arrow()...), nil)
	d := newDecoder(t, cfg, table)
	appendJSON(t, d,
		`{"i":1,"j":2,"f":0.5,"g":1.5,"day":"2018-01-31","at":1517363399650,"d":1.25,"b":"aGk=","new":1}`,
		`{"i":3000000000,"j":2,"f":1e300,"at":"2018-01-31T01:49:59Z","d":"3"}`,
		`{"j":2.5}`,
		`{"day":"31.1.2018"}`,
		`{"d":1.255}`)
	sc, rows, letters := payloadRows(t, d)
	const want = "struct<i: long, j: double, f: double, g: float, day: date, at: timestamptz, d: decimal(9, 2), b: binary, other: boolean, new: long>"
	if sc != want {
		t.Errorf("schema is %s\nwant      %s", sc, want)
	}
	equalLines(t, "rows", rows, []string{
		"i=1 j=2 f=0.5 g=1.5 day=2018-01-31 at=2018-01-31T01:49:59.65Z d=1.25 b=aGk= other=(null) new=1",
		"i=3000000000 j=2 f=1e+300 g=(null) day=(null) at=2018-01-31T01:49:59Z d=3 b=(null) other=(null) new=(null)",
		"i=(null) j=2.5 f=(null) g=(null) day=(null) at=(null) d=(null) b=(null) other=(null) new=(null)"})
	equalLines(t, "dead letters", letters, []string{"3 invalid_value", "4 out_of_range"})
}

// A column that has held integers beyond a double's never becomes double, also when they were flushed long ago.
func TestLongsThatNoDoubleHolds(t *testing.T) {
	d := newDecoder(t, Config{}, nil)
	appendJSON(t, d, `{"a":9007199254740993,"b":9007199254740992}`)
	rows, _ := d.Flush()
	rows.Release()
	appendJSON(t, d, `{"a":0.5}`, `{"b":0.5}`)
	sc, _, letters := payloadRows(t, d)
	equalLines(t, "dead letters", letters, []string{"0 out_of_range"})
	if sc != "struct<a: long, b: double>" {
		t.Errorf("schema is %s", sc)
	}
}

func TestNewRefuses(t *testing.T) {
	bad := schema.Schema{Fields: []schema.Field{{Name: "kafka_topic", Type: schema.Type{Kind: schema.String}}}}
	key := arrow.NewSchema([]arrow.Field{{Name: "kafka_key", Type: arrow.BinaryTypes.String}}, nil)
	clock := arrow.NewSchema([]arrow.Field{{Name: "clock", Type: arrow.FixedWidthTypes.Time64us}}, nil)
	for _, test := range []struct {
		cfg   Config
		table *arrow.Schema
		want  string
	}{
		{Config{Declared: &bad}, nil, "kafka_topic"},
		{Config{Declared: &bad, Prefix: "k_", Value: Raw}, nil, "goes with JSON"},
		{Config{MaxBytes: 2 << 30, BatchBytes: 1 << 30}, nil, "max bytes"},
		{Config{MaxBytes: 2 << 30, BatchBytes: 1 << 30}, nil, "batch bytes"},
		{Config{}, key, "column kafka_key of the table is string, this job writes binary"},
		{Config{}, clock, "column clock"},
	} {
		d, err := New(test.cfg, test.table, memory.DefaultAllocator)
		if err == nil || d != nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: error is %v, want %q in it", test.cfg, err, test.want)
		}
	}
	if _, err := New(Config{Key: StringKey}, key, memory.DefaultAllocator); err != nil {
		t.Errorf("string keys: %v", err)
	}
}

// Decoding goes on from a table's schema as it went on without one.
func TestReset(t *testing.T) {
	d := newDecoder(t, Config{}, nil)
	appendJSON(t, d, `{"A":1,"a":2,"_pos":3,"s":{"x.y":"z"}}`)
	first, _ := d.Flush()
	first.Release()
	// A table's schema has field ids and large types, whatever they are.
	var fields []arrow.Field
	for i, f := range d.Schema().Fields() {
		keys, values := append(f.Metadata.Keys(), "PARQUET:field_id"), append(f.Metadata.Values(), fmt.Sprint(i))
		f.Metadata = arrow.NewMetadata(keys, values)
		if f.Name == "kafka_key" {
			f.Type = arrow.BinaryTypes.LargeBinary
		}
		fields = append(fields, f)
	}
	want := d.Schema()
	appendJSON(t, d, `{"lost":1}`)
	if err := d.Reset(arrow.NewSchema(fields, nil)); err != nil {
		t.Fatal(err)
	}
	if !d.Schema().Equal(want) {
		t.Errorf("schema is %s\nwas %s", d.Schema(), want)
	}
	appendJSON(t, d, `{"A":1,"a":2,"_pos":3,"s":{"x.y":"z"}}`)
	sc, rows, _ := payloadRows(t, d)
	if sc != "struct<A: long, a_2: long, _pos_2: long, s: struct<x_y: string>>" {
		t.Errorf("schema is %s", sc)
	}
	equalLines(t, "rows", rows, []string{`A=1 a_2=2 _pos_2=3 s={"x_y":"z"}`})
}

// What a table requires a record must have, also one that would bring new columns.
func TestRequiredTableColumns(t *testing.T) {
	fields := schema.Schema{Fields: []schema.Field{
		{Name: "id", Type: schema.Type{Kind: schema.Long}, Required: true},
		{Name: "s", Type: schema.StructOf(schema.Field{Name: "x", Type: schema.Type{Kind: schema.Long}, Required: true})},
	}}
	cfg := Config{}.withDefaults()
	d := newDecoder(t, cfg, arrow.NewSchema(append(cfg.coordinateFields(), fields.Arrow()...), nil))
	appendJSON(t, d, `{"new":1}`, `{"id":1}`, `{"id":2,"s":{"y":1}}`, `{"s":{"x":1},"more":true}`, `{"id":5,"s":{"x":1,"y":2}}`)
	sc, rows, letters := payloadRows(t, d)
	if sc != "struct<id: long, s: struct<x: long, y: long>>" {
		t.Errorf("schema is %s", sc)
	}
	equalLines(t, "rows", rows, []string{"id=1 s=(null)", `id=5 s={"x":1,"y":2}`})
	equalLines(t, "dead letters", letters, []string{"0 missing_field", "2 missing_field", "3 missing_field"})
}
