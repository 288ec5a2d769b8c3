package journal

import (
	"strings"
	"time"

	"github.com/firn-io/firn/kfs"
)

// deleteOrphans lists segments, page after page, for those that no owner has entered in the journal and nobody will: below the settled point,
// or of an ended topic. One at the settled point may yet be adopted. Where that takes so long that what is found is not of the sweep's time any
// more, it is begun anew.
func (c *core) deleteOrphans(now time.Time, w *sweep, after string) {
	c.list(kfs.SegmentsPrefix, after, true, func(now time.Time, r result) {
		if r.time-w.at > limit.Milliseconds() {
			c.endSweep(now)
			return
		}
		if len(r.keys) == 0 || c.closing {
			c.sweep.orphans = time.Time{}
			if len(c.sweep.noted) > 0 || w.spared {
				c.sweep.orphans = now.Add(c.grace + c.sweepEvery())
			}
			c.endSweep(now)
			return
		}
		var keys []string
		for _, key := range r.keys {
			id, base, ok := c.orphan(key, w)
			switch {
			case !ok:
			case w.holds(id, base):
				w.spared = true
			case c.overdue(key, w.at):
				keys = append(keys, key)
				delete(c.sweep.noted, key)
			}
		}
		c.removeAll(now, keys, func(now time.Time) { c.deleteOrphans(now, w, r.keys[len(r.keys)-1]) })
	})
}

// orphan reports whether a key is that of a segment, or of its index, which no journal lists, also in no kept checkpoint, and no owner will
// ever list; and whose it is.
func (c *core) orphan(key string, w *sweep) (id kfs.PartitionID, base int64, ok bool) {
	segment := key
	if name, ok := strings.CutSuffix(key, ".index"); ok {
		segment = name + ".kfs"
	}
	topic, name, number, base, ok := kfs.ParseSegmentKey(segment)
	id = kfs.PartitionID{Topic: topic, Partition: number}
	p, known := c.index.partitions[id]
	if !ok || !known || p.name != name {
		return id, base, false // of another journal, or nobody's
	}
	if e := p.settledAt(base); e != nil && e.Span.Base == base {
		return id, base, false
	}
	// Below the log start it may have been listed before: the lists of the kept checkpoints have no gaps.
	if base < p.start && (w.older.settled[id].Contains(base) || w.newest.settled[id].Contains(base)) {
		return id, base, false
	}
	if p.ended || base < p.settledPoint() {
		return id, base, true
	}
	// Where the log start lies behind all that was settled, segments go on from the first range that is left: none will begin before it but
	// one that is being made.
	next := p.next
	if len(p.refs) > 0 {
		next = p.refs[0].span.Base
	}
	return id, base, base < next && c.settling.pass == nil
}
