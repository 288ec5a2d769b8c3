package inspect

import (
	"context"
	"fmt"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/record"
)

// OffsetsAt finds, for some partitions, the first offset from the log start on whose record has that time or a later one; a partition without one
// is not in the answer. It reads the index pages of their journals, each once, and of a partition the segment that holds the record.
func (e *Ends) OffsetsAt(ctx context.Context, at time.Time, partitions []kfs.PartitionID) (map[kfs.PartitionID]int64, error) {
	s := &timeSearch{Ends: e, since: at.UnixMilli(), open: map[kfs.PartitionID]bool{}, found: map[kfs.PartitionID]int64{}}
	journals := map[uint32]bool{}
	for _, id := range partitions {
		p, ok := e.partitions[id]
		if !ok {
			continue
		}
		s.open[id], journals[p.Journal] = true, true
		for _, segment := range e.settled[id] {
			if err := s.look(ctx, id, ofSettled(segment)); err != nil {
				return nil, err
			}
		}
	}
	for journal := range journals {
		for _, ref := range e.journals[journal].pages {
			if !s.wanted(journal) {
				break
			}
			objects, err := e.page(ctx, journal, ref)
			if err != nil {
				return nil, err
			}
			if err := s.objects(ctx, journal, objects); err != nil {
				return nil, err
			}
		}
		if err := s.objects(ctx, journal, e.journals[journal].objects); err != nil {
			return nil, err
		}
	}
	return s.found, nil
}

// timeSearch is one call of OffsetsAt.
type timeSearch struct {
	*Ends
	since int64                    // Unix milliseconds
	open  map[kfs.PartitionID]bool // of which nothing was found
	found map[kfs.PartitionID]int64
}

// wanted reports whether anything of a journal is still looked for.
func (s *timeSearch) wanted(journal uint32) bool {
	for id := range s.open {
		if s.partitions[id].Journal == journal {
			return true
		}
	}
	return false
}

// objects looks in a journal's objects, which are in order.
func (s *timeSearch) objects(ctx context.Context, journal uint32, objects []kfs.Object) error {
	for i := range objects {
		for j := range objects[i].Segments {
			segment := &objects[i].Segments[j]
			if err := s.look(ctx, segment.ID(), ofJournal(journal, objects[i].Sequence, segment)); err != nil {
				return err
			}
		}
	}
	return nil
}

// look looks in one segment. Its largest time may be that of a record before the log start: then the search goes on behind it.
func (s *timeSearch) look(ctx context.Context, id kfs.PartitionID, at stored) error {
	if !s.open[id] || at.time < s.since || at.span.Next <= s.partitions[id].Start {
		return nil
	}
	body, _, err := blob.ReadAll(ctx, s.store, at.key, blob.Bytes(at.at, at.length), maxObject)
	if err != nil {
		return err
	}
	for batch, err := range record.Batches(body) {
		if err == nil {
			err = record.Verify(batch)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", at.key, err)
		}
	}
	offset, ok, err := record.OffsetAt(body, s.partitions[id].Start, s.since)
	if err != nil {
		return fmt.Errorf("%s: %w", at.key, err)
	}
	if ok {
		s.found[id] = offset
		delete(s.open, id)
	}
	return nil
}
