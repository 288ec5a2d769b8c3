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
	"sync"

	iceberglib "github.com/apache/iceberg-go"
	icebergcat "github.com/apache/iceberg-go/catalog"
	icebergio "github.com/apache/iceberg-go/io"
	icetable "github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/catalogtest"
	"github.com/firn-io/firn/processors/iceberg"
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
	late   []func() // commits whose senders have given them up, and that are not there yet
	rows   map[string][]simRow
	lists  map[string][]string // of manifests and their lists that were read: the data files
}

// simTable is a table: every version that it ever had.
type simTable struct {
	name       string
	versions   []icetable.Metadata
	seen       int              // the newest version that anybody has seen
	stood      map[string]int64 // the greatest position of each source that it ever had
	mu         sync.Mutex       // guards most: processes that end do so at the same time
	most       map[string]int64 // and that a load has shown
	rolledBack bool             // and it was not rolled forward
	refill     bool             // a person has decided that it is filled again from there
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
	l.tables[name] = &simTable{name: name, versions: []icetable.Metadata{meta}, stood: map[string]int64{}, most: map[string]int64{}}
	l.s.say("table %s is made", name)
	return l.tables[name], nil
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
	i := l.s.rng.IntN(len(l.late))
	late := l.late[i]
	l.late = slices.Delete(l.late, i, i+1)
	if l.s.rng.IntN(4) > 0 {
		late()
	}
}

// foreign is another engine at work on a table.
func (l *simLake) foreign() {
	names := slices.Sorted(maps.Keys(l.tables))
	if len(names) == 0 {
		return
	}
	t := l.tables[names[l.s.rng.IntN(len(names))]]
	if t.now().CurrentSnapshot() == nil {
		return
	}
	l.s.Foreign++
	var err error
	switch n := l.s.rng.IntN(20); {
	case n < 8:
		err = l.compact(t)
	case n < 13 && !t.rolledBack: // else nobody could say where it stands
		err = l.expire(t)
	case n < 18 && t.name != simLetters:
		err = l.rollBack(t)
	default:
		err = l.apply("another engine", t.name, nil, []icetable.Update{icetable.NewSetPropertiesUpdate(iceberglib.Properties{"comment": fmt.Sprint(l.s.Foreign)})})
	}
	if err != nil {
		l.s.wrong("another engine: %v", err)
	}
}

// compact writes some of a table's files again.
func (l *simLake) compact(t *simTable) error {
	ctx := l.s.t.Context()
	tab := l.table(nil, t, len(t.versions)-1, false)
	var old, again []iceberglib.DataFile
	manifests, err := tab.CurrentSnapshot().Manifests(simFiles{l: l, ctx: ctx})
	if err != nil {
		return err
	}
	for _, m := range manifests {
		for e, err := range m.Entries(simFiles{l: l, ctx: ctx}, true) {
			if err != nil {
				return err
			}
			if l.s.rng.IntN(2) == 0 && len(old) < 4 {
				f, err := l.copy(e.DataFile(), tab.Spec())
				if err != nil {
					return err
				}
				old, again = append(old, e.DataFile()), append(again, f)
			}
		}
	}
	if len(old) == 0 {
		return nil
	}
	tx := tab.NewTransaction()
	if err := tx.ReplaceDataFilesWithDataFiles(ctx, old, again, nil, icetable.WithoutAutoNameMapping()); err != nil {
		return err
	}
	commit, err := tx.TableCommit()
	if err != nil {
		return err
	}
	l.s.Compactions++
	return l.apply("another engine", t.name, commit.Requirements, commit.Updates)
}

// copy is a data file under another name.
func (l *simLake) copy(f iceberglib.DataFile, spec iceberglib.PartitionSpec) (iceberglib.DataFile, error) {
	body, err := l.read(f.FilePath())
	if err != nil {
		return nil, err
	}
	path := strings.TrimSuffix(f.FilePath(), ".parquet") + "-again.parquet"
	if err := l.files.WriteFile(path, body); err != nil {
		return nil, err
	}
	b, err := iceberglib.NewDataFileBuilder(spec, iceberglib.EntryContentData, path, iceberglib.ParquetFile, f.Partition(), nil, nil, f.Count(), f.FileSizeBytes())
	if err != nil {
		return nil, err
	}
	return b.ColumnSizes(f.ColumnSizes()).ValueCounts(f.ValueCounts()).NullValueCounts(f.NullValueCounts()).
		LowerBoundValues(f.LowerBoundValues()).UpperBoundValues(f.UpperBoundValues()).Build(), nil
}

// expire leaves a table nothing but its head, whose parent it may forget, and deletes the files that only the others have named.
func (l *simLake) expire(t *simTable) error {
	before := t.now()
	head := before.CurrentSnapshot().SnapshotID
	named := map[string]bool{}
	var old []int64
	for _, s := range before.Snapshots() {
		for _, f := range l.filesOf(&s) {
			named[f] = true
		}
		if s.SnapshotID != head {
			old = append(old, s.SnapshotID)
		}
	}
	if len(old) == 0 {
		return nil
	}
	if err := l.apply("another engine", t.name, nil, []icetable.Update{icetable.NewRemoveSnapshotsUpdate(old, false)}); err != nil {
		return err
	}
	cut := l.s.rng.IntN(2) == 0
	if cut {
		if err := l.cutParents(t); err != nil {
			return err
		}
	}
	l.s.Expiries++
	l.s.say("another engine: %s has one snapshot; its parent is cut: %v", t.name, cut)
	for _, f := range l.filesOf(t.now().CurrentSnapshot()) {
		delete(named, f)
	}
	for _, f := range slices.Sorted(maps.Keys(named)) {
		if err := l.files.Remove(f); err != nil {
			return err
		}
	}
	return nil
}

// rollBack moves a table's branch to an older snapshot.
func (l *simLake) rollBack(t *simTable) error {
	meta := t.now()
	ancestors, _ := icetable.AncestorsOfChecked(meta.CurrentSnapshot().SnapshotID, meta.SnapshotByID)
	if len(ancestors) < 3 {
		return nil
	}
	back := 1 + l.s.rng.IntN(min(3, len(ancestors)-2))
	to := ancestors[back]
	for _, s := range ancestors[:back] {
		if s.Summary.Properties["firn.kind"] == "replace" {
			return nil // the older files have columns that the schema, which stays, has not
		}
	}
	next, _ := l.s.positionAt(meta, &to)
	for key := range t.most {
		source, err := iceberg.ParseSource(key)
		if err != nil {
			return err
		}
		if next[key] < l.s.log.starts[id(source)] {
			return nil // the table could not be filled again
		}
	}
	l.s.Rollbacks++
	t.rolledBack = true
	l.s.say("another engine: %s is rolled back", t.name)
	return l.apply("another engine", t.name, nil, []icetable.Update{icetable.NewSetSnapshotRefUpdate(icetable.MainBranch, to.SnapshotID, icetable.BranchRef, 0, 0, 0)})
}

// rollForward moves a table's branch back to the snapshot of the newest commit of the job.
func (l *simLake) rollForward(t *simTable) error {
	var property struct {
		Commit string `json:"commit"`
	}
	if err := json.Unmarshal([]byte(t.now().Properties()["firn.progress."+simJob]), &property); err != nil {
		return err
	}
	for _, s := range t.now().Snapshots() {
		if s.Summary != nil && s.Summary.Properties["firn.commit"] == property.Commit {
			return l.apply("another engine", t.name, nil, []icetable.Update{icetable.NewSetSnapshotRefUpdate(icetable.MainBranch, s.SnapshotID, icetable.BranchRef, 0, 0, 0)})
		}
	}
	return errors.New("the newest commit is gone")
}

// simClient is the catalog as a process sees it.
type simClient struct {
	p   *simProcess
	own bool // it commits nothing for others
}

var _ catalog.Client = simClient{}

// do carries an operation out when the scheduler says so.
func (c simClient) do(ctx context.Context, label string, run func() error) error {
	turn := c.p.stop(ctx, label, nil)
	l := c.p.simulation.lake
	commits := strings.HasPrefix(label, "commit")
	switch {
	case turn.gone:
		if commits { // it may be on its way
			l.s.mu.Lock()
			l.late = append(l.late, func() { _ = run() })
			l.s.mu.Unlock()
		}
		return errSimGone
	case turn.fault == catalogtest.FailBefore:
		return errSimUnknown
	case turn.fault == catalogtest.FailAfter:
		_ = run()
		return errSimRefused
	case turn.fault == catalogtest.LoseReply:
		_ = run()
		return errSimLost
	case turn.fault == catalogtest.Late && commits:
		l.s.Late++
		l.late = append(l.late, func() { _ = run() })
		return errSimLost
	}
	return run()
}

// LoadTable implements catalog.Client. What it gives may be older than the truth, but not than what the process has seen. Its files may be
// out of reach.
func (c simClient) LoadTable(ctx context.Context, ident icetable.Identifier) (*icetable.Table, error) {
	name := strings.Join(ident, ".")
	turn := c.p.stop(ctx, "load "+name, nil)
	if turn.gone {
		return nil, errSimGone
	}
	l := c.p.simulation.lake
	t := l.tables[name]
	if t == nil {
		return nil, fmt.Errorf("%w: %s", icebergcat.ErrNoSuchTable, name)
	}
	version, broken := len(t.versions)-1, false
	switch turn.fault {
	case catalogtest.FailBefore, catalogtest.FailAfter:
		return nil, errSimUnknown
	case catalogtest.LoseReply:
		version = max(c.p.seen[name], version-int(turn.n%3))
	case catalogtest.Late:
		broken = true
	}
	c.p.seen[name] = version
	t.seen = max(t.seen, version)
	l.show(t, version)
	return l.table(c.p, t, version, broken), nil
}

// CreateTable implements catalog.Client.
func (c simClient) CreateTable(ctx context.Context, ident icetable.Identifier, schema *iceberglib.Schema, opts ...icebergcat.CreateTableOpt) (*icetable.Table, error) {
	name := strings.Join(ident, ".")
	l := c.p.simulation.lake
	err := c.do(ctx, "create "+name, func() error {
		_, err := l.create(name, schema, opts)
		return err
	})
	if err != nil {
		return nil, err
	}
	return l.table(c.p, l.tables[name], 0, false), nil
}

// CommitTable implements catalog.Client.
func (c simClient) CommitTable(ctx context.Context, ident icetable.Identifier, reqs []icetable.Requirement, updates []icetable.Update) (icetable.Metadata, string, error) {
	name := strings.Join(ident, ".")
	l := c.p.simulation.lake
	if c.own {
		c.p.checkSent(name, updates)
	}
	if change := c.p.simulation.mistake.commit; change != nil {
		reqs, updates = change(reqs, updates)
	}
	if err := c.do(ctx, "commit "+name, func() error { return l.apply(fmt.Sprint(c.p.n), name, reqs, updates) }); err != nil {
		if failed := c.p.simulation.mistake.failed; failed != nil {
			failed(c, updates)
		}
		return nil, "", err
	}
	t := l.tables[name]
	c.p.seen[name] = len(t.versions) - 1
	t.seen = max(t.seen, c.p.seen[name])
	return t.now(), "", nil
}

// CreateNamespace implements catalog.Client. Namespaces are there.
func (c simClient) CreateNamespace(context.Context, icetable.Identifier, iceberglib.Properties) error {
	return icebergcat.ErrNamespaceAlreadyExists
}

// cutParents makes every snapshot one without a parent, as the expiry of other engines may.
func (l *simLake) cutParents(t *simTable) error {
	cut, err := changedSnapshots(t.now(), func(s map[string]any) { delete(s, "parent-snapshot-id") })
	if err != nil {
		return err
	}
	t.versions = append(t.versions, cut)
	return nil
}

// changedSnapshots is metadata with other snapshots.
func changedSnapshots(of icetable.Metadata, change func(snapshot map[string]any)) (icetable.Metadata, error) {
	b, err := json.Marshal(of)
	if err != nil {
		return nil, err
	}
	var meta map[string]any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&meta); err != nil {
		return nil, err
	}
	for _, s := range meta["snapshots"].([]any) {
		change(s.(map[string]any))
	}
	if b, err = json.Marshal(meta); err != nil {
		return nil, err
	}
	return icetable.ParseMetadataBytes(b)
}
