package processortest

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
)

// overwriting overwrites what is freed: a batch is valid until the call returns, and a sink that keeps it without retaining it has nothing.
type overwriting struct{ memory.Allocator }

// Free implements memory.Allocator.
func (o overwriting) Free(b []byte) {
	b = b[:cap(b)]
	for i := range b {
		b[i] = 0xa5
	}
	o.Allocator.Free(b)
}

// suite is one test.
type suite struct {
	*testing.T
	table Table
	mem   *memory.CheckedAllocator
}

var (
	first  = processor.Source{Topic: "events", ID: kfs.TopicID{1}, Partition: 0}
	second = processor.Source{Topic: "events", ID: kfs.TopicID{1}, Partition: 1}
	again  = processor.Source{Topic: "events", ID: kfs.TopicID{2}, Partition: 0} // the topic was made anew
)

// open opens the sink as another process would.
func (s *suite) open() processor.Sink {
	s.Helper()
	sink, err := s.table.Open(s.Context())
	if err != nil {
		s.Fatalf("open: %v", err)
	}
	return sink
}

func (s *suite) close(sink processor.Sink) {
	s.Helper()
	if c, ok := sink.(io.Closer); ok {
		if err := c.Close(); err != nil {
			s.Fatalf("close: %v", err)
		}
	}
}

// batch is rows for every offset of a span, less those that without names.
func (s *suite) batch(source processor.Source, base, next int64, columns ...string) processor.Batch {
	fields := []arrow.Field{
		{Name: "kafka_topic", Type: arrow.BinaryTypes.String},
		{Name: "kafka_partition", Type: arrow.PrimitiveTypes.Int32},
		{Name: "kafka_offset", Type: arrow.PrimitiveTypes.Int64},
		{Name: "kafka_timestamp", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}},
		{Name: "kafka_key", Type: arrow.BinaryTypes.Binary, Nullable: true},
		{Name: "kafka_headers", Nullable: true, Type: arrow.ListOfField(arrow.Field{Name: "element", Nullable: true, Type: arrow.StructOf(
			arrow.Field{Name: "key", Type: arrow.BinaryTypes.String}, arrow.Field{Name: "value", Type: arrow.BinaryTypes.Binary, Nullable: true})})},
	}
	for _, name := range append([]string{"n"}, columns...) {
		fields = append(fields, arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Int64, Nullable: true})
	}
	b := array.NewRecordBuilder(s.mem, arrow.NewSchema(fields, nil))
	defer b.Release()
	for o := base; o < next; o++ {
		b.Field(0).(*array.StringBuilder).Append(source.Topic)
		b.Field(1).(*array.Int32Builder).Append(source.Partition)
		b.Field(2).(*array.Int64Builder).Append(o)
		b.Field(3).(*array.TimestampBuilder).Append(arrow.Timestamp(1_769_860_800_000_000 + o))
		b.Field(4).(*array.BinaryBuilder).Append(fmt.Append(nil, "key ", o))
		b.Field(5).AppendNull()
		for i := 6; i < len(fields); i++ {
			b.Field(i).(*array.Int64Builder).Append(o)
		}
	}
	return processor.Batch{Source: source, Span: kfs.Span{Base: base, Next: next}, Records: b.NewRecordBatch()}
}

// stage stages batches and seals them.
func (s *suite) stage(sink processor.Sink, batches ...processor.Batch) processor.Staged {
	s.Helper()
	want := map[processor.Source]kfs.Span{}
	for _, b := range batches {
		if err := sink.Stage(s.Context(), b); err != nil {
			s.Fatalf("stage %s: %v", b.Span, err)
		}
		span, ok := want[b.Source]
		if !ok {
			span.Base = b.Span.Base
		}
		span.Next = b.Span.Next
		want[b.Source] = span
		if b.Records != nil {
			b.Records.Release()
		}
	}
	staged, err := sink.Seal(s.Context())
	if err != nil {
		s.Fatalf("seal: %v", err)
	}
	if !maps.Equal(staged.Spans, want) {
		s.Fatalf("seal: the group covers %v, want %v", staged.Spans, want)
	}
	return staged
}

// commit commits groups of one source.
func (s *suite) commit(sink processor.Sink, source processor.Source, from, to int64, staged ...processor.Staged) error {
	return sink.Commit(s.Context(), processor.Positions{source: from}, processor.Positions{source: to}, staged)
}

func (s *suite) mustCommit(sink processor.Sink, source processor.Source, from, to int64, staged ...processor.Staged) {
	s.Helper()
	if err := s.commit(sink, source, from, to, staged...); err != nil {
		s.Fatalf("commit [%d, %d): %v", from, to, err)
	}
}

// wantPosition checks the position as another process sees it; -1 is none.
func (s *suite) wantPosition(source processor.Source, want int64) {
	s.Helper()
	sink := s.open()
	defer s.close(sink)
	positions, err := sink.Committed(s.Context())
	if err != nil {
		s.Fatalf("committed: %v", err)
	}
	got, ok := positions[source]
	if !ok {
		got = -1
	}
	if got != want {
		s.Fatalf("%s/%d (%x…) stands at %d, want %d; positions have to be stored with the rows, in one atomic step. A sink that cannot do that says "+
			"AtLeastOnce: it gets every offset again after each start", source.Topic, source.Partition, source.ID[:2], got, want)
	}
}

// wantOffsets checks that the offsets of [0, next) less those of without are there once each, and no others.
func (s *suite) wantOffsets(source processor.Source, next int64, without ...int64) {
	s.Helper()
	got, err := s.table.Offsets(s.Context(), source)
	if err != nil {
		s.Fatalf("read the table: %v", err)
	}
	slices.Sort(got)
	var want []int64
	for o := range next {
		if !slices.Contains(without, o) {
			want = append(want, o)
		}
	}
	if !slices.Equal(got, want) {
		s.Fatalf("the table has offsets %v, want %v", got, want)
	}
}

func (s *suite) wantMoved(what string, err error) {
	s.Helper()
	if !errors.Is(err, processor.ErrMoved) {
		s.Fatalf("%s: %v, want ErrMoved", what, err)
	}
}
