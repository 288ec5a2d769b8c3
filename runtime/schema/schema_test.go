package schema

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/goccy/go-yaml"
)

// record is the types of a record: "a: long, b: struct<c: unknown>".
func parseRecord(t testing.TB, text string) Schema {
	t.Helper()
	s := Type{Kind: Struct}
	if text != "" {
		var err error
		if s, err = ParseType("struct<" + text + ">"); err != nil {
			t.Fatal(err)
		}
	}
	return Schema{Fields: s.Fields}
}

func TestMerge(t *testing.T) {
	tests := []struct{ have, got, want string }{
		{"", "a: long", "a: long"},
		{"a: long", "", "a: long"},
		{"a: long", "b: string, a: long", "a: long, b: string"},
		{"a: int", "a: long", "a: long"},
		{"a: long", "a: int", "a: long"},
		{"a: long", "a: double", "a: double"},
		{"a: int", "a: double", "a: double"},
		{"a: double", "a: long", "a: double"},
		{"a: float", "a: double", "a: double"},
		{"a: float", "a: int", "a: double"},
		{"a: decimal(9, 2)", "a: decimal(12, 2)", "a: decimal(12, 2)"},
		{"a: struct<x: long>", "a: struct<y: string, x: double>", "a: struct<x: double, y: string>"},
		{"a: list<long>", "a: list<double>", "a: list<double>"},
		{"a: list<struct<x: long>>", "a: list<struct<y: long>>", "a: list<struct<x: long, y: long>>"},
		{"a: long", "A: string", "a: long, A_2: string"},
		{"", "_POS: long, _pos: long", "_POS_2: long, _pos_3: long"},
		{"", "kafka_key: long", "kafka_key_2: long"},
		{"", "s: struct<kafka_key: long>", "s: struct<kafka_key: long>"},
		{"a: long", "a_2: long, A: long", "a: long, a_2: long, A_3: long"},
		{"", "a.b: long", "a_b: long"},
	}
	for _, test := range tests {
		merged, err := parseRecord(t, test.have).Merge(parseRecord(t, test.got), NewReserved("kafka_key"))
		if err != nil {
			t.Errorf("%s + %s: %v", test.have, test.got, err)
			continue
		}
		if got := StructOf(merged.Fields...).String(); got != "struct<"+test.want+">" {
			t.Errorf("%s + %s is %s, want %s", test.have, test.got, got, test.want)
		}
		if err := merged.Validate(NewReserved("kafka_key")); len(merged.Fields) > 0 && err != nil {
			t.Errorf("%s + %s: %v", test.have, test.got, err)
		}
	}
}

func TestMergeConflicts(t *testing.T) {
	tests := []struct{ have, got, path string }{
		{"a: long", "a: string", "a"},
		{"a: string", "a: long", "a"},
		{"a: boolean", "a: long", "a"},
		{"a: struct<x: long>", "a: long", "a"},
		{"a: long", "a: struct<x: long>", "a"},
		{"a: list<long>", "a: struct<x: long>", "a"},
		{"a: struct<x: list<long>>", "a: struct<x: list<string>>", "a.x.element"},
		{"a: decimal(9, 2)", "a: decimal(9, 3)", "a"},
		{"a: decimal(9, 2)", "a: long", "a"},
		{"a: date", "a: timestamptz", "a"},
	}
	for _, test := range tests {
		have := parseRecord(t, test.have)
		merged, err := have.Merge(parseRecord(t, "new: long, "+test.got), nil)
		var conflict *ConflictError
		if !errors.As(err, &conflict) || conflict.Path != test.path {
			t.Errorf("%s + %s: %v, want a conflict at %s", test.have, test.got, err, test.path)
		}
		if !merged.Equal(have) {
			t.Errorf("%s + %s: the schema changed to %v", test.have, test.got, merged)
		}
	}
}

// A renamed column is found again through the table's schema, whatever else has come since.
func TestRenamedColumnsAreFoundAgain(t *testing.T) {
	reserved := NewReserved("kafka_offset")
	rec := parseRecord(t, "a: long, A: long, _file: string, kafka_offset: long, x.y: long")
	first, err := Schema{}.Merge(rec, reserved)
	if err != nil {
		t.Fatal(err)
	}
	again, err := FromArrow(first.Arrow())
	if err != nil {
		t.Fatal(err)
	}
	if !again.Equal(first) {
		t.Fatalf("through Arrow the schema is %v, was %v", again, first)
	}
	second, err := again.Merge(rec, reserved)
	if err != nil {
		t.Fatal(err)
	}
	if !second.Equal(first) {
		t.Errorf("merged again the schema is %v, was %v", second, first)
	}
	for i, f := range second.Fields {
		if f.Source() != rec.Fields[i].Name {
			t.Errorf("column %s stands for %q, want %q", f.Name, f.Source(), rec.Fields[i].Name)
		}
	}
}

func TestMergeLimits(t *testing.T) {
	wide := Schema{}
	for i := range MaxColumns {
		wide.Fields = append(wide.Fields, Field{Name: fmt.Sprintf("c%d", i), Type: Type{Kind: Long}})
	}
	wide, err := Schema{}.Merge(wide, nil)
	if err != nil {
		t.Fatal(err)
	}
	deep := Type{Kind: Long}
	for range MaxDepth - 1 {
		deep = StructOf(Field{Name: "s", Type: deep})
	}
	lists := Type{Kind: Long}
	for range MaxDepth - 1 {
		lists = ListOf(lists)
	}
	one := func(name string, t Type) Schema { return Schema{Fields: []Field{{Name: name, Type: t}}} }
	tests := []struct {
		name string
		have Schema
		rec  Schema
		over bool
	}{
		{"columns", wide, one("c", Type{Kind: Long}), true},
		{"known columns", wide, one("c1", Type{Kind: Long}), false},
		{"depth", Schema{}, one("a", deep), false},
		{"depth", Schema{}, one("a", StructOf(Field{Name: "s", Type: deep})), true},
		{"lists", Schema{}, one("a", lists), false},
		{"lists", Schema{}, one("a", ListOf(lists)), true},
		{"name", Schema{}, one(strings.Repeat("n", MaxName), Type{Kind: Long}), false},
		{"name", Schema{}, one(strings.Repeat("n", MaxName+1), Type{Kind: Long}), true},
		{"renamed", one(strings.Repeat("n", MaxName), Type{Kind: Long}), one(strings.Repeat("N", MaxName), Type{Kind: Long}), true},
	}
	for _, test := range tests {
		merged, err := test.have.Merge(test.rec, nil)
		var limit *LimitError
		if over := errors.As(err, &limit); over != test.over || err != nil && !over {
			t.Errorf("%s: %v, over the limit: %v", test.name, err, test.over)
		}
		if err == nil {
			if err := merged.Validate(nil); err != nil {
				t.Errorf("%s: what Merge made is not valid: %v", test.name, err)
			}
		}
	}
}

// Records whose types do not conflict give the same columns in whatever order they come.
func TestMergeInAnyOrder(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var records []Schema
	for _, text := range []string{"a: int, b: string", "a: long", "a: double", "c: list<struct<x: int>>", "c: list<struct<y: boolean, x: double>>",
		"d: struct<e: struct<f: float>>", "d: struct<e: struct<f: double>, g: date>", "h: decimal(9, 2)", "h: decimal(20, 2)", "b: string, i: binary"} {
		records = append(records, parseRecord(t, text))
	}
	var want map[string]string
	for range 200 {
		rnd.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
		var s Schema
		for _, rec := range records {
			var err error
			if s, err = s.Merge(rec, nil); err != nil {
				t.Fatal(err)
			}
		}
		got := map[string]string{}
		leaves(s.Fields, "", got)
		if want == nil {
			want = got
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("columns are %v in one order, %v in another", got, want)
		}
	}
	if want["a"] != "double" || want["c.element.x"] != "double" || want["h"] != "decimal(20, 2)" {
		t.Errorf("columns are %v", want)
	}
}

func leaves(fields []Field, path string, into map[string]string) {
	for _, f := range fields {
		if at := join(path, f.Name); len(f.Type.Fields) > 0 {
			leaves(f.Type.Fields, at, into)
		} else {
			into[at] = f.Type.String()
		}
	}
}

func TestParseFields(t *testing.T) {
	const text = `
- {name: id, type: long, required: true}
- {name: at, type: timestamptz, doc: when it happened}
- {name: price, type: "decimal(9, 2)"}
- {name: geo, type: struct, fields: [{name: lat, type: double, required: true}, {name: lon, type: double}]}
- {name: tags, type: list<string>}
- {name: items, type: list, element: {type: struct, required: true, fields: [{name: sku, type: "struct<a: int, b: list<date>>"}]}}
`
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	s, err := ParseFields(value)
	if err != nil {
		t.Fatal(err)
	}
	const want = "struct<id: long, at: timestamptz, price: decimal(9, 2), geo: struct<lat: double, lon: double>, tags: list<string>, " +
		"items: list<struct<sku: struct<a: int, b: list<date>>>>>"
	if got := StructOf(s.Fields...).String(); got != want {
		t.Errorf("schema is %s\nwant      %s", got, want)
	}
	if !s.Fields[0].Required || s.Fields[1].Required || !s.Fields[3].Type.Fields[0].Required || !s.Fields[5].Type.Fields[0].Required {
		t.Errorf("required is wrong in %+v", s)
	}
	if s.Fields[1].Doc != "when it happened" {
		t.Errorf("doc is %q", s.Fields[1].Doc)
	}
}

func TestParseFieldsRefuses(t *testing.T) {
	tests := []struct{ text, want string }{
		{`{}`, "want a list"},
		{`[]`, "want a list"},
		{`[a]`, "schema[0]: want a map"},
		{`[{name: a, typ: long}]`, "schema[0].typ: is no setting"},
		{`[{name: a}]`, "schema[0].type: is missing"},
		{`[{type: long}]`, "schema[0].name: is missing"},
		{`[{name: a, type: long, required: 1}]`, "schema[0].required: want true or false"},
		{`[{name: a, type: bigint}]`, `"bigint" is none of`},
		{`[{name: a, type: unknown}]`, `"unknown" is none of`},
		{`[{name: a, type: list}]`, "schema[0].element: want the type"},
		{`[{name: a, type: struct}]`, "schema[0].fields: want a list"},
		{`[{name: a, type: long, fields: [{name: b, type: long}]}]`, "schema[0].fields: goes with type: struct"},
		{`[{name: a, type: "list<long"}]`, "a > is missing"},
		{`[{name: a, type: "list<long>>"}]`, "left over"},
		{`[{name: a, type: "struct<b>"}]`, "a colon is missing"},
		{`[{name: a, type: "decimal(39, 2)"}]`, "precision of 1 to 38"},
		{`[{name: a, type: "decimal(5)"}]`, "want decimal(precision, scale)"},
		{`[{name: a, type: long}, {name: A, type: long}]`, "without case"},
		{`[{name: a.b, type: long}]`, "dots"},
	}
	for _, test := range tests {
		var value any
		if err := yaml.Unmarshal([]byte(test.text), &value); err != nil {
			t.Fatal(err)
		}
		if _, err := ParseFields(value); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error is %v, want %q in it", test.text, err, test.want)
		}
	}
}

func TestValidateRefusesReservedNames(t *testing.T) {
	for _, name := range []string{"_file", "_Partition", "kafka_topic", "KAFKA_TOPIC"} {
		if err := parseRecord(t, name+": long").Validate(NewReserved("kafka_topic")); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if err := parseRecord(t, "a: struct<_file: long>").Validate(NewReserved()); err != nil {
		t.Errorf("a nested _file: %v", err)
	}
}

func TestFromArrow(t *testing.T) {
	s := parseRecord(t, "a: boolean, b: int, c: long, d: float, e: double, f: decimal(38, 10), g: string, h: binary, i: date, j: timestamp, "+
		"k: timestamptz, l: struct<m: list<struct<n: long>>>")
	s.Fields[2].Required = true
	s.Fields[3].Doc = "a comment"
	back, err := FromArrow(s.Arrow())
	if err != nil {
		t.Fatal(err)
	}
	if !back.Equal(s) {
		t.Errorf("back from Arrow it is %v, was %v", back, s)
	}
	nested := arrow.StructOf(arrow.Field{Name: "b", Type: arrow.FixedWidthTypes.Time64us})
	_, err = FromArrow([]arrow.Field{{Name: "a", Type: nested}})
	if err == nil || !strings.Contains(err.Error(), "a.b") {
		t.Errorf("time: error is %v, want one that names a.b", err)
	}
}

// What ParseType takes it writes the same way, and takes again.
func FuzzParseType(f *testing.F) {
	for _, text := range []string{"long", "decimal(9, 2)", "list<struct<a: int, b: list<date>>>", "struct<a:string>", "list<", "decimal(,)", "struct<: long>"} {
		f.Add(text)
	}
	f.Add(strings.Repeat("list<", 1000))
	f.Fuzz(func(t *testing.T, text string) {
		typ, err := ParseType(text)
		if err != nil {
			return
		}
		again, err := ParseType(typ.String())
		if err != nil || !again.Equal(typ) {
			t.Fatalf("%q is %s, and that is %s, %v", text, typ, again, err)
		}
	})
}
