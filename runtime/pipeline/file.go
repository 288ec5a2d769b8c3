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
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/processor"
)

// statusPause is how often the job's object is written at most.
const statusPause = 5 * time.Second

const (
	maxJobFile     = 64 << 20 // bytes
	jobFileVersion = 1
)

// jobFile is {ns}/jobs/{job}.json: what the job has committed, for people, for what must not delete it yet, and for the job's next start.
type jobFile struct {
	Version int         `json:"version"`
	Job     string      `json:"job"`
	Lineage string      `json:"lineage,omitempty"` // of the source
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
	// Next is a position that a load of the table has shown, never a commit's own answer: what lies before it is not needed any more.
	Next int64 `json:"next"`
	// Committed is the position by the newest commit's answer. A table that stands before it has lost commits.
	Committed int64 `json:"committed"`
}

// known is what was seen of a table before: in this process, or by the job's object.
type known struct {
	identity  string
	positions processor.Positions
}

// readFile reads what the job had committed before this process. Nobody's position rests on it: an object that cannot be understood is left out.
func (j *Job) readFile(ctx context.Context) (tables map[string]known, lineage kfs.TopicID, err error) {
	body, _, err := blob.ReadAll(ctx, j.cfg.Store, kfs.JobKey(j.cfg.Name), blob.All, maxJobFile)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, lineage, nil
	}
	if err != nil {
		return nil, lineage, err
	}
	var f jobFile
	tables = map[string]known{}
	if err = json.Unmarshal(body, &f); err == nil && f.Version != jobFileVersion {
		err = fmt.Errorf("version %d is not %d", f.Version, jobFileVersion)
	}
	if f.Lineage != "" {
		var idErr error
		lineage, idErr = kfs.ParseTopicID(f.Lineage)
		err = errors.Join(err, idErr)
	}
	for _, t := range f.Tables {
		k := known{identity: t.UUID, positions: processor.Positions{}}
		for _, s := range t.Sources {
			id, idErr := kfs.ParseTopicID(s.ID)
			err = errors.Join(err, idErr)
			k.positions[processor.Source{Topic: s.Topic, ID: id, Partition: s.Partition}] = max(s.Next, s.Committed)
		}
		tables[t.Table] = k
	}
	if err != nil {
		j.cfg.Logger.Warn("what the job had committed before cannot be read; tables are not compared with it", "key", kfs.JobKey(j.cfg.Name), "err", err)
		return nil, kfs.TopicID{}, nil
	}
	return tables, lineage, nil
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
	f := jobFile{Version: jobFileVersion, Job: j.cfg.Name, Tables: []fileTable{}}
	j.mu.Lock()
	tables := slices.Collect(maps.Values(j.tables))
	if !j.lineage.IsZero() {
		f.Lineage = j.lineage.String()
	}
	j.mu.Unlock()
	for _, t := range tables {
		if t == nil {
			continue
		}
		one := fileTable{Table: t.name, Sources: []fileSource{}}
		t.note(func(s *tableStatus) {
			one.UUID = s.identity
			for _, source := range slices.SortedFunc(maps.Keys(s.sent), compareSources) {
				one.Sources = append(one.Sources, fileSource{source.Topic, source.ID.String(), source.Partition, s.seen[source], s.sent[source]})
			}
		})
		f.Tables = append(f.Tables, one)
	}
	slices.SortFunc(f.Tables, func(a, b fileTable) int { return strings.Compare(a.Table, b.Table) })
	return f
}
