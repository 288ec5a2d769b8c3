package pipeline

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
	"github.com/firn-io/firn/runtime/decode"
	"github.com/firn-io/firn/runtime/processor"
)

// source is one source partition in a worker: its decoder and how far it has come.
//
//	committed ≤ sealed ≤ flushed ≤ next
type source struct {
	processor.Source
	decoder *decoder // while it holds something of [flushed, next); else nil

	next      int64 // one past what was decoded
	flushed   int64 // one past what was staged
	sealed    int64 // one past what the commit under way holds
	committed int64 // the table's position

	form  *form // how its records become rows
	limit int64 // where another form takes over, once the table has all before it; 0 if nowhere

	// obey is the span in which dead letters were decided before: those of dead are. Others may still become some, see letterBox.amend.
	obey kfs.Span
	dead []int64

	kept      []piece // what was decoded of [flushed, next), and perhaps more, if transforms may reject it
	keptBytes int64

	halted error // why it takes no more
}

func newSource(s processor.Source, at int64) *source {
	return &source{Source: s, next: at, flushed: at, sealed: at, committed: at}
}

// name names the source in messages.
func (s *source) name() string { return fmt.Sprintf("%s/%d", s.Topic, s.Partition) }

func (s *source) log(l *slog.Logger) *slog.Logger {
	return l.With("topic", s.Topic, "partition", s.Partition)
}

// decode takes the records of an item and calls full when the decoder has to be emptied, which is when it holds flushBytes. After an error
// everything before s.next was taken.
func (s *source) decode(it item, flushBytes int64, full func() error) error {
	at := it.piece.Base
	for batch, err := range record.Batches(it.records) {
		if err != nil {
			return s.damaged(it, err)
		}
		h, err := record.ParseHeader(batch)
		if err != nil {
			return s.damaged(it, err)
		}
		if h.BaseOffset != at || h.LastOffset() >= it.piece.Next {
			return s.damaged(it, fmt.Errorf("%w: a batch [%d, %d] where offset %d belongs", record.ErrCorrupt, h.BaseOffset, h.LastOffset(), at))
		}
		at = h.LastOffset() + 1
		wanted := kfs.Span{Base: max(s.next, h.BaseOffset), Next: min(at, it.span.Next)}
		if wanted.Empty() {
			continue
		}
		for _, span := range s.alive(wanted) {
			if err := s.append(batch, span, full); err != nil {
				return s.damaged(it, err)
			}
		}
		s.next = wanted.Next
		if s.decoder.Bytes() >= flushBytes {
			if err := full(); err != nil {
				return &stagingError{err}
			}
		}
	}
	if at != it.piece.Next {
		return s.damaged(it, fmt.Errorf("%w: the batches end at offset %d of %s", record.ErrCorrupt, at, it.piece))
	}
	return nil
}

// damaged says where an error was found. Errors of full pass as they are.
func (s *source) damaged(it item, err error) error {
	var staging *stagingError
	if errors.As(err, &staging) {
		return err
	}
	return fmt.Errorf("%s: %s from offset %d: %w", it.key, s.name(), s.next, err)
}

// stagingError is an error of the sink while a decoder was emptied.
type stagingError struct{ err error }

func (e *stagingError) Error() string { return e.err.Error() }
func (e *stagingError) Unwrap() error { return e.err }

// append decodes the records of span. What does not fit the empty decoder at once is halved.
func (s *source) append(batch []byte, span kfs.Span, full func() error) error {
	err := s.decoder.Append(s.Source, batch, span)
	if !errors.Is(err, decode.ErrFull) {
		if err == nil {
			s.next = span.Next
		}
		return err
	}
	if s.next > s.flushed {
		if err := full(); err != nil {
			return &stagingError{err}
		}
		return s.append(batch, span, full)
	}
	if span.Len() == 1 {
		return err
	}
	middle := span.Base + span.Len()/2
	if err := s.append(batch, kfs.Span{Base: span.Base, Next: middle}, full); err != nil {
		return err
	}
	return s.append(batch, kfs.Span{Base: middle, Next: span.Next}, full)
}

// alive cuts the offsets out of a span that were dead letters before.
func (s *source) alive(span kfs.Span) []kfs.Span {
	if !s.obey.Overlaps(span) {
		return []kfs.Span{span}
	}
	var all []kfs.Span
	i, _ := slices.BinarySearch(s.dead, span.Base)
	for ; i < len(s.dead) && s.dead[i] < span.Next; i++ {
		if s.dead[i] > span.Base {
			all = append(all, kfs.Span{Base: span.Base, Next: s.dead[i]})
		}
		span.Base = s.dead[i] + 1
	}
	if !span.Empty() {
		all = append(all, span)
	}
	return all
}
