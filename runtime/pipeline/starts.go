package pipeline

import (
	"context"
	"errors"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/tail"
)

// start learns from the checkpoint, waits for the tables that it names, and seeks their positions. Where the job's object did not say yet
// what is needed, it is written first and the checkpoint read again: what retention has taken meanwhile shows now.
func (s *session) start(ctx context.Context) error {
	for {
		if err := s.tailer.Open(ctx); err != nil {
			return err
		}
		offsets, err := s.positions(ctx, s.tailer.Checkpoint())
		if err != nil {
			return err
		}
		again, err := s.job.register(ctx, s.named)
		if err != nil {
			return err
		}
		if !again {
			if s.bounds != nil {
				s.tailer.Until(s.bounds.ends())
			}
			return s.tailer.Seek(ctx, offsets)
		}
	}
}

// positions gives the offsets at which the partitions are to be read that a checkpoint knows, which may be nil.
func (s *session) positions(ctx context.Context, c *kfs.Checkpoint) (map[kfs.PartitionID]int64, error) {
	var all []kfs.PartitionState
	if c != nil {
		for _, e := range c.Metadata {
			if err := s.job.learn(e); err != nil {
				return nil, err
			}
		}
		all = c.Partitions
	}
	if s.job.cfg.From.Latest {
		all = s.end.Complete(all)
	}
	wanted := s.sift(all)
	s.meet(ctx, wanted)
	starts, err := s.starts(ctx, wanted)
	if err != nil {
		return nil, err
	}
	offsets := map[kfs.PartitionID]int64{}
	s.named = map[*table][]processor.Source{}
	for _, p := range wanted {
		t := s.job.table(p.Name)
		if t == nil {
			delete(s.open, p.ID())
			continue
		}
		f := s.feeds[t]
		if f == nil {
			s.miss(t)
			continue
		}
		if !f.reads(p.ID()) {
			continue
		}
		at, begun := f.known(p.ID())
		if !begun {
			var ok bool
			if at, ok = starts[p.ID()]; !ok {
				continue // behind the checkpoint, perhaps
			}
		}
		if s.bounds.passed(p.Name, p.ID(), at) {
			delete(s.open, p.ID())
			if end, _ := s.bounds.end(p.Name, p.ID()); !begun && at == p.LogStart && end < at && s.bounds.until.Offsets != nil {
				if err := s.offerFault(ctx, f, p, kfs.Span{Base: end, Next: at}, s.bounds.trimmed(p)); err != nil {
					return nil, err
				}
			}
			continue
		}
		if !begun {
			s.begin(t, f, p.Name, p.ID(), at)
			_, given := s.job.cfg.From.Offsets.of(p.Name, p.Partition)
			s.fresh[p.ID()] = !given
		}
		s.named[t] = append(s.named[t], processor.Source{Topic: p.Name, ID: p.Topic, Partition: p.Partition})
		if at < p.LogStart && s.fresh[p.ID()] { // trimmed before the job's object said that it is needed: it begins behind that
			at = p.LogStart
			f.move(p.ID(), at)
		}
		if at < p.LogStart {
			delete(s.open, p.ID())
			gone := kfs.Span{Base: at, Next: p.LogStart}
			if err := s.offerFault(ctx, f, p, gone, lost(gone)); err != nil {
				return nil, err
			}
			continue
		}
		offsets[p.ID()] = at
		t.note(func(st *tableStatus) { st.there(sourceAt(p), s.bounds.ahead(p)) })
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return offsets, nil
}

// sift gives those partitions of a checkpoint that are to be read, and takes note of those that have ended.
func (s *session) sift(all []kfs.PartitionState) (wanted []*kfs.PartitionState) {
	ended := map[kfs.PartitionID]int64{}
	s.gone = map[kfs.PartitionID]bool{}
	for i := range all {
		p := &all[i]
		ours := s.job.wanted(p.Name)
		if p.Ended {
			s.gone[p.ID()] = true
			if ours {
				ended[p.ID()] = saidAll // what is left of it, nobody needs to read
			}
		}
		if !ours || p.Ended || s.bounds.passed(p.Name, p.ID(), 0) {
			delete(s.open, p.ID())
			continue
		}
		s.job.table(p.Name) // all open at the same time
		wanted = append(wanted, p)
	}
	s.job.end(ended)
	return wanted
}

// meet waits for the tables of partitions.
func (s *session) meet(ctx context.Context, wanted []*kfs.PartitionState) {
	patient, cancel := context.WithTimeout(ctx, openPatience)
	defer cancel()
	for _, p := range wanted {
		t := s.job.table(p.Name)
		if t == nil {
			continue
		}
		if _, known := s.feeds[t]; !known {
			s.feeds[t] = t.await(patient)
		}
	}
}

// begin gives a source its first position.
func (s *session) begin(t *table, f *feed, topic string, id kfs.PartitionID, at int64) {
	at = f.position(id, at)
	t.note(func(st *tableStatus) {
		st.began(processor.Source{Topic: topic, ID: id.Topic, Partition: id.Partition}, at)
	})
}

// offerFault tells the worker that the next records of a partition are gone.
func (s *session) offerFault(ctx context.Context, f *feed, p *kfs.PartitionState, gone kfs.Span, fault error) error {
	err := f.offer(ctx, item{source: sourceAt(p), span: gone, piece: gone, fault: fault})
	if errors.Is(err, errClosed) {
		return nil
	}
	return err
}

// sourceAt is the source of a checkpoint's partition.
func sourceAt(p *kfs.PartitionState) processor.Source {
	return processor.Source{Topic: p.Name, ID: p.Topic, Partition: p.Partition}
}

// starts is where partitions begin of which the table has no position. One that is not in the answer begins behind the checkpoint.
func (s *session) starts(ctx context.Context, wanted []*kfs.PartitionState) (map[kfs.PartitionID]int64, error) {
	starts := map[kfs.PartitionID]int64{}
	from := s.job.cfg.From
	if from.Latest && s.job.cfg.shared() { // whoever has read a partition before this process has said where it began, before it read
		var err error
		if s.before, err = s.job.filedNow(ctx); err != nil {
			return nil, err
		}
	}
	var found map[kfs.PartitionID]int64
	if !from.At.IsZero() {
		var ids []kfs.PartitionID
		for _, p := range wanted {
			ids = append(ids, p.ID())
		}
		var err error
		if found, err = s.tailer.OffsetsAt(ctx, from.At, ids); err != nil {
			return nil, err
		}
	}
	for _, p := range wanted {
		at := p.LogStart
		switch {
		case from.Latest:
			if began, ok := s.job.began(s.before, p.Name, p.ID()); ok {
				at = max(at, began)
			} else {
				at = max(at, s.end.Partitions[p.ID()].Span.Next)
			}
		case from.Offsets != nil:
			if given, ok := from.Offsets.of(p.Name, p.Partition); ok {
				at = given
			}
		case !from.At.IsZero():
			offset, ok := found[p.ID()]
			if !ok {
				continue
			}
			at = offset
		}
		starts[p.ID()] = at
	}
	return starts, nil
}

// firstOffset is where a partition begins of which p is the first to be read that may count; ok is false if it does not.
func (s *session) firstOffset(p *tail.Piece) (offset int64, ok bool, err error) {
	from := s.job.cfg.From
	switch {
	case from.Latest:
		if began, ok := s.job.began(s.before, p.Topic, p.ID); ok {
			return max(p.Span.Base, began), true, nil
		}
		return max(p.Span.Base, s.end.Partitions[p.ID].Span.Next), true, nil
	case from.Offsets != nil:
		if at, given := from.Offsets.of(p.Topic, p.ID.Partition); given {
			return at, true, nil
		}
		return p.Span.Base, true, nil
	case from.At.IsZero() || p.Err != nil:
		return p.Span.Base, true, nil
	}
	return record.OffsetAt(p.Records, 0, from.At.UnixMilli())
}
