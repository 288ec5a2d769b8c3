package journal

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
)

// maxObjectSegments bounds the partitions that share an object.
const maxObjectSegments = 10_000

// sealing is an object in the making: what the committed state would become. Everything is checked against the committed state and
// what the same object holds already, which is committed with it or not at all.
type sealing struct {
	c        *core
	now      int64 // Unix milliseconds
	parts    map[kfs.PartitionID]*sealPart
	sizes    map[kfs.PartitionID]int // bytes that a partition may get, so that they are copied once
	room     []byte                  // for the bodies; what no partition has yet
	metadata *metadata.Draft
	groups   map[groupKey]kfs.GroupOffset // what the object changes
	entries  []kfs.Entry
}

// sealPart is one partition's part of the object.
type sealPart struct {
	id        kfs.PartitionID
	name      string
	committed *partition // nil: the partition has no records yet
	segment   kfs.Segment
	body      []byte
	producers map[int64]producer // as they are after the object
}

// flush seals an object of what is gathered and sends it. Requests that need nothing written are answered at once.
func (c *core) flush(now time.Time) {
	s := &sealing{
		c: c, now: now.UnixMilli(), parts: map[kfs.PartitionID]*sealPart{}, metadata: c.state.metadata.Edit(),
		groups: map[groupKey]kfs.GroupOffset{}, sizes: c.gatheredSizes(),
	}
	s.room = c.bodyRoom(s.sizes)
	var waiting []*request
	taken, bytes := 0, int64(0)
	for _, r := range c.gathered {
		if taken > 0 && (bytes+r.bytes > c.objectBytes || len(s.parts)+len(r.batches) > maxObjectSegments) {
			break
		}
		taken++
		bytes += r.bytes
		if s.add(r) {
			waiting = append(waiting, r)
		} else {
			c.answer(r, c.withLogStart(r))
		}
	}
	c.gathered = slices.Delete(c.gathered, 0, taken)
	c.gatheredBytes -= bytes
	if len(waiting) == 0 {
		return
	}
	m, bodies := s.manifest()
	body, crc, err := kfs.Seal(m, bodies)
	if err != nil { // our own bug: nothing was sent, so nobody is misled
		c.log(slog.LevelError, "an object cannot be sealed", "err", err)
		for _, r := range waiting {
			c.expect(r)
		}
		c.failAll(waiting, ErrUnavailable)
		return
	}
	c.lastFlush = now
	c.flight = &flight{sequence: m.Sequence, key: kfs.ObjectKey(c.journal, m.Sequence), body: body, crc: crc, manifest: m, requests: waiting}
	c.send(now)
}

// gatheredSizes are the bytes of the partitions in what the next object takes.
func (c *core) gatheredSizes() map[kfs.PartitionID]int {
	sizes := map[kfs.PartitionID]int{}
	bytes := int64(0)
	for _, r := range c.gathered {
		if bytes += r.bytes; bytes > c.objectBytes && bytes > r.bytes {
			break
		}
		for i := range r.batches {
			sizes[r.batches[i].id()] += len(r.batches[i].Records)
		}
	}
	return sizes
}

// bodyRoom is memory for the bodies of so many bytes. An object is a copy of its bodies, so the next object's may have the same room; what
// is more than a full object needs is not kept.
func (c *core) bodyRoom(sizes map[kfs.PartitionID]int) []byte {
	total := 0
	for _, n := range sizes {
		total += n
	}
	if total <= len(c.bodies) {
		return c.bodies
	}
	room := make([]byte, total)
	if int64(total) <= c.objectBytes {
		c.bodies = room
	}
	return room
}

func (s *sealing) manifest() (*kfs.Manifest, [][]byte) {
	st := s.c.state
	m := &kfs.Manifest{
		Journal: st.journal, Sequence: st.next(), Created: s.now, Epoch: st.epoch, Writer: s.c.writer, Previous: st.crc, Entries: s.entries,
	}
	var parts []*sealPart
	for _, p := range s.parts {
		if p.segment.Records > 0 {
			parts = append(parts, p)
		}
	}
	slices.SortFunc(parts, func(a, b *sealPart) int { return compareIDs(a.id, b.id) })
	bodies := make([][]byte, len(parts))
	for i, p := range parts {
		m.Segments = append(m.Segments, p.segment)
		bodies[i] = p.body
	}
	return m, bodies
}

// add checks a request and adds what is good of it. It reports whether the request's answer depends on the object.
func (s *sealing) add(r *request) (waits bool) {
	r.results = make([]Result, 0, len(r.batches)+len(r.entries))
	for i := range r.batches {
		result, in := s.addBatch(&r.batches[i])
		r.results = append(r.results, result)
		waits = waits || in
	}
	in, err := s.addEntries(r.entries)
	for range r.entries {
		r.results = append(r.results, failed(err))
	}
	return waits || in || r.force
}

// part finds the place of a partition, if it may take records.
func (s *sealing) part(b *gatheredBatch) (*sealPart, error) {
	id := b.id()
	p, ok := s.parts[id]
	if !ok {
		committed := s.c.index.partitions[id]
		p = &sealPart{id: id, name: b.Name, committed: committed, producers: map[int64]producer{}}
		p.segment = kfs.Segment{Topic: b.Topic, Name: b.Name, Partition: b.Partition, MaxTimestamp: -1}
		if committed != nil {
			p.segment.Span = kfs.Span{Base: committed.next, Next: committed.next}
		}
	}
	switch {
	case p.committed != nil && p.committed.ended:
		return nil, ErrTopicEnded
	case p.committed != nil && p.committed.name != b.Name || b.Topic.IsZero() || b.Partition < 0 || kfs.ValidateTopicName(b.Name) != nil:
		return nil, ErrUnknownPartition
	}
	if err := s.placed(b); err != nil {
		return nil, err
	}
	if !ok {
		size := min(s.sizes[id], len(s.room))
		p.body, s.room = s.room[:0:size], s.room[size:]
		s.parts[id] = p
	}
	return p, nil
}

// placed checks that a partition belongs here. Journal 0 knows that by itself; of another journal the caller has looked it up in the
// state of journal 0, which may be ahead or behind: what the journal itself can tell is only that a topic has ended.
func (s *sealing) placed(b *gatheredBatch) error {
	if s.c.journal != 0 {
		return nil
	}
	t, ok := s.c.state.metadata.TopicByID(b.Topic)
	if !ok || t.Name != b.Name {
		return ErrUnknownPartition
	}
	if t.State != kfs.TopicLive {
		return ErrTopicEnded
	}
	if j, ok := t.Journal(b.Partition); !ok || j != 0 {
		return ErrUnknownPartition
	}
	return nil
}

// addBatch adds the record batches of b, all or none. It reports whether the answer depends on the object, as it does also for a
// duplicate of what the object holds.
func (s *sealing) addBatch(b *gatheredBatch) (result Result, waits bool) {
	if b.err != nil {
		return failed(b.err), false
	}
	p, err := s.part(b)
	if err != nil {
		return failed(err), false
	}
	segment, length, undo := p.segment, len(p.body), map[int64]*producer{}
	result = Result{Base: -1, AppendTime: -1}
	rest := b.Records
	for i := range b.headers {
		h := &b.headers[i]
		base, fresh, err := s.addRecords(p, h, rest[:h.Size()], b.AppendTime, undo)
		if err != nil {
			p.segment, p.body = segment, p.body[:length]
			for id, pr := range undo {
				if delete(p.producers, id); pr != nil {
					p.producers[id] = *pr
				}
			}
			return failed(err), false
		}
		if i == 0 {
			result.Base = base
		}
		waits = waits || fresh || base >= segment.Span.Base
		rest = rest[h.Size():]
	}
	if b.AppendTime {
		result.AppendTime = s.now
	}
	return result, waits
}

// addRecords adds one record batch, and gives its offset. A duplicate is not fresh and adds nothing.
func (s *sealing) addRecords(p *sealPart, h *record.Header, records []byte, appendTime bool, undo map[int64]*producer) (base int64, fresh bool, err error) {
	base = p.segment.Span.Next
	next := base + int64(h.LastOffsetDelta) + 1
	first, largest := h.BaseTimestamp, h.MaxTimestamp
	if appendTime {
		first, largest = s.now, s.now
	}
	if h.HasProducer() {
		b := kfs.ProducerBatch{
			ProducerID: h.ProducerID, ProducerEpoch: h.ProducerEpoch, FirstSequence: h.BaseSequence, LastSequence: h.LastSequence(),
			BaseOffset: base, LastOffset: next - 1, MaxTimestamp: largest,
		}
		pr, v, at := s.judge(p, &b)
		switch v {
		case duplicate:
			return at, false, nil
		case outOfOrder:
			return 0, false, ErrOutOfOrderSequence
		case fencedEpoch:
			return 0, false, ErrProducerFenced
		}
		if _, saved := undo[b.ProducerID]; !saved {
			undo[b.ProducerID] = nil
			if before, ok := p.producers[b.ProducerID]; ok {
				undo[b.ProducerID] = &before
			}
		}
		p.producers[b.ProducerID] = pr
		p.segment.Producers = append(p.segment.Producers, b)
	}
	at := len(p.body)
	p.body = append(p.body, records...)
	record.Stamp(p.body[at:], base, s.c.state.epoch)
	if appendTime {
		record.StampAppendTime(p.body[at:], s.now)
	}
	if p.segment.Records == 0 {
		p.segment.FirstTimestamp = first
	}
	p.segment.Records += h.Records
	p.segment.MaxTimestamp = max(p.segment.MaxTimestamp, largest)
	p.segment.Span.Next = next
	return base, true, nil
}

// judge checks a batch of an idempotent producer, and gives the producer as it is after the batch.
func (s *sealing) judge(p *sealPart, b *kfs.ProducerBatch) (pr producer, v verdict, at int64) {
	pr, known := p.producers[b.ProducerID]
	if !known && p.committed != nil {
		pr, known = p.committed.producers[b.ProducerID]
	}
	if !known {
		e, wanted := s.c.expected[producerKey{p.id, b.ProducerID}]
		if wanted && e.epoch == b.ProducerEpoch && e.sequence != b.FirstSequence {
			return pr, outOfOrder, 0
		}
		pr.epoch = b.ProducerEpoch
	}
	if v, at = pr.check(b); v == accepted {
		pr.add(*b)
	}
	return pr, v, at
}

// addEntries adds entries, all or none. It reports whether their answer depends on the object.
func (s *sealing) addEntries(entries []kfs.Entry) (waits bool, err error) {
	changed := s.metadata
	for _, e := range entries {
		if err := kfs.ValidateEntry(e); err != nil {
			return false, err
		}
		switch e := e.(type) {
		case kfs.GroupOffsets, kfs.Ended:
		case kfs.Trim:
			_, err = s.c.state.checkTrim(e, s.next)
		case kfs.Settled:
			_, err = s.c.state.checkSettled(e)
		default:
			if s.c.journal != 0 {
				return false, fmt.Errorf("%T belongs to journal 0, this is journal %d", e, s.c.journal)
			}
			if changed == s.metadata {
				changed = s.metadata.State().Edit()
			}
			err = changed.Apply(e)
		}
		if err != nil {
			return false, err
		}
	}
	s.metadata = changed
	for _, e := range entries {
		if offsets, ok := e.(kfs.GroupOffsets); ok {
			waits = s.addOffsets(offsets) || waits
			continue
		}
		s.entries = append(s.entries, e)
		waits = true
	}
	return waits, nil
}

// next is the next offset that a partition has with the object.
func (s *sealing) next(id kfs.PartitionID) (int64, bool) {
	if p, ok := s.parts[id]; ok {
		return p.segment.Span.Next, true
	}
	return 0, false
}

// addOffsets adds what an entry of committed offsets changes. It reports whether its answer depends on the object.
func (s *sealing) addOffsets(e kfs.GroupOffsets) (waits bool) {
	var changed []kfs.GroupOffset
	for _, o := range e.Offsets {
		have, here := s.groups[keyOf(&o)]
		if !here {
			var ok bool
			if have, ok = s.c.state.groups[keyOf(&o)]; !ok {
				have = kfs.GroupOffset{Offset: -1}
			}
		}
		if sameOffset(&have, &o) {
			waits = waits || here
			continue
		}
		s.groups[keyOf(&o)] = o
		changed = append(changed, o)
	}
	if len(changed) > 0 {
		s.entries = append(s.entries, kfs.GroupOffsets{Offsets: changed})
	}
	return waits || len(changed) > 0
}

// sameOffset reports whether committing o over have would change nothing.
func sameOffset(have, o *kfs.GroupOffset) bool {
	if have.Offset < 0 || o.Offset < 0 {
		return have.Offset < 0 && o.Offset < 0
	}
	return have.TopicID == o.TopicID && have.Offset == o.Offset && have.LeaderEpoch == o.LeaderEpoch && have.Metadata == o.Metadata
}
