package decode

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/schema"
)

func TestCoordinates(t *testing.T) {
	for _, codec := range []record.Codec{record.None, record.Gzip, record.Snappy, record.LZ4, record.Zstd} {
		t.Run(codec.String(), func(t *testing.T) {
			d := newDecoder(t, Config{Value: Raw}, nil)
			b := record.Builder{BaseOffset: 41, Codec: codec}
			b.Add(1517363399650, []byte("key"), []byte("one"), record.HeaderField{Key: "a", Value: []byte("1")}, record.HeaderField{Key: "b"})
			b.Add(1517363399651, nil, nil)
			b.Add(-1, []byte{0xff}, []byte{}, record.HeaderField{Key: "", Value: []byte{}})
			if err := d.Append(quakes, build(t, &b), all); err != nil {
				t.Fatal(err)
			}
			rows, letters := d.Flush()
			if len(letters) > 0 {
				t.Fatalf("dead letters %v", letters)
			}
			defer rows.Release()
			checkCells(t, rows, []string{
				`quakes 3 41 2018-01-31T01:49:59.65Z a2V5 [{"key":"a","value":"MQ=="},{"key":"b","value":null}] b25l`,
				`quakes 3 42 2018-01-31T01:49:59.651Z (null) [] (null)`,
				`quakes 3 43 1969-12-31T23:59:59.999Z /w== [{"key":"","value":""}] `,
			})
			for i, f := range rows.Schema().Fields()[:keyColumn] {
				if f.Nullable || rows.Column(i).NullN() > 0 {
					t.Errorf("%s may be null", f.Name)
				}
			}
		})
	}
}

// checkCells compares every row of a batch, its cells apart by spaces.
func checkCells(t *testing.T, rows arrow.RecordBatch, want []string) {
	t.Helper()
	var got []string
	for row := range int(rows.NumRows()) {
		var cells []string
		for i := range int(rows.NumCols()) {
			cells = append(cells, rows.Column(i).ValueStr(row))
		}
		got = append(got, strings.Join(cells, " "))
	}
	equalLines(t, "rows", got, want)
}

func TestPrefixAndStringKeys(t *testing.T) {
	d := newDecoder(t, Config{Prefix: "src_", Key: StringKey}, nil)
	b := record.Builder{}
	b.Add(0, []byte("ü"), []byte(`{"src_key":1,"kafka_key":2}`))
	b.Add(0, []byte{0xff}, []byte(`{"new":1}`))
	b.Add(0, nil, []byte(`{}`), record.HeaderField{Key: "\xff"})
	b.Add(0, nil, []byte(`{}`))
	if err := d.Append(quakes, build(t, &b), all); err != nil {
		t.Fatal(err)
	}
	rows, letters := d.Flush()
	defer rows.Release()
	checkCells(t, rows, []string{"quakes 3 0 1970-01-01T00:00:00Z ü [] 1 2 (null)", "quakes 3 3 1970-01-01T00:00:00Z (null) [] (null) (null) (null)"})
	if name := rows.ColumnName(coordinateColumns); name != "src_key_2" {
		t.Errorf("src_key is column %s", name)
	}
	for i, l := range letters {
		if l.Class != InvalidUTF8 || l.Offset != int64(i+1) {
			t.Errorf("dead letter %+v", l)
		}
	}
	if len(letters) != 2 {
		t.Errorf("%d dead letters, want 2", len(letters))
	}
}

func TestSpan(t *testing.T) {
	batch := batchOf(t, 10, []byte(`{"a":10}`), []byte(`x`), []byte(`{"a":12}`), []byte(`{"a":13}`))
	for _, test := range []struct {
		span    kfs.Span
		rows    string
		letters int
	}{
		{kfs.Span{Base: 0, Next: 100}, "a=10 a=12 a=13", 1},
		{kfs.Span{Base: 12, Next: 13}, "a=12", 0},
		{kfs.Span{Base: 11, Next: 12}, "", 1},
		{kfs.Span{Base: 14, Next: 20}, "", 0},
	} {
		d := newDecoder(t, Config{}, nil)
		if err := d.Append(quakes, batch, test.span); err != nil {
			t.Fatal(err)
		}
		_, rows, letters := payloadRows(t, d)
		if got := strings.Join(rows, " "); got != test.rows || len(letters) != test.letters {
			t.Errorf("%s: rows %q and %d dead letters, want %q and %d", test.span, got, len(letters), test.rows, test.letters)
		}
	}
}

// After an error the decoder is as it was before the batch.
func TestAppendTakesAllOrNothing(t *testing.T) {
	good := batchOf(t, 0, []byte(`{"a":1}`), []byte(`x`))
	corrupt := bytes.Clone(good)
	corrupt[len(corrupt)-1] ^= 1
	// The last of many records is cut off, under a checksum that is right.
	b := record.Builder{BaseOffset: 2}
	for i := range 1000 {
		b.Add(0, nil, fmt.Appendf(nil, `{"a":%d,"s":"%d","l":[{"x":%d}]}`, i, i, i))
		b.Add(0, nil, []byte("x"))
	}
	whole := build(t, &b)
	short := bytes.Clone(whole)
	short[len(short)-3]++ // the length of the last value
	record.StampAppendTime(short, 7)

	control := bytes.Clone(good)
	control[22] |= 0x20
	record.StampAppendTime(control, 7)
	transactional := bytes.Clone(good)
	transactional[22] |= 0x10
	record.StampAppendTime(transactional, 7)

	for _, test := range []struct {
		name  string
		batch []byte
		want  error
	}{
		{"checksum", corrupt, record.ErrCorrupt},
		{"truncated", good[:len(good)-1], record.ErrCorrupt},
		{"empty", nil, record.ErrCorrupt},
		{"last record", short, record.ErrCorrupt},
		{"control", control, record.ErrTransactional},
		{"transactional", transactional, record.ErrTransactional},
		{"too large", batchOf(t, 2, bytes.Repeat([]byte(" "), 1<<20)), record.ErrTooLarge},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDecoder(t, Config{BatchBytes: 1 << 19}, nil)
			if err := d.Append(quakes, good, all); err != nil {
				t.Fatal(err)
			}
			err := d.Append(quakes, test.batch, all)
			if !errors.Is(err, test.want) {
				t.Fatalf("error is %v, want %v", err, test.want)
			}
			if d.Rows() != 1 || len(d.letters) != 1 {
				t.Fatalf("%d rows and %d dead letters, want 1 and 1", d.Rows(), len(d.letters))
			}
			if err := d.Append(quakes, whole, kfs.Span{Base: 2, Next: 4}); err != nil {
				t.Fatal(err)
			}
			_, rows, letters := payloadRows(t, d)
			equalLines(t, "rows", rows, []string{"a=1 s=(null) l=(null)", `a=0 s=0 l=[{"x":0}]`})
			equalLines(t, "dead letters", letters, []string{"1 invalid_json", "3 invalid_json"})
		})
	}
}

func TestFull(t *testing.T) {
	const limit = 1 << 20
	d := newDecoder(t, Config{MaxBytes: limit}, nil)
	var values [][]byte
	for i := range 500 {
		values = append(values, fmt.Appendf(nil, `{"i":%d,"s":"%0400d"}`, i, i))
	}
	appended, rows := 0, int64(0)
	for base := int64(0); base < 20; base++ {
		batch := batchOf(t, base*500, values...)
		err := d.Append(quakes, batch, all)
		if errors.Is(err, ErrFull) {
			if d.Rows() != appended {
				t.Fatalf("%d rows after ErrFull, want %d", d.Rows(), appended)
			}
			flushed, _ := d.Flush()
			rows += flushed.NumRows()
			flushed.Release()
			appended = 0
			err = d.Append(quakes, batch, all)
		}
		if err != nil {
			t.Fatal(err)
		}
		if appended += 500; d.Bytes() > limit {
			t.Fatalf("%d bytes are held, more than %d", d.Bytes(), limit)
		}
	}
	flushed, _ := d.Flush()
	defer flushed.Release()
	if rows += flushed.NumRows(); rows != 10000 {
		t.Errorf("%d rows, want 10000", rows)
	}
}

// Small records of a wide table become large: a batch that is too large alone is taken in parts, and memory stays within the limit.
func TestMemoryIsBounded(t *testing.T) {
	const limit = 4 << 20
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	d, err := New(Config{MaxBytes: limit}, nil, mem)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.AssertSize(t, 0)
	defer d.Release()
	wide := []byte("{")
	for i := range 900 {
		wide = fmt.Appendf(wide, `"c%d":%d,`, i, i)
	}
	wide[len(wide)-1] = '}'
	values := [][]byte{wide}
	for range 20000 {
		values = append(values, []byte("{}"))
	}
	values = append(values, wide)
	batch := batchOf(t, 0, values...)
	next, rows := int64(0), int64(0)
	for size := int64(len(values)); next < int64(len(values)); {
		err := d.Append(quakes, batch, kfs.Span{Base: next, Next: next + size})
		if used := mem.CurrentAlloc(); used > 2*limit {
			t.Fatalf("%d bytes are allocated, the limit is %d", used, limit)
		}
		switch {
		case err == nil:
			next += size
		case !errors.Is(err, ErrFull):
			t.Fatal(err)
		case d.Rows() > 0:
			flushed, _ := d.Flush()
			rows += flushed.NumRows()
			flushed.Release()
		default:
			size /= 2
		}
	}
	flushed, letters := d.Flush()
	rows += flushed.NumRows()
	flushed.Release()
	if rows != int64(len(values)) || len(letters) > 0 {
		t.Errorf("%d rows and %d dead letters, want %d rows", rows, len(letters), len(values))
	}
}

// Dead letters count as memory.
func TestDeadLettersAreBounded(t *testing.T) {
	d := newDecoder(t, Config{MaxBytes: 1 << 20}, nil)
	var values [][]byte
	for range 1000 {
		values = append(values, bytes.Repeat([]byte("x"), 2000))
	}
	if err := d.Append(quakes, batchOf(t, 0, values...), all); !errors.Is(err, ErrFull) {
		t.Errorf("error is %v, want ErrFull", err)
	}
	if d.Bytes() > 1<<16 || len(d.letters) > 0 {
		t.Errorf("%d bytes and %d dead letters are held", d.Bytes(), len(d.letters))
	}
}

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

func TestDeadLetterBatch(t *testing.T) {
	d := newDecoder(t, Config{}, nil)
	b := record.Builder{BaseOffset: 7}
	b.Add(1517363399650, []byte("k"), []byte("no"), record.HeaderField{Key: "h\xff", Value: []byte("v")})
	b.Add(1517363399650, nil, nil)
	if err := d.Append(quakes, build(t, &b), all); err != nil {
		t.Fatal(err)
	}
	rows, letters := d.Flush()
	if rows != nil {
		t.Fatalf("%d rows", rows.NumRows())
	}
	letters = append(letters, DeadLetter{Source: processor.Source{Topic: "t", Partition: 1}, Timestamp: math.MaxInt64, Class: OutOfRange})
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	batch := DeadLetterBatch("", "job", letters, mem)
	defer batch.Release()
	checkCells(t, batch, []string{
		"quakes 3 7 2018-01-31T01:49:59.65Z aw== [{\"key\":\"h\uFFFD\",\"value\":\"dg==\"}] bm8= invalid_json " + letters[0].Message + " job AQAAAAAAAAAAAAAAAAAAAA (null)",
		"quakes 3 8 2018-01-31T01:49:59.65Z (null) [] (null) null_value " + letters[1].Message + " job AQAAAAAAAAAAAAAAAAAAAA (null)",
		"t 1 0 9223372036854775000 (null) [] (null) out_of_range  job AAAAAAAAAAAAAAAAAAAAAA (null)", // Arrow prints no year 294247
	})
	if !batch.Schema().Equal(DeadLetterSchema("")) {
		t.Errorf("schema is %s", batch.Schema())
	}
}

func TestTimestampOutOfRange(t *testing.T) {
	d := newDecoder(t, Config{}, nil)
	b := record.Builder{}
	b.Add(math.MaxInt64/1000+1, nil, []byte(`{"a":1}`))
	if err := d.Append(quakes, build(t, &b), all); err != nil {
		t.Fatal(err)
	}
	_, rows, letters := payloadRows(t, d)
	equalLines(t, "rows", rows, nil)
	equalLines(t, "dead letters", letters, []string{"0 out_of_range"})
}

// How records are batched and flushed changes neither rows nor dead letters.
func TestBoundariesDoNotMatter(t *testing.T) {
	docs := []string{`{"a":1}`, `{"a":9007199254740993}`, `{"a":1.5}`, `{"b":null}`, `{"b":{"c":[]}}`, `x`, `{"b":{"c":[1]}}`, `{"b":{"c":[1.5]}}`, `{"b":[]}`,
		`{"d":1e3}`, `{"d":7}`, `{"D":"x"}`, `{"d":"x"}`, `{"e":[[],[1]]}`}
	outcome := func(size int, flush bool) (rows, letters []string) {
		d := newDecoder(t, Config{}, nil)
		take := func() {
			_, r, l := payloadRows(t, d)
			for i := range r { // a column that came later is null
				r[i] = strings.Join(removeNulls(strings.Fields(r[i])), " ")
			}
			rows, letters = append(rows, r...), append(letters, l...)
		}
		for at := 0; at < len(docs); at += size {
			var values [][]byte
			for _, doc := range docs[at:min(at+size, len(docs))] {
				values = append(values, []byte(doc))
			}
			if err := d.Append(quakes, batchOf(t, int64(at), values...), all); err != nil {
				t.Fatal(err)
			}
			if flush {
				take()
			}
		}
		take()
		return rows, letters
	}
	wantRows, wantLetters := outcome(1, true)
	for size := 1; size <= len(docs); size++ {
		for _, flush := range []bool{false, true} {
			rows, letters := outcome(size, flush)
			equalLines(t, fmt.Sprintf("rows in batches of %d", size), rows, wantRows)
			equalLines(t, fmt.Sprintf("dead letters in batches of %d", size), letters, wantLetters)
		}
	}
	equalLines(t, "dead letters", wantLetters, []string{"2 out_of_range", "5 invalid_json", "12 type_conflict"})
}

func removeNulls(cells []string) []string {
	var kept []string
	for _, cell := range cells {
		if !strings.HasSuffix(cell, "=(null)") {
			kept = append(kept, cell)
		}
	}
	return kept
}

func TestNothingIsAllocatedForARecord(t *testing.T) {
	var values [][]byte
	for i := range 200 {
		values = append(values, fmt.Appendf(nil, `{"i":%d,"f":%d.25,"s":"some \"text\" %d","u":"ü%d","b":true,"n":null,"x":{"y":[1,2.5e3,12345678901234567890.5]}}`, i, i, i, i))
	}
	batch := batchOf(t, 0, values...)
	d, err := New(Config{}, nil, NewPool(64<<20))
	if err != nil {
		t.Fatal(err)
	}
	cycle := func() {
		if err := d.Append(quakes, batch, all); err != nil {
			t.Fatal(err)
		}
	}
	cycle()
	cycle()
	rows, letters := d.Flush()
	if rows.NumRows() != 400 || len(letters) > 0 {
		t.Fatalf("%d rows, %d dead letters", rows.NumRows(), len(letters))
	}
	rows.Release()
	cycle()
	if n := testing.AllocsPerRun(1, func() {
		d.truncate(0, 0, 0)
		cycle()
	}); n > 2 {
		t.Errorf("%v allocations for 200 records, want none", n)
	}
	d.Release()
}

func TestMessages(t *testing.T) {
	d := newDecoder(t, Config{}, nil)
	appendJSON(t, d, `{"a":{"b":[{"c":1}]}}`, `{"a":{"b":[{"c":1},{"c":"x"}]}}`, `{"a":{"b":[{"c":18446744073709551616}]}}`, `{"a":1 "b":2}`, `{"a":{"b":[{"c":tru}]}}`)
	rows, letters := d.Flush()
	rows.Release()
	var got []string
	for _, l := range letters {
		got = append(got, l.Message)
	}
	equalLines(t, "messages", got, []string{
		`field a.b.element.c: the column is long, the value a string`,
		`field a.b.element.c: "18446744073709551616" does not fit long exactly`,
		`unexpected '"' at byte 7, where a comma or the end of an object is wanted`,
		`field a.b.element.c: unexpected 't' at byte 16, where a value is wanted`,
	})
}

func TestSchemaLimits(t *testing.T) {
	fields := func(n int, value string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"f%d":%s`, i, value)
		}
		return "{" + b.String()[1:] + "}"
	}
	deep := func(n int, value string) string { return strings.Repeat(`{"s":`, n) + value + strings.Repeat("}", n) }
	lists := func(n int, value string) string {
		return `{"l":` + strings.Repeat("[", n) + value + strings.Repeat("]", n) + "}"
	}
	for _, test := range []struct{ name, doc, want string }{
		{"columns", fields(schema.MaxColumns, "1"), ""},
		{"too many columns", fields(schema.MaxColumns+1, "1"), "0 schema_limit"},
		{"fields that are null", fields(5*schema.MaxColumns, "null"), ""},
		{"too many fields in no JSON", `{"x":1,` + fields(maxGuesses, "null")[1:] + "}", "0 invalid_json"},
		{"too many fields", `{"x":1,` + fields(maxGuesses, "null")[1:], "0 schema_limit"},
		{"depth", deep(schema.MaxDepth, "1"), ""},
		{"too deep", deep(schema.MaxDepth+1, "1"), "0 schema_limit"},
		{"much too deep", deep(400, "1"), "0 schema_limit"},
		{"deeper than anything", deep(100000, "1"), "0 schema_limit"},
		{"deep and without a type", deep(400, "null"), ""},
		{"lists", lists(schema.MaxDepth-1, "1"), ""},
		{"lists too deep", lists(schema.MaxDepth, "1"), "0 schema_limit"},
		{"lists much too deep", lists(400, "1"), "0 schema_limit"},
		{"name", `{"` + strings.Repeat("n", schema.MaxName) + `":1}`, ""},
		{"name too long", `{"` + strings.Repeat("n", schema.MaxName+1) + `":1}`, "0 schema_limit"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDecoder(t, Config{}, nil)
			appendJSON(t, d, test.doc)
			_, rows, letters := payloadRows(t, d)
			if got := strings.Join(letters, ""); got != test.want || len(rows)+len(letters) != 1 {
				t.Errorf("%d rows and dead letters %q, want %q", len(rows), letters, test.want)
			}
		})
	}
}

// Documents that are made to be slow cost no more than some time for each of their bytes.
func BenchmarkHostile(b *testing.B) {
	wide := `{"f0":1`
	for i := range 900 {
		wide += fmt.Sprintf(`,"f%d":1`, i+1)
	}
	wide += "}"
	for _, test := range []struct{ name, doc string }{
		{"conflict", `{"s":"x","a":"x"}`},
		{"long conflict", `{"s":"` + strings.Repeat("x", 1000) + `","a":"x"}`},
		{"elements", `{"l":[` + wide + strings.Repeat(`,{"a":1}`, 10000) + `],"a":"x"}`},
		{"deep", `{"l":` + strings.Repeat("[", 500) + "1" + strings.Repeat("]", 500) + `,"a":"x"}`},
		{"flat conflicts", `{"l":[1` + strings.Repeat(`,{},"x",[[]]`, 10000) + `]}`},
		{"new field in vain", `{"new":99999999999999999999}`},
		{"digits", `{"a":` + strings.Repeat("9", 10000) + `}`},
		{"fraction", `{"d":0.` + strings.Repeat("9", 4000) + `}`},
		{"duplicates", `{"s":"x"` + strings.Repeat(`,"a":"x"`, 1000) + `}`},
	} {
		b.Run(test.name, func(b *testing.B) {
			d, err := New(Config{MaxBytes: 1 << 30}, nil, NewPool(64<<20))
			if err != nil {
				b.Fatal(err)
			}
			columns := []byte(`{"a":1,"d":1.5,` + wide[1:])
			if err := d.Append(quakes, batchOf(b, 0, columns), all); err != nil {
				b.Fatal(err)
			}
			batch := batchOf(b, 1, []byte(test.doc))
			b.SetBytes(int64(len(test.doc)))
			for b.Loop() {
				if err := d.Append(quakes, batch, all); err != nil {
					b.Fatal(err)
				}
				d.truncate(1, 0, 0)
			}
			d.Release()
		})
	}
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
