package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
)

// table is one table of the job and its worker.
type table struct {
	job   *Job
	name  string
	topic string // that goes to it
	log   *slog.Logger

	mu     sync.Mutex    // guards what follows
	feed   *feed         // nil while the worker has no position
	ready  chan struct{} // closed when there is a feed, or never will be one
	missed bool          // a reader has passed records without a feed to offer them to
	lives  bool          // from before its position is read until nothing is held or being committed
	turn   uint64        // of the assignment, while it lives
	halted error         // why the worker has ended
	status tableStatus

	// What follows belongs to the worker.
	sink  processor.Sink
	chain chain            // of transforms
	known map[string]known // of the table, or of the several that the sink writes to, from loads
	pins  []string         // columns that must keep the table's type
	unfit string           // the column that a sink has refused last
	lacks bool             // records of one batch were not enough to make the table of; more of them are gathered before the next try
}

func newTable(job *Job, name, topic string) *table {
	t := &table{job: job, name: name, topic: topic, known: job.knownOf(topic, name), log: job.cfg.Logger.With("table", name), ready: make(chan struct{})}
	t.status = newTableStatus(job.before[name].filed)
	return t
}

// await gives the feed, waiting for it at most as long as ctx lives; nil if there is none.
func (t *table) await(ctx context.Context) *feed {
	t.mu.Lock()
	ready := t.ready
	t.mu.Unlock()
	select {
	case <-ready:
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.feed
}

// current is the feed, nil if there is none.
func (t *table) current() *feed {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.feed
}

// miss notes that records passed by without a feed, so that the readers begin anew when there is one.
func (t *table) miss() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.feed != nil {
		t.job.rewind() // it came in between
		return
	}
	t.missed = true
}

// attach opens the table to records from its position on.
func (t *table) attach(f *feed) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.feed = f
	close(t.ready)
	if t.missed || t.job.behind(t.turn) {
		t.job.rewind()
	}
	t.missed = false
}

// detach ends the feed, if there was one. The next one begins at the table's position again, which readers have passed.
func (t *table) detach(f *feed, err error) {
	t.mu.Lock()
	if f != nil {
		t.feed, t.missed, t.ready = nil, true, make(chan struct{})
	}
	if final(err) {
		t.halted = err
		close(t.ready)
	}
	t.mu.Unlock()
	if f != nil {
		f.close()
	}
}

// ended reports whether the worker has ended, and why.
func (t *table) ended() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.halted
}

// run works until ctx has ended or a person must look. Passing errors begin anew at the table's position. last lives a little longer than
// ctx, for a last commit.
func (t *table) run(ctx, last context.Context) {
	defer func() {
		if err := closeSink(t.sink); err != nil {
			t.log.Warn("closing the sink", "err", err)
		}
		if err := CloseSteps(t.chain); err != nil {
			t.log.Warn("closing the transforms", "err", err)
		}
	}()
	for failures := 0; ; failures++ {
		began := t.job.cfg.Now()
		err := t.live(ctx, last)
		switch {
		case errors.Is(err, errReassigned):
			if ctx.Err() != nil {
				return
			}
			failures = -1
			continue
		case ctx.Err() != nil:
			if err != nil {
				t.log.Warn("the last commit was not made; the next start begins at the table's position", "err", err)
			}
			return
		case errors.Is(err, errFinished):
			failures = 0
			continue
		case final(err):
			t.log.Error("the table halts", "err", err)
			t.job.metrics.halt(t.name, "table")
			t.job.settled()
			return
		}
		if t.job.cfg.Now().Sub(began) > time.Minute {
			failures = 0
		}
		t.job.metrics.retries.WithLabelValues(t.name).Inc()
		wait := t.job.backoff(failures)
		t.log.Warn("beginning anew at the table's position", "err", err, "in", wait)
		if !sleep(ctx, wait) {
			return
		}
	}
}

// live is one life of the worker: from the table's position to an error, or to a last commit when ctx has ended.
func (t *table) live(ctx, last context.Context) (err error) {
	var f *feed
	whole := t.lacks && !t.job.awaited()
	defer func() {
		if err = t.judge(err, whole); final(err) {
			err = stays(err)
		}
		t.detach(f, err)
	}()
	reads, changed := t.enter()
	defer t.leave()
	w, err := t.begin(ctx, reads)
	if err != nil {
		return err
	}
	defer w.end()
	f, w.reassigned = w.feed, changed
	return t.job.drive(w, ctx, last)
}

// judge notes how a life of the table has ended. Where it is stuck, a job without an end tries again. To a bounded run nothing comes any more, and
// what it has come to in a life that had the whole of what one commit takes, it would come to again.
func (t *table) judge(err error, whole bool) error {
	var stuck *processor.StuckError
	if !errors.As(err, &stuck) {
		if err != nil {
			t.noteStuck(nil)
		}
		return err
	}
	if t.job.cfg.Until.Bounded() && (whole || !stuck.Records) {
		t.noteStuck(nil)
		return fmt.Errorf("%w; %w", err, errWaitsForNothing)
	}
	t.lacks = stuck.Records
	t.noteStuck(err)
	return err
}

// begin reads the table's position and makes a worker that stands there, for the partitions that are to be read.
func (t *table) begin(ctx context.Context, reads func(kfs.PartitionID) bool) (*worker, error) {
	if t.sink == nil {
		sink, err := t.job.cfg.OpenSink(ctx, t.name, t.job.sourceLineage())
		if err != nil {
			return nil, fmt.Errorf("open table %s: %w", t.name, err)
		}
		t.sink = sink
	}
	if t.chain == nil && t.job.cfg.OpenTransforms != nil {
		steps, err := t.job.cfg.OpenTransforms(t.name)
		if err != nil {
			return nil, fmt.Errorf("transforms of table %s: %w", t.name, err)
		}
		t.chain = steps
	}
	committed, err := t.sink.Committed(ctx)
	if err != nil {
		return nil, fmt.Errorf("position of table %s: %w", t.name, err)
	}
	if committed == nil {
		committed = processor.Positions{}
	}
	if err := t.recognize(committed); err != nil {
		return nil, err
	}
	w := &worker{table: t, cfg: &t.job.cfg, sources: map[kfs.PartitionID]*source{}, positions: committed,
		pace: pace{freshness: t.job.cfg.Freshness}, result: make(chan result, 1), form: &form{decode: t.job.cfg.Decode, errors: t.job.cfg.Errors, chain: t.chain}}
	target, err := t.columns(ctx)
	if err != nil {
		return nil, err
	}
	if t.job.letters != nil {
		if w.letterPositions, w.marks, err = t.job.letters.ahead(ctx, committed); err != nil {
			return nil, err
		}
		if err := t.withLetters(ctx, committed); err != nil {
			return nil, err
		}
	}
	w.feed = newFeed(t.topic, committed, w.letterPositions, reads)
	if w.unfinished, err = t.unfinished(ctx, ofShare(committed, reads), w.letterPositions); err != nil {
		return nil, err
	}
	if err := w.openFormers(ctx); err != nil {
		return nil, errors.Join(err, w.closeFormers())
	}
	w.see(target)
	return w, nil
}

// withLetters halts a table whose rows are there and whose dead letters are not any more: they would never come again.
func (t *table) withLetters(ctx context.Context, committed processor.Positions) error {
	source, span, lost, err := t.job.letters.lost(ctx, t.sink, committed)
	if err != nil || !lost {
		return err
	}
	return halted(
		fmt.Sprintf("the dead-letter table was rolled back: the letters of %s/%d from offset %d to %d are gone, and table %s is behind them", source.Topic, source.Partition, span.Base, span.Next, t.name),
		"roll the dead-letter table forward, unless the job has committed other letters to it since; or roll this table back too, to read those records again; or, to go without those letters, remove the job's progress from the properties of the dead-letter table",
	)
}

// recognize compares the table, or the several that the sink writes to, with what is known of them, and knows them from now on.
func (t *table) recognize(committed processor.Positions) error {
	states := t.states()
	if states == nil {
		states = []processor.TableState{{Name: t.name, Identity: t.identity(), Positions: committed}}
	}
	now := map[string]known{}
	for _, s := range states {
		now[s.Name] = known{identity: s.Identity, positions: maps.Clone(s.Positions)}
	}
	for _, name := range slices.Sorted(maps.Keys(t.known)) {
		if err := t.known[name].compare(name, kfs.JobKey(t.job.cfg.Name), now[name].identity, now[name].positions); err != nil {
			return err
		}
	}
	t.known = now
	t.note(func(s *tableStatus) { s.loaded(committed, t.identity()) })
	t.noteStates(states)
	return nil
}

// states tells of the tables that the sink writes to; nil if it is one.
func (t *table) states() []processor.TableState {
	if sink, ok := t.sink.(processor.Several); ok {
		return append([]processor.TableState{}, sink.Tables()...)
	}
	return nil
}

// noteStates notes what is to be said of each of several tables.
func (t *table) noteStates(states []processor.TableState) {
	if _, ok := t.sink.(processor.Several); ok {
		t.note(func(s *tableStatus) { s.several = states })
	}
}

// identity is the table's, as the sink last saw it; empty if there is none.
func (t *table) identity() string {
	if sink, ok := t.sink.(processor.Identified); ok {
		return sink.Identity()
	}
	return ""
}

// missing reports whether the sink knows that there is no table.
func (t *table) missing() bool {
	sink, ok := t.sink.(processor.Identified)
	return ok && sink.Identity() == ""
}

// columns asks the sink for the table's columns; nil if there is no table.
func (t *table) columns(ctx context.Context) (*arrow.Schema, error) {
	sink, ok := t.sink.(processor.Described)
	if !ok {
		return nil, nil
	}
	columns, err := sink.Schema(ctx)
	if err != nil {
		return nil, fmt.Errorf("columns of table %s: %w", t.name, err)
	}
	return columns, nil
}

// refused judges a sink's error about a column. At first the table's columns are read again, for another partition may have widened them.
// The second time the column is pinned to what the table has, so that what does not fit becomes a dead letter. A third time decoding
// cannot help.
func (t *table) refused(err error) error {
	var unfit processor.Unfit
	if !errors.As(err, &unfit) {
		return err
	}
	column := unfit.UnfitColumn()
	if slices.Contains(t.pins, column) {
		return halted(fmt.Sprintf("table %s refuses column %s: %v", t.name, column, err), "change the column's type in the table, or declare it in the job")
	}
	if t.unfit == column {
		t.pins = append(t.pins, column)
	}
	t.unfit = column
	return err
}
