package pipeline

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// describedSink has the columns that were staged, those that came first in front, as a table does.
type describedSink struct {
	*fakeSink
	columns []arrow.Field
	turns   *int // how often the columns of a batch were others than those of the batch before
	last    *arrow.Schema
}

func (s *describedSink) Schema(context.Context) (*arrow.Schema, error) {
	if s.columns == nil {
		return nil, nil
	}
	return arrow.NewSchema(s.columns, nil), nil
}

func (s *describedSink) Stage(ctx context.Context, b processor.Batch) error {
	if b.Records != nil {
		if schema := b.Records.Schema(); s.last == nil || !s.last.Equal(schema) {
			s.last = schema
			*s.turns++
		}
		known := arrow.NewSchema(s.columns, nil)
		for _, f := range b.Records.Schema().Fields() {
			if !known.HasField(f.Name) {
				s.columns = append(s.columns, f)
			}
		}
	}
	return s.fakeSink.Stage(ctx, b)
}

// TestDecodersAgree lets each partition find the same two columns in another order, many buffers full of them: as soon as the table has the
// columns, all batches have the table's order.
func TestDecodersAgree(t *testing.T) {
	store, l := blob.NewMemory(nil), newLake(t)
	w := tailtest.Journal{Store: store}
	w.Append(t, []kfs.Entry{cluster, events})
	text := strings.Repeat("firn ", 20_000)
	const partitions, objects, each = 2, 20, 5
	for range objects {
		var records []tailtest.Records
		for p, pattern := range []string{`{"a":"%[1]s","b":%[2]d}`, `{"b":%[2]d,"a":"%[1]s"}`} {
			var values []string
			for i := range each {
				values = append(values, fmt.Sprintf(pattern, text, i))
			}
			records = append(records, tailtest.Values(events, int32(p), values...))
		}
		w.Append(t, nil, records...)
	}
	cfg := testConfig(t, store, l)
	cfg.MemoryBytes = 16 << 20
	turns, batches := 0, 0
	cfg.OpenSink = func(_ context.Context, name string, _ kfs.TopicID) (processor.Sink, error) {
		return &describedSink{fakeSink: l.table(name).open(), turns: &turns}, nil
	}
	l.table("db.events").fault = func(op string) (error, error) {
		if op == "stage" {
			batches++
		}
		return nil, nil
	}
	if err := run(t, cfg); err != nil {
		t.Fatal(err)
	}
	for p := range int32(partitions) {
		wantOffsets(t, l.table("db.events"), p, 0, objects*each)
	}
	// The first order, the other, and perhaps the first of the two with what was learnt.
	if batches < 10 || turns > 3 {
		t.Errorf("%d batches changed their columns %d times", batches, turns)
	}
}
