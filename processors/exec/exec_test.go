package exec

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/job"
	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
)

const programVariable = "FIRN_TEST_PROGRAM"

// TestMain makes this program the one that transforms: what it does is said by a variable.
func TestMain(m *testing.M) {
	if mode := os.Getenv(programVariable); mode != "" {
		if err := program(mode); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// program answers each batch with its rows and a column "double" of twice their n. mode is what it does beside that.
func program(mode string) error {
	what, file, _ := strings.Cut(mode, " ")
	switch what {
	case "broken":
		return fmt.Errorf("no module named nothing")
	case "early":
		return nil
	case "deaf":
		<-time.After(time.Hour)
	case "print":
		text, err := os.ReadFile(file)
		os.Stdout.Write(text)
		return err
	case "flood":
		go func() {
			for {
				os.Stderr.WriteString(strings.Repeat("much to say ", 1000))
			}
		}()
	case "held":
		if err := holdOutput(file); err != nil {
			return err
		}
	case "ended":
		return holdOutput(file)
	}
	in, err := ipc.NewReader(bufio.NewReader(os.Stdin))
	if err != nil {
		return err
	}
	var out *ipc.Writer
	for in.Next() {
		rows := in.RecordBatch()
		n := rows.Column(6).(*array.Int64)
		if what == "once" {
			if f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL, 0o600); err == nil {
				f.Close()
				return fmt.Errorf("not the first time")
			}
		}
		double, text := array.NewInt64Builder(memory.DefaultAllocator), array.NewStringBuilder(memory.DefaultAllocator)
		keep := make([]bool, n.Len())
		for i := range keep {
			v := n.Value(i)
			bad := v%100 == 7
			keep[i] = what != "filter" || !bad
			switch {
			case bad && what == "crash":
				return fmt.Errorf("cannot take %d", v)
			case what == "hang":
				<-time.After(time.Hour)
			case bad && what == "hog":
				if b := make([]byte, 2<<30); b[v] != 0 {
					return nil
				}
			case bad && what == "garbage":
				os.Stdout.WriteString("hello\n")
			}
			double.Append(2 * v)
			if bad {
				text.Append("unlucky")
			} else {
				text.AppendNull()
			}
		}
		fields, columns := append([]arrow.Field{}, rows.Schema().Fields()...), append([]arrow.Array{}, rows.Columns()...)
		fields, columns = append(fields, arrow.Field{Name: "double", Type: arrow.PrimitiveTypes.Int64, Nullable: true}), append(columns, double.NewArray())
		switch what {
		case "reject":
			fields, columns = append(fields, arrow.Field{Name: errorColumn, Type: arrow.BinaryTypes.String, Nullable: true}), append(columns, text.NewArray())
		case "offsets":
			columns[2] = columns[6]
		}
		answer, err := processor.KeepRows(array.NewRecordBatch(arrow.NewSchema(fields, nil), columns, rows.NumRows()), keep, memory.DefaultAllocator)
		if err != nil {
			return err
		}
		if out == nil {
			out = ipc.NewWriter(os.Stdout, ipc.WithSchema(answer.Schema()))
		}
		if err := out.Write(answer); err != nil {
			return err
		}
	}
	if err := in.Err(); err != nil && err != io.EOF {
		return err
	}
	return nil
}

// holdOutput starts a program that leaves the group, holds standard output and error open, and stays. Its process id goes to a file.
func holdOutput(pids string) error {
	c := exec.Command("setsid", os.Args[0])
	c.Env = append(os.Environ(), programVariable+"=deaf")
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := c.Start(); err != nil {
		return err
	}
	f, err := os.OpenFile(pids, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, c.Process.Pid)
	return errors.Join(err, f.Close())
}

// rows are rows 0 … n-1 with their number in column n.
func rows(t testing.TB, mem memory.Allocator, n int) processor.Batch {
	t.Helper()
	var doc strings.Builder
	for i := range n {
		fmt.Fprintf(&doc, `{"kafka_topic":"events","kafka_partition":0,"kafka_offset":%d,"n":%d}`, 1000+i, i)
	}
	field := func(name string, typ arrow.DataType) arrow.Field {
		return arrow.Field{Name: name, Type: typ, Nullable: true}
	}
	schema := arrow.NewSchema([]arrow.Field{field("kafka_topic", arrow.BinaryTypes.String), field("kafka_partition", arrow.PrimitiveTypes.Int32),
		field("kafka_offset", arrow.PrimitiveTypes.Int64), field("kafka_timestamp", arrow.FixedWidthTypes.Timestamp_us),
		field("kafka_key", arrow.BinaryTypes.Binary), field("kafka_headers", arrow.BinaryTypes.String), field("n", arrow.PrimitiveTypes.Int64)}, nil)
	records, _, err := array.RecordFromJSON(mem, schema, strings.NewReader("["+strings.ReplaceAll(doc.String(), "}{", "},{")+"]"))
	if err != nil {
		t.Fatal(err)
	}
	return processor.Batch{Source: processor.Source{Topic: "events"}, Span: kfs.Span{Base: 1000, Next: int64(1000 + n)}, Records: records}
}

// apply sends rows through this program in a mode, twice, and gives the second result.
func apply(t *testing.T, mode string, n int, s Settings) (kept int64, rejected []processor.Rejection, err error) {
	t.Helper()
	t.Setenv(programVariable, mode)
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	s.Command = []string{os.Args[0]}
	tr, err := New(s, plugin.Env{Allocator: mem, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.(*Transform).Close()
	for range 2 {
		in := rows(t, mem, n)
		in.Records.Retain()
		out, e := tr.Apply(t.Context(), in)
		if e == nil {
			if err := processor.CheckApplied(in, out); err != nil {
				t.Error(err)
			}
			kept, rejected = 0, out.Rejected
			if out.Records != nil {
				kept = out.Records.NumRows()
				o, d := out.Records.Column(2).(*array.Int64), out.Records.Column(7).(*array.Int64)
				for i := range d.Len() {
					if d.Value(i) != 2*(o.Value(i)-1000) {
						t.Errorf("offset %d has double %d", o.Value(i), d.Value(i))
					}
				}
				out.Records.Release()
			}
		}
		in.Records.Release()
		err = e
	}
	return kept, rejected, err
}

// TestPrograms: a program's faults cost the rows that they belong to and no others.
func TestPrograms(t *testing.T) {
	for mode, c := range map[string]struct {
		kept     int64
		rejected int
		message  string
	}{
		"good": {kept: 250},
		"once " + filepath.Join(t.TempDir(), "died"): {kept: 250},
		"filter":  {kept: 247},
		"flood":   {kept: 250},
		"crash":   {kept: 247, rejected: 3, message: "it said: cannot take 7"},
		"garbage": {kept: 247, rejected: 3, message: "what comes is no Arrow stream"},
		"reject":  {kept: 247, rejected: 3, message: "unlucky"},
	} {
		kept, rejected, err := apply(t, mode, 250, Settings{})
		if err != nil {
			t.Errorf("%s: %v", mode, err)
		}
		if kept != c.kept || len(rejected) != c.rejected {
			t.Errorf("%s: %d rows, rejected %v", mode, kept, rejected)
		}
		for i, r := range rejected {
			if r.Offset != int64(1007+100*i) || i == 0 && !strings.Contains(r.Message, c.message) {
				t.Errorf("%s: rejected %v", mode, r)
			}
		}
	}
}

// TestBrokenPrograms: where every row fails, or none was asked for, no row is blamed.
func TestBrokenPrograms(t *testing.T) {
	var stuck *processor.StuckError
	if _, _, err := apply(t, "broken", 3, Settings{}); !errors.As(err, &stuck) || stuck.Records || !strings.Contains(err.Error(), "does not answer a batch without rows either") ||
		!strings.Contains(err.Error(), "no module named nothing") {
		t.Errorf("broken: %v", err)
	}
	for _, mode := range []string{"early", "deaf"} {
		if _, _, err := apply(t, mode, 3, Settings{Timeout: job.Duration(50 * time.Millisecond)}); err == nil || !strings.Contains(err.Error(), "does not answer a batch without rows either") {
			t.Errorf("%s: %v", mode, err)
		}
	}
	if kept, rejected, err := apply(t, "offsets", 3, Settings{}); err != nil || kept != 0 || len(rejected) != 3 ||
		!strings.Contains(rejected[0].Message, "a row with offset 0 is not one of the batch") {
		t.Errorf("other offsets: %d, %v, %v", kept, rejected, err)
	}
	if _, rejected, err := apply(t, "hog", 8, Settings{Memory: 1 << 30}); err != nil || len(rejected) != 1 || !strings.Contains(rejected[0].Message, "it said: ") {
		t.Errorf("a program that wants 2 GiB of 1: %v, %v", rejected, err)
	}
	tr, err := New(Settings{Command: []string{"/no/such/program"}}, plugin.Env{Allocator: memory.DefaultAllocator, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Apply(t.Context(), rows(t, memory.DefaultAllocator, 1)); !errors.As(err, &stuck) || !strings.Contains(err.Error(), "start program /no/such/program") {
		t.Errorf("no program: %v", err)
	}
}

// TestPrintingPrograms: a program that writes the same whatever it is given is right once, or broken.
func TestPrintingPrograms(t *testing.T) {
	streams := outputs(t)
	for name, want := range map[string]string{
		"good":         "",
		"two":          "does not answer a batch without rows either",
		"trailing":     "does not answer a batch without rows either",
		"bad offsets":  "no sound Arrow",
		"truncated":    "unexpected EOF",
		"text at once": "what comes is no Arrow stream",
	} {
		path := filepath.Join(t.TempDir(), "output")
		if err := os.WriteFile(path, streams[name], 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv(programVariable, "print "+path)
		tr, err := New(Settings{Command: []string{os.Args[0]}}, plugin.Env{Allocator: memory.DefaultAllocator, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
		if err != nil {
			t.Fatal(err)
		}
		out, err := tr.Apply(t.Context(), rows(t, memory.DefaultAllocator, 3))
		if want == "" && (err != nil || out.Records.NumRows() != 3 || len(out.Rejected) > 0) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, %v", name, out, err)
		}
		tr.(*Transform).Close()
	}
}

// TestFrames: an answer is passed on as it is, unless it claims more than it may, or is none.
func TestFrames(t *testing.T) {
	b := rows(t, memory.DefaultAllocator, 3)
	var stream bytes.Buffer
	w := ipc.NewWriter(&stream, ipc.WithSchema(b.Records.Schema()))
	for range 2 {
		if err := w.Write(b.Records); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(&frames{in: iotest.OneByteReader(bytes.NewReader(stream.Bytes())), most: 1 << 20})
	if err != nil || !bytes.Equal(got, stream.Bytes()) {
		t.Errorf("%d of %d bytes: %v", len(got), stream.Len(), err)
	}
	for want, text := range map[string][]byte{
		"a message claims a body of":              stream.Bytes(),
		"what comes is no Arrow":                  []byte("hello world"),
		"a message claims metadata of 1819043144": []byte("\xff\xff\xff\xffHell"),
		"unexpected EOF":                          stream.Bytes()[:20],
	} {
		if _, err := io.ReadAll(&frames{in: bytes.NewReader(text), most: 100}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte("\xff\xff\xff\xff\x08\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		got, _ := io.ReadAll(&frames{in: bytes.NewReader(stream), most: 1 << 20})
		if !bytes.HasPrefix(stream, got) {
			t.Fatalf("%x of %x", got, stream)
		}
	})
}

func TestSettings(t *testing.T) {
	if _, err := New(Settings{}, plugin.Env{}); err == nil || !strings.Contains(err.Error(), "command: missing") {
		t.Error(err)
	}
}
