package pipeline

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
)

// mergeEvery is how often the job's object is read, where several processes write it, though this one has nothing new to say: of two that
// write at the same time one is overwritten, and says it again then.
const mergeEvery = 30 * time.Second

// share brings the job's object up to date where several processes write it. nothing says that there is nothing to write.
func (j *Job) share(ctx context.Context, team Team) (body []byte, nothing bool, err error) {
	_, reads, _ := team.Share()
	own := j.file()
	var names []string
	for _, t := range own.Tables {
		names = append(names, t.Table)
	}
	own.Workers = team.Workers(names)
	if j.leaving {
		own.Workers = slices.DeleteFunc(own.Workers, func(w kfs.JobWorker) bool { return w.ID == team.Self() })
	}
	workers := own.Workers
	said, err := kfs.EncodeJob(own)
	if err != nil {
		return nil, false, err
	}
	now := j.cfg.Now()
	if bytes.Equal(said, j.said) && now.Sub(j.merged) < mergeEvery {
		return nil, true, nil
	}
	_, there, err := j.readFile(ctx)
	if err != nil {
		return nil, false, err
	}
	j.mu.Lock()
	tables := j.openTables()
	j.mu.Unlock()
	for _, t := range tables {
		i := slices.IndexFunc(there.Tables, func(o kfs.JobTable) bool { return o.Table == t.name })
		if i >= 0 {
			t.note(func(s *tableStatus) { s.adopt(there.Tables[i].Sources, reads) })
		}
	}
	own = j.file() // with what was adopted
	if body, err = kfs.EncodeJob(merge(own, there, team.Self(), workers, reads, j.fills)); err != nil {
		return nil, false, err
	}
	j.said, j.merged = said, now
	return body, bytes.Equal(body, j.filed), nil
}

// merge makes one object of what this process says of the job and of what is there, which others have said too. Each speaks for the
// partitions that it reads; of the others what is there stays, or comes from here if nothing is. What a process that is gone has said of
// halts goes: whoever reads its partitions now comes to them, too.
// fills says which tables that are not known here belong to the job.
func merge(own, there *kfs.Job, self string, workers []kfs.JobWorker, reads func(kfs.PartitionID) bool, fills func(string, []kfs.JobSource) bool) *kfs.Job {
	m := *own
	m.Workers = workers
	m.Halts = mergeHalts(own.Halts, there.Halts, self, workers)
	if m.Lineage.IsZero() {
		m.Lineage = there.Lineage
	}
	tables := map[string]kfs.JobTable{}
	for _, t := range there.Tables {
		tables[t.Table] = t
	}
	m.Tables = []kfs.JobTable{}
	for _, t := range own.Tables {
		if other, ok := tables[t.Table]; ok {
			t = mergeTable(t, other, reads)
			delete(tables, t.Table)
		}
		m.Tables = append(m.Tables, t)
	}
	for name, t := range tables {
		if fills(name, t.Sources) {
			m.Tables = append(m.Tables, t)
		}
	}
	slices.SortFunc(m.Tables, func(a, b kfs.JobTable) int { return strings.Compare(a.Table, b.Table) })
	return &m
}

func mergeTable(own, there kfs.JobTable, reads func(kfs.PartitionID) bool) kfs.JobTable {
	t := own
	if t.UUID == "" {
		t.UUID = there.UUID
	}
	t.Marked = max(own.Marked, there.Marked) // marks that are older than it says hold more, not less
	sources := map[processor.Source]kfs.JobSource{}
	for _, s := range own.Sources {
		sources[sourceOf(s)] = s
	}
	for _, s := range there.Sources {
		if _, ok := sources[sourceOf(s)]; !ok || !reads(id(sourceOf(s))) {
			sources[sourceOf(s)] = s
		}
	}
	t.Sources = []kfs.JobSource{}
	for _, s := range slices.SortedFunc(maps.Keys(sources), processor.Source.Compare) {
		t.Sources = append(t.Sources, sources[s])
	}
	return t
}

func mergeHalts(own, there []kfs.JobHalt, self string, workers []kfs.JobWorker) []kfs.JobHalt {
	var all []kfs.JobHalt
	for _, h := range own {
		h.Worker = self
		all = append(all, h)
	}
	for _, h := range there {
		lives := slices.ContainsFunc(workers, func(w kfs.JobWorker) bool { return w.ID == h.Worker })
		if h.Worker != self && lives && len(all) < maxHalts {
			all = append(all, h)
		}
	}
	slices.SortStableFunc(all, func(a, b kfs.JobHalt) int { return strings.Compare(a.Worker, b.Worker) })
	return all
}

// adopt takes over what others have held of partitions that this process has begun to read: no more than they did is let go.
func (s *tableStatus) adopt(there []kfs.JobSource, reads func(kfs.PartitionID) bool) {
	for source := range s.adopted {
		if !reads(id(source)) {
			delete(s.adopted, source)
		}
	}
	for _, held := range there {
		source := sourceOf(held)
		t, ok := s.trails[source]
		if !ok || !reads(id(source)) || s.adopted[source] {
			continue
		}
		s.trails[source] = trail{min(t.hold, held.Hold), min(t.mark, held.Mark)}
		s.adopted[source] = true
	}
}
