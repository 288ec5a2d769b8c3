package journal

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"sort"
	"sync"

	"github.com/firn-io/firn/kfs"
)

// index is where readers look up what is committed. The core writes it, under mu; everybody else reads it, under mu.
type index struct {
	mu         sync.RWMutex
	partitions map[kfs.PartitionID]*partition
}

// partition is what a journal knows of one partition.
type partition struct {
	id   kfs.PartitionID
	name string

	// Guarded by index.mu.
	start        int64 // log start
	next         int64 // the next offset
	maxTimestamp int64 // Unix milliseconds, -1 without records
	ended        bool
	settled      []kfs.SettledSegment // contiguous
	refs         []ref                // contiguous, up to next; none that is settled or trimmed altogether
	producers    map[int64]producer
}

// ref is a segment of a live journal object.
type ref struct {
	sequence       uint64
	span           kfs.Span
	position       int64
	length         int64
	before         int64 // bytes of all refs before it, ever: differences give the bytes between two
	created        int64 // when its object was written, by the writer's clock
	firstTimestamp int64
	maxTimestamp   int64
	crc            uint32
}

func compareIDs(a, b kfs.PartitionID) int {
	if c := bytes.Compare(a.Topic[:], b.Topic[:]); c != 0 {
		return c
	}
	return cmp.Compare(a.Partition, b.Partition)
}

// settledPoint is the offset from which on records are read from the journal.
func (p *partition) settledPoint() int64 {
	if n := len(p.settled); n > 0 {
		return p.settled[n-1].Span.Next
	}
	return 0
}

// add appends the ref of a segment. The caller has checked that it begins at next.
func (p *partition) add(sequence uint64, created int64, s *kfs.Segment) {
	r := ref{
		sequence: sequence, created: created, span: s.Span, position: s.Position, length: s.Length, crc: s.CRC,
		firstTimestamp: s.FirstTimestamp, maxTimestamp: s.MaxTimestamp,
	}
	if n := len(p.refs); n > 0 {
		r.before = p.refs[n-1].before + p.refs[n-1].length
	}
	p.refs = append(p.refs, r)
}

// trim moves the log start and forgets refs that nobody reads any more.
// It gives the sequence behind the last of them, 0 if there are none.
func (p *partition) trim(start int64) uint64 {
	p.start = max(p.start, start)
	return p.dropRefs()
}

// settle notes that ranges lie in segments now. Segments before a gap lie before the log start: nobody reads them any more.
// It gives what trim gives.
func (p *partition) settle(segments []kfs.SettledSegment) uint64 {
	if segments[0].Span.Base > p.settledPoint() {
		p.settled = nil
	}
	p.settled = append(slices.Clip(p.settled), segments...)
	return p.dropRefs()
}

func (p *partition) dropRefs() (behind uint64) {
	live := max(p.start, p.settledPoint())
	n := 0
	for n < len(p.refs) && p.refs[n].span.Next <= live {
		behind = p.refs[n].sequence + 1
		n++
	}
	p.refs = p.refs[n:]
	return behind
}

// settledAt is the settled segment that contains offset; nil if none does.
func (p *partition) settledAt(offset int64) *kfs.SettledSegment {
	i := sort.Search(len(p.settled), func(i int) bool { return p.settled[i].Span.Next > offset })
	if i == len(p.settled) || !p.settled[i].Span.Contains(offset) {
		return nil
	}
	return &p.settled[i]
}

// find is the index of the ref that contains offset, or of the first behind it.
func (p *partition) find(offset int64) int {
	return sort.Search(len(p.refs), func(i int) bool { return p.refs[i].span.Next > offset })
}

// restore fills in the refs of a partition that came from a checkpoint, given the segments of live objects in order.
func (p *partition) restore(sequence uint64, created int64, s *kfs.Segment) error {
	live := max(p.start, p.settledPoint())
	if s.Span.Next <= live {
		return nil
	}
	if n := len(p.refs); n > 0 && p.refs[n-1].span.Next != s.Span.Base {
		return fmt.Errorf("%s/%d: object %d holds %s behind offset %d: %w", p.name, p.id.Partition, sequence, s.Span, p.refs[n-1].span.Next, kfs.ErrCorrupt)
	}
	p.add(sequence, created, s)
	return nil
}

// checkRestored checks that the refs lead from what is settled or trimmed to the next offset.
func (p *partition) checkRestored() error {
	live := max(p.start, p.settledPoint())
	first, last := live, live
	if n := len(p.refs); n > 0 {
		first, last = p.refs[0].span.Base, p.refs[n-1].span.Next
	}
	if first > live || last != p.next {
		return fmt.Errorf("%s/%d: live objects hold [%d, %d), wanted is [%d, %d): %w", p.name, p.id.Partition, first, last, live, p.next, kfs.ErrCorrupt)
	}
	return nil
}
