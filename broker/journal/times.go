package journal

import (
	"context"
	"fmt"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
)

// OffsetFor finds the first record of a partition, from its log start on, whose timestamp is at or after a time (Unix milliseconds), and
// gives its offset and timestamp. ok is false if there is none. It looks at the timestamps of segments and batches first and reads
// records only of the batch that holds the answer. Errors are those of Read.
func (j *Journal) OffsetFor(ctx context.Context, id kfs.PartitionID, timestamp int64) (offset, ts int64, ok bool, err error) {
	if err := j.serving(); err != nil {
		return 0, 0, false, err
	}
	from := int64(0)
	for {
		s, start, next := j.atOrAfter(id, from, timestamp)
		if s == nil {
			return 0, 0, false, nil
		}
		offset, ts, ok, err := j.searchSource(ctx, s, max(from, start), next, timestamp)
		if err != nil {
			return 0, 0, false, fmt.Errorf("%s/%d by time: %w", id.Topic, id.Partition, err)
		}
		if ok {
			return offset, ts, true, nil
		}
		from = next // only records before the log start were late enough
	}
}

// MaxTimestamp is the largest timestamp of the records of a partition, in Unix milliseconds; -1 if it has none.
func (j *Journal) MaxTimestamp(id kfs.PartitionID) int64 {
	j.index.mu.RLock()
	defer j.index.mu.RUnlock()
	largest := int64(-1)
	p, ok := j.index.partitions[id]
	if !ok {
		return largest
	}
	for i := range p.settled {
		if p.settled[i].Span.Next > p.start {
			largest = max(largest, p.settled[i].MaxTimestamp)
		}
	}
	for i := range p.refs {
		largest = max(largest, p.refs[i].maxTimestamp)
	}
	return largest
}

// atOrAfter finds the first source behind from that holds a timestamp at or after a time, with the part of it that is not trimmed.
func (j *Journal) atOrAfter(id kfs.PartitionID, from, timestamp int64) (s source, start, next int64) {
	j.index.mu.RLock()
	defer j.index.mu.RUnlock()
	p, ok := j.index.partitions[id]
	if !ok {
		return nil, 0, 0
	}
	from = max(from, p.start)
	for i := range p.settled {
		if e := &p.settled[i]; e.Span.Next > from && e.MaxTimestamp >= timestamp {
			return &settledSource{p.id, p.name, *e}, max(from, e.Span.Base), e.Span.Next
		}
	}
	for i := p.find(max(from, p.settledPoint())); i < len(p.refs); i++ {
		if r := &p.refs[i]; r.maxTimestamp >= timestamp {
			return &journalSource{p.id, p.name, *r}, max(from, r.span.Base), r.span.Next
		}
	}
	return nil, 0, 0
}

// searchBytes is how much of a settled segment is read at a time.
const searchBytes = 1 << 20

// searchSource looks for the first record in [from, next) of a source that is late enough.
func (j *Journal) searchSource(ctx context.Context, s source, from, next, timestamp int64) (offset, ts int64, ok bool, err error) {
	for from < next {
		body, err := s.read(ctx, j, from, searchBytes)
		if err != nil {
			return 0, 0, false, err
		}
		begun := from
		for batch, err := range record.Batches(body) {
			if err != nil {
				return 0, 0, false, fmt.Errorf("%w: %w", kfs.ErrCorrupt, err)
			}
			h, err := record.ParseHeader(batch)
			if err != nil {
				return 0, 0, false, fmt.Errorf("%w: %w", kfs.ErrCorrupt, err)
			}
			if h.LastOffset() < from {
				continue
			}
			if h.MaxTimestamp >= timestamp {
				if offset, ts, ok, err = j.searchBatch(batch, from, timestamp); ok || err != nil {
					return offset, ts, ok, err
				}
			}
			from = h.LastOffset() + 1
		}
		if from == begun {
			return 0, 0, false, fmt.Errorf("offset %d is not where it should be: %w", from, kfs.ErrCorrupt)
		}
	}
	return 0, 0, false, nil
}

// searchBatch looks for the first record of a batch that is late enough and not before from.
func (j *Journal) searchBatch(batch []byte, from, timestamp int64) (offset, ts int64, ok bool, err error) {
	r := j.memory.searches.Get()
	defer j.memory.searches.Put(r)
	if err := r.Reset(batch, record.DecompressedBytes); err != nil {
		return 0, 0, false, fmt.Errorf("%w: %w", kfs.ErrCorrupt, err)
	}
	var rec record.Record
	for {
		more, err := r.Next(&rec)
		if err != nil {
			return 0, 0, false, fmt.Errorf("%w: %w", kfs.ErrCorrupt, err)
		}
		if !more {
			return 0, 0, false, nil
		}
		if rec.Offset >= from && rec.Timestamp >= timestamp {
			return rec.Offset, rec.Timestamp, true, nil
		}
	}
}
