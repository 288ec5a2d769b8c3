package journal

import (
	"fmt"
	"time"

	"github.com/firn-io/firn/kfs"
)

// A follower reads along with what another broker writes: the newest checkpoint, the chain behind it, then the next key, checking what it
// reads as a takeover does. It keeps the head and the metadata only. What it finds by the next key alone is believed within LIMIT of a LIST
// of the newest checkpoint; so it reads anew every half of that.

// followAnew reads from the newest checkpoint to the end.
func (c *core) followAnew(time.Time) {
	c.readEnd(endRead{fresh: true, met: c.follow, then: c.caughtUp, again: func(now time.Time) {
		c.state = newState(c.journal, c.index) // what was read may have been strays
		c.followAnew(now)
	}})
}

// look reads on to the first key that is not there.
func (c *core) look(now time.Time) {
	if c.end != nil {
		return // it is under way
	}
	if now.Sub(c.knownAt) > renewAfter {
		c.followAnew(now)
		return
	}
	c.end = &endRead{tail: true, time: c.known, met: c.follow, then: c.caughtUp, again: c.followAnew}
	c.followChain(now)
}

func (c *core) caughtUp(time.Time) { c.emit(caughtUp{}) }

// follow takes an object of the chain into the state of a follower.
func (c *core) follow(_ time.Time, o *object) bool {
	if err := c.state.applyMetadata(o.manifest, o.crc); err != nil {
		c.damaged(fmt.Errorf("%s: %w", kfs.ObjectKey(c.journal, o.manifest.Sequence), err))
		return false
	}
	return true
}

// loadMetadata makes the state of a follower from a checkpoint.
func (c *core) loadMetadata(now time.Time, ck *kfs.Checkpoint, failed func(time.Time, error)) {
	s, err := loadHead(c.journal, ck, c.index)
	if err != nil {
		failed(now, err)
		return
	}
	c.state = s
	c.followChain(now)
}

// applyMetadata adds an object, of which only the metadata is kept.
func (s *state) applyMetadata(m *kfs.Manifest, crc uint32) error {
	if err := s.follows(m); err != nil {
		return err
	}
	draft := s.metadata.Edit()
	for _, e := range m.Entries {
		if err := draft.Apply(e); err != nil { // what is no metadata changes nothing
			return fmt.Errorf("object %d: %w: %w", m.Sequence, kfs.ErrCorrupt, err)
		}
	}
	s.metadata = draft.State()
	s.begun, s.sequence, s.crc, s.epoch, s.writer = true, m.Sequence, crc, m.Epoch, m.Writer
	return nil
}
