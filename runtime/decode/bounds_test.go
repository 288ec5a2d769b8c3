package decode

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/schema"
)

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

// peak is an allocator that knows how much was allocated at most.
type peak struct {
	*memory.CheckedAllocator
	most int
}

func (p *peak) Allocate(n int) []byte {
	b := p.CheckedAllocator.Allocate(n)
	p.most = max(p.most, p.CurrentAlloc())
	return b
}

func (p *peak) Reallocate(n int, b []byte) []byte {
	b = p.CheckedAllocator.Reallocate(n, b)
	p.most = max(p.most, p.CurrentAlloc())
	return b
}

// One record cannot take what it likes: {} in a list of wide structs takes as much as a struct with values, once there are some behind it.
func TestOneRecordIsBounded(t *testing.T) {
	const limit = 4 << 20
	wide := ""
	for i := range 900 {
		wide += fmt.Sprintf(`,"c%d":%d`, i, i)
	}
	wide = "{" + wide[1:] + "}"
	list := func(n int, last string) string { return `{"l":[` + strings.Repeat(`{},`, n) + last + `]}` }
	for _, test := range []struct{ name, first, doc, want string }{
		{"columns that are there", `{"l":[` + wide + `]}`, list(100_000, wide), "1 too_large"},
		{"columns that the record would make", `{"id":1}`, list(100_000, wide), "1 too_large"},
		{"some that are there, one that it would make", `{"l":[` + wide + `]}`, list(100_000, `{"new":1}`), "1 too_large"},
		{"lists in lists", `{"l":[` + wide + `],"m":[[{"a":1}]]}`, `{"m":[` + strings.Repeat(`[],`, 10_000) + `[` + strings.Repeat(`{},`, 10) + `{"a":1}]],"l":[` + strings.Repeat(`{},`, 100_000) + wide + `]}`, "1 too_large"},
		{"within the limit", `{"l":[` + wide + `]}`, list(500, wide), ""},
		{"numbers", `{"l":[1]}`, `{"l":[` + strings.Repeat("1,", 2<<20) + `1]}`, ""},
		{"decimals", `{"d":["1.5"]}`, `{"d":[` + strings.Repeat("1,", 2<<20) + `1]}`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := Config{MaxBytes: limit}
			if test.name == "decimals" {
				cfg.Declared = &schema.Schema{Fields: []schema.Field{{Name: "d", Type: schema.ListOf(schema.Type{Kind: schema.Decimal, Precision: 9, Scale: 2})}}}
			}
			mem := &peak{CheckedAllocator: memory.NewCheckedAllocator(memory.DefaultAllocator)}
			d, err := New(cfg, nil, mem)
			if err != nil {
				t.Fatal(err)
			}
			defer mem.AssertSize(t, 0)
			defer d.Release()
			if err := d.Append(quakes, batchOf(t, 0, []byte(test.first)), all); err != nil {
				t.Fatal(err)
			}
			before := d.Schema()
			rows, _ := d.Flush()
			rows.Release()
			if err := d.Append(quakes, batchOf(t, 1, []byte(test.doc)), all); err != nil {
				t.Fatal(err)
			}
			// Buffers grow by doubling, and have what they held beside them while they do.
			if most := 4 * max(limit, listGrowth*len(test.doc)); mem.most > most {
				t.Errorf("%d bytes were allocated, want at most %d", mem.most, most)
			}
			rows, letters := d.Flush()
			got := ""
			for _, l := range letters {
				got += fmt.Sprintf("%d %s", l.Offset, l.Class)
				if !strings.Contains(l.Message, "field l: its elements, with the lists before it, would take more than") {
					t.Error(l.Message)
				}
			}
			if got != test.want || (rows == nil) != (test.want != "") {
				t.Errorf("dead letters %q, want %q", got, test.want)
			}
			if rows != nil {
				rows.Release()
			}
			if after := d.Schema(); test.want != "" && !strings.HasPrefix(test.name, "some") && !after.Equal(before) {
				t.Errorf("a dead letter has made the columns %s of %s", after, before)
			}
		})
	}
}

// A large record among many is taken alone, however large it is: it was in one batch when it was produced.
func TestLargeRecordAmongMany(t *testing.T) {
	d := newDecoder(t, Config{MaxBytes: 1 << 20}, nil)
	var values [][]byte
	for range 1000 {
		values = append(values, []byte(`{"s":"x"}`))
	}
	values[500] = []byte(`{"s":"` + strings.Repeat("x", 2<<20) + `"}`)
	batch := batchOf(t, 0, values...)
	if err := d.Append(quakes, batch, all); !errors.Is(err, ErrFull) {
		t.Errorf("all of them: %v, want ErrFull", err)
	}
	if err := d.Append(quakes, batch, kfs.Span{Base: 500, Next: 501}); err != nil || d.Rows() != 1 {
		t.Errorf("the large one: %v, %d rows", err, d.Rows())
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

func TestNothingIsAllocatedForARecord(t *testing.T) {
	var values [][]byte
	for i := range 200 {
		values = append(values, fmt.Appendf(nil, `{"i":%d,"f":%d.25,"s":"some \"text\" %d","u":"ü%d","b":true,"n":null,"x":{"y":[1,2.5e3,12345678901234567890.5]}}`, i, i, i, i))
	}
	batch := batchOf(t, 0, values...)
	d, err := New(Config{}, nil, memory.DefaultAllocator)
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
			d, err := New(Config{MaxBytes: 1 << 30}, nil, memory.DefaultAllocator)
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
