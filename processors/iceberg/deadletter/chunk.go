package deadletter

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/runtime/decode"
	"github.com/firn-io/firn/runtime/processor"
)

// Chunks parts letters into as many as one commit takes.
func Chunks(letters []Letter) iter.Seq[[]Letter] {
	return func(yield func([]Letter) bool) {
		from, bytes := 0, 0
		for i := range letters {
			if bytes += letters[i].size(); i-from == chunkLetters || i > from && bytes > chunkBytes {
				if !yield(letters[from:i]) {
					return
				}
				from, bytes = i, letters[i].size()
			}
		}
		if from < len(letters) {
			yield(letters[from:])
		}
	}
}

// chunk tries some letters. Where they are too large together it tries the halves.
func (t *retrying) chunk(ctx context.Context, sink *iceberg.Sink, place processor.Source, src processor.Source, letters []Letter) error {
	err := t.rounds(ctx, sink, place, src, letters)
	if half := len(letters) / 2; errors.Is(err, decode.ErrFull) && half > 0 {
		if err := t.chunk(ctx, sink, place, src, letters[:half]); err != nil {
			return err
		}
		return t.chunk(ctx, sink, place, src, letters[half:])
	}
	if err == nil {
		t.told(len(letters))
	}
	return err
}

// rounds brings letters to an end, beginning anew where others have changed the table in between.
func (t *retrying) rounds(ctx context.Context, sink *iceberg.Sink, place processor.Source, src processor.Source, letters []Letter) error {
	for round := 1; ; round++ {
		err := t.round(ctx, sink, place, src, letters)
		var unfit processor.Unfit
		switch {
		case err == nil || ctx.Err() != nil:
			return err
		case errors.As(err, &unfit) && !slices.Contains(t.remake.Pins, unfit.UnfitColumn()) && len(t.remake.Pins) < maxPins:
			// What the column cannot hold is no row: decoding says so when it may not widen the column.
			t.remake.Pins = append(t.remake.Pins, unfit.UnfitColumn())
			round--
		case (errors.Is(err, iceberg.ErrRowsThere) || errors.Is(err, processor.ErrMoved)) && round < maxRounds:
		default:
			return err
		}
	}
}

// fate is what becomes of letters in one round.
type fate struct {
	there, rows, leftOut []int64
	dead                 []processor.Rejection
}

// round decides what becomes of letters and commits those that are rows.
func (t *retrying) round(ctx context.Context, sink *iceberg.Sink, place processor.Source, src processor.Source, letters []Letter) error {
	offsets := make([]int64, len(letters))
	for i, l := range letters {
		offsets[i] = l.Offset
	}
	var f fate
	var err error
	if f.there, err = sink.RowsOf(ctx, src, offsets); err != nil {
		return err
	}
	var exact []Letter
	for _, l := range letters {
		if _, ok := slices.BinarySearch(f.there, l.Offset); ok {
			continue
		}
		if why := inexact(&l); why != "" {
			f.dead = append(f.dead, processor.Rejection{Offset: l.Offset, Class: Inexact, Message: why})
			continue
		}
		exact = append(exact, l)
	}
	if len(exact) > 0 {
		if err := t.decide(ctx, sink, src, exact, &f); err != nil {
			return err
		}
	}
	t.note(place, &f)
	return nil
}

// decide makes rows of letters and commits them.
func (t *retrying) decide(ctx context.Context, sink *iceberg.Sink, src processor.Source, letters []Letter, f *fate) error {
	batches, err := encode(letters)
	if err != nil {
		return err
	}
	if t.remake.Table, err = sink.Schema(ctx); err != nil {
		return err
	}
	span := kfs.Span{Base: letters[0].Offset, Next: letters[len(letters)-1].Offset + 1}
	b, err := t.remake.Rows(ctx, src, batches, span)
	if err != nil {
		return err
	}
	if b.Records != nil {
		defer b.Records.Release()
		if f.rows, err = t.offsets(b.Records); err != nil {
			return err
		}
	}
	f.dead = append(f.dead, b.Rejected...)
	for _, l := range letters {
		_, row := slices.BinarySearch(f.rows, l.Offset)
		if !row && !slices.ContainsFunc(b.Rejected, func(r processor.Rejection) bool { return r.Offset == l.Offset }) {
			f.leftOut = append(f.leftOut, l.Offset)
		}
	}
	switch {
	case len(f.rows) == 0:
		return nil
	case t.DryRun:
		return sink.Takes(b.Records.Schema())
	}
	b.Span, b.Rejected = kfs.Span{Base: f.rows[0], Next: f.rows[len(f.rows)-1] + 1}, nil
	if err := sink.Stage(ctx, b); err != nil {
		return err
	}
	staged, err := sink.Seal(ctx)
	if err != nil {
		return err
	}
	return sink.Repair(ctx, staged, map[processor.Source][]int64{src: f.rows})
}

// offsets are those of rows.
func (t *retrying) offsets(rows arrow.RecordBatch) ([]int64, error) {
	offsets, ok := rows.Column(2).(*array.Int64)
	if !ok {
		return nil, fmt.Errorf("the third column of the rows is no offset: %s", rows.Schema())
	}
	return slices.Clone(offsets.Int64Values()), nil
}

// note counts what became of letters.
func (t *retrying) note(at processor.Source, f *fate) {
	t.out.Superseded += int64(len(f.there))
	t.out.Repaired += int64(len(f.rows))
	t.out.LeftOut += int64(len(f.leftOut))
	t.out.Dead += int64(len(f.dead))
	t.resolved[at] = slices.Concat(t.resolved[at], f.there, f.rows, f.leftOut)
	for _, d := range f.dead {
		reason := t.reasons[d.Class]
		if reason == nil {
			reason = &Reason{Class: d.Class, Example: fmt.Sprintf("%s/%d offset %d: %s", at.Topic, at.Partition, d.Offset, d.Message)}
			t.reasons[d.Class] = reason
		}
		reason.Letters++
	}
}

// encode writes letters, which are in order, as the record batches that they came from, as far as rows tell the difference.
func encode(letters []Letter) ([]byte, error) {
	var out []byte
	for i := 0; i < len(letters); {
		b := record.Builder{BaseOffset: letters[i].Offset}
		for first := i; i < len(letters) && letters[i].Offset == letters[first].Offset+int64(i-first); i++ {
			var headers []record.HeaderField
			for _, h := range letters[i].Headers {
				headers = append(headers, record.HeaderField{Key: h.Key, Value: h.Value})
			}
			b.Add(letters[i].Time.UnixMilli(), letters[i].Key, letters[i].Value, headers...)
		}
		var err error
		if out, err = b.AppendTo(out); err != nil {
			return nil, fmt.Errorf("encode letters: %w", err)
		}
	}
	return out, nil
}

// inexact tells why a letter is not what the record was, see decode.DeadLetterBatch; "" if it is.
func inexact(l *Letter) string {
	const most = math.MaxInt64 / 1000
	if at := l.Time.UnixMilli(); at >= most || at <= -most {
		return "the record's time is out of bounds, the letter has the nearest that a table can hold"
	}
	for _, h := range l.Headers {
		if strings.ContainsRune(h.Key, utf8.RuneError) {
			return "a header's key was not UTF-8, the letter has it changed"
		}
	}
	return ""
}
