package pipeline

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/decode"
	"github.com/firn-io/firn/runtime/processor"
)

// letterBox is the job's dead-letter table, which the workers share. A source without a dead letter never moves there: it counts as
// standing where its rows stand.
type letterBox struct {
	open   func(ctx context.Context) (processor.Sink, error) // for the job's lineage
	prefix string                                            // of the coordinate columns
	job    string
	mem    memory.Allocator

	asked atomic.Int64 // how often takeFresh was called

	turn chan struct{} // holds one value while the box is free; what follows belongs to whoever took it
	sink processor.Sink
	next processor.Positions // nil: to be read again

	answered int64 // calls of takeFresh that came before next was read last
}

func newLetterBox(cfg *Config, open func(context.Context) (processor.Sink, error)) *letterBox {
	b := &letterBox{open: open, prefix: cfg.Decode.Prefix, job: cfg.Name, mem: cfg.Allocator, turn: make(chan struct{}, 1)}
	b.turn <- struct{}{}
	return b
}

// take waits for the box and makes it ready. done gives it back.
func (b *letterBox) take(ctx context.Context) (done func(), err error) {
	select {
	case <-b.turn:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	done = func() { b.turn <- struct{}{} }
	if ctx.Err() != nil { // of two that are ready, select takes any
		done()
		return nil, context.Cause(ctx)
	}
	if b.sink == nil {
		if b.sink, err = b.open(ctx); err != nil {
			done()
			return nil, fmt.Errorf("open the dead-letter table: %w", err)
		}
	}
	if b.next == nil {
		if err := b.load(ctx); err != nil {
			done()
			return nil, err
		}
	}
	return done, nil
}

// positions tells how far the table is, as it is now.
func (b *letterBox) positions(ctx context.Context) (processor.Positions, error) {
	done, err := b.takeFresh(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return maps.Clone(b.next), nil
}

// ahead is positions; marks name, of sources whose letters reach further than a table of rows, the commits that have brought them there.
func (b *letterBox) ahead(ctx context.Context, rows processor.Positions) (next processor.Positions, marks map[processor.Source]string, err error) {
	done, err := b.takeFresh(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	return maps.Clone(b.next), b.marks(rows), nil
}

// takeFresh is take, and the table is read. Of many workers that ask at the same time one reads it for all: the read has only to begin after the call.
func (b *letterBox) takeFresh(ctx context.Context) (done func(), err error) {
	call := b.asked.Add(1)
	if done, err = b.take(ctx); err != nil {
		return nil, err
	}
	if b.answered < call {
		if err := b.load(ctx); err != nil {
			done()
			return nil, err
		}
	}
	return done, nil
}

// marks name the newest commits that have brought letters behind some positions, where there are any.
func (b *letterBox) marks(of processor.Positions) map[processor.Source]string {
	sink, ok := b.sink.(processor.Recalling)
	if !ok {
		return nil
	}
	marks := map[processor.Source]string{}
	for source, next := range b.next {
		if at := of[source]; next > at {
			if mark := sink.Mark(source, at); mark != "" {
				marks[source] = mark
			}
		}
	}
	return marks
}

// config tells under which configuration the table has come to its position of a source; "" if that is not known.
func (b *letterBox) config(ctx context.Context, s processor.Source) (string, error) {
	done, err := b.take(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	sink, ok := b.sink.(processor.Deciding)
	if !ok {
		return "", nil
	}
	_, config, _ := sink.Decided(s)
	return config, nil
}

// load reads the table's position.
func (b *letterBox) load(ctx context.Context) error {
	calls := b.asked.Load()
	next, err := b.sink.Committed(ctx)
	if err != nil {
		b.next = nil
		return fmt.Errorf("position of the dead-letter table: %w", err)
	}
	b.answered = calls
	b.next = processor.Positions{}
	maps.Copy(b.next, next)
	return nil
}

// lost names a source whose records up to committed are in the table of rows, but for dead letters that the dead-letter table has lost by a
// rollback; ok is false if there is none. Where the rows were rolled back too they come again, and so do the letters. Where others have come in
// the place of those that are gone, the rows tell beside which they were committed.
func (b *letterBox) lost(ctx context.Context, rows processor.Sink, committed processor.Positions) (source processor.Source, span kfs.Span, ok bool, err error) {
	done, err := b.take(ctx)
	if err != nil {
		return source, span, false, err
	}
	defer done()
	sink, is := b.sink.(processor.Recalling)
	if !is {
		return source, span, false, nil
	}
	for _, source := range slices.SortedFunc(maps.Keys(committed), processor.Source.Compare) {
		span := sink.Lost(source)
		if span.Next = min(span.Next, committed[source]); !span.Empty() && span.Base < span.Next {
			return source, span, true, nil
		}
	}
	if citing, ok := rows.(processor.Citing); ok {
		return citing.Bereft(sink.Gone)
	}
	return source, span, false, nil
}

// recall gives the offsets in span that are dead letters. ok is false if the sink cannot tell.
func (b *letterBox) recall(ctx context.Context, s processor.Source, span kfs.Span) (offsets []int64, ok bool, err error) {
	done, err := b.take(ctx)
	if err != nil {
		return nil, false, err
	}
	defer done()
	sink, ok := b.sink.(processor.Recalling)
	if !ok {
		return nil, false, nil
	}
	if offsets, err = sink.DeadOffsets(ctx, s, span); err != nil {
		return nil, false, fmt.Errorf("dead letters of %s/%d %s: %w", s.Topic, s.Partition, span, err)
	}
	return offsets, true, nil
}

// commit makes the letters of spans visible and moves their sources to the spans' ends. Letters below the table's position are there
// already or come late, see amend, if the position is the one that was seen when the spans were decided; else the error is
// processor.ErrMoved, see decidedElsewhere. After any error a part of it may be there, and who begins anew obeys what is. to is where the table
// stands now of the sources that have moved; marks name the commits that have brought the letters.
func (b *letterBox) commit(ctx context.Context, spans map[processor.Source]kfs.Span, letters []decode.DeadLetter, seen processor.Positions) (to processor.Positions, marks map[processor.Source]string, err error) {
	done, err := b.take(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	if to, err = b.send(ctx, spans, letters, seen); err == nil {
		marks, err = b.confirm(ctx, spans, to)
	}
	if err != nil {
		b.next = nil
		return nil, nil, fmt.Errorf("commit dead letters: %w", err)
	}
	return to, marks, nil
}

// confirm reads the table again, whoever has committed to it for this process, and names the commits that have brought letters of spans.
func (b *letterBox) confirm(ctx context.Context, spans map[processor.Source]kfs.Span, to processor.Positions) (map[processor.Source]string, error) {
	if err := b.load(ctx); err != nil {
		return nil, err
	}
	for source, next := range to {
		if b.next[source] < next {
			return nil, fmt.Errorf("dead letters of %s/%d were committed up to %d, and are there up to %d: %w", source.Topic, source.Partition, next, b.next[source], processor.ErrMoved)
		}
	}
	from := maps.Clone(b.next) // of others nothing is asked
	for source, span := range spans {
		from[source] = span.Base
	}
	return b.marks(from), nil
}

// decidedElsewhere refuses spans of which dead letters were committed since seen was the position of the dead-letter table: another process has
// decided them, perhaps under another configuration, or this one, whose commit had no answer. Now it is at next. Where that is less than was
// seen, the table was rolled back, perhaps from letters of rows that are committed: letters on top would hide that they are gone.
func decidedElsewhere(next, seen processor.Positions, spans map[processor.Source]kfs.Span) error {
	for source, span := range spans {
		at := next[source]
		if at < seen[source] {
			return fmt.Errorf("dead letters of %s/%d were committed up to %d, and now up to %d: %w", source.Topic, source.Partition, seen[source], at, processor.ErrMoved)
		}
		if at > span.Base && at != seen[source] {
			return fmt.Errorf("dead letters of %s/%d are committed up to %d, and the group begins at %d: %w", source.Topic, source.Partition, at, span.Base, processor.ErrMoved)
		}
	}
	return nil
}

func (b *letterBox) send(ctx context.Context, spans map[processor.Source]kfs.Span, letters []decode.DeadLetter, seen processor.Positions) (to processor.Positions, err error) {
	if err := decidedElsewhere(b.next, seen, spans); err != nil {
		return nil, err
	}
	from, to := processor.Positions{}, processor.Positions{}
	bySource, passed := map[processor.Source][]decode.DeadLetter{}, map[processor.Source][]decode.DeadLetter{}
	for _, l := range letters {
		if next, ok := b.next[l.Source]; !ok || l.Offset >= next {
			bySource[l.Source] = append(bySource[l.Source], l)
		} else {
			passed[l.Source] = append(passed[l.Source], l)
		}
	}
	for _, source := range slices.SortedFunc(maps.Keys(passed), processor.Source.Compare) {
		if err := b.amend(ctx, source, passed[source]); err != nil {
			return nil, err
		}
	}
	if len(bySource) == 0 {
		return nil, nil
	}
	for _, source := range slices.SortedFunc(maps.Keys(bySource), processor.Source.Compare) {
		at, ok := b.next[source]
		if !ok {
			at = spans[source].Base
		}
		from[source], to[source] = at, spans[source].Next
		if err := b.stage(ctx, source, kfs.Span{Base: at, Next: to[source]}, bySource[source]); err != nil {
			return nil, err
		}
	}
	staged, err := b.sink.Seal(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.sink.Commit(ctx, from, to, []processor.Staged{staged}); err != nil {
		return nil, err
	}
	maps.Copy(b.next, to)
	return to, nil
}

// amendAtOnce is how many letters one commit brings in late: their offsets stand in its receipt.
const amendAtOnce = 1000

// amend brings in letters of offsets, in order, that the table's position has passed without them: records that were rows when the letters of
// their span were committed, and are none now. Their rows are in no table, else the position would be behind them; without a letter they
// would be lost. A sink that cannot tell what it holds is taken to hold all of them.
func (b *letterBox) amend(ctx context.Context, source processor.Source, letters []decode.DeadLetter) error {
	sink, ok := b.sink.(processor.Recalling)
	if !ok {
		return nil
	}
	for chunk := range slices.Chunk(letters, amendAtOnce) {
		span := kfs.Span{Base: chunk[0].Offset, Next: chunk[len(chunk)-1].Offset + 1}
		there, err := sink.DeadOffsets(ctx, source, span)
		if err != nil {
			return err
		}
		var late []decode.DeadLetter
		var offsets []int64
		for _, l := range chunk {
			if _, ok := slices.BinarySearch(there, l.Offset); !ok {
				late, offsets = append(late, l), append(offsets, l.Offset)
			}
		}
		if len(late) == 0 {
			continue
		}
		span = kfs.Span{Base: offsets[0], Next: offsets[len(offsets)-1] + 1}
		if err := b.stage(ctx, source, span, late); err != nil {
			return err
		}
		staged, err := b.sink.Seal(ctx)
		if err != nil {
			return err
		}
		if err := sink.Amend(ctx, staged, map[processor.Source][]int64{source: offsets}); err != nil {
			return err
		}
	}
	return nil
}

func (b *letterBox) stage(ctx context.Context, source processor.Source, span kfs.Span, letters []decode.DeadLetter) error {
	var rows arrow.RecordBatch = decode.DeadLetterBatch(b.prefix, b.job, letters, b.mem)
	defer rows.Release()
	return b.sink.Stage(ctx, processor.Batch{Source: source, Span: span, Records: rows})
}

// close closes the sink, after the workers have ended.
func (b *letterBox) close() error { return closeSink(b.sink) }

func closeSink(s processor.Sink) error {
	if c, ok := s.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
