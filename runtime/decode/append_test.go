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
