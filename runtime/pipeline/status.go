package pipeline

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
)

// Status is what a job looks like from outside.
type Status struct {
	Tables []TableStatus
	Halted []error // journals that cannot be read, topics without a table, another job of this name
}

// TableStatus is one table of a job.
type TableStatus struct {
	Table     string
	Topic     string
	Ready     bool // it stands at a position and takes records, or has halted
	Sources   []SourceStatus
	Lag       int64         // offsets that the log is known to have and that are not committed
	Freshness time.Duration // of the last commit: the age of its oldest record when it became visible
	Commits   int64
	Records   int64 // committed since the job began
	Bytes     int64 // of the log, likewise
	Stuck     error // why the table takes nothing, although it is tried again and again
	Halted    error // why the table takes nothing more
}

// SourceStatus is one source partition of a table.
type SourceStatus struct {
	processor.Source
	Committed int64 // one past the last offset in the table
	Read      int64 // one past the last offset that was decoded
	End       int64 // one past the last offset that is known to be in the log: by what was read of it, and by the checkpoint that this began with
	Halted    error
}

// tableStatus is what a table keeps for Status, under its lock.
type tableStatus struct {
	sources   map[processor.Source]*SourceStatus
	seen      processor.Positions        // that a load of the table has shown
	sent      processor.Positions        // that commits have answered; it has every source of seen
	begun     processor.Positions        // where sources began of which the table had no position
	trails    map[processor.Source]trail // what is held of each source; all that are known
	listed    map[processor.Source]bool  // sources that the job's object has had since before they were read
	adopted   map[processor.Source]bool  // sources of which this holds no more than those did who read them before
	marked    int64                      // when what is held moved on last, Unix milliseconds
	several   []processor.TableState     // where the sink writes to several tables
	loads     bool                       // whether a load has shown the table to be what it was
	identity  string
	freshness time.Duration
	commits   int64
	records   int64
	bytes     int64
	stuck     error // what the table is stuck in; nil if it goes on
}

func (s *tableStatus) source(of processor.Source) *SourceStatus {
	if s.sources[of] == nil {
		s.sources[of] = &SourceStatus{Source: of}
	}
	return s.sources[of]
}

// forget drops what halted in partitions that others read now, and what there is of them to be read.
func (s *tableStatus) forget(reads func(kfs.PartitionID) bool) {
	for of, source := range s.sources {
		if !reads(id(of)) {
			source.Halted, source.End = nil, 0
		}
	}
}

// newTableStatus begins with what the job's object has said.
func newTableStatus(filed kfs.JobTable) tableStatus {
	s := tableStatus{
		sources: map[processor.Source]*SourceStatus{}, seen: processor.Positions{}, sent: processor.Positions{}, begun: processor.Positions{},
		trails: map[processor.Source]trail{}, adopted: map[processor.Source]bool{}, listed: map[processor.Source]bool{}, identity: filed.UUID, marked: filed.Marked,
	}
	for _, of := range filed.Sources {
		source := sourceOf(of)
		s.seen[source], s.sent[source] = of.Next, of.Committed
		s.trails[source], s.listed[source] = trail{of.Hold, of.Mark}, true
	}
	return s
}

// began notes where a source begins that the table has no position of. The first such place counts: what lies behind it may be wanted again.
func (s *tableStatus) began(source processor.Source, at int64) {
	if _, ok := s.begun[source]; !ok {
		s.begun[source] = at
	}
	s.follow(source)
}

// follow begins to hold a source, from where it stands.
func (s *tableStatus) follow(source processor.Source) {
	if _, ok := s.trails[source]; !ok {
		at := s.needs(source)
		s.trails[source] = trail{at, at}
	}
}

// needs is the first offset of a source that the table, as loads have shown it, has not.
func (s *tableStatus) needs(source processor.Source) int64 {
	if at, ok := s.seen[source]; ok {
		return at
	}
	return s.begun[source]
}

// committed notes a commit. That it began where the one before ended shows that the table has that one. missing says that there is no table
// yet: the commit was of nothing, and has moved no position that the table could lose.
func (s *tableStatus) committed(g *group, identity string, missing bool, freshness time.Duration) {
	s.identity = identity
	for source, from := range g.from {
		s.source(source).Committed = g.to[source]
		if missing {
			continue
		}
		if sent, ok := s.sent[source]; ok && sent == from {
			s.seen[source] = s.shown(source, from)
		}
		s.follow(source)
		s.sent[source] = g.to[source]
	}
	s.freshness = freshness
	s.commits++
	s.records += g.records
	s.bytes += g.bytes
}

// shown is how much of what lies before an offset has been shown to be there. A commit to one of several tables says nothing of the others.
func (s *tableStatus) shown(source processor.Source, offset int64) int64 {
	for _, t := range s.several {
		if shown := t.Shown[source]; shown < t.Positions[source] {
			offset = min(offset, shown)
		}
	}
	return offset
}

// loaded notes what a load of the table has shown.
func (s *tableStatus) loaded(committed processor.Positions, identity string) {
	s.loads = true
	s.seen, s.sent, s.identity = processor.Positions{}, processor.Positions{}, identity
	maps.Copy(s.seen, committed)
	maps.Copy(s.sent, committed)
	for source, next := range committed {
		s.follow(source)
		s.source(source).Committed = next
	}
}

// there notes how far a source is known to go.
func (s *tableStatus) there(source processor.Source, end int64) {
	of := s.source(source)
	of.End = max(of.End, end)
}

func (s *tableStatus) lag() int64 {
	n := int64(0)
	for of, source := range s.sources {
		n += max(0, source.End-max(source.Committed, s.begun[of]))
	}
	return n
}

// note changes the table's status.
func (t *table) note(change func(*tableStatus)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.status)
}

// noteHalt notes why a source has halted; nil if it goes on.
func (t *table) noteHalt(of processor.Source, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	source := t.status.source(of)
	had := source.Halted != nil // a life that begins anew comes to the same again
	if source.Halted = err; had != (err != nil) {
		t.countHalted()
	}
}

// noteStuck notes what the table is stuck in; nil if it goes on, or has halted.
func (t *table) noteStuck(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.status.stuck == nil && err == nil {
		return
	}
	t.status.stuck = err
	stuck := 0.0
	if err != nil {
		stuck = 1
	}
	t.job.metrics.halted.WithLabelValues(t.name, "stuck").Set(stuck)
}

// countHalted says how many partitions have halted. t.mu is held.
func (t *table) countHalted() {
	n := 0
	for _, source := range t.status.sources {
		if source.Halted != nil {
			n++
		}
	}
	t.job.metrics.halted.WithLabelValues(t.name, "partition").Set(float64(n))
}

// Status may be called at any time.
func (j *Job) Status() Status {
	j.mu.Lock()
	tables, s := slices.Collect(maps.Values(j.tables)), Status{Halted: slices.Clone(j.halts)}
	if j.apart != nil {
		s.Halted = append(s.Halted, j.apart)
	}
	j.mu.Unlock()
	for _, t := range tables {
		if t != nil {
			one, _ := t.look()
			s.Tables = append(s.Tables, one)
		}
	}
	slices.SortFunc(s.Tables, func(a, b TableStatus) int { return strings.Compare(a.Table, b.Table) })
	return s
}

// look gives the table's status, and whether, at the same moment, nothing that was offered is pending, or nothing can be done about it.
func (t *table) look() (one TableStatus, settled bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	one = TableStatus{Table: t.name, Topic: t.topic, Ready: t.feed != nil || t.halted != nil, Lag: t.status.lag(), Freshness: t.status.freshness, Commits: t.status.commits,
		Records: t.status.records, Bytes: t.status.bytes, Stuck: t.status.stuck, Halted: t.halted}
	for _, source := range t.status.sources {
		one.Sources = append(one.Sources, *source)
	}
	slices.SortFunc(one.Sources, func(a, b SourceStatus) int { return a.Source.Compare(b.Source) })
	return one, t.halted != nil || t.feed != nil && !t.missed && t.feed.idle()
}

// Ready says why the job does not serve all that it knows of; nil if it does. What has halted is ready: it waits for a person, and starting
// the process again would not help.
func (j *Job) Ready() error {
	var errs []error
	for _, t := range j.Status().Tables {
		if !t.Ready {
			errs = append(errs, fmt.Errorf("table %s has no position yet", t.Table))
		}
	}
	return errors.Join(errs...)
}

// haltErrors joins why parts of the job have halted.
func (s *Status) haltErrors() error {
	errs := slices.Clone(s.Halted)
	for _, t := range s.Tables {
		if t.Halted != nil {
			errs = append(errs, fmt.Errorf("table %s: %w", t.Table, t.Halted))
		}
		for _, source := range t.Sources {
			if source.Halted != nil {
				errs = append(errs, fmt.Errorf("table %s: %s/%d: %w", t.Table, source.Topic, source.Partition, source.Halted))
			}
		}
	}
	return errors.Join(errs...)
}

func (j *Job) measureLag() {
	for _, t := range j.Status().Tables {
		j.metrics.lag.WithLabelValues(t.Table).Set(float64(t.Lag))
	}
}
