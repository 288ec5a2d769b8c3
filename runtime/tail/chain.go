package tail

import (
	"fmt"
	"maps"

	"github.com/firn-io/firn/kfs"
)

// chain is what a journal has said up to an object: the object's checksum and epoch, and how far each partition has come. The next
// object is held against it. It does no I/O.
type chain struct {
	journal  uint32
	next     uint64 // the sequence of the object that comes next
	crc      uint32 // Object CRC of the object before, if anchored
	epoch    int32  // owner epoch of the object before
	anchored bool   // whether crc is known; when reading begins in the middle it is not
	expect   uint32 // Object CRC of the next object as the index knows it, if indexed
	indexed  bool

	checkpoint *kfs.Checkpoint // what the reading began from, until its sequence is passed
	partitions map[kfs.PartitionID]*partition
	ended      map[kfs.TopicID]bool // topics of which there is nothing more
}

// partition is what the chain knows of one partition.
type partition struct {
	name     string
	next     int64 // one past the last offset; unknown is -1
	logStart int64
	fault    error // what ended the reading of this partition
}

// newChain begins after the checkpoint, or at object 0 if there is none.
func newChain(journal uint32, c *kfs.Checkpoint) *chain {
	h := &chain{journal: journal, anchored: true, partitions: map[kfs.PartitionID]*partition{}, ended: map[kfs.TopicID]bool{}}
	if c == nil {
		return h
	}
	h.next, h.crc, h.epoch = c.Sequence+1, c.ObjectCRC, c.Epoch
	for i := range c.Partitions {
		p := &c.Partitions[i]
		h.partitions[p.ID()] = &partition{name: p.Name, next: p.Next, logStart: p.LogStart}
		if p.Ended {
			h.ended[p.Topic] = true
		}
	}
	return h
}

// backTo moves the beginning to an earlier object, which the checkpoint's index knows. What lay between is not known yet; what the
// checkpoint says is compared when its sequence is reached.
func (h *chain) backTo(c *kfs.Checkpoint, o kfs.Object) {
	h.next, h.expect, h.indexed = o.Sequence, o.CRC, true
	h.anchored, h.epoch, h.checkpoint = false, 0, c
	for _, p := range h.partitions {
		p.next, p.logStart = -1, 0
	}
}

// follow checks the object that comes next and moves on behind it. An error means that the journal cannot be read any further, and
// nothing has moved. faults names the segments, by their index, that must not be read: the rest of the object is sound.
func (h *chain) follow(m *kfs.Manifest, crc uint32) (faults map[int]error, err error) {
	key := kfs.ObjectKey(h.journal, h.next)
	if err := h.check(m, crc); err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	for i := range m.Segments {
		if err := h.followSegment(key, &m.Segments[i]); err != nil {
			if faults == nil {
				faults = map[int]error{}
			}
			faults[i] = err
		}
	}
	for _, e := range m.Entries {
		switch e := e.(type) {
		case kfs.Trim:
			p := h.partition(kfs.PartitionID{Topic: e.Topic, Partition: e.Partition}, "")
			p.logStart = max(p.logStart, e.LogStart)
		case kfs.Ended:
			h.ended[e.Topic] = true
			maps.DeleteFunc(h.partitions, func(id kfs.PartitionID, _ *partition) bool { return id.Topic == e.Topic })
		}
	}
	h.next, h.crc, h.epoch, h.anchored, h.indexed = h.next+1, crc, m.Epoch, true, false
	if err := h.compare(m.Sequence); err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return faults, nil
}

// end is one past the last offset of a partition, as Config.AtEnd gives it.
func (h *chain) end(id kfs.PartitionID) int64 {
	p := h.partitions[id]
	switch {
	case h.ended[id.Topic] || h.checkpoint != nil || p != nil && p.fault != nil:
		return -1
	case p == nil:
		return 0
	}
	return p.next
}

func (h *chain) check(m *kfs.Manifest, crc uint32) error {
	switch {
	case m.Journal != h.journal || m.Sequence != h.next:
		return corrupt("it says that it is object %d of journal %d", m.Sequence, m.Journal)
	case h.indexed && crc != h.expect:
		return corrupt("its CRC is %08x, the journal's index says %08x", crc, h.expect)
	case h.next > 0 && h.anchored:
		return m.Follows(h.journal, h.next-1, h.crc, h.epoch)
	}
	return nil
}

// followSegment checks that a segment continues its partition.
func (h *chain) followSegment(key string, s *kfs.Segment) error {
	p := h.partition(s.ID(), s.Name)
	where := fmt.Sprintf("%s: %s/%d %s", key, s.Name, s.Partition, s.Span)
	switch {
	case p.fault != nil:
		return p.fault
	case p.name != s.Name:
		p.fault = fmt.Errorf("%s: %w", where, corrupt("topic id %s belongs to topic %q", s.Topic, p.name))
	case p.next < 0, s.Span.Base == p.next:
	case s.Span.Base < p.next:
		p.fault = fmt.Errorf("%s: %w", where, corrupt("overlaps what the journal held before, up to %d", p.next))
	case p.logStart < s.Span.Base:
		p.fault = fmt.Errorf("%s: %w", where, corrupt("begins behind a gap: the journal ended at %d before, and the log begins at %d", p.next, p.logStart))
	}
	if p.fault == nil {
		p.next = s.Span.Next
	}
	return p.fault
}

// partition finds what is known, or begins it: at offset 0, unless the reading began before the checkpoint that knows better.
func (h *chain) partition(id kfs.PartitionID, name string) *partition {
	p := h.partitions[id]
	if p == nil {
		p = &partition{name: name}
		if h.checkpoint != nil {
			p.next = -1
		}
		h.partitions[id] = p
	}
	if p.name == "" {
		p.name = name
	}
	return p
}

// compare holds what was read against the checkpoint when its sequence is reached.
func (h *chain) compare(sequence uint64) error {
	c := h.checkpoint
	if c == nil || c.Sequence != sequence {
		return nil
	}
	h.checkpoint = nil
	if h.crc != c.ObjectCRC || h.epoch != c.Epoch {
		return corrupt("object has CRC %08x and epoch %d, the checkpoint after it says %08x and %d", h.crc, h.epoch, c.ObjectCRC, c.Epoch)
	}
	for i := range c.Partitions {
		s := &c.Partitions[i]
		p := h.partition(s.ID(), s.Name)
		switch {
		case p.next < 0:
			p.next = s.Next
		case p.next != s.Next && p.fault == nil:
			p.fault = fmt.Errorf("%s: %w", kfs.CheckpointKey(h.journal, sequence),
				corrupt("%s/%d ends at %d, but the objects up to there end at %d", s.Name, s.Partition, s.Next, p.next))
		}
		p.logStart = max(p.logStart, s.LogStart)
	}
	return nil
}

// corrupt makes an error that is kfs.ErrCorrupt.
func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %w", kfs.ErrCorrupt, fmt.Errorf(format, args...))
}
