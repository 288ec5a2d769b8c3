package rebuild

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	iceberglib "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
)

// Diff is the table and its rebuild side by side, by what their manifests count: no data file is read.
type Diff struct {
	Rows    [2]int64 `json:"rows"`         // of the table, and of the rebuild
	Letters [2]int64 `json:"dead_letters"` // that are not resolved, of the records up to where both stand
	Columns []Column `json:"columns"`
	Notes   []string `json:"notes,omitempty"`
}

// Column is a column of either, its parts joined by dots. Old and New are nil where it is not there.
type Column struct {
	Name string `json:"column"`
	Old  *Count `json:"old"`
	New  *Count `json:"new"`
}

// Count is how many rows have a value in a column, and how many have none; -1 where that is not counted, as in lists and maps.
type Count struct {
	Type   string `json:"type"`
	Values int64  `json:"values"`
	Nulls  int64  `json:"nulls"`
}

// Diff compares the table with the rebuild, which has caught up with it, or about.
func (r *Rebuild) Diff(ctx context.Context, s *Standing) (*Diff, error) {
	d := &Diff{}
	if left := s.Left(); left > 0 {
		d.Notes = append(d.Notes, fmt.Sprintf("the job goes on: the rebuild has not read the last %d offsets yet, and does so before it is swapped in", left))
	}
	d.Notes = append(d.Notes, others(s.live)...)
	var both [2]map[string]*Count
	var names []string
	below := s.ends()
	for i, lake := range r.sides() {
		_, t, err := r.look(ctx, lake, r.Table)
		if err != nil {
			return nil, err
		}
		counted, err := countColumns(ctx, t)
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", r.Table, err)
		}
		d.Rows[i], both[i] = counted.rows, counted.columns
		for _, name := range counted.names {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		if counted.deletes {
			d.Notes = append(d.Notes, fmt.Sprintf("rows of %s were deleted with delete files, and are counted all the same", [2]string{"the table", "the rebuild"}[i]))
		}
		_, letters, err := r.look(ctx, lake, r.Letters)
		if err != nil {
			return nil, err
		}
		sets, err := r.readLetters(ctx, letters, below)
		if err != nil {
			return nil, err
		}
		for _, set := range sets {
			d.Letters[i] += int64(set.dead.GetCardinality())
		}
	}
	for _, name := range names {
		d.Columns = append(d.Columns, Column{Name: name, Old: both[0][name], New: both[1][name]})
	}
	return d, nil
}

// others tells what somebody else has done to the rows of a table. A rebuild is made of the log alone.
func others(live *catalog.Account) []string {
	var added, removed []int64 // the snapshots, the newest first
	for _, e := range live.Branch {
		if e.Receipt != nil || e.Snapshot.Summary == nil || e.Snapshot.Summary.Operation == table.OpReplace {
			continue
		}
		did := func(keys ...string) bool {
			return slices.ContainsFunc(keys, func(key string) bool {
				n, err := strconv.ParseInt(e.Snapshot.Summary.Properties[key], 10, 64)
				return err == nil && n > 0
			})
		}
		switch {
		case did("deleted-records", "added-position-deletes", "added-equality-deletes"): // an update does both
			removed = append(removed, e.Snapshot.SnapshotID)
		case did("added-records"):
			added = append(added, e.Snapshot.SnapshotID)
		}
	}
	var notes []string
	if n := len(removed); n > 0 {
		notes = append(notes, fmt.Sprintf("somebody else has deleted or changed rows of the table, in %d snapshots, the last of them %d: the rebuild has them as the log has them", n, removed[0]))
	}
	if n := len(added); n > 0 {
		notes = append(notes, fmt.Sprintf("somebody else has added rows to the table, in %d snapshots, the last of them %d: the rebuild does not have them", n, added[0]))
	}
	return notes
}

// counted is what the manifests of a table's head count.
type counted struct {
	rows    int64
	columns map[string]*Count
	names   []string // in the order of the schema
	deletes bool
}

func countColumns(ctx context.Context, t *table.Table) (*counted, error) {
	c := &counted{columns: map[string]*Count{}}
	if t == nil {
		return c, nil
	}
	leaves := c.leaves("", t.Schema().Fields(), map[int]*Count{})
	head := t.CurrentSnapshot()
	if head == nil {
		return c, nil
	}
	fs, err := t.FS(ctx)
	if err != nil {
		return nil, err
	}
	manifests, err := head.Manifests(fs)
	if err != nil {
		return nil, err
	}
	for _, m := range manifests {
		if m.ManifestContent() != iceberglib.ManifestContentData {
			c.deletes = c.deletes || m.HasAddedFiles() || m.HasExistingFiles()
			continue
		}
		for e, err := range m.Entries(fs, true) {
			if err != nil {
				return nil, err
			}
			c.add(leaves, e.DataFile())
		}
	}
	return c, nil
}

// leaves finds the columns that files count, by field id.
func (c *counted) leaves(path string, fields []iceberglib.NestedField, leaves map[int]*Count) map[int]*Count {
	for _, f := range fields {
		name := path + f.Name
		if s, ok := f.Type.(*iceberglib.StructType); ok {
			c.leaves(name+".", s.FieldList, leaves)
			continue
		}
		count := &Count{Type: f.Type.String()}
		switch f.Type.(type) {
		case *iceberglib.ListType, *iceberglib.MapType:
			count.Values, count.Nulls = -1, -1
		default:
			leaves[f.ID] = count
		}
		c.columns[name] = count
		c.names = append(c.names, name)
	}
	return leaves
}

// add counts a file. A column that it does not have is null in all its rows.
func (c *counted) add(leaves map[int]*Count, f iceberglib.DataFile) {
	c.rows += f.Count()
	values, nulls := f.ValueCounts(), f.NullValueCounts()
	for id, count := range leaves {
		if count.Values < 0 {
			continue
		}
		n, there := values[id]
		null, known := nulls[id]
		switch {
		case len(values) == 0, there && !known:
			count.Values, count.Nulls = -1, -1
		case !there:
			count.Nulls += f.Count()
		default:
			count.Values, count.Nulls = count.Values+n-null, count.Nulls+null
		}
	}
}

// Unfit tells why a branch of a table cannot hold what a job file makes: made is a table that the job has made of a sample. It is empty if it can.
func Unfit(t, made table.Metadata) string {
	switch w, err := catalog.Widen(t, made.CurrentSchema()); {
	case err != nil:
		return err.Error()
	case len(w.Replaced) > 0:
		return (&catalog.ReplaceError{Columns: w.Replaced}).Error()
	case w.Changed:
		return "it has columns that the table does not have, or has narrower"
	}
	if have, want := specOf(t), specOf(made); have != want {
		return fmt.Sprintf("the table is partitioned by %s, and would be by %s", have, want)
	}
	return ""
}

// specOf writes how a table is partitioned, for people and to be compared.
func specOf(meta table.Metadata) string {
	text := ""
	spec := meta.PartitionSpec()
	for _, f := range spec.Fields() {
		name := ""
		for _, id := range f.SourceIDs {
			column, _ := meta.CurrentSchema().FindColumnName(id)
			name += column
		}
		if text != "" {
			text += ", "
		}
		text += fmt.Sprintf("%s(%s)", f.Transform, name)
	}
	if text == "" {
		return "nothing"
	}
	return text
}
