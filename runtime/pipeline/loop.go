package pipeline

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/firn-io/firn/runtime/processor"
)

// move is what a worker does next: it begins a commit, or it waits.
type move struct {
	commit bool
	forced bool // commit: also of spans without rows and dead letters

	items bool      // wait: also for items
	until time.Time // wait: at most so long; zero: no matter how long
}

// next decides what to do when nothing has come in. over and share are the pressure on memory, waiting is how many items there are.
func (w *worker) next(over, share bool, waiting int) move {
	full := share || w.atLimit() || w.bytes >= w.cfg.FileSize || w.hurry && waiting == 0
	caughtUp := w.atEnd && w.pace.old && waiting == 0
	patient := w.table.lacks && w.cfg.Until.Bounded() // nobody waits for rows as long as there is no table
	switch {
	case w.flight != nil:
		return move{items: !over}
	case !w.pending():
		return move{items: !over, until: w.confirm}
	case full || !patient && (caughtUp || w.isDue()):
		return move{commit: true, forced: full}
	case patient:
		return move{items: !over}
	}
	return move{items: !over, until: w.pace.due}
}

// run works until an error or until ctx has ended; then it makes a last commit, for which last lives a little longer. What to do is next's to
// decide; which of several things that have come in is taken first is left to chance.
func (w *worker) run(ctx, last context.Context) error {
	w.attach()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		drained := w.table.job.drains()
		if w.hurry = isClosed(drained); w.hurry {
			drained = nil
		}
		over, share, changed := w.table.job.memory.pressure(w.table)
		if share && w.flight == nil && w.pending() {
			if freed, err := w.relieve(last); err != nil {
				return err
			} else if freed {
				continue
			}
		}
		m := w.next(over, share, len(w.feed.items))
		if m.commit {
			if err := w.begin(last, m.forced); err != nil {
				return err
			}
			continue
		}
		w.rest()
		items, due := w.feed.items, (<-chan time.Time)(nil)
		if !m.items {
			items = nil
		}
		if !m.until.IsZero() {
			timer.Reset(m.until.Sub(w.cfg.Now()))
			due = timer.C
		}
		var err error
		select {
		case it := <-items:
			err = w.accept(last, it)
		case <-due:
			err = w.wake(last)
		case r := <-w.result:
			err = w.finish(r)
		case <-w.feed.atEnd:
			w.atEnd = true
		case <-changed:
		case <-drained:
		case <-w.reassigned:
			return w.reassign(last)
		case <-ctx.Done():
			return w.finale(last)
		}
		if err != nil {
			return err
		}
	}
}

// attach opens the table to records.
func (w *worker) attach() {
	w.table.attach(w.feed)
	w.table.job.settled()
}

// relieve puts rows out of memory where the sink can, so that they need not be committed early. It reports whether that has freed any.
func (w *worker) relieve(ctx context.Context) (freed bool, err error) {
	sink, ok := w.table.sink.(processor.Spilling)
	if !ok || !sink.Spills() {
		return false, nil
	}
	before := w.held()
	if err := w.stage(ctx); err != nil {
		return false, err
	}
	for _, s := range slices.Clone(w.lent) {
		if err := w.flush(ctx, s); err != nil {
			return false, err
		}
		w.giveBack(s)
	}
	if err := sink.Spill(ctx); err != nil {
		return false, err
	}
	w.count()
	return w.held() < before, nil
}

func (w *worker) isDue() bool {
	return !w.pace.due.IsZero() && !w.cfg.Now().Before(w.pace.due)
}

// wake is what to do when the time of a move is over. If it was the time of a commit, next says so.
func (w *worker) wake(ctx context.Context) error {
	if w.pending() {
		return nil
	}
	return w.confirmPosition(ctx, false)
}

// reassign ends a worker whose partitions are not what they were.
func (w *worker) reassign(ctx context.Context) error {
	if err := w.commitAll(ctx); err != nil {
		return err
	}
	return errReassigned
}

// pending reports whether there is anything that no commit holds yet.
func (w *worker) pending() bool { return w.bytes > 0 }

// rest notes, while nothing is pending, that all that was taken is settled.
func (w *worker) rest() {
	if w.flight == nil && !w.pending() && w.settle(w.accepted) {
		w.table.job.settled()
	}
}

// finale commits what was taken, and reads back that it is there.
func (w *worker) finale(ctx context.Context) error {
	if err := w.commitAll(ctx); err != nil {
		return err
	}
	return w.confirmPosition(ctx, true)
}

// commitAll commits what was taken.
func (w *worker) commitAll(ctx context.Context) error {
	if w.flight != nil {
		if err := w.finish(<-w.result); err != nil && !errors.Is(err, errFinished) {
			return err
		}
	}
	if w.pending() {
		if err := w.begin(ctx, true); err != nil {
			return err
		}
	}
	if w.flight != nil {
		if err := w.finish(<-w.result); err != nil && !errors.Is(err, errFinished) {
			return err
		}
	}
	return nil
}
