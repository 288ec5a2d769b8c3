package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/processor"
)

const (
	// statusPause is how often the job's object is written at most, but for a job's start.
	statusPause = 5 * time.Second
	// holdTrail is for how long at least a job holds what it has committed, so that a table that is rolled back can be filled again.
	holdTrail = 24 * time.Hour
)

// known is what was seen of a table before: in this process, or by the job's object.
type known struct {
	identity  string
	positions processor.Positions
	filed     kfs.JobTable // as the job's object had it; the zero value if it had not
}

// trail is what a job holds of a source: records from hold on. mark is where it stood at Job.marked.
type trail struct{ hold, mark int64 }

// began is where another process of the job has begun to read a partition, or may have let go of it, as the job's object has said. A table
// without a position begins there: what came while no process ran, or while another one did, is not older than the latest record.
func (j *Job) began(before map[string]known, topic string, id kfs.PartitionID) (offset int64, ok bool) {
	t := j.table(topic)
	if t == nil {
		return 0, false
	}
	for _, s := range before[t.name].filed.Sources {
		if s.ID == id.Topic && s.Partition == id.Partition {
			return s.Hold, true
		}
	}
	return 0, false
}

// takeFiling waits for the filing token.
func (j *Job) takeFiling(ctx context.Context) error {
	select {
	case j.filing <- struct{}{}:
		if ctx.Err() == nil { // of two that are ready, select takes any
			return nil
		}
		<-j.filing
	case <-ctx.Done():
	}
	return context.Cause(ctx)
}

// filedNow is what the job's object says of tables at this moment.
func (j *Job) filedNow(ctx context.Context) (map[string]known, error) {
	if err := j.takeFiling(ctx); err != nil {
		return nil, err
	}
	defer func() { <-j.filing }()
	tables, _, err := j.readFile(ctx)
	return tables, err
}

// readFile reads what the job had committed before this process. Nobody's position rests on it: an object that cannot be understood is left out.
func (j *Job) readFile(ctx context.Context) (tables map[string]known, f *kfs.Job, err error) {
	f = new(kfs.Job)
	body, _, err := blob.ReadAll(ctx, j.cfg.Store, kfs.JobKey(j.cfg.Name), blob.All, kfs.MaxJobBytes)
	if errors.Is(err, blob.ErrNotFound) {
		j.filed = nil
		return nil, f, nil
	}
	if err != nil {
		return nil, f, err
	}
	decoded, err := kfs.DecodeJob(body)
	if err != nil {
		j.cfg.Logger.Warn("what the job had committed before cannot be read; tables are not compared with it", "key", kfs.JobKey(j.cfg.Name), "err", err)
		return nil, f, nil
	}
	tables = map[string]known{}
	for _, t := range decoded.Tables {
		k := known{identity: t.UUID, positions: processor.Positions{}, filed: t}
		for _, s := range t.Sources {
			k.positions[sourceOf(s)] = max(s.Next, s.Committed)
		}
		tables[t.Table] = k
	}
	j.filed = body
	return tables, decoded, nil
}

func sourceOf(s kfs.JobSource) processor.Source {
	return processor.Source{Topic: s.Topic, ID: s.ID, Partition: s.Partition}
}

// compare halts a table that is not what it was: another one under its name, or one that has lost commits.
func (k known) compare(table, file, identity string, committed processor.Positions) error {
	decide := "restore the table as it was; or stop the job, delete " + file + " from the source's store, and the next start begins at the position that the table has then"
	if k.identity != "" && identity != k.identity {
		was := "is gone"
		if identity != "" {
			was = "has UUID " + identity + " now"
		}
		return halted(fmt.Sprintf("table %s, which the job knows as %s, %s", table, k.identity, was), decide)
	}
	for _, source := range slices.SortedFunc(maps.Keys(k.positions), processor.Source.Compare) {
		if next, was := committed[source], k.positions[source]; next < was {
			return halted(fmt.Sprintf("table %s stands at offset %d of %s/%d and has stood at %d before", table, next, source.Topic, source.Partition, was), decide)
		}
	}
	return nil
}

// keepStatus writes the job's object while it changes, until ctx has ended.
func (j *Job) keepStatus(ctx context.Context) {
	for sleep(ctx, statusPause) {
		j.measureLag()
		j.writeStatus(ctx)
	}
}

// writeStatus writes the job's object if it has changed. It reports whether the object is there as it should be.
func (j *Job) writeStatus(ctx context.Context) bool {
	if j.takeFiling(ctx) != nil {
		return false
	}
	defer func() { <-j.filing }()
	var body []byte
	var nothing bool
	var err error
	if team, ok := j.cfg.Assignment.(Team); ok {
		body, nothing, err = j.share(ctx, team)
	} else {
		body, nothing, err = j.alone(ctx)
	}
	if nothing {
		return true
	}
	if err == nil {
		_, err = j.cfg.Store.Put(ctx, kfs.JobKey(j.cfg.Name), body, false)
	}
	if err != nil {
		j.cfg.Logger.Warn("writing what the job has committed", "key", kfs.JobKey(j.cfg.Name), "err", err)
		return false
	}
	j.filed = body
	return true
}

// file makes the job's object. It says of every source that is known what the job still needs of it, from the job's start on: retention
// goes by that. What the object said before of a table that this process has not met yet stays as it was.
func (j *Job) file() *kfs.Job {
	now := j.cfg.Now().UnixMilli()
	f := &kfs.Job{Version: kfs.JobVersion, Name: j.cfg.Name, Topics: j.cfg.Topics, Pattern: j.cfg.Pattern, Tables: []kfs.JobTable{}}
	j.mu.Lock()
	tables := slices.Collect(maps.Values(j.tables))
	f.Lineage = j.lineage
	j.mu.Unlock()
	met := map[string]bool{}
	for _, t := range tables {
		if t == nil {
			continue
		}
		met[t.name] = true
		one := kfs.JobTable{Table: t.name}
		var several []processor.TableState
		t.note(func(s *tableStatus) {
			one.Sources, one.UUID, one.Marked, several = s.file(now), s.identity, s.marked, s.several
		})
		f.Tables = append(f.Tables, one)
		for _, s := range several {
			met[s.Name] = true
			f.Tables = append(f.Tables, oneOf(s, one))
		}
	}
	for name, k := range j.before {
		if !met[name] && j.fills(name, k.filed.Sources) {
			f.Tables = append(f.Tables, k.filed)
		}
	}
	slices.SortFunc(f.Tables, func(a, b kfs.JobTable) int { return strings.Compare(a.Table, b.Table) })
	status := j.Status()
	f.Halts = status.halts()
	return f
}

// What the job's object says of halts, at most.
const (
	maxHalts     = 1000
	maxHaltBytes = 4 << 10
)

// halts lists what has halted.
func (s *Status) halts() []kfs.JobHalt {
	var all []kfs.JobHalt
	add := func(table, topic string, partition int32, err error) {
		if err != nil && len(all) < maxHalts {
			what := err.Error()
			all = append(all, kfs.JobHalt{Table: table, Topic: topic, Partition: partition, What: strings.ToValidUTF8(what[:min(len(what), maxHaltBytes)], "\uFFFD")})
		}
	}
	for _, err := range s.Halted {
		add("", "", 0, err)
	}
	for _, t := range s.Tables {
		add(t.Table, "", 0, t.Halted)
		if t.Stuck != nil {
			add(t.Table, "", 0, fmt.Errorf("stuck, and tried again until that has changed: %w", t.Stuck))
		}
		for _, source := range t.Sources {
			add(t.Table, source.Topic, source.Partition, source.Halted)
		}
	}
	return all
}

// fills reports whether the job, as it is configured now, fills a table from one of the sources.
func (j *Job) fills(table string, sources []kfs.JobSource) bool {
	return slices.ContainsFunc(sources, func(s kfs.JobSource) bool {
		return j.match(s.Topic) && (j.cfg.Route(s.Topic) == table || j.cfg.Fills != nil && j.cfg.Fills(s.Topic, table))
	})
}

// filler is the topic that a table was filled from before this process, so that it is not another one's now because that was met first; empty
// if there is none. Of several, which only an older version has let share a table, it is the first by name.
func (j *Job) filler(name string) (topic string) {
	for _, k := range j.before {
		for _, s := range k.filed.Sources {
			if (topic == "" || s.Topic < topic) && j.match(s.Topic) && strings.EqualFold(j.cfg.Route(s.Topic), name) {
				topic = s.Topic
			}
		}
	}
	return topic
}

// knownOf is what was known before this process of the tables that a topic fills.
func (j *Job) knownOf(topic, name string) map[string]known {
	all := map[string]known{}
	for table, k := range j.before {
		of := func(s kfs.JobSource) bool { return s.Topic == topic }
		if j.cfg.Fills == nil && table == name || j.cfg.Fills != nil && j.cfg.Fills(topic, table) && slices.ContainsFunc(k.filed.Sources, of) {
			all[table] = k
		}
	}
	return all
}

// oneOf is what the job's object says of one of several tables: where it stands, and what is held for all of them.
func oneOf(s processor.TableState, all kfs.JobTable) kfs.JobTable {
	one := kfs.JobTable{Table: s.Name, UUID: s.Identity, Marked: all.Marked, Sources: []kfs.JobSource{}}
	for _, of := range all.Sources {
		if next, ok := s.Positions[sourceOf(of)]; ok {
			shown := s.Shown[sourceOf(of)]
			of.Next, of.Committed = min(of.Next, shown), next
			of.Hold, of.Mark = min(of.Hold, shown), min(of.Mark, shown)
			one.Sources = append(one.Sources, of)
		}
	}
	return one
}

// file lists the sources. Once in holdTrail what they hold moves on to their marks, and the marks to where they stand: but only of a
// table that was loaded, for what one needs that is not what it was, a person decides.
func (s *tableStatus) file(now int64) []kfs.JobSource {
	turn := s.loads && now-s.marked >= holdTrail.Milliseconds()
	if turn {
		s.marked = now
	}
	listed := []kfs.JobSource{}
	for _, source := range slices.SortedFunc(maps.Keys(s.trails), processor.Source.Compare) {
		t, at := s.trails[source], s.needs(source)
		if turn {
			t.hold, t.mark = t.mark, at
		}
		t.hold, t.mark = min(t.hold, at), min(t.mark, at)
		s.trails[source] = t
		listed = append(listed, kfs.JobSource{
			Topic: source.Topic, ID: source.ID, Partition: source.Partition, Next: s.seen[source], Committed: s.sent[source], Hold: t.hold, Mark: t.mark,
		})
	}
	return listed
}

// register makes the job's object say what the job needs of these sources, if it does not yet. It reports whether it had to be written, and
// was. Each reader registers what it reads itself: who has looked at the log's starts before the object was there must look again. A job
// that begins at the latest record reads nothing before it has said where that was.
func (j *Job) register(ctx context.Context, sources map[*table][]processor.Source) (written bool, err error) {
	fresh := false
	for t, all := range sources {
		t.note(func(s *tableStatus) {
			fresh = fresh || slices.ContainsFunc(all, func(source processor.Source) bool { return !s.listed[source] })
		})
	}
	if !fresh {
		return false, nil
	}
	if !j.writeStatus(ctx) {
		if j.cfg.From.Latest {
			return false, errors.New("where the job begins could not be written to " + kfs.JobKey(j.cfg.Name))
		}
		return false, nil
	}
	for t, all := range sources {
		t.note(func(s *tableStatus) {
			for _, source := range all {
				s.listed[source] = true
			}
		})
	}
	return true, nil
}
