package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/decode"
	"github.com/firn-io/firn/runtime/processor"
)

const (
	maxDecoders = 32               // of a table; more sources with rows at a time share them, at the cost of smaller batches
	confirming  = 10 * time.Second // how long after the last commit the table's position is read again
	seldom      = time.Minute      // how often spans without any row or dead letter are committed

	letterOverhead = 256 // bytes that a dead letter takes while it is written, beside its own
)

// worker is one life of a table: it stands at a position and goes on from there until an error.
type worker struct {
	table *table
	cfg   *Config
	feed  *feed

	positions       processor.Positions         // of the table, when the life began
	letterPositions processor.Positions         // of the dead-letter table, likewise
	marks           map[processor.Source]string // the commits of the dead-letter table, likewise, where it is ahead
	sources         map[kfs.PartitionID]*source
	accepted        int64 // items taken from the feed
	ends            []topicEnd

	target *arrow.Schema // the table's columns, as last read
	form   *form         // the job's
	lent   []*source     // that have a decoder

	unfinished map[processor.Source]unfinished // what other configurations have begun
	formers    map[string]*form                // by configuration

	// Since the last commit began:
	ready       []processor.Batch // taken from decoders while the sink was committing; to be staged, owned
	readyBytes  int64
	readyGrown  bool // a decoder of ready met columns that the table did not have
	staged      bool // the sink has taken batches
	letters     []decode.DeadLetter
	letterBytes int64
	rows        int64 // staged
	records     int64 // rows and dead letters
	bytes       int64 // of batches
	oldest      time.Time
	grown       bool // a decoder met columns that the table did not have

	pace    pace
	last    time.Time // when the last commit began
	confirm time.Time // when the position is to be read again; zero if it was since the last commit
	flight  *group    // the commit under way
	result  chan result
	hurry   bool // nothing more will come: commit what is there
	atEnd   bool // since the last commit began a reader has come to the end of what there is: history need not wait for more of it

	reassigned <-chan struct{} // closed when other partitions are to be read
}

// decoder is a decoder and the columns that it began with.
type decoder struct {
	*decode.Decoder
	columns *arrow.Schema // the form's
	start   *arrow.Schema // its own, when it had seen nothing else
}

// confirmPosition reads the table's position after the last commit, so that it is known from more than the commit's own answer. Of several
// tables those are brought along that the last commits had nothing for.
func (w *worker) confirmPosition(ctx context.Context, leaving bool) error {
	if w.confirm.IsZero() {
		return nil
	}
	w.confirm = time.Time{}
	if sink, ok := w.table.sink.(processor.Several); ok {
		behind, err := sink.CatchUp(ctx, leaving)
		if err != nil {
			return fmt.Errorf("tables of %s: %w", w.table.name, err)
		}
		if behind {
			w.confirm = w.cfg.Now().Add(seldom)
		}
	}
	committed, err := w.table.sink.Committed(ctx)
	if err != nil {
		return fmt.Errorf("position of table %s: %w", w.table.name, err)
	}
	for _, s := range w.sources {
		if next, ok := committed[s.Source]; ok && next != s.committed {
			return fmt.Errorf("table %s stands at offset %d of %s, this job had committed up to %d: %w", w.table.name, next, s.name(), s.committed, processor.ErrMoved)
		}
	}
	return w.table.recognize(committed)
}

// end waits for a commit under way and gives all memory back.
func (w *worker) end() {
	if w.flight != nil {
		<-w.result
	}
	releaseAll(w.ready)
	for _, s := range w.lent {
		s.decoder.Release()
	}
	for _, f := range w.forms() {
		for _, d := range f.decoders {
			d.Release()
		}
	}
	if err := w.closeFormers(); err != nil {
		w.table.log.Warn("closing the transforms that the job had", "err", err)
	}
	w.table.job.memory.hold(w.table, 0)
}

// forms are all that are at work.
func (w *worker) forms() []*form {
	return append([]*form{w.form}, slices.Collect(maps.Values(w.formers))...)
}

// closeFormers closes the transforms of other configurations.
func (w *worker) closeFormers() error {
	var errs []error
	for _, f := range w.formers {
		errs = append(errs, CloseSteps(f.chain))
	}
	return errors.Join(errs...)
}

// atLimit reports whether a source waits for a commit to go on under another form.
func (w *worker) atLimit() bool {
	for source := range w.unfinished {
		if s := w.sources[id(source)]; s != nil && s.limit > 0 && s.next >= s.limit && s.committed < s.limit && s.halted == nil {
			return true
		}
	}
	return false
}

// accept decodes an item.
func (w *worker) accept(ctx context.Context, it item) error {
	defer it.object.release()
	w.accepted++
	if it.ended {
		w.ends = append(w.ends, topicEnd{id(it.source), w.accepted})
		if w.pending() {
			w.pace.by(w.cfg.Now())
		}
		return nil
	}
	s, err := w.source(ctx, it)
	if err != nil || s.halted != nil {
		return err
	}
	if it.fault != nil {
		w.halt(s, it.fault)
		return nil
	}
	if s.limit > 0 {
		if it.span.Next = min(it.span.Next, s.limit); it.span.Empty() {
			return nil // it comes again
		}
	}
	if err := w.lend(ctx, s); err != nil {
		return err
	}
	before := s.next
	if s.form.keeps() {
		s.keep(it)
	}
	err = s.decode(it, w.table.job.flushBytes, func() error {
		if err := w.flush(ctx, s); err != nil || s.halted == nil {
			return err
		}
		return errHalted
	})
	if s.next > before {
		w.pace.add(it.created, it.read, w.cfg.Now())
		w.bytes += int64(len(it.records))
		if w.oldest.IsZero() || it.created.Before(w.oldest) {
			w.oldest = it.created
		}
	}
	w.table.note(func(st *tableStatus) { st.source(s.Source).Read = s.next })
	if s.next > before && s.halted == nil {
		w.table.noteHalt(s.Source, nil) // of a life before
	}
	w.count()
	var staging *stagingError
	switch {
	case err == nil || s.halted != nil:
	case errors.As(err, &staging):
		return err
	default:
		w.halt(s, err)
	}
	return nil
}

// errFinished ends a life of a worker when what another configuration has begun is committed: the next one goes on under the present one.
var errFinished = errors.New("what another configuration has begun is finished")

// errHalted stops the decoding of a source that has just halted.
var errHalted = errors.New("the source has halted")

// stop halts a source for what its decoder held, which is not committed: it may lie behind what has halted it.
func (w *worker) stop(s *source, err error) {
	s.next = s.flushed
	w.halt(s, err)
}

// halt ends the reading of one source. What came before is committed.
func (w *worker) halt(s *source, err error) {
	err = stays(decidable(err))
	s.halted = err
	w.feed.shutSource(id(s.Source))
	s.log(w.table.log).Error("the partition halts", "offset", s.next, "err", err)
	w.table.noteHalt(s.Source, err)
}

// source finds the state of an item's source, or begins it: at the table's position, or where the item begins.
func (w *worker) source(ctx context.Context, it item) (*source, error) {
	if s := w.sources[id(it.source)]; s != nil {
		return s, nil
	}
	at, ok := w.positions[it.source]
	if !ok {
		at = it.span.Base
	}
	s := newSource(it.source, at)
	s.form = w.form
	if u, ok := w.unfinished[it.source]; ok {
		s.form, s.limit = w.formers[u.config], u.next
	}
	if decided := w.letterPositions[it.source]; decided > at {
		span := kfs.Span{Base: at, Next: decided}
		dead, ok, err := w.table.job.letters.recall(ctx, it.source, span)
		if err != nil {
			return nil, err
		}
		if ok {
			s.obey, s.dead = span, dead
		}
	}
	w.sources[id(it.source)] = s
	return s, nil
}

// flush empties a source's decoder and stages its rows. The sink is free only between commits: during one, the rows wait in memory, and when
// there is too much of it, the commit is waited for.
func (w *worker) flush(ctx context.Context, s *source) error {
	if w.flight != nil {
		w.count()
		if over, _, _ := w.table.job.memory.pressure(w.table); over {
			if err := w.finish(<-w.result); err != nil {
				return err
			}
		}
	}
	held := s.decoder.Bytes()
	rows, err := w.take(ctx, s)
	if err != nil || rows == nil {
		return err
	}
	w.ready = append(w.ready, processor.Batch{Source: s.Source, Span: kfs.Span{Base: s.flushed, Next: s.next}, Records: rows})
	w.readyBytes += held
	w.readyGrown = w.readyGrown || s.decoder.Schema() != s.decoder.start
	s.flushed = s.next
	if w.flight == nil && !w.table.lacks {
		if err := w.stage(ctx); err != nil {
			return err
		}
	}
	return w.align(s.form, s.decoder)
}

// stage gives the sink what waits for it.
func (w *worker) stage(ctx context.Context) error {
	if err := w.stageAll(ctx, w.ready, !w.staged); err != nil {
		return w.table.refused(err)
	}
	w.staged = w.staged || len(w.ready) > 0
	releaseAll(w.ready)
	w.ready, w.readyBytes = nil, 0
	if !w.readyGrown {
		return nil
	}
	// Decoders that each found the same columns in another order would make the sink end its files at each turn.
	w.readyGrown = false
	target, err := w.table.columns(ctx)
	if err != nil {
		return err
	}
	w.see(target)
	return nil
}

// stageAll gives the sink batches, which stay the caller's. A table that cannot be made of the records of one partition may be made of those of
// another: where these batches are the first since the sink was sealed, so that no others are given up with them, each partition has its turn to
// be the first of them.
func (w *worker) stageAll(ctx context.Context, batches []processor.Batch, first bool) error {
	last := map[processor.Source]int{} // partitions that had their turn
	for {
		source, err := w.stageEach(ctx, batches)
		var stuck *processor.StuckError
		if !errors.As(err, &stuck) || !stuck.Records || !first || last[source] > 0 {
			return err
		}
		last[source] = 1
		slices.SortStableFunc(batches, func(a, b processor.Batch) int { return cmp.Compare(last[a.Source], last[b.Source]) })
	}
}

// stageEach stages batches in their order, and names the source of the one that the sink has not taken.
func (w *worker) stageEach(ctx context.Context, batches []processor.Batch) (processor.Source, error) {
	for _, b := range batches {
		if err := w.table.sink.Stage(ctx, b); err != nil {
			return b.Source, err
		}
	}
	return processor.Source{}, nil
}

// take empties a source's decoder. Dead letters become what the policy says. Without rows the span stays open.
func (w *worker) take(ctx context.Context, s *source) (arrow.RecordBatch, error) {
	rows, letters := s.decoder.Flush()
	w.grown = w.grown || s.decoder.Schema() != s.decoder.start
	rows, rejected, err := w.transform(ctx, s, rows)
	var panicked *processor.PanicError
	if errors.As(err, &panicked) {
		w.stop(s, halted(err.Error(), "mend the transform, or let it reject such records; the log has the stack"))
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s.forget()
	if len(rejected) > 0 {
		letters = append(letters, rejected...)
		slices.SortFunc(letters, func(a, b decode.DeadLetter) int { return cmp.Compare(a.Offset, b.Offset) })
	}
	if rows != nil {
		w.rows += rows.NumRows()
		w.records += rows.NumRows()
	}
	if len(letters) == 0 {
		return rows, nil
	}
	switch s.form.errors {
	case Halt:
		if rows != nil {
			rows.Release()
		}
		l := letters[0]
		w.stop(s, halted(fmt.Sprintf("%s offset %d is no row: %s: %s", s.name(), l.Offset, l.Class, l.Message),
			"set errors.policy to dead_letter or skip, or change the decoding or the transforms"))
		return nil, nil
	case DeadLetter:
		w.letters = append(w.letters, letters...)
		for i := range letters {
			w.letterBytes += letters[i].Bytes() + letterOverhead
		}
	}
	w.records += int64(len(letters))
	w.table.job.metrics.deadLetters.WithLabelValues(w.table.name).Add(float64(len(letters)))
	return rows, nil
}

// count says what the table holds in memory.
func (w *worker) count() { w.table.job.memory.hold(w.table, w.held()) }

// held is how much that is.
func (w *worker) held() int64 {
	held := w.letterBytes + w.readyBytes
	for _, s := range w.lent {
		held += s.decoder.Bytes() + s.keptBytes
	}
	if w.flight != nil {
		held += w.flight.held
	} else if sink, ok := w.table.sink.(processor.Buffering); ok {
		held += sink.Buffered()
	}
	return held
}
