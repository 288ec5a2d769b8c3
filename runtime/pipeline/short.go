package pipeline

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
)

// A log whose bucket was put back to an earlier state may be shorter than what the job's tables have of it, and says so in no other way, for
// its lineage is what it was. What comes to it next are other records at offsets that the tables have, and nobody would ever read them. So who
// reads a journal to its end looks whether a table has come further. A table's position was in the log before it was in the table: where the
// end was looked for after the position was read, it cannot lie before it. Once the log has come there again, nobody can tell any more.

// shortness is what a session knows of that.
type shortness struct {
	unsure map[*feed][]kfs.PartitionID // that may still turn out to be longer than the log; a feed that is not in it was not looked at
	seen   map[kfs.PartitionID]bool    // those that were so when the end was met last
}

// atEnd looks for sources of which a table has more than the journal, and halts them. It is called when the end is met: what it finds when the
// end is met once more, the tailer has looked for since.
func (s *session) atEnd(ctx context.Context, end func(kfs.PartitionID) int64) error {
	s.job.mu.Lock()
	tables := s.job.openTables()
	s.job.mu.Unlock()
	for _, t := range tables {
		f := s.feeds[t]
		if f == nil {
			f = t.current()
		}
		if f == nil {
			continue
		}
		left, met := s.short.unsure[f]
		if !met {
			left = slices.SortedFunc(maps.Keys(f.stood), func(a, b kfs.PartitionID) int { return strings.Compare(a.String(), b.String()) })
		}
		if len(left) == 0 && met {
			continue
		}
		left, err := s.compare(ctx, t, f, left, end)
		if err != nil {
			return err
		}
		s.short.unsure[f] = left
	}
	return nil
}

// compare halts those of some partitions of a table that are too far for the second time, and gives those of which nothing can be said yet.
func (s *session) compare(ctx context.Context, t *table, f *feed, all []kfs.PartitionID, end func(kfs.PartitionID) int64) (unsure []kfs.PartitionID, err error) {
	for _, of := range all {
		topic, known := s.job.topicOf(of.Topic)
		if !known {
			unsure = append(unsure, of)
			continue
		}
		here := topic.State == kfs.TopicLive && int(of.Partition) < len(topic.Journals) && topic.Journals[of.Partition] == s.journal
		at, next := f.stood[of], end(of)
		switch {
		case !here || next < 0 || at <= next:
		case !s.short.seen[of]:
			s.short.seen[of] = true
			unsure = append(unsure, of)
		default:
			span := kfs.Span{Base: max(at, next), Next: max(at, next) + 1}
			source := processor.Source{Topic: topic.Name, ID: of.Topic, Partition: of.Partition}
			if next, ok := f.known(of); ok {
				span = kfs.Span{Base: next, Next: next + 1}
			}
			if err := f.offer(ctx, item{source: source, span: span, piece: span, fault: shorter(t, at, next, s.job.cfg.Name)}); err != nil && ctx.Err() != nil {
				return unsure, err
			} // else the table begins anew, and so does this
		}
	}
	return unsure, nil
}

// shorter says that a table has more of a source than there is.
func shorter(t *table, at, next int64, job string) error {
	return halted(fmt.Sprintf("table %s, or the dead-letter table, has its records up to offset %d, and the log ends at %d: the log was put back to an earlier state", t.name, at, next),
		"restore the log as it was; or, to have its records from there on, stop the job, drop the table and the dead-letter table, with all others of the job, delete "+kfs.JobKey(job)+
			" from the source's store and start the job again: its tables are filled anew")
}

// boundedAtEnd is atEnd for a run that ends: its end was found before the tables' positions were read, and others may have gone on since. So where
// a table is behind it, the end is looked for again.
func (s *session) boundedAtEnd(ctx context.Context) error {
	s.job.mu.Lock()
	tables := s.job.openTables()
	s.job.mu.Unlock()
	further := false
	for _, t := range tables {
		f := s.feeds[t]
		if f == nil {
			patient, cancel := context.WithTimeout(ctx, openPatience)
			f = t.await(patient)
			cancel()
		}
		if f == nil {
			continue // it has halted, or begins anew: so does this then
		}
		for of, at := range f.stood {
			next := s.end.Next(of)
			further = further || next >= 0 && at > next
		}
	}
	if !further {
		return nil
	}
	end, err := s.job.readEnd(ctx, s.journal, time.Time{})
	if final(err) {
		return nil // the reading comes to the same
	}
	if err != nil {
		return err
	}
	for range 2 {
		if err := s.atEnd(ctx, end.Next); err != nil {
			return err
		}
	}
	return nil
}
