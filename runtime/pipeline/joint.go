package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/tail"
)

// Joint is an Assignment of processes that tell each other what they have finished. Those that do a bounded run together do: each has found ends of its own when it began, and is done when all is
// committed up to them, by whichever process. So that none waits for another that waits for it, the ends of two processes are in order, those
// of the one nowhere behind those of the other: they call Job.Resolve one after the other.
type Joint interface {
	Assignment
	// Say tells the others of partitions that this process has read up to their ends, those of a bounded run or of a topic that was deleted: up
	// to where they are committed. It may be said again.
	Say(done map[kfs.PartitionID]int64)
	// Heard is what others have said, also those that have ended since: of each partition the most. more is closed when there is more. The
	// map is not changed any more.
	Heard() (done map[kfs.PartitionID]int64, more <-chan struct{})
}

// What is said of a partition, beside offsets.
const (
	saidHalted = -1            // it has halted, and what comes is committed nowhere
	saidAll    = math.MaxInt64 // all is committed that any of the processes takes of it
)

// portion is what a reader takes of its journal in a bounded run, and what it leaves to others.
type portion struct{ own, others map[kfs.PartitionID]goal }

// goal is what is to be said of a partition when it is done.
type goal struct {
	topic string
	next  int64
}

// met reports whether nothing more comes of a partition of which that was said.
func (g goal) met(said int64) bool { return said == saidHalted || said >= g.next }

// awaited reports whether other processes of a bounded run may still bring in records.
func (j *Job) awaited() bool {
	joint, ok := j.cfg.Assignment.(Joint)
	if !ok {
		return false
	}
	heard, _ := joint.Heard()
	j.mu.Lock()
	defer j.mu.Unlock()
	for k, state := range j.readers {
		if p, ok := j.portions[k]; !ok && state != unreadable {
			return true // what it leaves to others is not known yet
		} else if !p.metBy(heard) {
			return true
		}
	}
	return false
}

// metBy reports whether that was said of all that is left to others.
func (p portion) metBy(heard map[kfs.PartitionID]int64) bool {
	for id, g := range p.others {
		if at, ok := heard[id]; !ok || !g.met(at) {
			return false
		}
	}
	return true
}

// divide leaves those partitions of a bounded run to others that are theirs. What nobody needs to read is in neither part.
func (s *session) divide() {
	s.portion = portion{own: map[kfs.PartitionID]goal{}, others: map[kfs.PartitionID]goal{}}
	cfg := &s.job.cfg
	if s.bounds == nil || !cfg.shared() {
		return
	}
	_, share, _ := cfg.Assignment.Share()
	for id := range s.bounds.remaining() {
		topic := s.end.Partitions[id].Topic
		reads := share
		if f := s.feeds[s.job.table(topic)]; f != nil {
			reads = f.reads
		}
		g := goal{topic, s.bounds.goal(id)}
		switch {
		case reads(id):
			s.portion.own[id] = g
		case s.open[id]:
			s.portion.others[id] = g
			delete(s.open, id)
			s.job.found(id.Topic, id.Partition+1) // the topic may be gone, and the records be there
		}
	}
}

// agreed reports whether, when all of its own has settled in a round, the others have committed what this process has left to them: all but what
// has halted there. That it has come so far, it tells them.
func (j *Job) agreed(round uint64, tables []TableStatus) (elsewhere error, ok bool) {
	joint, ok := j.cfg.Assignment.(Joint)
	if !ok {
		return nil, true
	}
	halted, topics := map[kfs.PartitionID]bool{}, map[string]bool{}
	for _, t := range tables {
		topics[t.Topic] = t.Halted != nil
		for _, source := range t.Sources {
			halted[id(source.Source)] = source.Halted != nil
		}
	}
	say, left := map[kfs.PartitionID]int64{}, map[kfs.PartitionID]goal{}
	j.mu.Lock()
	now := j.round
	for _, p := range j.portions {
		for id, g := range p.own {
			if say[id] = g.next; halted[id] || topics[g.topic] {
				say[id] = saidHalted
			}
		}
		maps.Copy(left, p.others)
	}
	j.mu.Unlock()
	if now != round {
		return nil, false
	}
	joint.Say(say)
	heard, _ := joint.Heard()
	var names []string
	for id, g := range left {
		switch at, ok := heard[id]; {
		case !ok || !g.met(at):
			return nil, false
		case at == saidHalted:
			names = append(names, fmt.Sprintf("%s/%d", g.topic, id.Partition))
		}
	}
	if len(names) > 0 {
		slices.Sort(names)
		elsewhere = fmt.Errorf("halted in another process of this run, which says why: %s", strings.Join(names, ", "))
	}
	return elsewhere, true
}

// listen goes by what others say, until ctx has ended.
func (j *Job) listen(ctx context.Context) {
	joint, ok := j.cfg.Assignment.(Joint)
	for ok && ctx.Err() == nil {
		heard, more := joint.Heard()
		j.finish(heard)
		j.settled()
		select {
		case <-more:
		case <-ctx.Done():
		}
	}
}

// Resolve finds where a bounded run ends, in all journals that there are. Without it each reader finds the end of its journal when it begins. It
// tries as long as it takes, may be called again, and not any more when Run was called.
func (j *Job) Resolve(ctx context.Context) error {
	if !j.cfg.Until.Bounded() {
		return nil
	}
	ends := map[uint32]*tail.End{}
	journals := uint32(1)
	for k := uint32(0); k < journals; k++ {
		end, err := j.findEnd(ctx, k)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			continue // its reader comes to the same
		}
		ends[k] = &end
		for _, e := range end.Entries {
			if c, ok := e.(kfs.Cluster); ok {
				journals = max(journals, c.Journals)
			}
		}
	}
	j.ends, j.journals = ends, journals
	return nil
}

// findEnd reads the end of a journal. An error is one that does not pass.
func (j *Job) findEnd(ctx context.Context, journal uint32) (tail.End, error) {
	for failures := 0; ; failures++ {
		end, err := j.readEnd(ctx, journal, j.cfg.Until.At)
		if err == nil || final(err) || ctx.Err() != nil {
			return end, err
		}
		wait := j.backoff(failures)
		if errors.Is(err, tail.ErrReleased) {
			wait = 0
		}
		j.cfg.Logger.Warn("finding the journal's end again", "journal", journal, "err", err, "in", wait)
		sleep(ctx, wait)
	}
}

// endOf is the end of a journal as it was resolved, or else as it is now. A journal that has come since then has nothing to give.
func (j *Job) endOf(ctx context.Context, journal uint32) (tail.End, error) {
	if end := j.ends[journal]; end != nil {
		return *end, nil
	}
	if j.ends != nil && journal >= j.journals {
		return tail.End{}, nil
	}
	return j.readEnd(ctx, journal, j.cfg.Until.At)
}
