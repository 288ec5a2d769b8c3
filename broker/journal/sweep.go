package journal

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

const (
	// Limit is the LIMIT of the format.
	Limit = limit
	// MinGrace is the least grace of the format.
	MinGrace = 4 * limit
	// maxNoted bounds the segments that wait to be deleted at a time; others wait until those are gone.
	maxNoted = 10_000
)

// sweeping is the deleting of what nobody can need any more. It keeps to what this owner knows for certain: both newest checkpoints are its
// own and were read back, each object's manifest is read before the object goes, and each segment that one rests on is read back in full
// once by this owner. What it has found of segments it finds anew after a takeover, when their grace begins again.
type sweeping struct {
	running bool
	look    time.Time // when to look for what may go; zero while nothing waits
	orphans time.Time // when to list segments next; zero if none can have come

	newest, older *kept  // the two newest checkpoints, both written and read back by this owner
	lowest        uint64 // the first object that may be there
	hasLowest     bool
	holds         map[string]*hold  // what restore points need of this journal, by the keys of its states there
	held          []*hold           // those of the last look
	verified      map[string]bool   // segments that this owner has read back in full
	spared        map[string]spared // segments that would be deleted but for a restore point, by key; at most maxNoted
	noted         map[string]int64  // keys of segments that nobody reads any more: since when that is known, by the store's clock
}

// kept is what deleting must know of a checkpoint.
type kept struct {
	sequence uint64
	live     uint64 // the first object that is not released
	released []kfs.Run
	pages    []kfs.PageRef
	starts   map[kfs.PartitionID]int64    // log starts
	settled  map[kfs.PartitionID]kfs.Span // what the segments that it lists hold
}

func (c *core) keep() *kept {
	s := c.state
	k := &kept{sequence: s.sequence, live: s.live(), released: slices.Clone(s.released), starts: map[kfs.PartitionID]int64{}, settled: map[kfs.PartitionID]kfs.Span{}}
	for id, p := range c.index.partitions {
		if p.start > 0 {
			k.starts[id] = p.start
		}
		if len(p.settled) > 0 {
			k.settled[id] = kfs.Span{Base: p.settled[0].Span.Base, Next: p.settledPoint()}
		}
	}
	return k
}

// sweepEvery is how often the store is asked whether what waits may go.
func (c *core) sweepEvery() time.Duration { return c.grace / 36 }

// waiting reports whether objects with records wait to be deleted, or segments before the log start; not for a restore point to be deleted.
func (c *core) waiting() bool {
	if c.objectsWait(heldFrom(c.sweep.held)) {
		return true
	}
	for _, p := range c.index.partitions {
		if len(p.settled) > 0 && p.settled[0].Span.Next <= p.start {
			return true
		}
	}
	return false
}

// objectsWait reports whether objects with records below a sequence are there that nobody needs any more.
func (c *core) objectsWait(until uint64) bool {
	return c.sweep.lowest < min(c.state.goal, c.state.live(), until)
}

// trySweep looks for what may go. What it relies on are the two checkpoints as they are before it asks which restore points there are, and
// its time is that of this LIST. So what it deletes, nobody needed at that time, and what it finds to be old enough was so then: a restore
// point that is made meanwhile needs none of it (see package snapshot).
func (c *core) trySweep(now time.Time) {
	s := &c.sweep
	if !c.upkeep.enabled || c.closing || s.running || s.older == nil || s.look.IsZero() || now.Before(s.look) {
		return
	}
	if !c.waiting() && !c.objectsWait(math.MaxUint64) && (s.orphans.IsZero() || now.Before(s.orphans)) {
		s.look = s.orphans
		return
	}
	s.running = true
	w := &sweep{newest: s.newest, older: s.older}
	c.list(kfs.SnapshotsPrefix, "", false, func(now time.Time, r result) {
		w.at = r.time
		c.readHolds(now, r.keys, nil, func(now time.Time, holds []*hold) {
			w.kept = holds
			c.noteHolds(now, holds)
			c.checkKept(now, w)
		})
	})
}

func (c *core) endSweep(now time.Time) {
	c.sweep.running = false
	c.sweep.look = now.Add(c.sweepEvery())
}

// toSweep notes that there may be something to delete, and that segments may have come that nobody lists.
func (c *core) toSweep(now time.Time) {
	if c.sweep.look.IsZero() {
		c.sweep.look = now.Add(c.sweepEvery())
	}
	c.toOrphans(now)
}

// toOrphans notes that there may be segments that nobody lists.
func (c *core) toOrphans(now time.Time) {
	if c.sweep.orphans.IsZero() {
		c.sweep.orphans = now.Add(c.grace)
	}
}

// checkKept makes sure that the two newest checkpoints are those that this owner knows.
func (c *core) checkKept(_ time.Time, w *sweep) {
	s := &c.sweep
	c.list(kfs.CheckpointPrefix(c.journal), "", false, func(now time.Time, r result) {
		var sequences []uint64
		for _, key := range r.keys {
			if j, sequence, ok := kfs.ParseCheckpointKey(key); ok && j == c.journal {
				sequences = append(sequences, sequence)
			}
		}
		slices.Sort(sequences)
		if n := len(sequences); n < 2 || sequences[n-1] != w.newest.sequence || sequences[n-2] != w.older.sequence {
			c.endSweep(now) // another is being written, or by another owner
			return
		}
		w.until = c.deletable(w)
		if s.hasLowest {
			c.deleteObjects(now, w)
			return
		}
		c.findLowest("", w.newest.sequence, func(now time.Time) { c.deleteObjects(now, w) })
	})
}

// findLowest finds the first object behind a key. If there is none it is at or behind otherwise.
func (c *core) findLowest(after string, otherwise uint64, then func(time.Time)) {
	c.list(kfs.JournalPrefix(c.journal), after, true, func(now time.Time, r result) {
		c.sweep.lowest, c.sweep.hasLowest = otherwise, true
		for _, key := range r.keys {
			if j, sequence, ok := kfs.ParseObjectKey(key); ok && j == c.journal {
				c.sweep.lowest = sequence
				break
			}
		}
		then(now)
	})
}

// sweep is one look at what may go.
type sweep struct {
	at            int64 // the store's clock when it began
	newest, older *kept
	kept          []*hold // by restore points
	spared        bool    // some of their segments nobody else needs
	until         uint64  // objects below it may go
}

// deletable is the first object that must stay: objects go in order, below the older of the two kept checkpoints, and only of runs that the
// newest carries with a time that is older than grace, and none that a restore point needs.
func (c *core) deletable(w *sweep) uint64 {
	until := uint64(0)
	for _, run := range w.newest.released {
		if run.Since == 0 || w.at-run.Since <= c.grace.Milliseconds() {
			break
		}
		until = run.Last + 1
	}
	return min(until, w.older.sequence, heldFrom(w.kept))
}

// deleteObjects deletes one object after the other.
func (c *core) deleteObjects(now time.Time, w *sweep) {
	s := &c.sweep
	if c.closing || !s.hasLowest || s.lowest >= w.until {
		c.deletePages(now, w)
		return
	}
	sequence := s.lowest
	key := kfs.ObjectKey(c.journal, sequence)
	c.readObject(sequence, func(now time.Time, o *object, _ int64, err error) {
		if err != nil {
			c.keepAll(now, fmt.Errorf("%s is released, and damaged: %w", key, err))
			return
		}
		if o == nil { // an earlier delete has landed
			c.findLowest(key, sequence+1, func(now time.Time) { c.deleteObjects(now, w) })
			return
		}
		segments, err := c.restsOn(o.manifest)
		if err != nil {
			c.deleteStray(now, w, o, fmt.Errorf("%s is released: %w", key, err))
			return
		}
		c.verifySegments(now, segments, func(now time.Time) { c.deleteLowest(w) })
	})
}

// deleteLowest deletes the lowest object and goes on.
func (c *core) deleteLowest(w *sweep) {
	sequence := c.sweep.lowest
	c.remove(kfs.ObjectKey(c.journal, sequence), func(now time.Time) {
		c.sweep.lowest = sequence + 1
		c.deleteObjects(now, w)
	})
}

// deleteStray deletes the lowest object, which rests on nothing, if it is not of the journal: a writer that slept puts its object long after the
// one that was there first has been deleted. Objects go in order. So if the next one is gone, this one had been too; and if the next one names
// another predecessor, either that is true and this one is not, or the true next one had been deleted, and before it the true one here.
func (c *core) deleteStray(_ time.Time, w *sweep, o *object, wrong error) {
	sequence := c.sweep.lowest
	c.readObject(sequence+1, func(now time.Time, next *object, _ int64, err error) {
		if err != nil || next != nil && next.manifest.Previous == o.crc {
			c.keepAll(now, wrong)
			return
		}
		c.log(slog.LevelWarn, "an object that was put where a deleted one had been is deleted", "key", kfs.ObjectKey(c.journal, sequence), "writer", o.manifest.Writer)
		c.deleteLowest(w)
	})
}

// keepAll ends a sweep because of something that must not be.
func (c *core) keepAll(now time.Time, err error) {
	c.log(slog.LevelError, "nothing is deleted: what would rest on is not sound", "err", err)
	c.endSweep(now)
}

// restsOn lists the segments that hold the records of an object from now on. Records that are in none must be trimmed.
func (c *core) restsOn(m *kfs.Manifest) ([]placedSegment, error) {
	var all []placedSegment
	for i := range m.Segments {
		seg := &m.Segments[i]
		p, ok := c.index.partitions[seg.ID()]
		if !ok {
			return nil, fmt.Errorf("partition %s of it is not known: %w", seg.ID(), kfs.ErrCorrupt)
		}
		at := max(seg.Span.Base, p.start)
		if p.ended {
			continue
		}
		for e := p.settledAt(at); e != nil && at < seg.Span.Next; e = p.settledAt(at) {
			all = append(all, placedSegment{p.id, p.name, *e})
			at = e.Span.Next
		}
		if at < seg.Span.Next {
			return nil, fmt.Errorf("offset %d of %s/%d is neither settled nor trimmed: %w", at, seg.Name, seg.Partition, kfs.ErrCorrupt)
		}
	}
	return all, nil
}

// placedSegment is a settled segment and whose it is.
type placedSegment struct {
	id      kfs.PartitionID
	name    string
	segment kfs.SettledSegment
}

// verifySegments reads segments, with their indexes, back in full, unless this owner has done so. What is not as it should be keeps everything.
func (c *core) verifySegments(now time.Time, segments []placedSegment, then func(time.Time)) {
	for len(segments) > 0 && c.sweep.verified[segments[0].segment.Key] {
		segments = segments[1:]
	}
	if len(segments) == 0 {
		then(now)
		return
	}
	s := segments[0]
	c.readLarge(s.segment.Key, blob.All, maxSegment, s.segment.Length, func(now time.Time, r result) {
		object := r.body
		if err := checkSegment(object, &s.segment); err != nil {
			c.keepAll(now, fmt.Errorf("%s: %w", s.segment.Key, err))
			return
		}
		name := kfs.IndexKey(s.id.Topic, s.name, s.id.Partition, s.segment.Span.Base)
		c.read(name, blob.All, maxIndex, func(now time.Time, r result) {
			x, err := kfs.DecodeIndex(r.body)
			if err == nil {
				err = x.Check(object)
			}
			if err != nil {
				c.keepAll(now, fmt.Errorf("%s: %w", name, err))
				return
			}
			if c.sweep.verified == nil {
				c.sweep.verified = map[string]bool{}
			}
			c.sweep.verified[s.segment.Key] = true
			c.verifySegments(now, segments[1:], then)
		})
	})
}

// checkSegment compares a segment, read whole, with what the journal says of it.
func checkSegment(object []byte, s *kfs.SettledSegment) error {
	h, err := kfs.OpenSegment(object)
	if err != nil {
		return err
	}
	if crc := kfs.Checksum(object[:len(object)-kfs.SegmentFooterSize]); h.Span != s.Span || int64(len(object)) != s.Length || crc != s.CRC {
		return fmt.Errorf("it holds %s in %d bytes with CRC %08x, the journal says %s in %d with %08x: %w", h.Span, len(object), crc, s.Span, s.Length, s.CRC, kfs.ErrCorrupt)
	}
	return nil
}

// remove deletes an object, again and again while the outcome is unknown: deleting twice does no harm.
func (c *core) remove(key string, then func(time.Time)) {
	var try func(tries int)
	try = func(tries int) {
		c.emit(deleteOp{c.op(func(now time.Time, r result) {
			if r.outcome == unknown {
				c.log(slog.LevelWarn, "delete fails, trying again", "key", key, "err", r.err)
				c.after(now, tries, func(time.Time) { try(tries + 1) })
				return
			}
			c.emit(deleted{key})
			then(now)
		}), key})
	}
	try(0)
}

// removeAll deletes objects one after the other.
func (c *core) removeAll(now time.Time, keys []string, then func(time.Time)) {
	if len(keys) == 0 {
		then(now)
		return
	}
	c.remove(keys[0], func(now time.Time) { c.removeAll(now, keys[1:], then) })
}

// deletePages deletes index pages that none of the two kept checkpoints names. Pages that reach into what the older one has live are left:
// another owner may be about to name them.
func (c *core) deletePages(_ time.Time, w *sweep) {
	c.list(kfs.PagePrefix(c.journal), "", false, func(now time.Time, r result) {
		var keys []string
		for _, key := range r.keys {
			j, first, last, ok := kfs.ParsePageKey(key)
			named := func(ref kfs.PageRef) bool { return ref.First == first && ref.Last == last }
			if ok && j == c.journal && last < w.older.live && !slices.ContainsFunc(w.older.pages, named) && !slices.ContainsFunc(w.newest.pages, named) {
				keys = append(keys, key)
			}
		}
		c.removeAll(now, keys, func(now time.Time) { c.deleteTrimmed(now, w) })
	})
}

// deleteTrimmed deletes segments that lie before the log start: of both kept checkpoints, and since grace. Those that a restore point needs are
// only not listed any more; they go when it has gone.
func (c *core) deleteTrimmed(now time.Time, w *sweep) {
	keys := c.released(w)
	gone := map[string]bool{}
	for _, id := range c.partitionIDs() {
		p := c.index.partitions[id]
		going := true // in order; but all wait for their grace at the same time
		for _, s := range p.settled {
			if s.Span.Next > min(p.start, w.older.starts[id]) {
				break
			}
			if overdue := c.overdue(s.Key, w.at); !going || !overdue {
				going = false
				continue
			}
			index := kfs.IndexKey(id.Topic, p.name, id.Partition, s.Span.Base)
			switch {
			case !w.holds(id, s.Span.Base):
				keys = append(keys, s.Key, index)
			case !c.spare(now, s.Key, spared{id, s.Span.Base, index}):
				going = false
				continue
			}
			gone[s.Key] = true
		}
	}
	c.removeAll(now, keys, func(now time.Time) {
		for key := range gone {
			delete(c.sweep.noted, key)
			delete(c.sweep.verified, key)
		}
		c.index.mu.Lock()
		for _, p := range c.index.partitions {
			p.settled = slices.DeleteFunc(slices.Clip(p.settled), func(s kfs.SettledSegment) bool { return gone[s.Key] })
		}
		c.index.mu.Unlock()
		if o := c.sweep.orphans; o.IsZero() || now.Before(o) {
			c.endSweep(now)
			return
		}
		c.deleteOrphans(now, w, "")
	})
}

// overdue reports whether an object has not been needed for longer than grace, as far as this owner knows.
func (c *core) overdue(key string, at int64) bool {
	s := &c.sweep
	since, ok := s.noted[key]
	if !ok && len(s.noted) < maxNoted {
		if s.noted == nil {
			s.noted = map[string]int64{}
		}
		s.noted[key] = at
	}
	return ok && at-since > c.grace.Milliseconds()
}

// partitionIDs are the partitions in order.
func (c *core) partitionIDs() []kfs.PartitionID {
	ids := make([]kfs.PartitionID, 0, len(c.index.partitions))
	for id := range c.index.partitions {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, compareIDs)
	return ids
}
