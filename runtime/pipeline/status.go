package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
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
	Halted []error // journals that cannot be read, topics without a table
}

// TableStatus is one table of a job.
type TableStatus struct {
	Table     string
	Topic     string
	Ready     bool // it stands at a position and takes records, or has halted
	Sources   []SourceStatus
	Lag       int64         // offsets that were seen and are not committed
	Freshness time.Duration // of the last commit: the age of its oldest record when it became visible
	Commits   int64
	Records   int64 // committed since the job began
	Halted    error // why the table takes nothing more
}

// SourceStatus is one source partition of a table.
type SourceStatus struct {
	processor.Source
	Committed int64 // one past the last offset in the table
	Read      int64 // one past the last offset that was decoded
	End       int64 // one past the last offset that was seen in the log
	Halted    error
}

// tableStatus is what a table keeps for Status, under its lock.
type tableStatus struct {
	sources   map[processor.Source]*SourceStatus
	seen      processor.Positions // that a load of the table has shown
	sent      processor.Positions // that commits have answered
	identity  string
	freshness time.Duration
	commits   int64
	records   int64
}

func (s *tableStatus) source(of processor.Source) *SourceStatus {
	if s.sources[of] == nil {
		s.sources[of] = &SourceStatus{Source: of}
	}
	return s.sources[of]
}

// committed notes a commit. That it began where the one before ended shows that the table has that one.
func (s *tableStatus) committed(g *group, freshness time.Duration) {
	for source, from := range g.from {
		if sent, ok := s.sent[source]; ok && sent == from {
			s.seen[source] = from
		}
		s.sent[source] = g.to[source]
		s.source(source).Committed = g.to[source]
	}
	s.freshness = freshness
	s.commits++
	s.records += g.records
}

// loaded notes what a load of the table has shown.
func (s *tableStatus) loaded(committed processor.Positions) {
	s.seen, s.sent = maps.Clone(committed), maps.Clone(committed)
	for source, next := range committed {
		s.source(source).Committed = next
	}
}

func (s *tableStatus) lag() int64 {
	n := int64(0)
	for _, source := range s.sources {
		n += max(0, source.End-source.Committed)
	}
	return n
}

// note changes the table's status.
func (t *table) note(change func(*tableStatus)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.status)
}

// Status may be called at any time.
func (j *Job) Status() Status {
	j.mu.Lock()
	tables, s := slices.Collect(maps.Values(j.tables)), Status{Halted: slices.Clone(j.halts)}
	j.mu.Unlock()
	for _, t := range tables {
		if t == nil {
			continue
		}
		t.mu.Lock()
		one := TableStatus{Table: t.name, Topic: t.topic, Ready: t.feed != nil || t.halted != nil, Lag: t.status.lag(), Freshness: t.status.freshness, Commits: t.status.commits,
			Records: t.status.records, Halted: t.halted}
		for _, source := range t.status.sources {
			one.Sources = append(one.Sources, *source)
		}
		t.mu.Unlock()
		slices.SortFunc(one.Sources, func(a, b SourceStatus) int { return compareSources(a.Source, b.Source) })
		s.Tables = append(s.Tables, one)
	}
	slices.SortFunc(s.Tables, func(a, b TableStatus) int { return strings.Compare(a.Table, b.Table) })
	return s
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
func (j *Job) haltErrors() error {
	s := j.Status()
	errs := s.Halted
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

// statusPause is how often the job's object is written at most.
const statusPause = 5 * time.Second

// jobFile is {ns}/jobs/{job}.json: what the job has committed, for people and for what must not delete it yet. A position is in it only after
// a later load has shown it in the table, never by a commit's own answer.
type jobFile struct {
	Version int         `json:"version"`
	Job     string      `json:"job"`
	Tables  []fileTable `json:"tables"`
}

type fileTable struct {
	Table   string       `json:"table"`
	UUID    string       `json:"uuid,omitempty"`
	Sources []fileSource `json:"sources"`
}

type fileSource struct {
	Topic     string `json:"topic"`
	ID        string `json:"id"`
	Partition int32  `json:"partition"`
	Next      int64  `json:"next"`
}

// keepStatus writes the job's object while it changes, until ctx has ended. It gives what it wrote last.
func (j *Job) keepStatus(ctx context.Context) (written []byte) {
	for sleep(ctx, statusPause) {
		j.measureLag()
		written = j.writeStatus(ctx, written)
	}
	return written
}

func (j *Job) writeStatus(ctx context.Context, written []byte) []byte {
	body, err := json.Marshal(j.file())
	if err != nil || bytes.Equal(body, written) {
		return written
	}
	if _, err := j.cfg.Store.Put(ctx, kfs.JobKey(j.cfg.Name), body, false); err != nil {
		j.cfg.Logger.Warn("writing what the job has committed", "key", kfs.JobKey(j.cfg.Name), "err", err)
		return written
	}
	return body
}

func (j *Job) file() jobFile {
	f := jobFile{Version: 1, Job: j.cfg.Name, Tables: []fileTable{}}
	j.mu.Lock()
	tables := slices.Collect(maps.Values(j.tables))
	j.mu.Unlock()
	for _, t := range tables {
		if t == nil {
			continue
		}
		one := fileTable{Table: t.name, Sources: []fileSource{}}
		t.note(func(s *tableStatus) {
			one.UUID = s.identity
			for _, source := range slices.SortedFunc(maps.Keys(s.seen), compareSources) {
				one.Sources = append(one.Sources, fileSource{source.Topic, source.ID.String(), source.Partition, s.seen[source]})
			}
		})
		f.Tables = append(f.Tables, one)
	}
	slices.SortFunc(f.Tables, func(a, b fileTable) int { return strings.Compare(a.Table, b.Table) })
	return f
}

func (j *Job) measureLag() {
	for _, t := range j.Status().Tables {
		j.metrics.lag.WithLabelValues(t.Table).Set(float64(t.Lag))
	}
}
