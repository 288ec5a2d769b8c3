package tail

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

// ReadSegmentsEnd finds where a KafScale bucket ends, as ReadEnd does for a journal. A segment counts for since by the time at which it was
// written.
func ReadSegmentsEnd(ctx context.Context, cfg Config, since time.Time) (End, error) {
	s := NewSegments(cfg)
	if err := s.Open(ctx); err != nil {
		return End{}, err
	}
	end := End{Partitions: map[kfs.PartitionID]PartitionEnd{}, Entries: s.checkpoint.Metadata}
	first := map[kfs.PartitionID]int64{}
	if !since.IsZero() {
		var all []kfs.PartitionID
		for id := range s.byID {
			all = append(all, id)
		}
		var err error
		if first, err = s.OffsetsAt(ctx, since, all); err != nil {
			return End{}, err
		}
	}
	for _, l := range s.lines {
		p := PartitionEnd{Topic: l.topic, Span: kfs.Span{Base: l.found[0], Next: l.next}}
		if base, ok := first[l.id]; ok {
			p.Since = kfs.Span{Base: base, Next: l.after(base)}
		}
		end.Partitions[l.id] = p
	}
	return end, nil
}

// OffsetsAt finds, for partitions that Open found, the base of the first segment that was written at that time or later: records are not
// younger than their segment, unless their clocks were ahead. A partition without one is not in the answer.
func (s *Segments) OffsetsAt(ctx context.Context, at time.Time, partitions []kfs.PartitionID) (map[kfs.PartitionID]int64, error) {
	bases := make([]int64, len(partitions))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(segmentGets)
	for i, id := range partitions {
		bases[i] = -1
		l := s.byID[id]
		if l == nil {
			continue
		}
		group.Go(func() error {
			var failed error
			n, _ := slices.BinarySearchFunc(l.found, at, func(base int64, at time.Time) int {
				if failed != nil {
					return 1
				}
				head, _, err := blob.ReadAll(ctx, s.cfg.Store, l.key(base), blob.Bytes(0, kfs.SegmentHeaderSize), kfs.SegmentHeaderSize)
				var h kfs.SettledHeader
				if err == nil {
					h, err = kfs.ParseSegmentHeader(head)
				}
				if err != nil {
					failed = fmt.Errorf("%s: %w", l.key(base), err)
				}
				if h.Created < at.UnixMilli() {
					return -1
				}
				return 1
			})
			if n < len(l.found) {
				bases[i] = l.found[n]
			}
			return failed
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("find the offsets at %s: %w", at.Format(time.RFC3339), err)
	}
	all := map[kfs.PartitionID]int64{}
	for i, id := range partitions {
		if bases[i] >= 0 {
			all[id] = bases[i]
		}
	}
	return all, nil
}
