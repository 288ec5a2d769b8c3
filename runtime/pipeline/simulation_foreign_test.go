package pipeline

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	iceberglib "github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/processors/iceberg"
)

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
	case n < 18:
		err = l.rollBack(t, l.s.rng)
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
func (l *simLake) rollBack(t *simTable, rng *rand.Rand) error {
	if len(t.before) > 0 {
		return nil // then it would not be ahead of the log any more, or not show it
	}
	meta := t.now()
	ancestors, _ := icetable.AncestorsOfChecked(meta.CurrentSnapshot().SnapshotID, meta.SnapshotByID)
	if len(ancestors) < 3 {
		return nil
	}
	back := 1 + rng.IntN(min(3, len(ancestors)-2))
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
	if l.s.Rollbacks++; t.name == simLetters {
		l.s.LettersBack++
	}
	t.rolledBack, t.lost = true, append(t.lost, l.filesOf(meta.CurrentSnapshot())...)
	if i := slices.IndexFunc(ancestors[:back], func(s icetable.Snapshot) bool { return s.Summary.Properties["firn.commit"] != "" }); i >= 0 {
		t.taken = append(t.taken, ancestors[i].SnapshotID)
	}
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
