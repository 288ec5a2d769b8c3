package kfs

import (
	"errors"
	"fmt"
	"slices"
)

// Limits of the format. They are far above what a broker writes; a reader refuses what lies beyond them.
const (
	MaxSegments   = 1 << 16 // segments of an object
	MaxEntries    = 1 << 20 // entries of an object or a checkpoint
	MaxPartitions = 1 << 16 // partitions of a topic
	MaxString     = 1<<15 - 1

	groupSlots      = 64
	producerBatches = 5 // that a partition remembers of a producer
)

// Validate checks the manifest by itself: the same check runs when an object is sealed and when it is opened. Timestamps of records
// are not judged: they are what producers wrote.
func (m *Manifest) Validate() error {
	switch {
	case m.Journal >= MaxJournals:
		return fmt.Errorf("journal %d is not below %d", m.Journal, MaxJournals)
	case m.Created < 0 || m.Epoch < 0:
		return fmt.Errorf("created %d or epoch %d is negative", m.Created, m.Epoch)
	case m.Writer == WriterID{}:
		return errors.New("writer id is zero")
	case m.Sequence == 0 && m.Previous != 0:
		return fmt.Errorf("object 0 names a predecessor with CRC %08x", m.Previous)
	case len(m.Segments) > MaxSegments:
		return fmt.Errorf("%d segments are more than %d", len(m.Segments), MaxSegments)
	case len(m.Entries) > MaxEntries:
		return fmt.Errorf("%d entries are more than %d", len(m.Entries), MaxEntries)
	}
	if err := validateSegments(m.Segments, HeaderSize, 0); err != nil {
		return err
	}
	for i, entry := range m.Entries {
		if err := ValidateEntry(entry); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		if m.Journal != 0 && ofMetadata(entry) {
			return fmt.Errorf("entry %d: journal %d carries %T, which belongs to journal 0", i, m.Journal, entry)
		}
	}
	return nil
}

// end is where the segments end and the manifest begins.
func (m *Manifest) end() int64 {
	if n := len(m.Segments); n > 0 {
		return m.Segments[n-1].Position + m.Segments[n-1].Length
	}
	return HeaderSize
}

// validateSegments checks the segments of one object: they tile it from start on, and no partition is there twice. They end at or
// before end, if that is known.
func validateSegments(segments []Segment, start, end int64) error {
	for i := range segments {
		s := &segments[i]
		if err := s.Validate(); err != nil {
			return fmt.Errorf("segment %d: %w", i, err)
		}
		if s.Position != start {
			return fmt.Errorf("segment %d: position %d is not where the one before ends, %d", i, s.Position, start)
		}
		start += s.Length
		if start < 0 || end > 0 && start > end {
			return fmt.Errorf("segment %d: length %d goes beyond its object", i, s.Length)
		}
	}
	if id, twice := repeated(segments); twice {
		return fmt.Errorf("partition %s has two segments", id)
	}
	return nil
}

// repeated finds a partition that has two segments. Segments in order of partition, as a writer keeps them, cost nothing here.
func repeated(segments []Segment) (PartitionID, bool) {
	sorted := true
	for i := 1; i < len(segments) && sorted; i++ {
		sorted = segments[i-1].ID().compare(segments[i].ID()) < 0
	}
	if sorted {
		return PartitionID{}, false
	}
	seen := make(map[PartitionID]struct{}, len(segments))
	for i := range segments {
		id := segments[i].ID()
		if _, ok := seen[id]; ok {
			return id, true
		}
		seen[id] = struct{}{}
	}
	return PartitionID{}, false
}

// Validate checks the segment by itself.
func (s *Segment) Validate() error {
	if err := validatePartition(s.Topic, s.Name, s.Partition); err != nil {
		return err
	}
	switch {
	case s.Span.Base < 0 || s.Span.Empty():
		return fmt.Errorf("%s/%d: span %s is empty or negative", s.Name, s.Partition, s.Span)
	case s.Records < 1 || int64(s.Records) > s.Span.Len():
		return fmt.Errorf("%s/%d: %d records in span %s", s.Name, s.Partition, s.Records, s.Span)
	case s.Position < HeaderSize || s.Length <= 0:
		return fmt.Errorf("%s/%d: position %d, length %d", s.Name, s.Partition, s.Position, s.Length)
	}
	next := s.Span.Base
	for i := range s.Producers {
		b := &s.Producers[i]
		if err := b.validate(); err != nil {
			return fmt.Errorf("%s/%d: %w", s.Name, s.Partition, err)
		}
		if b.BaseOffset < next || b.LastOffset >= s.Span.Next {
			return fmt.Errorf("%s/%d: batch [%d, %d] of producer %d is not in order in span %s", s.Name, s.Partition, b.BaseOffset, b.LastOffset, b.ProducerID, s.Span)
		}
		next = b.LastOffset + 1
	}
	return nil
}

// validate allows a first sequence above the last one: sequences wrap around.
func (b *ProducerBatch) validate() error {
	if b.ProducerID < 0 || b.ProducerEpoch < 0 || b.FirstSequence < 0 || b.LastSequence < 0 || b.BaseOffset < 0 || b.LastOffset < b.BaseOffset {
		return fmt.Errorf("producer %d epoch %d: sequences [%d, %d] at offsets [%d, %d]", b.ProducerID, b.ProducerEpoch, b.FirstSequence, b.LastSequence, b.BaseOffset, b.LastOffset)
	}
	return nil
}

func validatePartition(id TopicID, name string, partition int32) error {
	if err := ValidateTopicName(name); err != nil {
		return err
	}
	return validateID(id, partition)
}

func validateID(id TopicID, partition int32) error {
	switch {
	case id.IsZero():
		return errors.New("topic id is zero")
	case partition < 0:
		return fmt.Errorf("partition %d is negative", partition)
	}
	return nil
}

// ofMetadata reports whether only journal 0 carries entries of the type.
func ofMetadata(entry Entry) bool {
	switch entry.(type) {
	case Cluster, Topic, GroupSlot, ProducerIDs:
		return true
	}
	return false
}

// ValidateEntry checks an entry by itself. A journal calls it before it gathers an entry, so that one bad entry fails alone.
func ValidateEntry(entry Entry) error {
	switch v := entry.(type) {
	case Trim:
		if v.LogStart < 0 {
			return fmt.Errorf("trim: log start %d is negative", v.LogStart)
		}
		return within("trim", validateID(v.Topic, v.Partition))
	case Settled:
		if len(v.Segments) == 0 {
			return errors.New("settled: no segments")
		}
		if err := validateID(v.Topic, v.Partition); err != nil {
			return within("settled", err)
		}
		return within("settled", validateSettled(v.Topic, v.Partition, v.Segments))
	case Ended:
		return within("ended", validateID(v.Topic, 0))
	case GroupOffsets:
		return within("group offsets", v.validate())
	case Cluster:
		if v.ID.IsZero() || v.Lineage.IsZero() || v.Journals < 1 || v.Journals > MaxJournals {
			return fmt.Errorf("cluster: id %s, lineage %s, %d journals", v.ID, v.Lineage, v.Journals)
		}
		return nil
	case Topic:
		return within("topic", v.validate())
	case GroupSlot:
		if v.Slot >= groupSlots || v.Journal >= MaxJournals {
			return fmt.Errorf("group slot %d on journal %d", v.Slot, v.Journal)
		}
		return nil
	case ProducerIDs:
		if v.First < 0 || v.Count < 1 || v.First+v.Count < 0 {
			return fmt.Errorf("producer ids: %d from %d", v.Count, v.First)
		}
		return nil
	}
	return fmt.Errorf("%T is no entry", entry)
}

func within(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// validateSettled checks that segments of one partition follow each other without a gap.
func validateSettled(id TopicID, partition int32, segments []SettledSegment) error {
	for i := range segments {
		s := &segments[i]
		keyID, _, keyPartition, base, ok := ParseSegmentKey(s.Key)
		switch {
		case s.Span.Base < 0 || s.Span.Empty() || s.Length <= 0:
			return fmt.Errorf("segment %q: span %s, %d bytes", s.Key, s.Span, s.Length)
		case !ok || keyID != id || keyPartition != partition || base != s.Span.Base:
			return fmt.Errorf("segment %q is not the key of %s/%d at %d", s.Key, id, partition, s.Span.Base)
		case i > 0 && s.Span.Base != segments[i-1].Span.Next:
			return fmt.Errorf("segment %q begins at %d, the one before ends at %d", s.Key, s.Span.Base, segments[i-1].Span.Next)
		}
	}
	return nil
}

func (g GroupOffsets) validate() error {
	if len(g.Offsets) == 0 {
		return errors.New("none")
	}
	for i := range g.Offsets {
		if err := g.Offsets[i].Validate(); err != nil {
			return err
		}
	}
	return nil
}

// Validate checks the offset by itself. The topic id may be zero: not known.
func (o *GroupOffset) Validate() error {
	if err := ValidateTopicName(o.Topic); err != nil {
		return err
	}
	switch {
	case o.Group == "" || len(o.Group) > MaxString || len(o.Metadata) > MaxString:
		return fmt.Errorf("group id of %d bytes, metadata of %d", len(o.Group), len(o.Metadata))
	case o.Partition < 0 || o.Offset < -1 || o.LeaderEpoch < -1 || o.Committed < 0:
		return fmt.Errorf("group %q: %s/%d: offset %d, leader epoch %d, committed %d", o.Group, o.Topic, o.Partition, o.Offset, o.LeaderEpoch, o.Committed)
	}
	return nil
}

func (t Topic) validate() error {
	if err := validatePartition(t.ID, t.Name, 0); err != nil {
		return err
	}
	switch {
	case t.State < TopicLive || t.State > TopicDeleted:
		return fmt.Errorf("%s: state %d", t.Name, t.State)
	case len(t.Journals) == 0 && t.State == TopicLive || len(t.Journals) > MaxPartitions:
		return fmt.Errorf("%s: %d partitions", t.Name, len(t.Journals))
	case t.Created < 0:
		return fmt.Errorf("%s: created %d", t.Name, t.Created)
	case slices.ContainsFunc(t.Journals, func(j uint32) bool { return j >= MaxJournals }):
		return fmt.Errorf("%s: a partition lies on a journal not below %d", t.Name, MaxJournals)
	}
	for i, c := range t.Configs {
		switch {
		case c.Key == "" || len(c.Key) > MaxString || len(c.Value) > MaxString:
			return fmt.Errorf("%s: config key of %d bytes, value of %d", t.Name, len(c.Key), len(c.Value))
		case i > 0 && c.Key <= t.Configs[i-1].Key:
			return fmt.Errorf("%s: config %q is not in order", t.Name, c.Key)
		}
	}
	return nil
}

// Validate checks the checkpoint by itself: the same check runs when it is encoded and when it is decoded. Everything is in order, so
// that one state has one encoding: partitions by topic id and number, a partition's producers by id, sequences ascending.
func (c *Checkpoint) Validate() error {
	switch {
	case c.Journal >= MaxJournals:
		return fmt.Errorf("journal %d is not below %d", c.Journal, MaxJournals)
	case c.Created < 0 || c.Epoch < 0:
		return fmt.Errorf("created %d or epoch %d is negative", c.Created, c.Epoch)
	case c.Writer == WriterID{}:
		return errors.New("writer id is zero")
	case len(c.Metadata) > MaxEntries:
		return fmt.Errorf("%d metadata entries are more than %d", len(c.Metadata), MaxEntries)
	}
	for i, entry := range c.Metadata {
		if err := ValidateEntry(entry); err != nil {
			return fmt.Errorf("metadata entry %d: %w", i, err)
		}
		if c.Journal != 0 || !ofMetadata(entry) {
			return fmt.Errorf("metadata entry %d: a checkpoint of journal %d carries %T", i, c.Journal, entry)
		}
	}
	for i := range c.Partitions {
		p := &c.Partitions[i]
		if err := p.Validate(); err != nil {
			return fmt.Errorf("partition %s/%d: %w", p.Name, p.Partition, err)
		}
		if i > 0 && c.Partitions[i-1].ID().compare(p.ID()) >= 0 {
			return fmt.Errorf("partition %s/%d is not in order of topic id and number", p.Name, p.Partition)
		}
	}
	for i := range c.Groups {
		if err := c.Groups[i].Validate(); err != nil {
			return fmt.Errorf("group offset %d: %w", i, err)
		}
	}
	return c.validateIndex()
}

// validateIndex checks pages, objects and runs against each other.
func (c *Checkpoint) validateIndex() error {
	for i, p := range c.Pages {
		if p.Last < p.First || p.Last > c.Sequence || p.Length <= 0 || i > 0 && p.First <= c.Pages[i-1].Last {
			return fmt.Errorf("index page [%d, %d] of %d bytes is not in order up to %d", p.First, p.Last, p.Length, c.Sequence)
		}
	}
	first := uint64(0)
	if n := len(c.Pages); n > 0 {
		first = c.Pages[n-1].Last + 1
	}
	if err := validateObjects(c.Objects, first, c.Sequence); err != nil {
		return err
	}
	for i, r := range c.Released {
		if r.Last < r.First || r.Last > c.Sequence || r.Since < 0 || i > 0 && r.First <= c.Released[i-1].Last {
			return fmt.Errorf("released run [%d, %d] since %d is not in order up to %d", r.First, r.Last, r.Since, c.Sequence)
		}
	}
	return nil
}

// Validate checks the state by itself.
func (p *PartitionState) Validate() error {
	if err := validatePartition(p.Topic, p.Name, p.Partition); err != nil {
		return err
	}
	if p.LogStart < 0 || p.Next < p.LogStart {
		return fmt.Errorf("log start %d, next offset %d", p.LogStart, p.Next)
	}
	if err := validateSettled(p.Topic, p.Partition, p.Settled); err != nil {
		return err
	}
	if n := len(p.Settled); n > 0 && p.Settled[n-1].Span.Next > p.Next {
		return fmt.Errorf("segment %q ends behind the next offset %d", p.Settled[n-1].Key, p.Next)
	}
	for i := range p.Producers {
		s := &p.Producers[i]
		switch {
		case s.ProducerID < 0 || s.ProducerEpoch < 0 || len(s.Batches) > producerBatches:
			return fmt.Errorf("producer %d epoch %d has %d batches", s.ProducerID, s.ProducerEpoch, len(s.Batches))
		case i > 0 && s.ProducerID <= p.Producers[i-1].ProducerID:
			return fmt.Errorf("producer %d is not in order", s.ProducerID)
		}
		if err := s.validateBatches(p.Next); err != nil {
			return err
		}
	}
	return nil
}

func (s *ProducerState) validateBatches(end int64) error {
	next := int64(0)
	for i := range s.Batches {
		b := &s.Batches[i]
		if err := b.validate(); err != nil {
			return err
		}
		if b.ProducerID != s.ProducerID || b.BaseOffset < next || b.LastOffset >= end {
			return fmt.Errorf("batch [%d, %d] of producer %d does not belong to producer %d below %d", b.BaseOffset, b.LastOffset, b.ProducerID, s.ProducerID, end)
		}
		next = b.LastOffset + 1
	}
	return nil
}

// Validate checks the page by itself.
func (p *Page) Validate() error {
	if p.Journal >= MaxJournals || p.Last < p.First {
		return fmt.Errorf("page [%d, %d] of journal %d", p.First, p.Last, p.Journal)
	}
	return validateObjects(p.Objects, p.First, p.Last)
}

// validateObjects checks that the objects ascend in [first, last].
func validateObjects(objects []Object, first, last uint64) error {
	for i := range objects {
		o := &objects[i]
		switch {
		case o.Sequence < first || o.Sequence > last || i > 0 && o.Sequence <= objects[i-1].Sequence:
			return fmt.Errorf("object %d is not in order in [%d, %d]", o.Sequence, first, last)
		case o.Size < HeaderSize+FooterSize || o.Created < 0:
			return fmt.Errorf("object %d: %d bytes, created %d", o.Sequence, o.Size, o.Created)
		}
		if err := validateSegments(o.Segments, HeaderSize, o.Size-FooterSize); err != nil {
			return fmt.Errorf("object %d: %w", o.Sequence, err)
		}
		for j := range o.Segments {
			if len(o.Segments[j].Producers) > 0 {
				return fmt.Errorf("object %d: segment %d carries producers", o.Sequence, j)
			}
		}
	}
	return nil
}
