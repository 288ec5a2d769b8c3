package journal

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/firn-io/firn/kfs"
)

// flight is the one object that is on its way. Until its key is decided, nothing else is sent to that key, and nothing behind it.
type flight struct {
	sequence uint64
	key      string
	body     []byte
	crc      uint32
	manifest *kfs.Manifest
	requests []*request // which wait for it; answered ones stay
	sent     time.Time  // first
	tries    int
}

// is reports whether an object is the flight's own.
func (f *flight) is(o *object) bool {
	return o.manifest.Sequence == f.sequence && o.manifest.Writer == f.manifest.Writer && o.crc == f.crc
}

// send puts the flight's object: the very same bytes, however often.
func (c *core) send(now time.Time) {
	f := c.flight
	if f.tries == 0 {
		f.sent = now
	}
	f.tries++
	c.put(f.key, f.body, func(now time.Time, r result) {
		switch r.outcome {
		case done:
			c.landed(now, r.time)
		case exists: // ours, if an earlier try has landed
			c.examine(now, true)
		default:
			c.log(slog.LevelWarn, "put has an unknown outcome", "key", f.key, "tries", f.tries, "err", r.err)
			c.after(now, f.tries-1, func(now time.Time) { c.examine(now, false) })
		}
	})
}

// examine decides the key by what lies there. refused says that the store has just told us that something does.
func (c *core) examine(_ time.Time, refused bool) {
	f := c.flight
	c.readObject(f.sequence, func(now time.Time, o *object, at int64, err error) {
		switch {
		case err != nil:
			c.damaged(err)
		case o == nil && refused: // written, and deleted since: we are far behind
			c.confirm(now)
		case o == nil:
			c.send(now)
		case f.is(o):
			c.landed(now, at)
		default:
			c.lost(now, o)
		}
	})
}

// landed: the object is there, by an answer of that store time. That counts only if the end was known not long before.
func (c *core) landed(now time.Time, at int64) {
	if !c.within(at) {
		c.log(slog.LevelWarn, "object landed long after the end was known, reading the end", "key", c.flight.key)
		c.confirm(now)
		return
	}
	c.commit(now, at)
}

// lost: another object is at the key.
func (c *core) lost(now time.Time, o *object) {
	if c.phase == opening {
		c.log(slog.LevelInfo, "another owner was first, taking over from there", "key", c.flight.key, "epoch", o.manifest.Epoch)
		c.flight = nil
		c.takeOver(now)
		return
	}
	if o.manifest.Epoch > c.state.epoch && c.within(o.time) {
		c.fenced(now, fmt.Sprintf("object %d has epoch %d, ours is %d", o.manifest.Sequence, o.manifest.Epoch, c.state.epoch))
		return
	}
	c.confirm(now)
}

// confirm reads the end to learn what became of the flight, or whether the journal is still ours.
func (c *core) confirm(now time.Time) {
	if c.phase == opening {
		c.takeOver(now)
		return
	}
	found := false // the flight's object, among what this read of the end has met
	met := func(now time.Time, o *object) bool {
		if c.flight != nil && c.flight.is(o) {
			found = true
			return true
		}
		c.usurped(now, o)
		return false
	}
	then := func(now time.Time) {
		switch {
		case found:
			c.commit(now, c.known)
		case c.flight != nil: // what was there is gone, and we are at the end: the same bytes may be tried again
			c.after(now, c.flight.tries, c.send)
		}
	}
	c.readEnd(endRead{met: met, then: then, again: c.confirm})
}

// usurped: where the end should be, or behind our own object, lies one that is not ours.
func (c *core) usurped(now time.Time, o *object) {
	c.end = nil
	sequence, epoch := o.manifest.Sequence, o.manifest.Epoch
	if epoch > c.state.epoch {
		c.fenced(now, fmt.Sprintf("object %d has epoch %d, ours is %d", sequence, epoch, c.state.epoch))
		return
	}
	c.damaged(fmt.Errorf("%s: epoch %d of writer %s, where epoch %d is ours: %w",
		kfs.ObjectKey(c.journal, sequence), epoch, o.manifest.Writer, c.state.epoch, kfs.ErrCorrupt))
}

// commit takes the flight's object into the journal: the moment from which on its records exist.
func (c *core) commit(now time.Time, at int64) {
	f := c.flight
	if err := c.state.apply(f.manifest, f.crc, int64(len(f.body)), at); err != nil {
		c.damaged(fmt.Errorf("%s: %w", f.key, err))
		return
	}
	c.flight = nil
	c.learn(now, at)
	if c.phase == opening {
		c.own(now)
		return
	}
	c.emit(committed{f.sequence, f.body, f.manifest})
	if len(f.manifest.Segments) > 0 {
		c.toSettle(now)
	}
	if len(f.manifest.Entries) > 0 {
		c.toCheckpoint(now)
		c.toSweep(now)
	}
	for i := range f.manifest.Segments {
		c.forgetExpected(&f.manifest.Segments[i])
	}
	for _, r := range f.requests {
		if !r.answered {
			c.answer(r, c.withLogStart(r))
		}
	}
}

// renew reads the end before an owner writes who has known nothing of it for a while.
func (c *core) renew(now time.Time) { c.confirm(now) }
