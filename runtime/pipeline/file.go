package pipeline

import (
	"bytes"
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

// statusPause is how often the job's object is written at most.
const statusPause = 5 * time.Second

// known is what was seen of a table before: in this process, or by the job's object.
type known struct {
	identity  string
	positions processor.Positions
}

// readFile reads what the job had committed before this process. Nobody's position rests on it: an object that cannot be understood is left out.
func (j *Job) readFile(ctx context.Context) (tables map[string]known, lineage kfs.TopicID, err error) {
	body, _, err := blob.ReadAll(ctx, j.cfg.Store, kfs.JobKey(j.cfg.Name), blob.All, kfs.MaxJobBytes)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, lineage, nil
	}
	if err != nil {
		return nil, lineage, err
	}
	f, err := kfs.DecodeJob(body)
	if err != nil {
		j.cfg.Logger.Warn("what the job had committed before cannot be read; tables are not compared with it", "key", kfs.JobKey(j.cfg.Name), "err", err)
		return nil, kfs.TopicID{}, nil
	}
	tables = map[string]known{}
	for _, t := range f.Tables {
		k := known{identity: t.UUID, positions: processor.Positions{}}
		for _, s := range t.Sources {
			k.positions[processor.Source{Topic: s.Topic, ID: s.ID, Partition: s.Partition}] = max(s.Next, s.Committed)
		}
		tables[t.Table] = k
	}
	return tables, f.Lineage, nil
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
	for _, source := range slices.SortedFunc(maps.Keys(k.positions), compareSources) {
		if next, was := committed[source], k.positions[source]; next < was {
			return halted(fmt.Sprintf("table %s stands at offset %d of %s/%d and has stood at %d before", table, next, source.Topic, source.Partition, was), decide)
		}
	}
	return nil
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
	body, err := kfs.EncodeJob(j.file())
	if err == nil && bytes.Equal(body, written) {
		return written
	}
	if err == nil {
		_, err = j.cfg.Store.Put(ctx, kfs.JobKey(j.cfg.Name), body, false)
	}
	if err != nil {
		j.cfg.Logger.Warn("writing what the job has committed", "key", kfs.JobKey(j.cfg.Name), "err", err)
		return written
	}
	return body
}

func (j *Job) file() *kfs.Job {
	f := &kfs.Job{Version: kfs.JobVersion, Name: j.cfg.Name, Tables: []kfs.JobTable{}}
	j.mu.Lock()
	tables := slices.Collect(maps.Values(j.tables))
	f.Lineage = j.lineage
	j.mu.Unlock()
	for _, t := range tables {
		if t == nil {
			continue
		}
		one := kfs.JobTable{Table: t.name, Sources: []kfs.JobSource{}}
		t.note(func(s *tableStatus) {
			one.UUID = s.identity
			for _, source := range slices.SortedFunc(maps.Keys(s.sent), compareSources) {
				one.Sources = append(one.Sources, kfs.JobSource{
					Topic: source.Topic, ID: source.ID, Partition: source.Partition, Next: s.seen[source], Committed: s.sent[source],
				})
			}
		})
		f.Tables = append(f.Tables, one)
	}
	slices.SortFunc(f.Tables, func(a, b kfs.JobTable) int { return strings.Compare(a.Table, b.Table) })
	return f
}
