package tail

import (
	"context"
	"fmt"
	"time"

	"github.com/firn-io/firn/kfs"
)

// End is where a journal ended when it was read.
type End struct {
	Sequence uint64                    // of the first object that was not there
	Next     map[kfs.PartitionID]int64 // one past the last offset of each partition that has any
}

// ReadEnd finds the end of a journal: from the newest checkpoint along the chain to the first object that is missing, and a list behind it. Of
// objects it reads the manifests only. Match and Budget are not used.
func ReadEnd(ctx context.Context, cfg Config) (End, error) {
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
	end := End{Next: map[kfs.PartitionID]int64{}}
	for checked := false; ; {
		switch t.todo.(type) {
		case wait:
			if checked {
				end.Sequence = t.core.chain.next
				for id, p := range t.core.chain.partitions {
					if p.next > 0 {
						end.Next[id] = p.next
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
	found, open := map[kfs.PartitionID]int64{}, map[kfs.PartitionID]bool{}
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
				found[p.ID()] = max(s.Span.Base, p.LogStart)
				delete(open, p.ID())
			}
		}
	}
	search := func(objects []kfs.Object) {
		for i := range objects {
			for j := range objects[i].Segments {
				if s := &objects[i].Segments[j]; open[s.ID()] && s.MaxTimestamp >= since {
					found[s.ID()] = s.Span.Base
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
