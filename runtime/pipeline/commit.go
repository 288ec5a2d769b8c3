package pipeline

import (
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

// patience is how long a commit is tried before the worker gives its records up and begins anew.
const patience = 10 * time.Second

// group is one commit: all that was decoded since the one before.
type group struct {
	from, to processor.Positions
	spans    map[processor.Source]kfs.Span
	batches  []processor.Batch // to be staged, owned
	letters  []decode.DeadLetter
	accepted int64 // items that it settles
	records  int64
	bytes    int64
	held     int64 // memory
	oldest   time.Time
	began    time.Time
	refresh  bool // the table's columns are to be read afterwards
	first    bool // nothing was staged before the batches
}

func (g *group) release() {
	releaseAll(g.batches)
	g.batches = nil
}

func releaseAll(batches []processor.Batch) {
	for _, b := range batches {
		if b.Records != nil {
			b.Records.Release()
		}
	}
}

// result is how a commit ended.
type result struct {
	err     error
	columns *arrow.Schema       // of the table, if they were read
	letters processor.Positions // where the dead-letter table stands now of the sources that the commit has moved there
}

// begin empties the decoders and starts a commit of all that is pending. Without rows and dead letters it is put off, unless forced.
func (w *worker) begin(ctx context.Context, force bool) error {
	g := &group{from: processor.Positions{}, to: processor.Positions{}, spans: map[processor.Source]kfs.Span{}, began: w.cfg.Now()}
	w.pace.begin()
	w.atEnd = false
	if err := w.collect(ctx, g); err != nil {
		g.release()
		return err
	}
	if w.rows == 0 && len(w.letters) == 0 && !force && g.began.Sub(w.last) < seldom {
		w.pace.by(w.last.Add(seldom))
		return nil
	}
	for _, s := range w.sources {
		if s.next == s.sealed {
			continue
		}
		if s.flushed < s.next {
			g.batches = append(g.batches, processor.Batch{Source: s.Source, Span: kfs.Span{Base: s.flushed, Next: s.next}})
			s.flushed = s.next
		}
		g.from[s.Source], g.to[s.Source] = s.sealed, s.next
		g.spans[s.Source] = kfs.Span{Base: s.sealed, Next: s.next}
		s.sealed = s.next
	}
	g.letters, g.accepted, g.records, g.bytes, g.oldest, g.refresh = w.letters, w.accepted, w.records, w.bytes, w.oldest, w.grown
	g.held += w.letterBytes
	if sink, ok := w.table.sink.(processor.Buffering); ok {
		g.held += sink.Buffered()
	}
	g.first = !w.staged
	w.letters, w.letterBytes, w.rows, w.records, w.bytes, w.oldest, w.grown, w.staged = nil, 0, 0, 0, 0, time.Time{}, false, false
	if len(g.to) == 0 {
		return nil // everything pending belonged to a source that has halted
	}
	w.last, w.flight = g.began, g
	go func() { w.result <- w.commit(ctx, g) }()
	return nil
}

// collect takes what is to be staged: what waits, and the rows of all decoders, which are free then.
func (w *worker) collect(ctx context.Context, g *group) error {
	g.batches, g.held = w.ready, w.readyBytes
	w.ready, w.readyBytes, w.readyGrown = nil, 0, false
	for _, s := range slices.Clone(w.lent) {
		held := s.decoder.Bytes()
		rows, err := w.take(ctx, s)
		if err != nil {
			return err
		}
		w.giveBack(s)
		if rows != nil {
			g.held += held
			g.batches = append(g.batches, processor.Batch{Source: s.Source, Span: kfs.Span{Base: s.flushed, Next: s.next}, Records: rows})
			s.flushed = s.next
		}
	}
	return nil
}

// commit carries a group out: dead letters first, then the rows. It has the sink to itself.
//
// Before either is committed the rows are staged, which gives the table the columns that they need. For what becomes of a record is decided
// once dead letters are committed: had the table refused the rows only then, partitions that took the same new column for different
// types, each with letters of its own, could not be brought together any more.
func (w *worker) commit(ctx context.Context, g *group) (r result) {
	defer g.release()
	t := w.table
	if r.err = w.stageAll(ctx, g.batches, g.first); r.err != nil {
		return r
	}
	staged, err := t.sink.Seal(ctx)
	if err != nil {
		return result{err: err}
	}
	if r.err = w.checkLetters(ctx, g); r.err != nil {
		w.discard(ctx, staged)
		return r
	}
	marks := map[processor.Source]string{} // of the dead letters beside which the rows stand
	for source, mark := range w.marks {
		if span, ok := g.spans[source]; ok && w.letterPositions[source] > span.Base {
			marks[source] = mark
		}
	}
	if len(g.letters) > 0 {
		if r.err = w.try(ctx, func() error {
			to, now, err := t.job.letters.commit(ctx, g.spans, g.letters, w.letterPositions)
			r.letters = to
			maps.Copy(marks, now)
			return err
		}); r.err != nil {
			w.discard(ctx, staged)
			return r
		}
	}
	all, err := t.cite(staged, marks)
	if err != nil {
		w.discard(ctx, staged)
		return result{err: err}
	}
	r.err = w.try(ctx, func() error { return t.sink.Commit(ctx, g.from, g.to, all) })
	if r.err == nil && g.refresh {
		r.columns, r.err = t.columns(ctx)
	}
	return r
}

// cite has a commit of what is staged say beside which dead letters it stands.
func (t *table) cite(staged processor.Staged, marks map[processor.Source]string) ([]processor.Staged, error) {
	all := []processor.Staged{staged}
	citing, ok := t.sink.(processor.Citing)
	if !ok || len(marks) == 0 {
		return all, nil
	}
	cited, ok, err := citing.Cite(marks)
	if err != nil {
		return nil, fmt.Errorf("name the dead letters: %w", err)
	}
	if ok {
		all = append(all, cited)
	}
	return all, nil
}

// checkLetters refuses a group of which another process has committed dead letters since this life began: they are to be obeyed. It
// leaves a moment in which that may still happen; then a letter is superseded by the row of its offset.
func (w *worker) checkLetters(ctx context.Context, g *group) error {
	if !w.cfg.shared() || w.table.job.letters == nil {
		return nil
	}
	next, err := w.table.job.letters.positions(ctx)
	if err != nil {
		return err
	}
	return decidedElsewhere(next, w.letterPositions, g.spans)
}

// discard gives up what was staged and no commit has named.
func (w *worker) discard(ctx context.Context, staged processor.Staged) {
	if err := w.table.sink.Discard(ctx, []processor.Staged{staged}); err != nil {
		w.table.log.Warn("staged files that no commit has named are left to be swept", "err", err)
	}
}

// try repeats what may pass, as long as there is patience. The same group may be committed twice: the second time finds the position moved.
func (w *worker) try(ctx context.Context, do func() error) error {
	began := w.cfg.Now()
	for failures := 0; ; failures++ {
		err := do()
		var unfit processor.Unfit
		var panicked *processor.PanicError
		if err == nil || final(err) || errors.Is(err, processor.ErrMoved) || errors.As(err, &unfit) || errors.As(err, &panicked) || ctx.Err() != nil ||
			w.cfg.Now().Sub(began) > patience {
			return err
		}
		w.table.job.metrics.retries.WithLabelValues(w.table.name).Inc()
		wait := w.table.job.backoff(failures)
		w.table.log.Warn("trying the commit again", "err", err, "in", wait)
		if !sleep(ctx, wait) {
			return err
		}
	}
}

// finish takes note of how a commit ended.
func (w *worker) finish(r result) error {
	g := w.flight
	w.flight = nil
	if r.err != nil {
		return fmt.Errorf("commit to table %s: %w", w.table.name, w.table.refused(r.err))
	}
	if r.columns != nil {
		w.see(r.columns)
	}
	maps.Copy(w.letterPositions, r.letters)
	w.table.lacks = false
	w.table.noteStuck(nil)
	now := w.cfg.Now()
	took, freshness := now.Sub(g.began), now.Sub(g.oldest)
	w.pace.took(took)
	finished := false
	for source := range g.to {
		s := w.sources[id(source)]
		s.committed = g.to[source]
		finished = finished || s.limit > 0 && s.committed >= s.limit
	}
	w.confirm = now.Add(confirming)
	w.count()
	w.table.noteStates(w.table.states())
	w.table.note(func(st *tableStatus) { st.committed(g, w.table.identity(), w.table.missing(), freshness) })
	w.table.job.metrics.committed(w.table.name, g, took, freshness)
	if finished {
		w.table.log.Info("what another job file has begun is finished; going on under the present one")
		return errFinished
	}
	w.settle(g.accepted)
	w.table.job.settled()
	return nil
}
