package journal

import (
	"strings"
	"time"

	"github.com/firn-io/firn/kfs"
)

// deleteOrphans lists segments, page after page, for those that no owner has entered in the journal and nobody will: below the settled point,
// or of an ended topic. One at the settled point may yet be adopted.
func (c *core) deleteOrphans(now time.Time, w *sweep, after string) {
	c.list(kfs.SegmentsPrefix, after, true, func(now time.Time, r result) {
		if len(r.keys) == 0 || c.closing {
			c.sweep.orphans = time.Time{}
			if len(c.sweep.noted) > 0 {
				c.sweep.orphans = now.Add(c.grace)
			}
			c.endSweep(now)
			return
		}
		var keys []string
		for _, key := range r.keys {
			if c.orphan(key, w) && c.overdue(key, w.at) {
				keys = append(keys, key)
				delete(c.sweep.noted, key)
			}
		}
		c.removeAll(now, keys, func(now time.Time) { c.deleteOrphans(now, w, r.keys[len(r.keys)-1]) })
	})
}

// orphan reports whether a key is that of a segment, or of its index, which no journal lists, also in no kept checkpoint, and no owner will
// ever list.
func (c *core) orphan(key string, w *sweep) bool {
	segment := key
	if name, ok := strings.CutSuffix(key, ".index"); ok {
		segment = name + ".kfs"
	}
	topic, name, number, base, ok := kfs.ParseSegmentKey(segment)
	id := kfs.PartitionID{Topic: topic, Partition: number}
	p, known := c.index.partitions[id]
	if !ok || !known || p.name != name {
		return false // of another journal, or nobody's
	}
	if e := p.settledAt(base); e != nil && e.Span.Base == base {
		return false
	}
	// Below the log start it may have been listed before: the lists of the kept checkpoints have no gaps.
	if base < p.start && (w.older.settled[id].Contains(base) || w.newest.settled[id].Contains(base)) {
		return false
	}
	return p.ended || base < p.settledPoint()
}
