package journal

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
)

// maxRuns bounds the released runs that a checkpoint names; beyond it the oldest are joined and wait for the later of their times.
const maxRuns = 64

// state is what the objects of a journal add up to. Only the core changes it.
type state struct {
	journal  uint32
	begun    bool   // false before object 0
	sequence uint64 // the last object
	crc      uint32 // its Object CRC
	epoch    int32
	writer   kfs.WriterID

	index    *index
	groups   map[groupKey]kfs.GroupOffset
	metadata *metadata.State // journal 0

	objects    []kfs.Object // live ones that no page covers, in order
	pages      []kfs.PageRef
	released   []kfs.Run // the objects before the first live one, in order
	goal       uint64    // objects below it have records that nobody needs any more
	checkpoint uint64    // the last object that a checkpoint covers; valid if hasCheckpoint
	covered    bool      // there is a checkpoint
}

// groupKey names one committed offset.
type groupKey struct {
	group, topic string
	partition    int32
}

func keyOf(o *kfs.GroupOffset) groupKey { return groupKey{o.Group, o.Topic, o.Partition} }

// newState is the state of an empty journal. It fills ix.
func newState(journal uint32, ix *index) *state {
	s := &state{journal: journal, index: ix, groups: map[groupKey]kfs.GroupOffset{}, metadata: new(metadata.State)}
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.partitions = map[kfs.PartitionID]*partition{}
	return s
}

// next is the sequence of the next object.
func (s *state) next() uint64 {
	if !s.begun {
		return 0
	}
	return s.sequence + 1
}

// behind is the number of objects that no checkpoint covers.
func (s *state) behind() uint64 {
	if !s.covered {
		return s.next()
	}
	return s.sequence - s.checkpoint
}

// load is the state that a checkpoint and its pages describe, read at a time of the store.
func load(journal uint32, ck *kfs.Checkpoint, pages []*kfs.Page, ix *index, at int64) (*state, error) {
	s, err := loadHead(journal, ck, ix)
	if err != nil {
		return nil, err
	}
	s.pages, s.objects, s.released = ck.Pages, ck.Objects, ck.Released
	if n := len(s.released); n > 0 {
		s.goal = s.released[n-1].Last + 1
	}
	for _, o := range ck.Groups {
		s.groups[keyOf(&o)] = o
	}
	ix.mu.Lock()
	defer ix.mu.Unlock()
	for i := range ck.Partitions {
		ix.partitions[ck.Partitions[i].ID()] = loadPartition(&ck.Partitions[i], at)
	}
	for _, page := range pages {
		if err := s.restore(page.Objects); err != nil {
			return nil, fmt.Errorf("%s: %w", kfs.PageKey(journal, page.First, page.Last), err)
		}
	}
	if err := s.restore(ck.Objects); err != nil {
		return nil, err
	}
	for i := range ck.Partitions {
		if err := ix.partitions[ck.Partitions[i].ID()].checkRestored(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// loadHead is what a checkpoint says of the journal's end and of the cluster's metadata.
func loadHead(journal uint32, ck *kfs.Checkpoint, ix *index) (*state, error) {
	s := newState(journal, ix)
	s.begun, s.sequence, s.crc, s.epoch, s.writer = true, ck.Sequence, ck.ObjectCRC, ck.Epoch, ck.Writer
	s.checkpoint, s.covered = ck.Sequence, true
	draft := s.metadata.Edit()
	for _, e := range ck.Metadata {
		if err := draft.Apply(e); err != nil {
			return nil, fmt.Errorf("metadata: %w: %w", kfs.ErrCorrupt, err)
		}
	}
	s.metadata = draft.State()
	return s, nil
}

func loadPartition(ps *kfs.PartitionState, at int64) *partition {
	p := &partition{
		id: ps.ID(), name: ps.Name, start: ps.LogStart, next: ps.Next, maxTimestamp: ps.MaxTimestamp, ended: ps.Ended,
		settled: ps.Settled, producers: make(map[int64]producer, len(ps.Producers)),
	}
	for _, known := range ps.Producers {
		pr := producer{epoch: known.ProducerEpoch, seen: at}
		for _, b := range known.Batches {
			pr.add(b)
		}
		p.producers[known.ProducerID] = pr
	}
	return p
}

func (s *state) restore(objects []kfs.Object) error {
	for i := range objects {
		o := &objects[i]
		for j := range o.Segments {
			p, ok := s.index.partitions[o.Segments[j].ID()]
			if !ok {
				return fmt.Errorf("object %d holds partition %s, which the checkpoint does not know: %w", o.Sequence, o.Segments[j].ID(), kfs.ErrCorrupt)
			}
			if err := p.restore(o.Sequence, o.Created, &o.Segments[j]); err != nil {
				return err
			}
		}
	}
	return nil
}

// follows checks that an object continues the journal.
func (s *state) follows(m *kfs.Manifest) error {
	if s.begun {
		if err := m.Follows(s.journal, s.sequence, s.crc, s.epoch); err != nil {
			return err
		}
		if m.Epoch == s.epoch && m.Writer != s.writer {
			return fmt.Errorf("object %d has epoch %d of writer %s, but is by %s: %w", m.Sequence, m.Epoch, s.writer, m.Writer, kfs.ErrCorrupt)
		}
		return nil
	}
	if m.Journal != s.journal || m.Sequence != 0 {
		return fmt.Errorf("object %d of journal %d stands where journal %d begins: %w", m.Sequence, m.Journal, s.journal, kfs.ErrCorrupt)
	}
	return nil
}

// apply adds an object that was written or read at a time of the store. An error means that the journal is damaged; the state is then
// of no more use.
func (s *state) apply(m *kfs.Manifest, crc uint32, size, at int64) error {
	if err := s.follows(m); err != nil {
		return err
	}
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	for i := range m.Segments {
		if err := s.applySegment(m, &m.Segments[i], at); err != nil {
			return err
		}
	}
	draft := s.metadata.Edit()
	for _, e := range m.Entries {
		if err := s.applyEntry(e, draft); err != nil {
			return fmt.Errorf("object %d: %w: %w", m.Sequence, kfs.ErrCorrupt, err)
		}
	}
	s.metadata = draft.State()
	s.begun, s.sequence, s.crc, s.epoch, s.writer = true, m.Sequence, crc, m.Epoch, m.Writer
	s.objects = append(s.objects, kfs.Object{Sequence: m.Sequence, CRC: crc, Size: size, Created: m.Created, Segments: withoutProducers(m.Segments)})
	return nil
}

func withoutProducers(segments []kfs.Segment) []kfs.Segment {
	bare := slices.Clone(segments)
	for i := range bare {
		bare[i].Producers = nil
	}
	return bare
}

func (s *state) applySegment(m *kfs.Manifest, seg *kfs.Segment, at int64) error {
	p, ok := s.index.partitions[seg.ID()]
	if !ok {
		p = &partition{id: seg.ID(), name: seg.Name, maxTimestamp: -1, producers: map[int64]producer{}}
		s.index.partitions[p.id] = p
	}
	switch {
	case seg.Span.Base != p.next:
		return fmt.Errorf("object %d holds %s/%d %s, but the next offset is %d: %w", m.Sequence, seg.Name, seg.Partition, seg.Span, p.next, kfs.ErrCorrupt)
	case p.ended:
		return fmt.Errorf("object %d holds records of %s/%d, which has ended: %w", m.Sequence, seg.Name, seg.Partition, kfs.ErrCorrupt)
	}
	p.add(m.Sequence, m.Created, seg)
	p.next = seg.Span.Next
	p.maxTimestamp = max(p.maxTimestamp, seg.MaxTimestamp)
	for _, b := range seg.Producers {
		pr, known := p.producers[b.ProducerID]
		if !known {
			pr.epoch = b.ProducerEpoch
		}
		pr.seen = at
		pr.add(b)
		p.producers[b.ProducerID] = pr
	}
	return nil
}

func (s *state) applyEntry(e kfs.Entry, draft *metadata.Draft) error {
	switch e := e.(type) {
	case kfs.Trim:
		p, err := s.checkTrim(e, nil)
		if err != nil {
			return err
		}
		s.goal = max(s.goal, p.trim(e.LogStart))
	case kfs.Settled:
		p, err := s.checkSettled(e)
		if err != nil {
			return err
		}
		s.goal = max(s.goal, p.settle(e.Segments))
	case kfs.Ended:
		for _, p := range s.index.partitions {
			if p.id.Topic == e.Topic {
				p.ended = true
				s.goal = max(s.goal, p.trim(p.next))
				clear(p.producers)
			}
		}
	case kfs.GroupOffsets:
		for _, o := range e.Offsets {
			if o.Offset < 0 {
				delete(s.groups, keyOf(&o))
			} else {
				s.groups[keyOf(&o)] = o
			}
		}
	default:
		return draft.Apply(e)
	}
	return nil
}

// checkTrim judges a trim. next, if not nil, gives next offsets that differ from the committed ones.
func (s *state) checkTrim(e kfs.Trim, next func(kfs.PartitionID) (int64, bool)) (*partition, error) {
	id := kfs.PartitionID{Topic: e.Topic, Partition: e.Partition}
	p, ok := s.index.partitions[id]
	if !ok {
		return nil, fmt.Errorf("trim of %s: %w", id, ErrUnknownPartition)
	}
	end := p.next
	if next != nil {
		if n, ok := next(id); ok {
			end = n
		}
	}
	if e.LogStart > end {
		return nil, fmt.Errorf("trim of %s to %d, the next offset is %d: %w", id, e.LogStart, end, ErrOffsetOutOfRange)
	}
	return p, nil
}

// checkSettled judges settled segments: they go on from those that are there, or from where the log starts if that is behind them.
func (s *state) checkSettled(e kfs.Settled) (*partition, error) {
	id := kfs.PartitionID{Topic: e.Topic, Partition: e.Partition}
	p, ok := s.index.partitions[id]
	if !ok {
		return nil, fmt.Errorf("settled segments of %s: %w", id, ErrUnknownPartition)
	}
	base, next := e.Segments[0].Span.Base, e.Segments[len(e.Segments)-1].Span.Next
	switch {
	case next > p.next:
		return nil, fmt.Errorf("segments of %s up to %d, the next offset is %d: %w", id, next, p.next, ErrOffsetOutOfRange)
	case base < p.settledPoint():
		return nil, fmt.Errorf("segments of %s from %d, those before end at %d: %w", id, base, p.settledPoint(), ErrOffsetOutOfRange)
	case base > max(p.settledPoint(), p.start):
		return nil, fmt.Errorf("segments of %s from %d leave a gap behind %d: %w", id, base, max(p.settledPoint(), p.start), ErrOffsetOutOfRange)
	}
	return p, nil
}

// live is the sequence of the first object of which a range is neither settled nor trimmed; next() if there is none.
func (s *state) live() uint64 {
	first := s.next()
	for _, p := range s.index.partitions {
		if len(p.refs) > 0 {
			first = min(first, p.refs[0].sequence)
		}
	}
	return first
}

// release moves the objects before the first live one into the released runs.
func (s *state) release() {
	live := s.live()
	if live == 0 {
		return
	}
	first := uint64(0)
	if n := len(s.released); n > 0 {
		first = s.released[n-1].Last + 1
	}
	if live > first {
		if n := len(s.released); n > 0 && s.released[n-1].Since == 0 {
			s.released[n-1].Last = live - 1
		} else {
			s.released = append(s.released, kfs.Run{First: first, Last: live - 1})
		}
	}
	for len(s.released) > maxRuns {
		joined := kfs.Run{First: s.released[0].First, Last: s.released[1].Last, Since: s.released[1].Since}
		s.released = append([]kfs.Run{joined}, s.released[2:]...)
	}
	s.objects = slices.DeleteFunc(s.objects, func(o kfs.Object) bool { return o.Sequence < live })
	s.pages = slices.DeleteFunc(s.pages, func(p kfs.PageRef) bool { return p.Last < live })
}

// forgetProducers drops producers that were last seen before a time of the store.
func (s *state) forgetProducers(before int64) {
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	for _, p := range s.index.partitions {
		maps.DeleteFunc(p.producers, func(_ int64, pr producer) bool { return pr.seen < before })
	}
}

// snapshot is the state as a checkpoint, with the first paged of its objects left to pages.
func (s *state) snapshot(created int64, pages []kfs.PageRef, paged int) *kfs.Checkpoint {
	ck := &kfs.Checkpoint{
		Journal: s.journal, Sequence: s.sequence, ObjectCRC: s.crc, Created: created, Epoch: s.epoch, Writer: s.writer,
		Metadata: s.metadata.Entries(), Groups: s.groupOffsets(), Pages: append(slices.Clone(s.pages), pages...),
		Objects: slices.Clone(s.objects[paged:]), Released: slices.Clone(s.released),
	}
	for _, p := range s.index.partitions {
		ck.Partitions = append(ck.Partitions, p.snapshot())
	}
	slices.SortFunc(ck.Partitions, func(a, b kfs.PartitionState) int { return compareIDs(a.ID(), b.ID()) })
	return ck
}

func (p *partition) snapshot() kfs.PartitionState {
	ps := kfs.PartitionState{
		Topic: p.id.Topic, Name: p.name, Partition: p.id.Partition, LogStart: p.start, Next: p.next, MaxTimestamp: p.maxTimestamp,
		Ended: p.ended, Settled: p.settled,
	}
	for id, pr := range p.producers {
		ps.Producers = append(ps.Producers, kfs.ProducerState{ProducerID: id, ProducerEpoch: pr.epoch, Batches: slices.Clone(pr.batches[:pr.count])})
	}
	slices.SortFunc(ps.Producers, func(a, b kfs.ProducerState) int { return cmp.Compare(a.ProducerID, b.ProducerID) })
	return ps
}

// groupOffsets are all committed offsets, in order.
func (s *state) groupOffsets() []kfs.GroupOffset {
	return slices.SortedFunc(maps.Values(s.groups), compareOffsets)
}

func compareOffsets(a, b kfs.GroupOffset) int {
	return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}
