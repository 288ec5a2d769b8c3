package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

// maxSnapshots bounds the restore points of a namespace that deleting goes by; with more of them nothing is deleted.
const maxSnapshots = 1000

// hold is what a restore point needs of this journal.
type hold struct {
	name     string
	from     uint64                       // no object from here on may go
	segments map[kfs.PartitionID]kfs.Span // nor the segments and indexes that begin in these ranges
}

// holdOf is what a restore point needs of a journal of which it has this state.
func holdOf(name string, j *kfs.SnapshotJournal, state *kfs.Checkpoint) *hold {
	h := &hold{name: name, from: j.From, segments: map[kfs.PartitionID]kfs.Span{}}
	for p, s := range state.NeededSegments() { // in order, and without gaps
		span, known := h.segments[p.ID()]
		if !known {
			span.Base = s.Span.Base
		}
		span.Next = s.Span.Next
		h.segments[p.ID()] = span
	}
	return h
}

// heldFrom is the first object that restore points need.
func heldFrom(holds []*hold) uint64 {
	from := uint64(math.MaxUint64)
	for _, h := range holds {
		from = min(from, h.from)
	}
	return from
}

// holds reports whether the segment of a partition that begins at base must stay for a restore point.
func (w *sweep) holds(id kfs.PartitionID, base int64) bool {
	for _, h := range w.kept {
		if h.segments[id].Contains(base) {
			return true
		}
	}
	return false
}

// noteHolds takes note of what restore points need. Where they need less than before, what was theirs waits for the next checkpoints again, and
// for the listing of segments.
func (c *core) noteHolds(now time.Time, holds []*hold) {
	s := &c.sweep
	gone := false
	for _, h := range s.held {
		gone = gone || !slices.Contains(holds, h)
	}
	s.held = holds
	maps.DeleteFunc(s.holds, func(_ string, h *hold) bool { return !slices.Contains(holds, h) })
	if gone {
		c.toCheckpoint(now)
		s.orphans = now
	}
}

// spared is a segment that only a restore point needs.
type spared struct {
	id    kfs.PartitionID
	base  int64
	index string // its index's key
}

// spare keeps a segment for a restore point. The next owner will find it as an orphan. It is false if there are too many.
func (c *core) spare(now time.Time, key string, what spared) bool {
	s := &c.sweep
	if len(s.spared) == maxNoted {
		return false
	}
	if s.spared == nil {
		s.spared = map[string]spared{}
	}
	s.spared[key] = what
	c.toOrphans(now)
	return true
}

// released are the keys of segments and indexes that were spared for restore points which have gone.
func (c *core) released(w *sweep) (keys []string) {
	for _, key := range slices.Sorted(maps.Keys(c.sweep.spared)) {
		if s := c.sweep.spared[key]; !w.holds(s.id, s.base) {
			keys = append(keys, key, s.index)
			delete(c.sweep.spared, key)
		}
	}
	return keys
}

// readHolds finds out what the restore points need that a LIST has named, one after the other. A restore point that cannot be understood needs
// everything: then nothing is deleted.
func (c *core) readHolds(now time.Time, keys []string, found []*hold, then func(time.Time, []*hold)) {
	for len(keys) > 0 {
		if _, _, _, ok := kfs.ParseSnapshotStateKey(keys[0]); !ok {
			break
		}
		keys = keys[1:] // it counts if a restore point names it
	}
	if len(keys) == 0 {
		then(now, found)
		return
	}
	key := keys[0]
	name, ok := kfs.ParseSnapshotKey(key)
	switch {
	case !ok:
		c.holdAll(now, key, fmt.Errorf("no restore point has such a key: %w", kfs.ErrCorrupt))
		return
	case len(found) == maxSnapshots:
		c.holdAll(now, key, fmt.Errorf("there are more than %d restore points", maxSnapshots))
		return
	}
	c.read(key, blob.All, kfs.MaxSnapshotBytes, func(now time.Time, r result) {
		if r.outcome == absent { // it is deleted
			c.readHolds(now, keys[1:], found, then)
			return
		}
		s, err := kfs.DecodeSnapshot(r.body, name)
		if err != nil {
			c.holdAll(now, key, err)
			return
		}
		c.readHold(now, s, func(now time.Time, h *hold) {
			if h != nil {
				found = append(found, h)
			}
			c.readHolds(now, keys[1:], found, then)
		})
	})
}

// readHold finds out what a restore point needs of this journal; nil if it needs nothing. A state never changes, so it is read once.
func (c *core) readHold(now time.Time, s *kfs.Snapshot, then func(time.Time, *hold)) {
	j := s.Find(c.journal)
	if j == nil {
		then(now, nil)
		return
	}
	key := kfs.SnapshotStateKey(s.Name, s.ID, c.journal)
	if h, ok := c.sweep.holds[key]; ok {
		then(now, h)
		return
	}
	c.readLarge(key, blob.All, maxMeta, j.Length, func(now time.Time, r result) {
		var state *kfs.Checkpoint
		err := fmt.Errorf("it is not there: %w", kfs.ErrCorrupt)
		if r.outcome != absent {
			state, err = j.Open(r.body)
		}
		if err != nil {
			c.holdAll(now, key, err)
			return
		}
		if c.sweep.holds == nil {
			c.sweep.holds = map[string]*hold{}
		}
		c.sweep.holds[key] = holdOf(s.Name, j, state)
		then(now, c.sweep.holds[key])
	})
}

// holdAll ends a sweep because of a restore point that is not understood.
func (c *core) holdAll(now time.Time, key string, err error) {
	if errors.Is(err, kfs.ErrVersion) {
		err = fmt.Errorf("a newer version of firn has made it: %w", err)
	}
	c.log(slog.LevelError, "nothing is deleted: a restore point cannot be read; mend it, or delete it with firn snapshot delete", "key", key, "err", err)
	c.endSweep(now)
}
