package journal

import (
	"context"
	"fmt"
	"slices"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/record"
)

// Read gives record batches of a partition, whole ones, back to back: from the one that contains offset on, at least one, and more
// while they fit into maxBytes. The first may begin before offset. At the end of the partition it gives nothing. The bytes are shared:
// they must not be modified. Errors are ErrOffsetOutOfRange, ErrNotOwner when the journal has stopped, kfs.ErrCorrupt for damage, and
// those of the store. It reads the store only for what is not in memory.
func (j *Journal) Read(ctx context.Context, id kfs.PartitionID, offset, maxBytes int64) ([]byte, error) {
	if err := j.serving(); err != nil {
		return nil, err
	}
	var pieces [][]byte
	left := maxBytes
	for {
		s, err := j.locate(id, offset)
		if err != nil && len(pieces) > 0 {
			break // trimmed meanwhile: what we have was there when we began
		}
		if err != nil || s == nil && len(pieces) == 0 {
			return nil, err
		}
		if s == nil {
			break
		}
		body, err := s.read(ctx, j, offset, left)
		if err == nil {
			var piece []byte
			piece, offset, err = cut(body, offset, left, len(pieces) == 0)
			if err == nil && len(piece) == 0 {
				break
			}
			pieces = append(pieces, piece)
			left -= int64(len(piece))
		}
		if err != nil {
			return nil, fmt.Errorf("%s/%d at offset %d: %w", id.Topic, id.Partition, offset, err)
		}
		if left <= 0 {
			break
		}
	}
	if len(pieces) == 1 {
		return slices.Clip(pieces[0]), nil
	}
	return slices.Concat(pieces...), nil
}

// Available is how many bytes Read could give from an offset on, counting the segments of the journal whole; settled ones too.
func (j *Journal) Available(id kfs.PartitionID, from int64) int64 {
	j.index.mu.RLock()
	defer j.index.mu.RUnlock()
	p, ok := j.index.partitions[id]
	if !ok || from >= p.next {
		return 0
	}
	var bytes int64
	for i := len(p.settled) - 1; i >= 0 && p.settled[i].Span.Next > from; i-- {
		bytes += p.settled[i].Length
	}
	if i := p.find(from); i < len(p.refs) {
		last := p.refs[len(p.refs)-1]
		bytes += last.before + last.length - p.refs[i].before
	}
	return bytes
}

// serving is ErrNotOwner when the journal has stopped.
func (j *Journal) serving() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return ErrNotOwner
	}
	return nil
}

// source is where records lie.
type source interface {
	// read gives batches back to back, among them the one that contains offset; all that are there, or about bytes of them.
	read(ctx context.Context, j *Journal, offset, bytes int64) ([]byte, error)
}

// locate finds where an offset lies; nil at the end of the partition.
func (j *Journal) locate(id kfs.PartitionID, offset int64) (source, error) {
	j.index.mu.RLock()
	defer j.index.mu.RUnlock()
	p, ok := j.index.partitions[id]
	if !ok {
		p = &partition{}
	}
	switch {
	case offset < p.start || offset > p.next:
		return nil, fmt.Errorf("offset %d of %s, which holds [%d, %d): %w", offset, id, p.start, p.next, ErrOffsetOutOfRange)
	case offset == p.next:
		return nil, nil
	}
	return p.source(offset)
}

// source is where an offset of the partition lies. index.mu is held.
func (p *partition) source(offset int64) (source, error) {
	if s := p.settledAt(offset); s != nil {
		return &settledSource{p.id, p.name, *s}, nil
	}
	i := p.find(offset)
	if i == len(p.refs) || !p.refs[i].span.Contains(offset) {
		return nil, fmt.Errorf("offset %d of %s lies in no object: %w", offset, p.id, kfs.ErrCorrupt)
	}
	return &journalSource{p.id, p.name, p.refs[i]}, nil
}

// cut takes whole batches from the one that contains offset on, while they fit into bytes; one at least if atLeastOne.
func cut(body []byte, offset, bytes int64, atLeastOne bool) (piece []byte, next int64, err error) {
	at, first, end := 0, -1, 0
	next = offset
	for at < len(body) {
		h, err := record.ParseHeader(body[at:])
		if err != nil {
			return nil, next, fmt.Errorf("batch at byte %d: %w: %w", at, kfs.ErrCorrupt, err)
		}
		size := h.Size()
		if h.LastOffset() < offset {
			at += size
			continue
		}
		if h.BaseOffset > next {
			return nil, next, fmt.Errorf("offset %d is followed by a batch from %d on: %w", next, h.BaseOffset, kfs.ErrCorrupt)
		}
		if first < 0 {
			first, end = at, at
		}
		if int64(at+size-first) > bytes && (end > first || !atLeastOne) {
			break
		}
		at += size
		end, next = at, h.LastOffset()+1
	}
	if first < 0 {
		return nil, next, fmt.Errorf("offset %d is not where it should be: %w", offset, kfs.ErrCorrupt)
	}
	return body[first:end], next, nil
}

// journalSource is a segment of a journal object.
type journalSource struct {
	id   kfs.PartitionID
	name string
	ref  ref
}

func (s *journalSource) read(ctx context.Context, j *Journal, _, _ int64) ([]byte, error) {
	r := &s.ref
	if object, ok := j.memory.cache.get(cacheKey{journal: j.cfg.Journal, sequence: r.sequence}); ok {
		return object[r.position : r.position+r.length], nil
	}
	key := cacheKey{journal: j.cfg.Journal, sequence: r.sequence, position: r.position}
	if body, ok := j.memory.cache.get(key); ok {
		return body, nil
	}
	return j.flights.do(ctx, key, func() ([]byte, error) {
		name := kfs.ObjectKey(j.cfg.Journal, r.sequence)
		body, err := j.readCold(ctx, name, blob.Bytes(r.position, r.length), r.length)
		if err != nil {
			return nil, err
		}
		segment := kfs.Segment{Name: s.name, Partition: s.id.Partition, Span: r.span, Position: r.position, Length: r.length, CRC: r.crc}
		if err := segment.Check(body); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		j.memory.cache.put(key, body)
		return body, nil
	})
}

// readCold reads a range of the store, with the bytes of all such reads at a time bounded.
func (j *Journal) readCold(ctx context.Context, key string, rng blob.Range, bytes int64) ([]byte, error) {
	weight := min(bytes, j.memory.readBytes)
	if err := j.memory.reads.Acquire(ctx, weight); err != nil {
		return nil, err
	}
	defer j.memory.reads.Release(weight)
	body, _, err := blob.ReadAll(ctx, j.cfg.Store, key, rng, bytes)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", key, err)
	}
	j.metrics.coldReads.Inc()
	j.metrics.coldBytes.Add(float64(len(body)))
	return body, nil
}

// settledSource is a settled segment.
type settledSource struct {
	id      kfs.PartitionID
	name    string
	segment kfs.SettledSegment
}

// maxIndex bounds the index of a segment.
const maxIndex = 64 << 20

// readAhead is how much of a settled segment is read at a time, if there is as much: who reads old records mostly goes on.
const readAhead = 4 << 20

// read finds its place by the segment's index and reads the window that holds it: whole batches, from one entry of the index to another.
// Each batch is verified by its own checksum, for that of the segment covers more than is read.
func (s *settledSource) read(ctx context.Context, j *Journal, offset, _ int64) ([]byte, error) {
	index, err := s.index(ctx, j)
	if err != nil {
		return nil, err
	}
	from, ok := index.Search(offset)
	if !ok {
		return nil, fmt.Errorf("%s: index does not reach offset %d: %w", s.segment.Key, offset, kfs.ErrCorrupt)
	}
	first, end := s.window(index, from)
	start := int64(first.Position)
	if start >= end {
		return nil, fmt.Errorf("%s: index entry at byte %d of %d: %w", s.segment.Key, start, s.segment.Length, kfs.ErrCorrupt)
	}
	key := cacheKey{name: s.segment.Key, position: start}
	if body, ok := j.memory.cache.get(key); ok {
		return body, nil
	}
	return j.flights.do(ctx, key, func() ([]byte, error) {
		body, err := j.readCold(ctx, s.segment.Key, blob.Bytes(start, end-start), end-start)
		if err != nil {
			return nil, err
		}
		if err := s.verify(body, first.Offset); err != nil {
			return nil, fmt.Errorf("%s at byte %d: %w", s.segment.Key, start, err)
		}
		j.memory.cache.put(key, body)
		return body, nil
	})
}

// window is the part of the segment that an entry lies in: the entries of one stretch of readAhead bytes, and what follows them up to the
// next. The same entry always gives the same window.
func (s *settledSource) window(x *kfs.Index, at kfs.IndexEntry) (first kfs.IndexEntry, end int64) {
	stretch := at.Position / readAhead
	first, end = at, s.segment.Length-kfs.SegmentFooterSize
	i, _ := slices.BinarySearchFunc(x.Entries, stretch, func(e kfs.IndexEntry, stretch int32) int { return int(e.Position/readAhead) - int(stretch) })
	if i < len(x.Entries) {
		first = x.Entries[i]
	}
	for ; i < len(x.Entries); i++ {
		if x.Entries[i].Position/readAhead > stretch {
			return first, int64(x.Entries[i].Position)
		}
	}
	return first, end
}

// verify checks batches that were read from the middle of a segment.
func (s *settledSource) verify(body []byte, offset int64) error {
	for batch, err := range record.Batches(body) {
		if err == nil {
			err = record.Verify(batch)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", kfs.ErrCorrupt, err)
		}
		h, err := record.ParseHeader(batch)
		if err != nil || h.BaseOffset != offset {
			return fmt.Errorf("batch from %d on where %d was expected: %w", h.BaseOffset, offset, kfs.ErrCorrupt)
		}
		offset = h.LastOffset() + 1
	}
	return nil
}

func (s *settledSource) index(ctx context.Context, j *Journal) (*kfs.Index, error) {
	name := kfs.IndexKey(s.id.Topic, s.name, s.id.Partition, s.segment.Span.Base)
	key := cacheKey{name: name}
	body, ok := j.memory.cache.get(key)
	if !ok {
		var err error
		body, err = j.flights.do(ctx, key, func() ([]byte, error) {
			b, err := j.readCold(ctx, name, blob.All, maxIndex)
			if err == nil {
				j.memory.cache.put(key, b)
			}
			return b, err
		})
		if err != nil {
			return nil, err
		}
	}
	x, err := kfs.DecodeIndex(body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return x, nil
}
