package decode

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs/record"
)

// Random documents become the rows and the columns that the reference makes of them.
func TestAgainstReference(t *testing.T) {
	for range 150 {
		seed := rand.Uint64()
		g := generator{rand.New(rand.NewPCG(seed, 0))}
		var docs [][]byte
		for range 40 {
			docs = append(docs, g.document())
		}
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { checkDocuments(t, docs, func() int { return 1 + g.IntN(20) }) })
	}
}

// A record that was a row is one again when decoding starts from the columns that the table has by then: what happens after a crash.
func TestRowsStayRows(t *testing.T) {
	for range 100 {
		seed := rand.Uint64()
		g := generator{rand.New(rand.NewPCG(seed, 0))}
		first := newDecoder(t, Config{}, nil)
		var rows [][]byte
		for range 40 {
			doc := append([]byte{}, g.document()...)
			had := first.Rows()
			if err := first.Append(quakes, batchOf(t, 0, doc), all); err != nil {
				t.Fatal(err)
			}
			if first.Rows() > had {
				rows = append(rows, doc)
			}
		}
		again := newDecoder(t, Config{}, first.Schema())
		if err := again.Append(quakes, batchOf(t, 0, rows...), all); err != nil {
			t.Fatal(err)
		}
		for _, l := range again.letters {
			t.Errorf("seed %d: %s was a row, and is a dead letter now: %s", seed, l.Value, l.Message)
		}
		if !again.Schema().Equal(first.Schema()) {
			t.Errorf("seed %d: the schema has changed", seed)
		}
	}
}

// Records that do not contradict each other make the same columns in whatever order they come.
func TestColumnsInAnyOrder(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	docs := [][]byte{[]byte(`{"a":1,"b":null,"c":[]}`), []byte(`{"a":1.5}`), []byte(`{"b":"x","c":[1]}`), []byte(`{"c":[2.5,null]}`), []byte(`{"d":{"e":{}}}`),
		[]byte(`{"d":{"e":{"f":true}}}`), []byte(`{"d":{"g":[{"h":1}]}}`), []byte(`{"d":{"g":[{"i":"x"},{"h":0.5}]}}`), []byte(`{"d":[]}`), []byte(`{}`)}
	want := ""
	for range 200 {
		rnd.Shuffle(len(docs), func(i, j int) { docs[i], docs[j] = docs[j], docs[i] })
		d := newDecoder(t, Config{}, nil)
		if err := d.Append(quakes, batchOf(t, 0, docs...), all); err != nil {
			t.Fatal(err)
		}
		got := describe(d.root.typ)
		if want == "" {
			want = got
		}
		if got != want || d.Rows() != len(docs) {
			t.Fatalf("%d rows of %s in one order, %s in another", d.Rows(), want, got)
		}
		d.Release()
	}
}

// FuzzAppend takes record batches as they are, but for a checksum that is made right.
func FuzzAppend(f *testing.F) {
	for _, codec := range []record.Codec{record.None, record.Gzip, record.Snappy, record.LZ4, record.Zstd} {
		b := record.Builder{BaseOffset: 5, Codec: codec}
		b.Add(1, []byte("k"), []byte(`{"a":1,"b":["x"]}`), record.HeaderField{Key: "h", Value: []byte("v")})
		b.Add(2, nil, nil)
		b.Add(3, nil, []byte(`{"a":1.5}`))
		f.Add(build(f, &b))
	}
	f.Fuzz(func(t *testing.T, batch []byte) {
		if h, err := record.ParseHeader(batch); err == nil {
			record.StampAppendTime(batch[:h.Size()], h.MaxTimestamp)
		}
		for _, cfg := range []Config{{BatchBytes: 1 << 16}, {BatchBytes: 1 << 16, Value: Raw, Key: StringKey}} {
			d := newDecoder(t, cfg, nil)
			if err := d.Append(quakes, batchOf(t, 0, []byte(`{"a":1}`)), all); err != nil {
				t.Fatal(err)
			}
			err := d.Append(quakes, batch, all)
			if err != nil && (d.Rows() != 1 || len(d.letters) > 0) {
				t.Fatalf("%d rows and %d dead letters after %v", d.Rows(), len(d.letters), err)
			}
			rows, letters := d.Flush()
			rows.Release()
			if len(letters) > 0 {
				DeadLetterBatch("", "job", letters, memory.DefaultAllocator).Release()
			}
		}
	})
}

// FuzzDecode decodes documents, one a line, and compares with the reference.
func FuzzDecode(f *testing.F) {
	g := generator{rand.New(rand.NewPCG(1, 2))}
	for range 20 {
		f.Add(bytes.Join([][]byte{g.document(), g.document(), g.document()}, []byte("\n")))
	}
	for _, doc := range []string{`{"a":1}` + "\n" + `{"a":1.5}`, `{"a":"\ud83d\ude00"}`, `{"a":"\ud83d"}`, "{\"a\":\"\xff\"}", `{"a":1e400,"b":-0}`, `{"a":[1,[2]]}`,
		`{"a":9223372036854775808}`, `{"a":{"b":{"c":[]}}}`, `{"a":1,"a":"x"}`, strings.Repeat(`{"a":`, 600), strings.Repeat(`[`, 600), `{"a":18446744073709551616.0}`} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		docs := bytes.Split(input, []byte("\n"))
		checkDocuments(t, docs[:min(len(docs), 50)], func() int { return 3 })
	})
}

// generator makes documents that are mostly alike and mostly valid.
type generator struct{ *rand.Rand }

func (g generator) document() []byte {
	doc := []byte(g.object(3))
	switch g.IntN(30) {
	case 0: // cut it off
		doc = doc[:g.IntN(len(doc))]
	case 1: // or break a byte
		doc[g.IntN(len(doc))] = byte(g.IntN(256))
	case 2:
		doc = []byte(g.value(1, g.IntN(8)))
	}
	return bytes.ReplaceAll(doc, []byte("\n"), []byte("\t"))
}

func (g generator) object(depth int) string {
	var b strings.Builder
	b.WriteString("{" + g.space())
	n := g.IntN(6)
	for i := range n {
		if i > 0 {
			b.WriteString("," + g.space())
		}
		// The name says the kind of the value, but for a few.
		k := g.IntN(10)
		kind := k
		if g.IntN(40) == 0 {
			kind = g.IntN(10)
		}
		name := string(rune('a' + k))
		if g.IntN(4) == 0 {
			name = fmt.Sprintf(`\u%04x`, 'a'+k)
		}
		b.WriteString(`"` + name + `"` + g.space() + ":" + g.space() + g.value(depth-1, kind) + g.space())
	}
	return b.String() + "}"
}

func (g generator) space() string {
	return []string{"", "", "", "", " ", "\t", "\r ", "  "}[g.IntN(8)]
}

func (g generator) value(depth, kind int) string {
	if g.IntN(12) == 0 {
		return []string{"null", "null", "[]", "{}", "[null]"}[g.IntN(5)]
	}
	switch kind {
	case 0, 1:
		return strconv.FormatInt(g.Int64()>>g.IntN(64)*int64(1-2*g.IntN(2)), 10)
	case 2, 3:
		return g.number()
	case 4:
		return []string{"true", "false"}[g.IntN(2)]
	case 5, 6:
		return g.text()
	case 7, 8:
		if depth > 0 {
			return g.object(depth)
		}
		return "{}"
	default:
		var elements []string
		kind := g.IntN(9)
		if depth <= 0 {
			kind %= 7
		}
		for range g.IntN(5) {
			elements = append(elements, g.value(depth-1, kind))
		}
		return "[" + g.space() + strings.Join(elements, g.space()+","+g.space()) + g.space() + "]"
	}
}

// number is a number in one of the many ways to write one.
func (g generator) number() string {
	switch g.IntN(8) {
	case 0:
		return strconv.FormatFloat(math.Float64frombits(g.Uint64()&^(1<<62)), 'g', -1, 64)
	case 1:
		return strconv.FormatFloat(g.NormFloat64(), 'f', -1, 64)
	case 2:
		return strconv.FormatFloat(g.NormFloat64()*1000, 'e', g.IntN(25), 64)
	case 3:
		return strconv.FormatInt(g.Int64N(1e6), 10) + ".0"
	case 4:
		return strconv.FormatUint(g.Uint64(), 10)
	case 5:
		return strconv.FormatUint(1<<g.IntN(64), 10) + strings.Repeat("0", g.IntN(30))
	case 6:
		return fmt.Sprintf("%d.%de%d", g.IntN(10), g.IntN(1e6), g.IntN(700)-350)
	default:
		return strconv.FormatFloat(float64(g.IntN(1e6))/100, 'f', g.IntN(30), 64)
	}
}

func (g generator) text() string {
	pieces := []string{"a", "bc", "hello, world", "ü", "日本", "😀", `\n`, `\"`, `\\`, `\/`, `\u00e9`, `\ud83d\ude00`, " ", "0123456789abcdef", `\u0000`}
	if g.IntN(60) == 0 {
		pieces = append(pieces, "\xff", "\xe6\x97", `\ud83d`, `\ude00`, `\x`, "\x01")
	}
	var b strings.Builder
	for range g.IntN(8) {
		b.WriteString(pieces[g.IntN(len(pieces))])
	}
	return `"` + b.String() + `"`
}
