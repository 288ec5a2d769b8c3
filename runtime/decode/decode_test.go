package decode

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/schema"
)

var quakes = processor.Source{Topic: "quakes", ID: kfs.TopicID{1}, Partition: 3}

// all is a span of every offset.
var all = kfs.Span{Base: 0, Next: 1 << 62}

// batchOf builds one record batch of values, from offset base on. A nil value is null.
func batchOf(t testing.TB, base int64, values ...[]byte) []byte {
	t.Helper()
	b := record.Builder{BaseOffset: base}
	for i, v := range values {
		b.Add(1517363399650+int64(i), fmt.Appendf(nil, "k%d", i), v)
	}
	return build(t, &b)
}

func build(t testing.TB, b *record.Builder) []byte {
	t.Helper()
	batch, err := b.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

// newDecoder makes a decoder whose memory must be given back by the end of the test.
func newDecoder(t testing.TB, cfg Config, table *arrow.Schema) *Decoder {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	d, err := New(cfg, table, mem)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Release()
		if n := mem.CurrentAlloc(); n != 0 {
			t.Errorf("%d bytes were not released", n)
		}
	})
	return d
}

func appendJSON(t testing.TB, d *Decoder, docs ...string) {
	t.Helper()
	values := make([][]byte, len(docs))
	for i, doc := range docs {
		values[i] = []byte(doc)
	}
	if err := d.Append(quakes, batchOf(t, 0, values...), all); err != nil {
		t.Fatal(err)
	}
}

// payloadRows is the payload columns of what a decoder holds, each row as JSON, and the dead letters as "offset class".
func payloadRows(t testing.TB, d *Decoder) (sc string, rows []string, letters []string) {
	t.Helper()
	batch, dead := d.Flush()
	for _, l := range dead {
		letters = append(letters, fmt.Sprintf("%d %s", l.Offset, l.Class))
	}
	payload, err := schema.FromArrow(d.Schema().Fields()[coordinateColumns:])
	if err != nil {
		t.Fatal(err)
	}
	sc = schema.StructOf(payload.Fields...).String()
	if batch == nil {
		return sc, nil, letters
	}
	defer batch.Release()
	for row := range int(batch.NumRows()) {
		var cells []string
		for i := coordinateColumns; i < int(batch.NumCols()); i++ {
			cells = append(cells, batch.ColumnName(i)+"="+batch.Column(i).ValueStr(row))
		}
		rows = append(rows, strings.Join(cells, " "))
	}
	return sc, rows, letters
}

// TestReservedNames: what a table calls its partitions is no column's name, and the payload's field has a column all the same.
func TestReservedNames(t *testing.T) {
	d := newDecoder(t, Config{Reserved: []string{"id_bucket"}}, nil)
	appendJSON(t, d, `{"id":1}`, `{"id":2,"ID_Bucket":"b","kafka_key":"k"}`)
	sc, rows, letters := payloadRows(t, d)
	want := []string{"id=1 ID_Bucket_2=(null) kafka_key_2=(null)", "id=2 ID_Bucket_2=b kafka_key_2=k"}
	if sc != "struct<id: long, ID_Bucket_2: string, kafka_key_2: string>" || !slices.Equal(rows, want) || letters != nil {
		t.Errorf("%s %v %v", sc, rows, letters)
	}
}

func TestInference(t *testing.T) {
	tests := []struct {
		name    string
		docs    []string
		schema  string
		rows    []string
		letters []string
	}{
		{"flat", []string{`{"a":1,"b":"x","c":true,"d":1.5}`, ` { "b" : "y" , "a" : -2 } `},
			"struct<a: long, b: string, c: boolean, d: double>",
			[]string{"a=1 b=x c=true d=1.5", "a=-2 b=y c=(null) d=(null)"}, nil},
		{"long becomes double", []string{`{"a":1}`, `{"a":1.5}`, `{"a":2}`}, "struct<a: double>", []string{"a=1", "a=1.5", "a=2"}, nil},
		{"integral values fit long", []string{`{"a":1}`, `{"a":5.0}`, `{"a":1e3}`, `{"a":1.5e1}`}, "struct<a: long>",
			[]string{"a=1", "a=5", "a=1000", "a=15"}, nil},
		{"nulls first", []string{`{"a":null,"b":[],"c":{}}`, `{"a":"x","b":[1],"c":{"d":null}}`, `{"c":{"d":1}}`},
			"struct<a: string, b: list<long>, c: struct<d: long>>",
			[]string{"a=(null) b=(null) c=(null)", `a=x b=[1] c=(null)`, `a=(null) b=(null) c={"d":1}`}, nil},
		{"nested", []string{`{"s":{"x":[{"y":1},{"z":"q"}]}}`}, "struct<s: struct<x: list<struct<y: long, z: string>>>>",
			[]string{`s={"x":[{"y":1,"z":null},{"y":null,"z":"q"}]}`}, nil},
		{"conflict", []string{`{"a":1}`, `{"a":"x","b":1}`, `{"a":2}`}, "struct<a: long>", []string{"a=1", "a=2"}, []string{"1 type_conflict"}},
		{"not JSON", []string{`{"a":1}`, `{"a":`, `[1]`, `7`, `"\ud800"`, `{"a":01}`, `{"b":1e400}`, "{\"c\":\"\xff\"}"}, "struct<a: long>", []string{"a=1"},
			[]string{"1 invalid_json", "2 not_object", "3 not_object", "4 invalid_utf8", "5 invalid_json", "6 out_of_range", "7 invalid_utf8"}},
		{"the last duplicate counts", []string{`{"a":1,"a":2}`, `{"a":1,"a":null}`, `{"s":{"x":1},"s":{"y":2}}`, `{"s":{"x":1},"s":{"y":2}}`},
			"struct<a: long, s: struct<y: long>>",
			[]string{"a=2 s=(null)", "a=(null) s=(null)", `a=(null) s={"y":2}`, `a=(null) s={"y":2}`}, nil},
		{"names", []string{`{"A":1,"a":2,"_File":3,"kafka_offset":4,"x.y":5,"":6}`},
			"struct<A: long, a_2: long, _File_2: long, kafka_offset_2: long, x_y: long, _empty: long>",
			[]string{"A=1 a_2=2 _File_2=3 kafka_offset_2=4 x_y=5 _empty=6"}, nil},
		{"names with quotes", []string{`{"a\"b":1}`, `{"a\"b":2}`, `{"a"b":3}`, `{"a\u0022b":4}`}, `struct<a"b: long>`, []string{`a"b=1`, `a"b=2`, `a"b=4`},
			[]string{"2 invalid_json"}},
		{"names in lists", []string{`{"l":[{"a":1},{"A":2.5}]}`, `{"l":[{"A":3,"a":4}]}`}, "struct<l: list<struct<a: long, A_2: double>>>",
			[]string{`l=[{"A_2":null,"a":1},{"A_2":2.5,"a":null}]`, `l=[{"A_2":3,"a":4}]`}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := newDecoder(t, Config{}, nil)
			appendJSON(t, d, test.docs...)
			sc, rows, letters := payloadRows(t, d)
			if sc != test.schema {
				t.Errorf("schema is %s\nwant      %s", sc, test.schema)
			}
			equalLines(t, "rows", rows, test.rows)
			equalLines(t, "dead letters", letters, test.letters)
		})
	}
}

func equalLines(t testing.TB, what string, got, want []string) {
	t.Helper()
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("%s:\n%s\nwant:\n%s", what, g, w)
	}
}
