// Package deadletter reads the dead-letter table of a job: the records that are no rows, with all that they had, and why. It tries them
// again, and makes rows of those that have become good.
package deadletter

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	iceberglib "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors/iceberg"
)

// Letter is a dead letter. Key and Value are nil where the record's were null.
type Letter struct {
	Topic     string
	TopicID   kfs.TopicID // which of the topics that had the name; zero in letters that do not say
	Partition int32
	Offset    int64
	Time      time.Time // of the record
	Key       []byte
	Value     []byte
	Headers   []Header
	Class     string    // such as invalid_json, see package decode
	Message   string    // where and why, for a person
	Resolved  time.Time // when its record became a row after all, or was found to be one; zero if it is dead
}

// Header is one header of a record. Value is nil where it was null.
type Header struct {
	Key   string
	Value []byte
}

// Selection says which letters are wanted. Zero values select all.
type Selection struct {
	Topic     string
	TopicID   *kfs.TopicID // zero: of letters that do not say
	Partition *int32
	Offset    *int64
	Class     string
	Span      kfs.Span // of offsets, if not empty
	Dead      bool     // only letters that are not resolved
	Prefix    string   // of the coordinate columns; "kafka_" if empty
	// Coordinates leaves out keys, values and headers, which then are not read.
	Coordinates bool
	// Offsets leaves out all but topic, its id, partition, offset and what else the selection asks for.
	Offsets bool
}

// Letters that are read together: whole, where each may have megabytes; without key, value and headers, where some have a long message.
const (
	wholeLetters = 32
	shortLetters = 4096
)

// batch bounds how many letters are read together; 0 where they are but a few numbers each.
func (s *Selection) batch() int {
	switch {
	case s.Offsets:
		return 0
	case s.Coordinates:
		return shortLetters
	}
	return wholeLetters
}

// Read reads letters from a dead-letter table, in no particular order. An error ends the sequence.
func Read(ctx context.Context, t *table.Table, want Selection) iter.Seq2[Letter, error] {
	if want.Prefix == "" {
		want.Prefix = "kafka_"
	}
	return func(yield func(Letter, error) bool) {
		columns := want.columns()
		for _, name := range []string{iceberg.ResolvedColumn, iceberg.TopicIDColumn} {
			if _, ok := t.Schema().FindFieldByName(name); ok {
				columns = append(columns, name)
			}
		}
		for rec, err := range iceberg.FewRows(ctx, t, want.filter(), want.batch(), columns...) {
			if err != nil {
				yield(Letter{}, fmt.Errorf("dead letters: %w", err))
				return
			}
			if !want.each(rec, yield) {
				return
			}
		}
	}
}

func (s *Selection) columns() []string {
	all := []string{s.Prefix + "topic", s.Prefix + "partition", s.Prefix + "offset"}
	switch {
	case s.Offsets && s.Class != "":
		return append(all, "error_class")
	case s.Offsets:
		return all
	}
	all = append(all, s.Prefix+"timestamp", "error_class", "error_message")
	if !s.Coordinates {
		all = append(all, s.Prefix+"key", s.Prefix+"headers", "value")
	}
	return all
}

// filter is nil if all letters are wanted.
func (s *Selection) filter() iceberglib.BooleanExpression {
	var all iceberglib.BooleanExpression
	and := func(e iceberglib.BooleanExpression) {
		if all == nil {
			all = e
		} else {
			all = iceberglib.NewAnd(all, e)
		}
	}
	if s.Topic != "" {
		and(iceberglib.EqualTo(iceberglib.Reference(s.Prefix+"topic"), s.Topic))
	}
	if s.Partition != nil {
		and(iceberglib.EqualTo(iceberglib.Reference(s.Prefix+"partition"), *s.Partition))
	}
	if s.Offset != nil {
		and(iceberglib.EqualTo(iceberglib.Reference(s.Prefix+"offset"), *s.Offset))
	}
	if !s.Span.Empty() {
		and(iceberglib.NewAnd(iceberglib.GreaterThanEqual(iceberglib.Reference(s.Prefix+"offset"), s.Span.Base),
			iceberglib.LessThan(iceberglib.Reference(s.Prefix+"offset"), s.Span.Next)))
	}
	if s.Class != "" {
		and(iceberglib.EqualTo(iceberglib.Reference("error_class"), s.Class))
	}
	return all
}

// selects reports whether a letter is wanted.
func (s *Selection) selects(l *Letter) bool {
	return (s.Topic == "" || s.Topic == l.Topic) && (s.TopicID == nil || *s.TopicID == l.TopicID) && (s.Class == "" || s.Class == l.Class) &&
		(s.Partition == nil || *s.Partition == l.Partition) && (s.Offset == nil || *s.Offset == l.Offset) &&
		(s.Span.Empty() || s.Span.Contains(l.Offset)) && (!s.Dead || l.Resolved.IsZero())
}

// each yields the letters of a batch, and reports whether more are wanted.
func (s *Selection) each(rec arrow.RecordBatch, yield func(Letter, error) bool) bool {
	r := &row{rec: rec}
	for i := range int(rec.NumRows()) {
		r.i, r.err = i, nil
		l := Letter{Topic: r.text(s.Prefix + "topic"), Partition: int32(r.number(s.Prefix + "partition")), Offset: r.number(s.Prefix + "offset")}
		if !s.Offsets {
			l.Time, l.Message = time.UnixMicro(r.number(s.Prefix+"timestamp")).UTC(), r.text("error_message")
		}
		if !s.Offsets || s.Class != "" {
			l.Class = r.text("error_class")
		}
		l.TopicID = r.topicID()
		if at := rec.Schema().FieldIndices(iceberg.ResolvedColumn); len(at) == 1 && rec.Column(at[0]).IsValid(i) {
			l.Resolved = time.UnixMicro(r.number(iceberg.ResolvedColumn)).UTC()
		}
		if !s.Coordinates && !s.Offsets {
			l.Key, l.Value, l.Headers = r.bytes(s.Prefix+"key"), r.bytes("value"), r.headers(s.Prefix+"headers")
		}
		if r.err == nil && !s.selects(&l) {
			continue
		}
		if !yield(l, r.err) || r.err != nil {
			return false
		}
	}
	return true
}

// row reads the columns of one row; err is the first that was not as it should be.
type row struct {
	rec arrow.RecordBatch
	i   int
	err error
}

// column is nil where the row has null.
func (r *row) column(name string) arrow.Array {
	at := r.rec.Schema().FieldIndices(name)
	if len(at) != 1 {
		r.fail(name, "is missing")
		return nil
	}
	if c := r.rec.Column(at[0]); c.IsValid(r.i) {
		return c
	}
	return nil
}

func (r *row) fail(name, what string) {
	if r.err == nil {
		r.err = fmt.Errorf("dead letters: column %s %s: this is no dead-letter table", name, what)
	}
}

func (r *row) topicID() (id kfs.TopicID) {
	if !r.rec.Schema().HasField(iceberg.TopicIDColumn) {
		return id
	}
	text := r.text(iceberg.TopicIDColumn)
	if text == "" {
		return id
	}
	id, err := kfs.ParseTopicID(text)
	if err != nil {
		r.fail(iceberg.TopicIDColumn, "holds no topic id")
	}
	return id
}

func (r *row) text(name string) string { return string(r.bytes(name)) }

// bytes is nil for null; what it gives is a copy.
func (r *row) bytes(name string) []byte {
	column := r.column(name)
	if column == nil {
		return nil
	}
	b, ok := binary(column, r.i)
	if !ok {
		r.fail(name, "is "+column.DataType().String())
	}
	return b
}

// binary is a copy of a value of text or bytes; ok is false for columns of other types.
func binary(column arrow.Array, i int) (b []byte, ok bool) {
	switch c := column.(type) {
	case array.StringLike:
		return []byte(c.Value(i)), true
	case interface{ Value(int) []byte }:
		return append([]byte{}, c.Value(i)...), true
	}
	return nil, false
}

func (r *row) number(name string) int64 {
	switch c := r.column(name).(type) {
	case nil:
	case *array.Int32:
		return int64(c.Value(r.i))
	case *array.Int64:
		return c.Value(r.i)
	case *array.Timestamp:
		return int64(c.Value(r.i))
	default:
		r.fail(name, "is "+c.DataType().String())
	}
	return 0
}

func (r *row) headers(name string) []Header {
	column := r.column(name)
	if column == nil {
		return nil
	}
	lists, ok := column.(array.ListLike)
	if !ok {
		r.fail(name, "is "+column.DataType().String())
		return nil
	}
	pairs, ok := lists.ListValues().(*array.Struct)
	if !ok || pairs.NumField() != 2 {
		r.fail(name, "is "+column.DataType().String())
		return nil
	}
	keys, okKey := pairs.Field(0).(array.StringLike)
	if !okKey {
		r.fail(name, "is "+column.DataType().String())
		return nil
	}
	var all []Header
	from, to := lists.ValueOffsets(r.i)
	for j := int(from); j < int(to); j++ {
		h := Header{Key: keys.Value(j)}
		if values := pairs.Field(1); values.IsValid(j) {
			if h.Value, ok = binary(values, j); !ok {
				r.fail(name, "is "+column.DataType().String())
			}
		}
		all = append(all, h)
	}
	return all
}
