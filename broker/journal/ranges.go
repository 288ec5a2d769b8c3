package journal

import (
	"iter"
	"slices"

	"github.com/firn-io/firn/kfs"
)

// Range is consecutive records of a partition: the finest part of it that the index knows, which retention keeps or drops as a whole.
type Range struct {
	Span  kfs.Span
	Bytes int64
	// Time is the latest timestamp of its records, in Unix milliseconds. Where they have none, it is when the range was written, or -1
	// once it is settled.
	Time int64
}

// Partitions are the partitions that have, or had, records, but for those of ended topics; in order of topic id and number.
func (j *Journal) Partitions() []kfs.PartitionID {
	j.index.mu.RLock()
	defer j.index.mu.RUnlock()
	ids := make([]kfs.PartitionID, 0, len(j.index.partitions))
	for id, p := range j.index.partitions {
		if !p.ended {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, compareIDs)
	return ids
}

// Ranges are the ranges of a partition from its log start on, oldest first; the first may begin before it. The index is locked while they are
// walked: who walks does not block and calls nothing of the journal.
func (j *Journal) Ranges(id kfs.PartitionID) iter.Seq[Range] {
	return func(yield func(Range) bool) {
		j.index.mu.RLock()
		defer j.index.mu.RUnlock()
		p, ok := j.index.partitions[id]
		if !ok {
			return
		}
		for i := range p.settled {
			s := &p.settled[i]
			if s.Span.Next > p.start && !yield(Range{s.Span, s.Length, s.MaxTimestamp}) {
				return
			}
		}
		for i := range p.refs {
			r := &p.refs[i]
			at := r.maxTimestamp
			if at < 0 {
				at = r.created
			}
			if !yield(Range{r.span, r.length, at}) {
				return
			}
		}
	}
}
