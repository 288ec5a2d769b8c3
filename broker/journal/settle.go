package journal

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

const (
	// settleEvery is how often a journal looks for what is due to be settled.
	settleEvery = min(15*time.Second, limit)
	// maxParts bounds the partitions of one pass.
	maxParts = 256
	// maxSegment bounds a settled segment that is read back.
	maxSegment = 1 << 31
)

// settling is the moving of records from journal objects into segments, off the path of acknowledgement. It goes in passes: ranges of some
// partitions are read, segments made of them, put if absent and read back with their indexes, and then entries say so. Until its entry is
// there a segment counts for nothing, so a pass may end anywhere.
type settling struct {
	pass    *pass                    // nil between passes
	look    time.Time                // when to look for what is due; zero while there is nothing to settle
	from    kfs.PartitionID          // where the next pass begins to look, so that all partitions get their turn
	stopped map[kfs.PartitionID]bool // partitions whose segments are not what they should be: for a person to look at
}

// pass is one pass.
type pass struct {
	parts []*part
	left  int // entries that have no answer yet
}

// part is the range of one partition that a pass settles.
type part struct {
	id      kfs.PartitionID
	name    string
	refs    []ref
	created int64 // the newest source object's
	exact   bool  // the range is that of a segment that is there

	// Set by build:
	object, index []byte // until they are in place; nil if they are given up
	segment       kfs.SettledSegment
	err           error // the journal's records are damaged

	ready bool // segment and index are in place
}

func newPart(p *partition, n int) *part {
	s := &part{id: p.id, name: p.name, refs: slices.Clone(p.refs[:n])}
	for i := range s.refs {
		s.created = max(s.created, s.refs[i].created)
	}
	return s
}

func (s *part) bytes() int64 {
	last := &s.refs[len(s.refs)-1]
	return last.before + last.length - s.refs[0].before
}

func (s *part) span() kfs.Span {
	return kfs.Span{Base: s.refs[0].span.Base, Next: s.refs[len(s.refs)-1].span.Next}
}

// trySettle begins a pass when something is due.
func (c *core) trySettle(now time.Time) {
	s := &c.settling
	if !c.upkeep.enabled || c.closing || s.pass != nil || s.look.IsZero() || now.Before(s.look) {
		return
	}
	p, more := c.planPass(now)
	switch {
	case p != nil:
		s.pass = p
		c.build(p, p.parts, func(now time.Time) { c.writeSegment(now, p, 0) })
	case more:
		s.look = now.Add(settleEvery)
	default:
		s.look = time.Time{}
	}
}

// toSettle notes that there is something that will have to be settled.
func (c *core) toSettle(now time.Time) {
	if c.settling.look.IsZero() {
		c.settling.look = now.Add(settleEvery)
	}
}

// planPass chooses what is settled next: ranges of whole segments of journal objects, of partitions that lie beside each other in the
// objects. more says that others will be due later.
func (c *core) planPass(now time.Time) (p *pass, more bool) {
	ids := make([]kfs.PartitionID, 0, len(c.index.partitions))
	for id, of := range c.index.partitions {
		if !of.ended && len(of.refs) > 0 && !c.settling.stopped[id] {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, compareIDs)
	first, _ := slices.BinarySearchFunc(ids, c.settling.from, compareIDs)
	room := c.settleMemory
	for i := range ids {
		of := c.index.partitions[ids[(first+i)%len(ids)]]
		n := c.due(now, of)
		if n == 0 {
			continue
		}
		next := newPart(of, n)
		if p != nil && (next.bytes() > room || len(p.parts) == maxParts) {
			c.settling.from = next.id
			break
		}
		if p == nil {
			p = new(pass)
		}
		p.parts = append(p.parts, next)
		room -= next.bytes()
	}
	return p, len(ids) > 0
}

// due is how many of a partition's refs, from the first on, are to be settled now.
func (c *core) due(now time.Time, p *partition) int {
	last := &p.refs[len(p.refs)-1]
	large := last.before+last.length-p.refs[0].before >= c.settleBytes
	old := now.UnixMilli()-p.refs[0].created >= c.settleAge.Milliseconds()
	if !large && !old {
		return 0
	}
	n := 1
	for n < len(p.refs) && p.refs[n].before+p.refs[n].length-p.refs[0].before <= c.settleBytes {
		n++
	}
	return n
}

// build makes the segments of parts, and goes on with those that could be made.
func (c *core) build(p *pass, parts []*part, then func(time.Time)) {
	c.emit(buildOp{c.op(func(now time.Time, r result) {
		if r.outcome == unknown {
			c.log(slog.LevelWarn, "what is to be settled cannot be read, trying again later", "err", r.err)
			c.endPass(now, settleEvery)
			return
		}
		for _, s := range parts {
			if s.err != nil {
				c.stopSettling(s, s.err)
			}
		}
		then(now)
	}), parts})
}

// stopSettling gives a partition up: what is there must not be overwritten, and what is not sound must not be copied.
func (c *core) stopSettling(s *part, err error) {
	c.log(slog.LevelError, "the partition is not settled any more; its records stay where they are", "topic", s.name, "partition", s.id.Partition, "err", err)
	if c.settling.stopped == nil {
		c.settling.stopped = map[kfs.PartitionID]bool{}
	}
	c.settling.stopped[s.id] = true
	s.drop()
}

// drop gives the memory back.
func (s *part) drop() { s.object, s.index = nil, nil }

// writeSegment puts the segments of a pass, from the i-th on.
func (c *core) writeSegment(now time.Time, p *pass, i int) {
	for i < len(p.parts) && p.parts[i].object == nil {
		i++
	}
	if i == len(p.parts) {
		c.appendSettled(now, p)
		return
	}
	s := p.parts[i]
	c.store(s.segment.Key, s.object, func(now time.Time, there []byte) {
		if !bytes.Equal(there, s.object) {
			c.adoptSegment(now, p, i, there)
			return
		}
		name := kfs.IndexKey(s.id.Topic, s.name, s.id.Partition, s.segment.Span.Base)
		c.store(name, s.index, func(now time.Time, there []byte) {
			if s.ready = bytes.Equal(there, s.index); !s.ready {
				c.stopSettling(s, fmt.Errorf("%s holds %d bytes that are not those of its segment: %w", name, len(there), kfs.ErrCorrupt))
			}
			s.drop()
			c.writeSegment(now, p, i+1)
		})
	})
}

// store puts an object if there is none, and gives what is there then; nothing if it is gone again.
func (c *core) store(key string, body []byte, then func(now time.Time, there []byte)) {
	var try func(tries int)
	try = func(tries int) {
		c.put(key, body, func(now time.Time, r result) {
			if r.outcome == unknown {
				c.log(slog.LevelWarn, "put has an unknown outcome, trying again", "key", key, "err", r.err)
				c.after(now, tries, func(time.Time) { try(tries + 1) })
				return
			}
			c.readLarge(key, blob.All, maxSegment, int64(len(body)), func(now time.Time, r result) { then(now, r.body) })
		})
	}
	try(0)
}

// adoptSegment takes a segment of another range that is at the settled point already, by an owner that did not come to say so: if the journal
// holds the same.
func (c *core) adoptSegment(now time.Time, p *pass, i int, there []byte) {
	s := p.parts[i]
	key := s.segment.Key
	h, err := kfs.OpenSegment(there)
	if err != nil {
		c.stopSettling(s, fmt.Errorf("%s: %w", key, err))
		c.writeSegment(now, p, i+1)
		return
	}
	of, n := c.index.partitions[s.id], 0
	for n < len(of.refs) && of.refs[n].span.Next <= h.Span.Next {
		n++
	}
	if of.ended || len(of.refs) == 0 || of.refs[0].span.Base != s.segment.Span.Base { // trimmed meanwhile: the next pass begins behind it
		s.drop()
		c.writeSegment(now, p, i+1)
		return
	}
	if s.exact || n == 0 || of.refs[n-1].span.Next != h.Span.Next {
		c.stopSettling(s, fmt.Errorf("%s holds %s, and not what the journal has: %w", key, h.Span, kfs.ErrCorrupt))
		c.writeSegment(now, p, i+1)
		return
	}
	same := newPart(of, n)
	same.exact = true
	p.parts[i] = same
	c.build(p, []*part{same}, func(now time.Time) { c.writeSegment(now, p, i) })
}

// appendSettled says in the journal what was settled.
func (c *core) appendSettled(now time.Time, p *pass) {
	var requests []*request
	for _, s := range p.parts {
		if !s.ready {
			continue
		}
		p.left++
		requests = append(requests, &request{
			entries: []kfs.Entry{kfs.Settled{Topic: s.id.Topic, Partition: s.id.Partition, Segments: []kfs.SettledSegment{s.segment}}},
			bytes:   entryBytes,
			then: func(results []Result) {
				if err := results[0].Err; err != nil && !errors.Is(err, ErrNotOwner) { // the segment stays, and is adopted if it must be
					c.log(slog.LevelWarn, "a settled segment was not entered", "key", s.segment.Key, "err", err)
				}
				if p.left--; p.left == 0 {
					c.endPass(c.now, 0)
				}
			},
		})
	}
	if len(requests) == 0 {
		c.endPass(now, settleEvery)
		return
	}
	c.take(now, requests)
}

// endPass ends a pass, and looks again after a while.
func (c *core) endPass(now time.Time, wait time.Duration) {
	c.settling.pass = nil
	c.settling.look = now.Add(wait)
	c.toSweep(now)
	c.emit(passEnded{})
}

// rangeRead gives n bytes of a journal object from off on.
type rangeRead func(sequence uint64, off, n int64) ([]byte, error)

// nearby is how many bytes that are not wanted are read along rather than asked for apart.
const nearby = 256 << 10

// build reads the ranges of parts, each object once, and makes segments of them. An error is one of reading, and nothing was made; what is
// wrong with the records of a part is its own.
func build(parts []*part, read rangeRead, each func(func() error), wait func() error) error {
	type piece struct {
		part *part
		ref  *ref
		to   []byte
	}
	bySequence := map[uint64][]piece{} // of journal objects
	for _, s := range parts {
		s.object, s.index, s.err = make([]byte, kfs.SegmentHeaderSize+s.bytes()+kfs.SegmentFooterSize), nil, nil
		for i := range s.refs {
			r := &s.refs[i]
			at := kfs.SegmentHeaderSize + r.before - s.refs[0].before
			bySequence[r.sequence] = append(bySequence[r.sequence], piece{s, r, s.object[at : at+r.length]})
		}
	}
	for _, sequence := range slices.Sorted(maps.Keys(bySequence)) {
		pieces := bySequence[sequence]
		slices.SortFunc(pieces, func(a, b piece) int { return int(a.ref.position - b.ref.position) })
		for len(pieces) > 0 {
			n, end := 1, pieces[0].ref.position+pieces[0].ref.length
			for n < len(pieces) && pieces[n].ref.position-end <= nearby {
				end = pieces[n].ref.position + pieces[n].ref.length
				n++
			}
			some := pieces[:n]
			pieces = pieces[n:]
			each(func() error {
				first := some[0].ref.position
				b, err := read(sequence, first, end-first)
				if err != nil {
					return err
				}
				for _, of := range some {
					copy(of.to, b[of.ref.position-first:])
				}
				return nil
			})
		}
	}
	if err := wait(); err != nil {
		return err
	}
	for _, s := range parts {
		if s.err = s.finish(); s.err != nil {
			s.object, s.index = nil, nil
		}
	}
	return nil
}

// finish checks what was read, and makes the segment and its index of it.
func (s *part) finish() error {
	maxTimestamp := int64(-1)
	for i := range s.refs {
		r := &s.refs[i]
		at := kfs.SegmentHeaderSize + r.before - s.refs[0].before
		seg := kfs.Segment{Name: s.name, Partition: s.id.Partition, Span: r.span, Position: r.position, Length: r.length, CRC: r.crc}
		if err := seg.Check(s.object[at : at+r.length]); err != nil {
			return fmt.Errorf("object %d: %w", r.sequence, err)
		}
		maxTimestamp = max(maxTimestamp, r.maxTimestamp)
	}
	h, index, err := kfs.FinishSegment(s.created, s.object)
	if err != nil {
		return fmt.Errorf("%w: %w", kfs.ErrCorrupt, err)
	}
	if h.Span != s.span() {
		return fmt.Errorf("objects hold %s where %s was expected: %w", h.Span, s.span(), kfs.ErrCorrupt)
	}
	s.index = index
	s.segment = kfs.SettledSegment{
		Span: h.Span, Length: int64(len(s.object)), CRC: kfs.Checksum(s.object[:len(s.object)-kfs.SegmentFooterSize]), MaxTimestamp: maxTimestamp,
		Key: kfs.SegmentKey(s.id.Topic, s.name, s.id.Partition, h.Span.Base),
	}
	return nil
}
