package exec

import (
	"bytes"
	"encoding/binary"
	"io"
	"log/slog"
	"runtime/metrics"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/goccy/go-yaml"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors/transform"
	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
)

// outputs are what programs write, by what is the matter with it: answers to the batch of rows(t, mem, 3).
func outputs(t testing.TB) map[string][]byte {
	mem := memory.DefaultAllocator
	b := rows(t, mem, 3).Records
	with := func(name string, typ arrow.DataType, doc string) arrow.RecordBatch {
		column, _, err := array.FromJSON(mem, typ, strings.NewReader(doc))
		if err != nil {
			t.Fatal(err)
		}
		fields := append(append([]arrow.Field{}, b.Schema().Fields()...), arrow.Field{Name: name, Type: typ, Nullable: true})
		return array.NewRecordBatch(arrow.NewSchema(fields, nil), append(append([]arrow.Array{}, b.Columns()...), column), 3)
	}
	write := func(batches []arrow.RecordBatch, options ...ipc.Option) []byte {
		var out bytes.Buffer
		w := ipc.NewWriter(&out, append(options, ipc.WithSchema(batches[0].Schema()))...)
		for _, one := range batches {
			if err := w.Write(one); err != nil {
				t.Fatal(err)
			}
		}
		return out.Bytes()
	}
	one := []arrow.RecordBatch{b}
	text := with("text", arrow.BinaryTypes.String, `["one","two",null]`)
	nested := with("nested", arrow.ListOf(arrow.StructOf(arrow.Field{Name: "a", Type: arrow.BinaryTypes.LargeString, Nullable: true})), `[[{"a":"x"},null],[],null]`)
	dictionary := with("tag", &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}, `["x","y","x"]`)
	badText := bytes.Replace(write([]arrow.RecordBatch{text}), []byte("onetwo"), []byte("one\xff\xfe\xfd"), 1)
	badOffsets := bytes.Replace(write([]arrow.RecordBatch{text}), binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, 3), 6),
		binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, 1<<30), 6), 1)
	bomb := with("text", arrow.BinaryTypes.String, `["`+strings.Repeat("a", 1<<21)+`",null,null]`)
	return map[string][]byte{
		"good":         write(one),
		"text":         write([]arrow.RecordBatch{text}),
		"nested":       write([]arrow.RecordBatch{nested}),
		"rejecting":    write([]arrow.RecordBatch{with(errorColumn, arrow.BinaryTypes.String, `[null,"`+strings.Repeat("no ", 1000)+`",null]`)}),
		"lz4":          write([]arrow.RecordBatch{text}, ipc.WithLZ4()),
		"zstd":         write([]arrow.RecordBatch{nested}, ipc.WithZstd()),
		"fewer":        write([]arrow.RecordBatch{b.NewSlice(1, 2)}),
		"two":          write([]arrow.RecordBatch{b.NewSlice(0, 1), b.NewSlice(1, 3)}),
		"trailing":     append(write(one), "trailing garbage"...),
		"dictionary":   write([]arrow.RecordBatch{dictionary}),
		"other schema": append(write(one), write([]arrow.RecordBatch{text})...),
		"unsigned":     write([]arrow.RecordBatch{with("n8", arrow.PrimitiveTypes.Uint8, `[1,2,3]`)}),
		"dotted":       write([]arrow.RecordBatch{with("a.b", arrow.PrimitiveTypes.Int64, `[1,2,3]`)}),
		"twice":        write([]arrow.RecordBatch{with("N", arrow.PrimitiveTypes.Int64, `[1,2,3]`)}),
		"bad text":     badText,
		"bad offsets":  badOffsets,
		"bomb":         write([]arrow.RecordBatch{bomb}, ipc.WithZstd()),
		"large":        write([]arrow.RecordBatch{bomb}),
		"truncated":    write(one)[:900],
		"text at once": []byte("hello world\n"),
		"nothing":      nil,
	}
}

// most bounds the answers of these tests.
const most = 1 << 20

// ask reads a stream as the answer to three rows.
func ask(t testing.TB, stream io.Reader) (kept int64, rejected []processor.Rejection, err error) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	given := rows(t, mem, 3)
	defer given.Records.Release()
	tr := &Transform{command: []string{"program"}, log: slog.New(slog.DiscardHandler), mem: mem}
	from := newAnswers(stream, given.Records.Schema(), most)
	defer from.release()
	got, err := from.next()
	if err != nil {
		return 0, nil, err
	}
	if from.more() {
		got.Release()
		return 0, nil, errNotAsked
	}
	a, err := tr.judge(given.Source, given.Records, got)
	if err != nil {
		return 0, nil, err
	}
	defer a.release()
	for _, b := range a.batches {
		kept += b.NumRows()
		// Whatever is let through can be read by everybody.
		if _, err := b.MarshalJSON(); err != nil {
			t.Errorf("an answer that was let through: %v", err)
		}
		b.Retain()
		after := processor.Batch{Source: given.Source, Span: given.Span, Records: b, Rejected: a.rejected}
		if err := processor.CheckApplied(given, after); err != nil {
			t.Errorf("an answer that was let through: %v", err)
		}
		cast, err := transform.Kinds()["cast"].Open(func(into any) error { return yaml.Unmarshal([]byte("{text: binary}"), into) }, plugin.Env{Allocator: mem})
		if err != nil {
			t.Fatal(err)
		}
		out, err := cast.Apply(t.Context(), processor.Batch{Source: given.Source, Span: kfs.Span{Base: 1000, Next: 1003}, Records: b})
		if err != nil {
			t.Errorf("an answer that was let through: %v", err)
		}
		out.Records.Release()
	}
	return kept, a.rejected, nil
}

// TestAnswers: what comes is an answer, or an error that says what it is instead.
func TestAnswers(t *testing.T) {
	streams := outputs(t)
	for name, c := range map[string]struct {
		kept, rejected int64
		err            string
	}{
		"good":         {kept: 3},
		"text":         {kept: 3},
		"nested":       {kept: 3},
		"rejecting":    {kept: 2, rejected: 1},
		"lz4":          {err: "it is compressed"},
		"zstd":         {err: "it is compressed"},
		"fewer":        {kept: 1},
		"two":          {err: "it has answered what it was not asked"},
		"trailing":     {err: "it has answered what it was not asked"},
		"other schema": {err: "it has answered what it was not asked"},
		"dictionary":   {err: "its columns: column tag: type dictionary<values=utf8, indices=int8, ordered=false> is none"},
		"unsigned":     {err: "its columns: column n8: type uint8 is none"},
		"dotted":       {err: "its columns: column a.b: the name has '.' in it"},
		"twice":        {err: "its columns: column N comes twice"},
		"bad text":     {err: "its answer is no sound Arrow: column text: arrow/array: string at index 1 is not valid utf8"},
		"bad offsets":  {err: "its answer is no sound Arrow: column text: "},
		"bomb":         {err: "it is compressed"},
		"large":        {err: "a message claims a body of 2097528 bytes"},
		"truncated":    {err: "unexpected EOF"},
		"text at once": {err: "what comes is no Arrow stream"},
		"nothing":      {err: "no Arrow stream came"},
	} {
		for _, reader := range []io.Reader{bytes.NewReader(streams[name]), iotest.DataErrReader(bytes.NewReader(streams[name]))} {
			kept, rejected, err := ask(t, reader)
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("%s: %v, want %q", name, err, c.err)
			}
			if kept != c.kept || int64(len(rejected)) != c.rejected {
				t.Errorf("%s: %d rows, %d rejected", name, kept, len(rejected))
			}
			for _, r := range rejected {
				if len(r.Message) > 1100 {
					t.Errorf("%s: a message of %d bytes", name, len(r.Message))
				}
			}
		}
		delete(streams, name)
	}
	for name := range streams {
		t.Errorf("%s is not asked for", name)
	}
}

// FuzzAnswers: whatever a program writes, it is an answer that can be used or an error, and takes a bounded amount of memory.
func FuzzAnswers(f *testing.F) {
	for _, stream := range outputs(f) {
		if len(stream) < 1<<16 {
			f.Add(stream)
		}
	}
	allocated := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	f.Fuzz(func(t *testing.T, stream []byte) {
		metrics.Read(allocated)
		before := allocated[0].Value.Uint64()
		ask(t, bytes.NewReader(stream))
		metrics.Read(allocated)
		// Twice the metadata, the answer, and what the test makes of it.
		if took := allocated[0].Value.Uint64() - before; took > 4*maxMetadata+8*most {
			t.Errorf("%d bytes of a stream took %d bytes", len(stream), took)
		}
	})
}
