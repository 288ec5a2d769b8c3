package tail

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/firn-io/firn/kfs"
)

// End is where a journal ended when it was read.
type End struct {
	Sequence   uint64 // of the first object that was not there
	Partitions map[kfs.PartitionID]PartitionEnd
	Entries    []kfs.Entry // of metadata, in order; what they say may be superseded by later ones

	chain *chain // nil where there is no journal
}

// Next is one past the last offset of a partition, as Config.AtEnd gives it.
func (e *End) Next(id kfs.PartitionID) int64 {
	if e.chain == nil {
		return -1
	}
	return e.chain.end(id)
}

// PartitionEnd is a partition that had records when its journal was read.
type PartitionEnd struct {
	Topic string
	Span  kfs.Span // from the log start to one past the last offset
	Since kfs.Span // the first segment that holds a record of the time that was asked for, or later; empty if none does
}

// Complete adds, to partitions as a checkpoint has them, those that had no record yet when that was written.
func (e *End) Complete(partitions []kfs.PartitionState) []kfs.PartitionState {
	known := map[kfs.PartitionID]bool{}
	for i := range partitions {
		known[partitions[i].ID()] = true
	}
	all := slices.Clone(partitions)
	for id, p := range e.Partitions {
		if !known[id] {
			all = append(all, kfs.PartitionState{Topic: id.Topic, Name: p.Topic, Partition: id.Partition, LogStart: p.Span.Base, Next: p.Span.Next})
		}
	}
	slices.SortFunc(all[len(partitions):], func(a, b kfs.PartitionState) int {
		return cmp.Or(slices.Compare(a.Topic[:], b.Topic[:]), cmp.Compare(a.Partition, b.Partition))
	})
	return all
}

// ReadEnd finds the end of a journal: from the newest checkpoint along the chain to the first object that is missing, and a list behind it. Of
// objects it reads the manifests only, and of the index no more than since asks for: a time, if not zero. Match and Budget are not used.
func ReadEnd(ctx context.Context, cfg Config, since time.Time) (End, error) {
	cfg.Match, cfg.Budget = nil, nil
	t := New(cfg)
	t.manifests = true
	defer t.Close()
	if err := t.Open(ctx); err != nil {
		return End{}, err
	}
	if err := t.Seek(ctx, nil); err != nil {
		return End{}, err
	}
	end := End{Partitions: map[kfs.PartitionID]PartitionEnd{}}
	first := map[kfs.PartitionID]kfs.Span{}
	if c := t.checkpoint; c != nil {
		end.Entries = slices.Clone(c.Metadata)
		if !since.IsZero() {
			var all []kfs.PartitionID
			for i := range c.Partitions {
				all = append(all, c.Partitions[i].ID())
			}
			var err error
			if first, err = t.segmentsAt(ctx, since, all); err != nil {
				return End{}, err
			}
		}
	}
	for checked := false; ; {
		switch t.todo.(type) {
		case wait:
			if checked {
				end.Sequence, end.chain = t.core.chain.next, t.core.chain
				for id, p := range t.core.chain.partitions {
					if p.next > 0 {
						end.Partitions[id] = PartitionEnd{Topic: p.name, Span: kfs.Span{Base: p.logStart, Next: p.next}, Since: first[id]}
					}
				}
				return end, nil
			}
			checked = true
			l, err := t.list(ctx, true)
			if err != nil {
				return End{}, err
			}
			t.todo = t.core.step(l)
		case deliver:
			m := t.object.Manifest
			end.Entries = append(end.Entries, m.Entries...)
			for i := range m.Segments {
				s := &m.Segments[i]
				if _, ok := first[s.ID()]; !ok && !since.IsZero() && s.MaxTimestamp >= since.UnixMilli() {
					first[s.ID()] = s.Span
				}
			}
			t.object.Release()
			t.object, checked, t.todo = nil, false, t.core.step(waited{})
		default:
			e, err := t.do(ctx, t.todo)
			if err != nil {
				return End{}, err
			}
			t.todo = t.core.step(e)
		}
	}
}

// OffsetsAt finds, for partitions that the checkpoint knows, the first offset of the first segment that holds a record of that time or
// later; a partition without one is not in the answer. It goes by the index, after Open, and reads all of its pages if it must.
func (t *Tailer) OffsetsAt(ctx context.Context, at time.Time, partitions []kfs.PartitionID) (map[kfs.PartitionID]int64, error) {
	segments, err := t.segmentsAt(ctx, at, partitions)
	if err != nil {
		return nil, err
	}
	found := map[kfs.PartitionID]int64{}
	for id, span := range segments {
		found[id] = span.Base
	}
	return found, nil
}

// segmentsAt finds those segments.
func (t *Tailer) segmentsAt(ctx context.Context, at time.Time, partitions []kfs.PartitionID) (map[kfs.PartitionID]kfs.Span, error) {
	found, open := map[kfs.PartitionID]kfs.Span{}, map[kfs.PartitionID]bool{}
	for _, id := range partitions {
		open[id] = true
	}
	c, since := t.checkpoint, at.UnixMilli()
	if c == nil {
		return found, nil
	}
	for i := range c.Partitions {
		p := &c.Partitions[i]
		for _, s := range p.Settled {
			if open[p.ID()] && s.MaxTimestamp >= since && s.Span.Next > p.LogStart {
				found[p.ID()] = kfs.Span{Base: max(s.Span.Base, p.LogStart), Next: s.Span.Next}
				delete(open, p.ID())
			}
		}
	}
	search := func(objects []kfs.Object) {
		for i := range objects {
			for j := range objects[i].Segments {
				if s := &objects[i].Segments[j]; open[s.ID()] && s.MaxTimestamp >= since {
					found[s.ID()] = s.Span
					delete(open, s.ID())
				}
			}
		}
	}
	for _, ref := range c.Pages {
		if len(open) == 0 {
			return found, nil
		}
		page, err := t.loadPage(ctx, ref)
		if err != nil {
			return nil, fmt.Errorf("find the offsets at %s: %w", at.Format(time.RFC3339), err)
		}
		search(page.Objects)
	}
	search(c.Objects)
	return found, nil
}
