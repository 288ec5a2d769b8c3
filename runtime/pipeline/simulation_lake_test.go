package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	iceberglib "github.com/apache/iceberg-go"
	icebergcat "github.com/apache/iceberg-go/catalog"
	icebergio "github.com/apache/iceberg-go/io"
	icetable "github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/kfs"
)

var (
	errSimRefused = fmt.Errorf("%w: injected", icetable.ErrCommitFailed)
	errSimUnknown = errors.New("503 service unavailable")
)

// simLake is the catalog with its tables and their files.
type simLake struct {
	s      *simulation
	files  *icebergio.MemFS
	tables map[string]*simTable
	late   []simLate
	rows   map[string][]simRow
	lists  map[string][]string // of manifests and their lists that were read: the data files
}

// simLate is a commit whose sender has given it up, and that is not there yet.
type simLate struct {
	label string
	land  func()
}

// simTable is a table: every version that it ever had.
type simTable struct {
	name       string
	versions   []icetable.Metadata
	seen       int                             // the newest version that anybody has seen
	stood      map[string]int64                // the greatest position of each source that it ever had
	mu         sync.Mutex                      // guards most: processes that end do so at the same time
	most       map[string]int64                // and that a load has shown
	rolledBack bool                            // and it was not rolled forward
	lost       []string                        // the data files that it had before a rollback; they stay
	taken      []int64                         // the newest snapshots of the job that rollbacks have taken from the branch
	refill     bool                            // a person has decided that it is filled again from there
	lineage    kfs.TopicID                     // that it is filled from
	before     map[kfs.PartitionID][]simRecord // of partitions: what it was filled from, where the log does not hold that any more
	rows       simRows                         // of its branch when that was looked at last,
	rowsOf     int64                           // which ended at this snapshot
}

func (t *simTable) now() icetable.Metadata { return t.versions[len(t.versions)-1] }

func newSimLake(s *simulation) *simLake {
	return &simLake{s: s, files: icebergio.NewMemFS(), tables: map[string]*simTable{}, rows: map[string][]simRow{}, lists: map[string][]string{}}
}

// table is a table as of a version, for a process, or for nobody's if p is nil.
func (l *simLake) table(p *simProcess, t *simTable, version int, broken bool) *icetable.Table {
	meta := t.versions[version]
	if change := l.s.mistake.load; change != nil && p != nil {
		meta = change(meta)
	}
	return icetable.New(strings.Split(t.name, "."), meta, fmt.Sprintf("mem://%s/metadata/%d.json", t.name, version),
		func(ctx context.Context) (icebergio.IO, error) { return simFiles{l, p, ctx, broken}, nil }, nil)
}

// create makes a table.
func (l *simLake) create(name string, schema *iceberglib.Schema, opts []icebergcat.CreateTableOpt) (*simTable, error) {
	if _, ok := l.tables[name]; ok {
		return nil, fmt.Errorf("%w: %s", icebergcat.ErrTableAlreadyExists, name)
	}
	cfg := icebergcat.NewCreateTableCfg()
	for _, opt := range opts {
		opt(&cfg)
	}
	meta, err := icetable.NewMetadata(schema, cfg.PartitionSpec, cfg.SortOrder, "mem://"+name, cfg.Properties)
	if err != nil {
		return nil, err
	}
	l.tables[name] = &simTable{name: name, versions: []icetable.Metadata{meta}, stood: map[string]int64{}, most: map[string]int64{}, before: map[kfs.PartitionID][]simRecord{}}
	l.s.say("table %s is made", name)
	return l.tables[name], nil
}

// drop drops a table.
func (l *simLake) drop(t *simTable, why string) {
	l.s.Dropped++
	l.s.say("a person drops table %s: %s", t.name, why)
	delete(l.tables, t.name)
}

// apply commits, if every requirement holds.
func (l *simLake) apply(who, name string, reqs []icetable.Requirement, updates []icetable.Update) error {
	t := l.tables[name]
	if t == nil {
		return fmt.Errorf("%w: %s", icebergcat.ErrNoSuchTable, name)
	}
	before := t.now()
	for _, r := range reqs {
		if err := r.Validate(before); err != nil {
			l.s.say("%s: commit to %s: the pin %s does not hold", who, name, r.GetType())
			return err
		}
	}
	after, err := icetable.UpdateTableMetadata(before, updates, fmt.Sprintf("mem://%s/metadata/%d.json", name, len(t.versions)-1))
	if err != nil {
		return err
	}
	t.versions = append(t.versions, after)
	if after.CurrentSchema().ID != before.CurrentSchema().ID {
		l.s.Schemas++
		l.s.say("%s: commit to %s: its columns are %s", who, name, columnNames(after))
	}
	if len(after.Snapshots()) < len(before.Snapshots()) && who != "another engine" {
		l.s.Removals++
		l.s.say("%s: %d snapshots of %s are removed", who, len(before.Snapshots())-len(after.Snapshots()), name)
		l.checkKept(t, before)
	}
	l.s.foreign = who == "another engine"
	if head := after.CurrentSnapshot(); head != nil && (before.CurrentSnapshot() == nil || before.CurrentSnapshot().SnapshotID != head.SnapshotID) {
		if head.Summary.Properties["firn.kind"] == "merge" {
			l.s.Merges++
		}
		l.s.say("%s: commit to %s: %s %s %s", who, name, head.Summary.Operation, head.Summary.Properties["firn.kind"], head.Summary.Properties["firn.ranges"])
		l.s.landed(t)
	}
	return nil
}

func columnNames(meta icetable.Metadata) string {
	var b strings.Builder
	for _, f := range meta.CurrentSchema().Fields() {
		fmt.Fprintf(&b, " %d:%s %s", f.ID, f.Name, f.Type)
	}
	return b.String()
}

// land lets a late commit happen, or never.
func (l *simLake) land() {
	if len(l.late) == 0 {
		return
	}
	slices.SortStableFunc(l.late, func(a, b simLate) int { return cmp.Compare(a.label, b.label) }) // several may have been given up at one moment
	i := l.s.rng.IntN(len(l.late))
	late := l.late[i]
	l.late = slices.Delete(l.late, i, i+1)
	if l.s.rng.IntN(4) > 0 {
		late.land()
	}
}
