package journal

import (
	"context"
	"fmt"
	"time"

	"github.com/firn-io/firn/kfs"
)

// ReadState reads a journal to its end as a takeover does, writes nothing, and gives what its objects add up to: a checkpoint after the last of
// them that names every live object itself and no index page. It is nil if the journal has not begun. cfg needs a Store. What was committed
// before the call is in it, and the time is the store's, at a moment after the call and before the end was reached. What may pass is tried again
// until ctx ends. Damage is an error that names the object (kfs.ErrCorrupt, kfs.ErrVersion).
func ReadState(ctx context.Context, cfg Config) (*kfs.Checkpoint, time.Time, error) {
	cfg.Metrics = nil // they are the owner's
	j, err := newJournal(cfg)
	if err != nil {
		return nil, time.Time{}, err
	}
	j.shell.init(ctx)
	defer j.close()
	j.step(asked{})
	for !j.shell.halted && !j.shell.atEnd {
		if j.turn(ctx.Done(), false) != nil {
			return nil, time.Time{}, fmt.Errorf("journal %d: reading it to its end: %w", cfg.Journal, context.Cause(ctx))
		}
	}
	if j.shell.halted {
		return nil, time.Time{}, j.shell.err
	}
	c := j.core
	at := time.UnixMilli(c.known)
	if !c.state.begun {
		return nil, at, nil
	}
	c.state.release()
	return c.state.snapshot(c.known, nil, 0), at, nil
}

// readState reads from the newest checkpoint to the end.
func (c *core) readState(now time.Time) {
	c.readEnd(endRead{fresh: true, met: c.adopt, then: c.caughtUp, again: func(now time.Time) {
		c.state = newState(c.journal, c.index) // what was read may have been strays
		c.readState(now)
	}})
}

// unpage makes the state name the objects of its index pages itself.
func (s *state) unpage(pages []*kfs.Page) {
	var objects []kfs.Object
	for _, page := range pages {
		objects = append(objects, page.Objects...)
	}
	s.objects, s.pages = append(objects, s.objects...), nil
}
