package journal

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

// upkeep is the writing of checkpoints, off the path of acknowledgement.
type upkeep struct {
	enabled bool
	writing *checkpoint
	leaving bool      // the next owner is to have little to read
	look    time.Time // when to look whether something waits for a checkpoint; zero while nothing can
	notYet  uint64    // no checkpoint is begun before this sequence; set when one has failed
}

// checkpoint is one that is being written: its pages first, then itself, each read back.
type checkpoint struct {
	sequence uint64
	parts    []metaObject // the last is the checkpoint
	pages    []kfs.PageRef
	paged    int // objects that the pages cover
	kept     *kept
	begun    time.Time
}

type metaObject struct {
	key  string
	body []byte
}

// waitCheckpoint is how long what is to be deleted waits for a checkpoint.
const waitCheckpoint = 2 * limit

// toCheckpoint notes that something may wait for a checkpoint.
func (c *core) toCheckpoint(now time.Time) {
	if c.upkeep.look.IsZero() {
		c.upkeep.look = now.Add(waitCheckpoint)
	}
}

// lookAgain is when to look next if that was due now.
func (u *upkeep) lookAgain(now time.Time) time.Time {
	if !u.look.IsZero() && !now.Before(u.look) {
		return now.Add(waitCheckpoint)
	}
	return u.look
}

// tryCheckpoint begins a checkpoint when enough objects lie behind the last one, or when something has waited for one to be deleted; then
// after an empty object, if there is none.
func (c *core) tryCheckpoint(now time.Time) {
	u := &c.upkeep
	if !u.enabled || c.closing || u.writing != nil {
		return
	}
	if c.state.sequence < u.notYet {
		u.look = u.lookAgain(now)
		return
	}
	every := c.checkpointEvery
	if u.leaving {
		every = min(every, chainReads)
	}
	if c.state.behind() < every {
		if u.look.IsZero() || now.Before(u.look) {
			return
		}
		if !c.waiting() {
			u.look = time.Time{}
			return
		}
		if c.state.behind() == 0 {
			u.look = now.Add(waitCheckpoint)
			c.take(now, []*request{{force: true, bytes: entryBytes, then: func([]Result) { u.look = c.now }}})
			return
		}
	}
	u.look = time.Time{}
	c.toCheckpoint(now)
	c.state.release()
	c.state.forgetProducers(c.known - c.producerExpiry.Milliseconds())
	ck, err := c.makeCheckpoint(now)
	if err != nil {
		c.log(slog.LevelError, "a checkpoint cannot be made", "err", err)
		u.notYet = c.state.sequence + c.checkpointEvery
		return
	}
	u.writing = ck
	c.writePart(ck, 0, 0)
}

// makeCheckpoint encodes the state as it is now. Objects are left to pages as soon as they fill one.
func (c *core) makeCheckpoint(now time.Time) (*checkpoint, error) {
	ck := &checkpoint{sequence: c.state.sequence, begun: now}
	size := int(c.checkpointEvery)
	for len(c.state.objects)-ck.paged >= size {
		objects := c.state.objects[ck.paged : ck.paged+size]
		page := &kfs.Page{Journal: c.journal, First: objects[0].Sequence, Last: objects[size-1].Sequence, Objects: objects}
		body, err := kfs.EncodePage(page)
		if err != nil {
			return nil, err
		}
		ck.paged += size
		ck.parts = append(ck.parts, metaObject{kfs.PageKey(c.journal, page.First, page.Last), body})
		ck.pages = append(ck.pages, kfs.PageRef{First: page.First, Last: page.Last, Length: int64(len(body)), CRC: kfs.MetaChecksum(body)})
	}
	ck.kept = c.keep()
	ck.kept.pages = append(slices.Clone(c.state.pages), ck.pages...)
	body, err := kfs.EncodeCheckpoint(c.state.snapshot(now.UnixMilli(), ck.pages, ck.paged))
	if err != nil {
		return nil, err
	}
	ck.parts = append(ck.parts, metaObject{kfs.CheckpointKey(c.journal, ck.sequence), body})
	return ck, nil
}

// writePart puts a part, if absent, and reads it back: what is there must be what was meant.
func (c *core) writePart(ck *checkpoint, i, tries int) {
	part := ck.parts[i]
	c.put(part.key, part.body, func(now time.Time, r result) {
		if r.outcome == unknown {
			c.log(slog.LevelWarn, "put of a checkpoint has an unknown outcome, trying again", "key", part.key, "err", r.err)
			c.after(now, tries, func(time.Time) { c.writePart(ck, i, tries+1) })
			return
		}
		c.read(part.key, blob.All, maxMeta, func(now time.Time, r result) {
			switch {
			case r.outcome == absent || !bytes.Equal(r.body, part.body):
				c.abandon(fmt.Errorf("%s holds %d bytes that are not the %d that were put: %w", part.key, len(r.body), len(part.body), kfs.ErrCorrupt))
			case i+1 < len(ck.parts):
				c.writePart(ck, i+1, 0)
			default:
				c.checkpointed(now, ck, r.time)
			}
		})
	})
}

// abandon gives a checkpoint up; the next is made when as many objects again have come. Nothing is lost: the objects are all there.
func (c *core) abandon(err error) {
	c.log(slog.LevelError, "checkpoint is given up", "err", err)
	c.upkeep.notYet = c.upkeep.writing.sequence + c.checkpointEvery
	c.upkeep.writing = nil
}

// checkpointed: the checkpoint was read back, at that time of the store.
func (c *core) checkpointed(now time.Time, ck *checkpoint, at int64) {
	s := c.state
	s.pages = append(s.pages, ck.pages...)
	s.objects = append([]kfs.Object(nil), s.objects[ck.paged:]...)
	s.checkpoint, s.covered = ck.sequence, true
	c.sweep.older, c.sweep.newest = c.sweep.newest, ck.kept
	c.toSweep(now)
	for i := range s.released {
		if s.released[i].Since == 0 {
			s.released[i].Since = at
		}
	}
	c.upkeep.writing = nil
	c.emit(checkpointWritten{ck.sequence, now.Sub(ck.begun)})
	c.dropCheckpoints()
}

// dropCheckpoints deletes checkpoints older than the two newest. One that is not deleted costs nothing but its bytes.
func (c *core) dropCheckpoints() {
	c.list(kfs.CheckpointPrefix(c.journal), "", false, func(_ time.Time, r result) {
		var keys []string
		for _, key := range r.keys {
			if j, sequence, ok := kfs.ParseCheckpointKey(key); ok && j == c.journal && sequence <= c.state.checkpoint {
				keys = append(keys, key)
			}
		}
		for _, key := range keys[:max(0, len(keys)-2)] {
			c.emit(deleteOp{c.op(func(time.Time, result) {}), key})
		}
	})
}
