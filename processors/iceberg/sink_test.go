package iceberg

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/runtime/processor"
)

var (
	topicID = kfs.TopicID{1}
	source0 = processor.Source{Topic: "events", ID: topicID, Partition: 0}
	source1 = processor.Source{Topic: "events", ID: topicID, Partition: 1}
)

var eventSchema = arrow.NewSchema([]arrow.Field{
	{Name: "kafka_topic", Type: arrow.BinaryTypes.String},
	{Name: "kafka_partition", Type: arrow.PrimitiveTypes.Int32},
	{Name: "kafka_offset", Type: arrow.PrimitiveTypes.Int64},
	{Name: "kafka_timestamp", Type: arrow.FixedWidthTypes.Timestamp_us},
	{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
}, nil)

const day = 24 * 3600 * 1_000_000 // microseconds

// events makes a batch of the offsets [base, next), one a second.
func events(mem memory.Allocator, source processor.Source, base, next int64) processor.Batch {
	b := array.NewRecordBuilder(mem, eventSchema)
	defer b.Release()
	for offset := base; offset < next; offset++ {
		b.Field(0).(*array.StringBuilder).Append(source.Topic)
		b.Field(1).(*array.Int32Builder).Append(source.Partition)
		b.Field(2).(*array.Int64Builder).Append(offset)
		b.Field(3).(*array.TimestampBuilder).Append(arrow.Timestamp(20_000*day + offset*1_000_000))
		b.Field(4).(*array.StringBuilder).Append(fmt.Sprint("n", offset))
	}
	return processor.Batch{Source: source, Span: kfs.Span{Base: base, Next: next}, Records: b.NewRecordBatch()}
}

// openSQLite opens a catalog in a fresh directory.
func openSQLite(t *testing.T) *catalog.Catalog {
	t.Helper()
	dir := t.TempDir()
	c, err := catalog.Open(t.Context(), catalog.Config{Type: "sqlite", Properties: map[string]string{
		"uri": "sqlite:///" + dir + "/catalog.db", "warehouse": "file://" + dir + "/warehouse",
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// openSink opens a sink whose allocations are checked at the end.
func openSink(t *testing.T, c *catalog.Catalog, table processors.Table, change func(*Config)) (*Sink, memory.Allocator) {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	cfg := Config{Catalog: c, Options: catalog.Options{Job: "job", Writer: t.Name()}, Allocator: mem}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg).Open(t.Context(), table)
	if err != nil {
		t.Fatal(err)
	}
	sink := s.(*Sink)
	t.Cleanup(func() {
		if err := sink.Close(); err != nil {
			t.Error(err)
		}
		mem.AssertSize(t, 0)
	})
	return sink, mem
}

// stage stages a batch and gives it up.
func stage(t *testing.T, s *Sink, b processor.Batch) {
	t.Helper()
	err := s.Stage(t.Context(), b)
	if b.Records != nil {
		b.Records.Release()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// seal seals and fails the test on an error.
func seal(t *testing.T, s *Sink) processor.Staged {
	t.Helper()
	out, err := s.Seal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// offsets reads the table back: how often each (partition, offset) is there.
func offsets(ctx context.Context, s *Sink) (map[[2]int64]int, error) {
	out := map[[2]int64]int{}
	t, err := s.committer.Load(ctx)
	if errors.Is(err, catalog.ErrNoTable) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	_, batches, err := t.Scan().ToArrowRecords(ctx)
	if err != nil {
		return nil, err
	}
	for rec, err := range batches {
		if err != nil {
			return nil, err
		}
		p := rec.Column(rec.Schema().FieldIndices("kafka_partition")[0]).(*array.Int32)
		o := rec.Column(rec.Schema().FieldIndices("kafka_offset")[0]).(*array.Int64)
		for i := range int(rec.NumRows()) {
			out[[2]int64{int64(p.Value(i)), o.Value(i)}]++
		}
		rec.Release()
	}
	return out, nil
}

// wantOffsets checks that the table has each offset below next once, and no other.
func wantOffsets(t *testing.T, s *Sink, next map[int64]int64) {
	t.Helper()
	got, err := offsets(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	var want int
	for partition, n := range next {
		for offset := range n {
			want++
			if times := got[[2]int64{partition, offset}]; times != 1 {
				t.Errorf("partition %d offset %d is there %d times", partition, offset, times)
			}
		}
	}
	if len(got) != want {
		t.Errorf("the table has %d offsets, want %d", len(got), want)
	}
}

func TestStageSealCommit(t *testing.T) {
	c := openSQLite(t)
	s, mem := openSink(t, c, processors.Table{Name: "default.events", Partition: []string{"day(kafka_timestamp)"}}, nil)
	if at, err := s.Committed(t.Context()); err != nil || len(at) != 0 {
		t.Fatalf("a table that does not exist stands at %v, %v", at, err)
	}
	stage(t, s, events(mem, source0, 0, 100))
	stage(t, s, events(mem, source1, 0, 50))
	stage(t, s, events(mem, source0, 100, 200))
	first := seal(t, s)
	if got, want := first.Spans[source0], (kfs.Span{Base: 0, Next: 200}); got != want {
		t.Errorf("source 0 covers %s, want %s", got, want)
	}
	wantOffsets(t, s, nil)
	err := s.Commit(t.Context(), processor.Positions{source0: 0, source1: 0}, processor.Positions{source0: 200, source1: 50}, []processor.Staged{first})
	if err != nil {
		t.Fatal(err)
	}
	wantOffsets(t, s, map[int64]int64{0: 200, 1: 50})
	at, err := s.Committed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if at[source0] != 200 || at[source1] != 50 || len(at) != 2 {
		t.Errorf("the table stands at %v", at)
	}
	err = s.Commit(t.Context(), processor.Positions{source0: 0, source1: 0}, processor.Positions{source0: 200, source1: 50}, []processor.Staged{first})
	if !errors.Is(err, processor.ErrMoved) {
		t.Errorf("the same group again: %v, want %v", err, processor.ErrMoved)
	}
	wantOffsets(t, s, map[int64]int64{0: 200, 1: 50})
}

// TestAnotherLineageHalts opens a table for a source with another lineage than that of the receipts in it.
func TestAnotherLineageHalts(t *testing.T) {
	c := openSQLite(t)
	s, mem := openSink(t, c, processors.Table{Name: "default.events", Lineage: "first"}, nil)
	stage(t, s, events(mem, source0, 0, 10))
	if err := s.Commit(t.Context(), processor.Positions{source0: 0}, processor.Positions{source0: 10}, []processor.Staged{seal(t, s)}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Committed(t.Context()); err != nil {
		t.Errorf("the source that filled the table: %v", err)
	}
	other, _ := openSink(t, c, processors.Table{Name: "default.events", Lineage: "second"}, nil)
	_, err := other.Committed(t.Context())
	var halt *processor.HaltError
	if !errors.As(err, &halt) || !strings.Contains(halt.Reason, "lineage") {
		t.Errorf("a source with another lineage: %v, want a halt", err)
	}
}

// TestOldFilesAreStagedAgain stops the sink's time between Stage and Commit for longer than staged files live.
func TestOldFilesAreStagedAgain(t *testing.T) {
	var now time.Time
	s, mem := openSink(t, openSQLite(t), processors.Table{Name: "default.events"}, func(cfg *Config) {
		cfg.Options.Now = func() time.Time { return now }
	})
	commit := func(pause time.Duration) error {
		now = time.Now().Add(-pause) // snapshots must not go back behind the time of the catalog, which has no other clock
		stage(t, s, events(mem, source0, 0, 10))
		now = time.Now()
		return s.Commit(t.Context(), processor.Positions{source0: 0}, processor.Positions{source0: 10}, []processor.Staged{seal(t, s)})
	}
	if err := commit(stagedLife + time.Second); !errors.Is(err, processor.ErrMoved) {
		t.Errorf("files that are too old: %v, want %v", err, processor.ErrMoved)
	}
	wantOffsets(t, s, nil)
	if err := commit(stagedLife - time.Hour); err != nil {
		t.Fatal(err)
	}
	wantOffsets(t, s, map[int64]int64{0: 10})
}

// TestDecided tells of each source under which configuration it came to its position.
func TestDecided(t *testing.T) {
	lake := openSQLite(t)
	commit := func(config string, source processor.Source, base, next int64) *Sink {
		t.Helper()
		s, mem := openSink(t, lake, processors.Table{Name: "db.events"}, func(c *Config) { c.Options.Config = config })
		if _, err := s.Committed(t.Context()); err != nil {
			t.Fatal(err)
		}
		stage(t, s, events(mem, source, base, next))
		at := func(next int64) processor.Positions { return processor.Positions{source: next} }
		if err := s.Commit(t.Context(), at(base), at(next), []processor.Staged{seal(t, s)}); err != nil {
			t.Fatal(err)
		}
		return s
	}
	commit("one", source0, 0, 5)
	commit("two", source1, 0, 3)
	s := commit("two", source1, 3, 4)
	if _, err := s.Committed(t.Context()); err != nil {
		t.Fatal(err)
	}
	for source, want := range map[processor.Source]string{source0: "5 one true", source1: "4 two true", {Topic: "none"}: "0  false"} {
		next, config, ok := s.Decided(source)
		if got := fmt.Sprint(next, " ", config, " ", ok); got != want {
			t.Errorf("%v: %s, want %s", source, got, want)
		}
	}
}
