package guard

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
)

var (
	source = processor.Source{Topic: "events", Partition: 3}
	span   = kfs.Span{Base: 10, Next: 20}
)

// bomb is a sink and a transform that panics in one of its methods.
type bomb struct {
	in     string
	closed *int
}

func (b bomb) call(method string) {
	if b.in == method {
		panic("boom in " + method)
	}
}

func (b bomb) Committed(context.Context) (processor.Positions, error) {
	b.call("Committed")
	return processor.Positions{source: 10}, nil
}
func (b bomb) Stage(context.Context, processor.Batch) error { b.call("Stage"); return nil }
func (b bomb) Seal(context.Context) (processor.Staged, error) {
	b.call("Seal")
	return processor.Staged{}, nil
}
func (b bomb) Commit(context.Context, processor.Positions, processor.Positions, []processor.Staged) error {
	b.call("Commit")
	return nil
}
func (b bomb) Discard(context.Context, []processor.Staged) error { b.call("Discard"); return nil }
func (b bomb) Schema(context.Context) (*arrow.Schema, error) {
	b.call("Schema")
	return arrow.NewSchema(nil, nil), nil
}
func (b bomb) Buffered() int64 { b.call("Buffered"); return 1 }
func (b bomb) Decided(processor.Source) (int64, string, bool) {
	b.call("Decided")
	return 10, "c", true
}
func (b bomb) Portable() bool                      { b.call("Portable"); return true }
func (b bomb) Identity() string                    { b.call("Identity"); return "uuid" }
func (b bomb) Property(string) (string, bool)      { b.call("Property"); return "v", true }
func (b bomb) Spills() bool                        { b.call("Spills"); return true }
func (b bomb) Spill(context.Context) error         { b.call("Spill"); return nil }
func (b bomb) Lost(processor.Source) kfs.Span      { b.call("Lost"); return span }
func (b bomb) Mark(processor.Source, int64) string { b.call("Mark"); return "m" }
func (b bomb) Gone(string) bool                    { b.call("Gone"); return true }
func (b bomb) Cite(map[processor.Source]string) (processor.Staged, bool, error) {
	b.call("Cite")
	return processor.Staged{}, true, nil
}
func (b bomb) Bereft(func(string) bool) (processor.Source, kfs.Span, bool, error) {
	b.call("Bereft")
	return source, span, true, nil
}
func (b bomb) Close() error                             { *b.closed++; b.call("Close"); return nil }
func (b bomb) Origin(table *arrow.Schema) *arrow.Schema { b.call("Origin"); return table }
func (b bomb) DeadOffsets(context.Context, processor.Source, kfs.Span) ([]int64, error) {
	b.call("DeadOffsets")
	return []int64{1}, nil
}
func (b bomb) Amend(context.Context, processor.Staged, map[processor.Source][]int64) error {
	b.call("Amend")
	return nil
}
func (b bomb) Apply(_ context.Context, batch processor.Batch) (processor.Batch, error) {
	b.call("Apply")
	return batch, nil
}

// calls are the methods of a sink that has all powers but those of several tables. The result is an error, or whether the answer was that
// of a sink without the power.
var calls = map[string]func(context.Context, processor.Sink) (lacks bool, err error){
	"Committed": func(ctx context.Context, s processor.Sink) (bool, error) {
		_, err := s.Committed(ctx)
		return false, err
	},
	"Stage": func(ctx context.Context, s processor.Sink) (bool, error) {
		return false, s.Stage(ctx, processor.Batch{Source: source, Span: span})
	},
	"Seal": func(ctx context.Context, s processor.Sink) (bool, error) { _, err := s.Seal(ctx); return false, err },
	"Commit": func(ctx context.Context, s processor.Sink) (bool, error) {
		return false, s.Commit(ctx, processor.Positions{source: 10}, processor.Positions{source: 20}, nil)
	},
	"Discard": func(ctx context.Context, s processor.Sink) (bool, error) { return false, s.Discard(ctx, nil) },
	"Schema": func(ctx context.Context, s processor.Sink) (bool, error) {
		_, err := s.(processor.Described).Schema(ctx)
		return false, err
	},
	"Spill": func(ctx context.Context, s processor.Sink) (bool, error) {
		return false, s.(processor.Spilling).Spill(ctx)
	},
	"DeadOffsets": func(ctx context.Context, s processor.Sink) (bool, error) {
		_, err := s.(processor.Recalling).DeadOffsets(ctx, source, span)
		return false, err
	},
	"Amend": func(ctx context.Context, s processor.Sink) (bool, error) {
		return false, s.(processor.Recalling).Amend(ctx, processor.Staged{}, nil)
	},
	"Buffered": func(_ context.Context, s processor.Sink) (bool, error) {
		return s.(processor.Buffering).Buffered() == 0, nil
	},
	"Decided": func(_ context.Context, s processor.Sink) (bool, error) {
		_, _, ok := s.(processor.Deciding).Decided(source)
		return !ok, nil
	},
	"Portable": func(_ context.Context, s processor.Sink) (bool, error) {
		return !s.(processor.Portable).Portable(), nil
	},
	"Identity": func(_ context.Context, s processor.Sink) (bool, error) {
		return s.(processor.Identified).Identity() == "", nil
	},
	"Property": func(_ context.Context, s processor.Sink) (bool, error) {
		_, ok := s.(processor.Propertied).Property("p")
		return !ok, nil
	},
	"Spills": func(_ context.Context, s processor.Sink) (bool, error) { return !s.(processor.Spilling).Spills(), nil },
	"Lost": func(_ context.Context, s processor.Sink) (bool, error) {
		return s.(processor.Recalling).Lost(source).Empty(), nil
	},
	"Mark": func(_ context.Context, s processor.Sink) (bool, error) {
		return s.(processor.Recalling).Mark(source, 0) == "", nil
	},
	"Gone": func(_ context.Context, s processor.Sink) (bool, error) {
		return !s.(processor.Recalling).Gone("m"), nil
	},
	"Cite": func(_ context.Context, s processor.Sink) (bool, error) {
		_, ok, err := s.(processor.Citing).Cite(nil)
		return err == nil && !ok, err
	},
	"Bereft": func(_ context.Context, s processor.Sink) (bool, error) {
		_, _, ok, err := s.(processor.Citing).Bereft(nil)
		return err == nil && !ok, err
	},
}

// TestSink: whatever method panics, the sink is closed and not called again, and Committed asks another one.
func TestSink(t *testing.T) {
	for method, call := range calls {
		opened, closed := 0, 0
		log := new(strings.Builder)
		s, err := Sink(t.Context(), "mine", func(context.Context) (processor.Sink, error) {
			if opened++; opened == 1 {
				return bomb{method, &closed}, nil
			}
			return bomb{"", &closed}, nil
		}, slog.New(slog.NewTextHandler(log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		lacks, err := call(t.Context(), s)
		var panicked *processor.PanicError
		if !lacks && (!errors.As(err, &panicked) || !strings.Contains(err.Error(), "mine."+method) || !strings.HasSuffix(err.Error(), "panicked: boom in "+method)) {
			t.Errorf("%s: %v", method, err)
		}
		if !strings.Contains(log.String(), "guard.bomb."+method) {
			t.Errorf("%s: no stack in the log: %s", method, log)
		}
		if err := s.Stage(t.Context(), processor.Batch{}); !errors.As(err, &panicked) || opened != 1 || closed != 1 {
			t.Errorf("%s: it goes on with %v; %d were opened, %d closed", method, err, opened, closed)
		}
		if at, err := s.Committed(t.Context()); err != nil || at[source] != 10 || opened != 2 {
			t.Errorf("%s: the next sink stands at %v: %v; %d were opened", method, at, err, opened)
		}
		if lacks, err := call(t.Context(), s); lacks || err != nil {
			t.Errorf("%s: the next sink: %v, %v", method, lacks, err)
		}
		if err := s.(io.Closer).Close(); err != nil || closed != 2 {
			t.Errorf("%s: close: %v; %d were closed", method, err, closed)
		}
	}
}

// TestSpans: an error says which span was staged, or was to be committed.
func TestSpans(t *testing.T) {
	for method, want := range map[string]string{"Stage": "mine.Stage of events/3 [10, 20) panicked", "Commit": "mine.Commit of events/3 [10, 20) panicked"} {
		s, err := Sink(t.Context(), "mine", func(context.Context) (processor.Sink, error) { return bomb{method, new(int)}, nil }, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := calls[method](t.Context(), s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	from, to := processor.Positions{}, processor.Positions{}
	for p := range int32(10) {
		to[processor.Source{Topic: "a", Partition: p}] = 1
	}
	if got := spans(from, to); !strings.HasSuffix(got, "a/7 [0, 1), 2 more") {
		t.Errorf("of many: %s", got)
	}
}

// TestPowers: what a sink cannot do, the guarded one cannot either.
func TestPowers(t *testing.T) {
	plain := struct{ processor.Sink }{bomb{}}
	s, err := Sink(t.Context(), "mine", func(context.Context) (processor.Sink, error) { return plain, nil }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	_, is1 := s.(processor.Identified)
	_, is2 := s.(processor.Recalling)
	_, is3 := s.(processor.Several)
	if is1 || is2 || is3 {
		t.Errorf("it is identified: %v, recalling: %v, several: %v", is1, is2, is3)
	}
	for _, method := range []string{"Buffered", "Decided", "Portable", "Property", "Spills", "Cite", "Bereft"} {
		if lacks, _ := calls[method](t.Context(), s); !lacks {
			t.Errorf("it has the power of %s", method)
		}
	}
	if columns, err := s.(processor.Described).Schema(t.Context()); columns != nil || err != nil {
		t.Errorf("columns %v, %v", columns, err)
	}
	if err := s.(io.Closer).Close(); err != nil {
		t.Error(err)
	}
}

// TestOpen: a panic while a sink is opened is an error, and so is one while it is closed.
func TestOpen(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	_, err := Sink(t.Context(), "mine", func(context.Context) (processor.Sink, error) { panic("boom") }, log)
	if err == nil || err.Error() != "mine.Open panicked: boom" {
		t.Error(err)
	}
	s, err := Sink(t.Context(), "mine", func(context.Context) (processor.Sink, error) { return bomb{"Close", new(int)}, nil }, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.(io.Closer).Close(); err == nil || err.Error() != "mine.Close panicked: boom in Close" {
		t.Error(err)
	}
}

func TestTransform(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	rows := func() processor.Batch {
		b := array.NewRecordBuilder(mem, arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}}, nil))
		defer b.Release()
		b.Field(0).(*array.Int64Builder).Append(1)
		return processor.Batch{Source: source, Span: span, Records: b.NewRecordBatch()}
	}
	closed, fails := 0, true
	guarded := Transform(releasing{bomb{"Apply", &closed}}, "mine", func() (processor.Transform, error) {
		if fails {
			return nil, errors.New("no other one")
		}
		return releasing{bomb{"", &closed}}, nil
	}, slog.New(slog.DiscardHandler))
	var panicked *processor.PanicError
	_, err := guarded.Apply(t.Context(), rows())
	if !errors.As(err, &panicked) || err.Error() != "mine.Apply of events/3 [10, 20) panicked: boom in Apply" || closed != 1 {
		t.Errorf("%v; %d were closed", err, closed)
	}
	if guarded.(processor.Tracing).Origin(arrow.NewSchema(nil, nil)) != nil {
		t.Error("what is not there tells where columns come from")
	}
	if _, err := guarded.Apply(t.Context(), rows()); err == nil || err.Error() != "no other one" {
		t.Error(err)
	}
	fails = false
	out, err := guarded.Apply(t.Context(), rows())
	if err != nil || out.Span != span || guarded.(processor.Tracing).Origin(arrow.NewSchema(nil, nil)) == nil {
		t.Errorf("%+v, %v", out, err)
	}
	if err := guarded.(io.Closer).Close(); err != nil || closed != 2 {
		t.Errorf("close: %v; %d were closed", err, closed)
	}
}

// releasing gives back what it owns by defer.
type releasing struct{ bomb }

func (r releasing) Apply(ctx context.Context, b processor.Batch) (processor.Batch, error) {
	defer b.Records.Release()
	b.Records = nil
	return r.bomb.Apply(ctx, b)
}
