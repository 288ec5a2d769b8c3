package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/route"
)

// template is the route of a table's name that has {topic} in it.
func template(table string) func(topic string) string {
	parsed, err := route.Parse(table, "")
	if err != nil {
		panic(err)
	}
	return func(topic string) string { return parsed.Of(topic).Name() }
}

// fakeTable is a table that keeps its rows and its position together.
type fakeTable struct {
	name string
	lake *lake // nil: none

	mu      sync.Mutex
	made    bool
	label   string // by whom it was made
	needs   string // the column that the first rows must have; "" if none
	lacked  int    // batches that did not have it
	next    processor.Positions
	rows    map[processor.Source][]row  // in order of commits
	configs map[processor.Source]string // by which the position was reached
	commits []string
	sealed  []fakeStaged                          // by all of its sinks: what one has sealed another can commit
	fault   func(op string) (before, after error) // lost replies are errors after
}

type row struct {
	offset int64
	text   string
}

func newFakeTable(name string) *fakeTable {
	return &fakeTable{name: name, next: processor.Positions{}, rows: map[processor.Source][]row{}, configs: map[processor.Source]string{}}
}

// fakeSink is one sink of a table.
type fakeSink struct {
	table  *fakeTable
	inUse  bool   // under the table's lock
	label  string // of the table, should this sink make it
	config string // of the job

	spans  map[processor.Source]kfs.Span
	staged map[processor.Source][]row
	held   int64
}

type fakeStaged struct {
	spans map[processor.Source]kfs.Span
	rows  map[processor.Source][]row
}

var (
	_ processor.Sink       = (*fakeSink)(nil)
	_ processor.Recalling  = (*fakeSink)(nil)
	_ processor.Buffering  = (*fakeSink)(nil)
	_ processor.Deciding   = (*fakeSink)(nil)
	_ processor.Portable   = (*fakeSink)(nil)
	_ processor.Propertied = (*fakeSink)(nil)
)

func (f *fakeTable) open() *fakeSink {
	s := &fakeSink{table: f}
	s.reset()
	return s
}

func (s *fakeSink) reset() {
	s.spans, s.staged, s.held = map[processor.Source]kfs.Span{}, map[processor.Source][]row{}, 0
}

// enter fails when two calls are in the sink at a time, and gives the faults of the call.
func (s *fakeSink) enter(op string) (after error, leave func(), err error) {
	f := s.table
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.inUse {
		panic("two calls on one sink at a time: " + op)
	}
	s.inUse = true
	leave = func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		s.inUse = false
	}
	fault := f.fault
	if fault == nil && f.lake != nil {
		fault = f.lake.fault
	}
	if fault != nil {
		err, after = fault(op)
	}
	return after, leave, err
}

func (s *fakeSink) Committed(context.Context) (processor.Positions, error) {
	after, leave, err := s.enter("committed")
	defer leave()
	if err != nil {
		return nil, err
	}
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	return maps.Clone(s.table.next), after
}

func (s *fakeSink) Stage(_ context.Context, b processor.Batch) error {
	after, leave, err := s.enter("stage")
	defer leave()
	if err == nil {
		err = s.stage(b)
	}
	if err = errors.Join(err, after); err != nil {
		s.reset()
	}
	return err
}

func (s *fakeSink) stage(b processor.Batch) error {
	span, ok := s.spans[b.Source]
	if ok && span.Next != b.Span.Base {
		return fmt.Errorf("staged %s behind %s", b.Span, span)
	}
	if !ok {
		span.Base = b.Span.Base
	}
	span.Next = b.Span.Next
	s.spans[b.Source] = span
	if b.Records == nil {
		return nil
	}
	s.table.mu.Lock()
	if lacks := !s.table.made && s.table.needs != "" && !b.Records.Schema().HasField(s.table.needs); lacks {
		s.table.lacked++
		s.table.mu.Unlock()
		return &processor.StuckError{Reason: "there is no column " + s.table.needs, Mend: "send it", Records: true}
	}
	if !s.table.made {
		s.table.made, s.table.label = true, s.label
	}
	s.table.mu.Unlock()
	for _, r := range rowsOf(b.Records) {
		if !b.Span.Contains(r.offset) {
			return fmt.Errorf("row at %d in span %s", r.offset, b.Span)
		}
		s.staged[b.Source] = append(s.staged[b.Source], r)
		s.held += int64(len(r.text))
	}
	return nil
}

func rowsOf(batch arrow.RecordBatch) []row {
	offsets := batch.Column(batch.Schema().FieldIndices("kafka_offset")[0]).(*array.Int64)
	var rows []row
	for i := range offsets.Len() {
		text := ""
		for c := 6; c < int(batch.NumCols()); c++ {
			text += strings.Clone(batch.ColumnName(c) + "=" + batch.Column(c).ValueStr(i) + ";")
		}
		rows = append(rows, row{offsets.Value(i), text})
	}
	return rows
}

func (s *fakeSink) Buffered() int64 { return s.held }

func (s *fakeSink) Portable() bool { return true }

func (s *fakeSink) Property(key string) (string, bool) {
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	return s.table.label, key == route.Label && s.table.label != ""
}

func (s *fakeSink) Seal(context.Context) (processor.Staged, error) {
	after, leave, err := s.enter("seal")
	defer leave()
	if err = errors.Join(err, after); err != nil {
		s.reset()
		return processor.Staged{}, err
	}
	s.table.mu.Lock()
	s.table.sealed = append(s.table.sealed, fakeStaged{s.spans, s.staged})
	out := processor.Staged{Spans: s.spans, Data: fmt.Append(nil, len(s.table.sealed)-1)}
	s.table.mu.Unlock()
	s.reset()
	return out, nil
}

func (s *fakeSink) Commit(_ context.Context, from, to processor.Positions, staged []processor.Staged) error {
	after, leave, err := s.enter("commit")
	defer leave()
	if err != nil {
		return err
	}
	f := s.table
	f.mu.Lock()
	defer f.mu.Unlock()
	for source, at := range from {
		if next, ok := f.next[source]; ok && next != at {
			return fmt.Errorf("table %s stands at %d, not at %d: %w", f.name, next, at, processor.ErrMoved)
		}
	}
	covered := maps.Clone(from)
	for _, one := range staged {
		var n int
		fmt.Sscan(string(one.Data), &n)
		for source, span := range f.sealed[n].spans {
			if covered[source] != span.Base {
				return fmt.Errorf("a group %s begins behind %d", span, covered[source])
			}
			covered[source] = span.Next
		}
	}
	if !maps.Equal(covered, to) {
		return fmt.Errorf("groups cover up to %v, the commit says %v", covered, to)
	}
	for _, one := range staged {
		var n int
		fmt.Sscan(string(one.Data), &n)
		for source, rows := range f.sealed[n].rows {
			f.rows[source] = append(f.rows[source], rows...)
		}
	}
	maps.Copy(f.next, to)
	for source := range to {
		f.configs[source] = s.config
	}
	f.commits = append(f.commits, fmt.Sprint(len(to)))
	return after
}

func (s *fakeSink) Decided(source processor.Source) (int64, string, bool) {
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	next, ok := s.table.next[source]
	return next, s.table.configs[source], ok
}

func (s *fakeSink) Discard(context.Context, []processor.Staged) error { return nil }

func (s *fakeSink) Lost(processor.Source) kfs.Span { return kfs.Span{} }

func (s *fakeSink) Mark(processor.Source, int64) string { return "" }

func (s *fakeSink) Gone(string) bool { return false }

func (s *fakeSink) DeadOffsets(_ context.Context, source processor.Source, span kfs.Span) ([]int64, error) {
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	var offsets []int64
	for _, r := range s.table.rows[source] {
		if span.Contains(r.offset) {
			offsets = append(offsets, r.offset)
		}
	}
	slices.Sort(offsets)
	return offsets, nil
}

func (s *fakeSink) Amend(ctx context.Context, staged processor.Staged, offsets map[processor.Source][]int64) error {
	after, leave, err := s.enter("amend")
	defer leave()
	if err != nil {
		return err
	}
	var n int
	fmt.Sscan(string(staged.Data), &n)
	s.table.mu.Lock()
	sealed := s.table.sealed[n]
	s.table.mu.Unlock()
	for source, rows := range sealed.rows {
		at := offsets[source]
		if len(at) != len(rows) || at[len(at)-1] >= s.table.next[source] {
			return fmt.Errorf("%d rows of offsets %v are amended, the position is %d", len(rows), at, s.table.next[source])
		}
		there, err := s.DeadOffsets(ctx, source, kfs.Span{Base: at[0], Next: at[len(at)-1] + 1})
		if err != nil {
			return err
		}
		for _, offset := range at {
			if slices.Contains(there, offset) {
				return fmt.Errorf("offset %d is there", offset)
			}
		}
	}
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	for source, rows := range sealed.rows {
		s.table.rows[source] = append(s.table.rows[source], rows...)
	}
	return after
}

// offsets gives the committed offsets of a partition in the order of commits.
func (f *fakeTable) offsets(partition int32) []int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []int64
	for source, rows := range f.rows {
		if source.Partition == partition {
			for _, r := range rows {
				all = append(all, r.offset)
			}
		}
	}
	return all
}

// lake is the tables of a test.
type lake struct {
	mu     sync.Mutex
	tables map[string]*fakeTable
	fault  func(op string) (before, after error) // of tables that have none of their own
	mem    *memory.CheckedAllocator
}

func newLake(t *testing.T) *lake {
	l := &lake{tables: map[string]*fakeTable{}, mem: memory.NewCheckedAllocator(memory.NewGoAllocator())}
	t.Cleanup(func() { l.mem.AssertSize(t, 0) })
	return l
}

const deadLetterTable = "dead letters"

func (l *lake) table(name string) *fakeTable {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tables[name] == nil {
		l.tables[name] = newFakeTable(name)
		l.tables[name].lake = l
	}
	return l.tables[name]
}

func (l *lake) openSink(_ context.Context, name string, _ kfs.TopicID) (processor.Sink, error) {
	return l.table(name).open(), nil
}

func (l *lake) openLetters(context.Context, kfs.TopicID) (processor.Sink, error) {
	return l.table(deadLetterTable).open(), nil
}
