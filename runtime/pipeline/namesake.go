package pipeline

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
)

// The job's object is one for all processes that run a job of its name. Processes that share a job write it together, see share. A process
// that takes itself for the only one overwrites it, and so looks first whether another one has. That may run the same job, which is harmless:
// both say what the job's tables say. Or it runs another job of the same name, and what it needs of the log must go on being held.

// namesakePatience is after what time without a sign another process counts as gone: each looks at the object every mergeEvery at least, and
// writes it again where another one has.
const namesakePatience = 3 * mergeEvery

// namesakes is what is known of others that write the job's object. It belongs to whoever holds the filing token.
type namesakes struct {
	looked time.Time               // when the object was read last
	kept   map[string]kfs.JobTable // what the object says for others, by table
	drop   time.Time               // when kept goes, unless somebody has written by then; zero: not before this process ends
	told   string                  // the id of the process that was told of last
	seen   time.Time               // when another job was seen last
	// topics, or pattern, are what it and this job read, as kfs.Job has them: neither is any.
	topics  []string
	pattern string
}

// meetFile takes note of what the object says at the start. A process that has not said that it ended may still run: for a while nothing goes
// that it holds and this job does not know. If it was one of this job, which has another file now, it is gone after that.
func (j *Job) meetFile(f *kfs.Job) {
	j.others.looked = j.cfg.Now()
	if j.otherThan(f.Workers) == nil {
		return
	}
	j.others.kept = map[string]kfs.JobTable{}
	for _, t := range f.Tables {
		if len(t.Sources) > 0 && !j.fills(t.Table, t.Sources) {
			j.others.kept[t.Table] = t
		}
	}
	j.others.drop = j.others.looked.Add(namesakePatience)
}

// otherThan is a process that is not this one; nil if there is none.
func (j *Job) otherThan(all []kfs.JobWorker) *kfs.JobWorker {
	i := slices.IndexFunc(all, func(w kfs.JobWorker) bool { return w.ID != j.cfg.ID })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// alone brings the job's object up to date where this process takes itself for the only one. nothing says that there is nothing to write.
func (j *Job) alone(ctx context.Context) (body []byte, nothing bool, err error) {
	now := j.cfg.Now()
	if body, err = kfs.EncodeJob(j.whole()); err != nil {
		return nil, false, err
	}
	if bytes.Equal(body, j.filed) && now.Sub(j.others.looked) < mergeEvery {
		return nil, true, nil
	}
	left := j.filed
	_, there, err := j.readFile(ctx) // sets j.filed
	if err != nil {
		return nil, false, err
	}
	j.others.looked = now
	if bytes.Equal(left, j.filed) {
		j.forgetOthers(now)
	} else if j.filed != nil {
		j.meetOthers(there, now)
	}
	f := j.whole()
	if body, err = kfs.EncodeJob(f); err != nil {
		return nil, false, err
	}
	if !j.leaving && !j.twoJobs() && j.otherThan(there.Workers) != nil {
		f.Workers = there.Workers // of what it says of the job, it does not matter which of them has said it
	}
	same, err := kfs.EncodeJob(f)
	return body, bytes.Equal(same, j.filed), err
}

// forgetOthers is for when nobody else has written the object.
func (j *Job) forgetOthers(now time.Time) {
	if o := &j.others; !o.drop.IsZero() && !now.Before(o.drop) {
		o.kept, o.drop = nil, time.Time{}
	}
	if now.Sub(j.others.seen) >= namesakePatience && j.namesake(nil) {
		j.cfg.Logger.Info("the other job of this name has not been seen for a while", "for", namesakePatience)
	}
}

// meetOthers is for when somebody else has written the object.
func (j *Job) meetOthers(there *kfs.Job, now time.Time) {
	o, own := &j.others, j.file()
	if o.kept == nil {
		o.kept = map[string]kfs.JobTable{}
	}
	var foreign []string
	for _, t := range there.Tables {
		if len(t.Sources) == 0 {
			continue // nothing is held for it, and whose it is nothing tells
		}
		i := slices.IndexFunc(own.Tables, func(k kfs.JobTable) bool { return k.Table == t.Table })
		known := i >= 0 && (t.UUID == own.Tables[i].UUID || t.UUID == "" || own.Tables[i].UUID == "")
		if !known {
			o.kept[t.Table] = t
		}
		if !known && (i >= 0 || !j.fills(t.Table, t.Sources)) {
			foreign = append(foreign, t.Table)
		}
	}
	other := j.otherThan(there.Workers)
	if other == nil {
		return // it has ended since
	}
	o.drop = time.Time{}
	told := o.told == other.ID
	o.told = other.ID
	if len(foreign) == 0 && sameTopics(there.Topics, j.cfg.Topics) && there.Pattern == j.cfg.Pattern {
		if !told {
			j.cfg.Logger.Warn("another process runs this job, and they do not know of each other: no record comes twice, but each does all of the work. Give both the same --etcd, so that they share it, or stop one",
				"process", other.Name)
		}
		return
	}
	o.seen = now
	o.topics, o.pattern = bothRead(own, there)
	err := halted(fmt.Sprintf("another process, %s, runs another job of the name %s, or this one with another job file: it reads %s%s. Both write %s, by which the log is kept for them and status is told",
		other.Name, j.cfg.Name, topicsOf(there), tablesOf(foreign), kfs.JobKey(j.cfg.Name)),
		"give one of the two jobs another name, that which has not filled a table yet, and start it again; if they are one job, stop the process with the former job file")
	if j.namesake(err) || !told {
		j.cfg.Logger.Error("two jobs have one name", "err", err)
	}
}

// bothRead is what two jobs read, as kfs.Job has it.
func bothRead(a, b *kfs.Job) (topics []string, pattern string) {
	switch {
	case a.Pattern != "" && a.Pattern == b.Pattern:
		return nil, a.Pattern
	case len(a.Topics) == 0 || len(b.Topics) == 0:
		return nil, ""
	}
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(a.Topics, b.Topics)))), ""
}

func sameTopics(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func topicsOf(f *kfs.Job) string {
	switch {
	case f.Pattern != "":
		return "topics that match " + f.Pattern
	case len(f.Topics) > 0:
		return "topics " + strings.Join(f.Topics, ", ")
	}
	return "other topics"
}

func tablesOf(names []string) string {
	const most = 5
	switch {
	case len(names) == 0:
		return ""
	case len(names) > most:
		return fmt.Sprintf(", and fills tables %s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return ", and fills " + strings.Join(names, ", ")
}

// namesake notes that another job of this name runs, or that none does. It reports whether that is news.
func (j *Job) namesake(err error) (news bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	news = (err == nil) != (j.apart == nil)
	j.apart = err
	if news {
		n := 0.0
		if err != nil {
			n = 1
		}
		j.metrics.halted.WithLabelValues("", "name").Set(n)
	}
	return news
}

// whole is the job's object, with what it says for others.
func (j *Job) whole() *kfs.Job {
	f := j.file()
	if !j.leaving {
		f.Workers = []kfs.JobWorker{{ID: j.cfg.ID, Name: j.cfg.Process}}
	}
	if j.twoJobs() { // of a partition that neither has listed yet all is held
		f.Topics, f.Pattern = j.others.topics, j.others.pattern
	}
	for _, name := range slices.Sorted(maps.Keys(j.others.kept)) {
		kept := j.others.kept[name]
		i := slices.IndexFunc(f.Tables, func(t kfs.JobTable) bool { return t.Table == name })
		switch {
		case i < 0:
			f.Tables = append(f.Tables, kept)
		case kept.UUID != "" && f.Tables[i].UUID != "" && kept.UUID != f.Tables[i].UUID:
			f.Tables[i].Sources = heldForBoth(f.Tables[i].Sources, kept.Sources)
		}
	}
	slices.SortFunc(f.Tables, func(a, b kfs.JobTable) int { return strings.Compare(a.Table, b.Table) })
	return f
}

func (j *Job) twoJobs() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.apart != nil
}

// heldForBoth is what two tables of one name hold, in two catalogs. As long as two jobs say so, it does not move on.
func heldForBoth(own, other []kfs.JobSource) []kfs.JobSource {
	sources := map[processor.Source]kfs.JobSource{}
	for _, s := range other {
		sources[sourceOf(s)] = s
	}
	for _, s := range own {
		if o, ok := sources[sourceOf(s)]; ok {
			s.Hold, s.Mark = min(s.Hold, o.Hold), min(s.Mark, o.Mark)
		}
		sources[sourceOf(s)] = s
	}
	both := []kfs.JobSource{}
	for _, of := range slices.SortedFunc(maps.Keys(sources), processor.Source.Compare) {
		both = append(both, sources[of])
	}
	return both
}
