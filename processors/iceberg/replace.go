package iceberg

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/schema"
	iceberglib "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
)

// A long column cannot become double in place: the two have different bytes in the files, and Iceberg does not allow it. So the column
// gives way to one of the same name with another field id, and the data files that hold the old one are written again, all in one
// commit. Rows and position stay as they are. The files of the group that is being staged are written again too.

// replaceColumns widens the table's schema by replacing columns. It refuses, with a *catalog.TypeError, where a value would not stay
// exactly what it is, where delete files are in the way, and where more than ReplaceBytes of files would be read.
func (s *Sink) replaceColumns(ctx context.Context, want *iceberglib.Schema) error {
	if err := s.finishAll(); err != nil {
		return err
	}
	var staged []iceberglib.DataFile
	var widened *iceberglib.Schema
	err := s.committer.Rewrite(ctx, func(ctx context.Context, t *table.Table) (*catalog.Rewrite, error) {
		w, err := catalog.Widen(t.Metadata(), want)
		if err != nil || !w.Changed || len(w.Replaced) == 0 {
			return nil, err
		}
		r, err := s.newReplacement(ctx, t, w)
		if err != nil {
			return nil, err
		}
		plan, err := r.plan(ctx)
		if err == nil {
			staged, err = r.staged(ctx)
			widened = w.Schema
		}
		if err != nil {
			return nil, errors.Join(err, r.undo())
		}
		return plan, nil
	})
	if err != nil {
		return err
	}
	if staged != nil {
		s.done, s.fits = staged, widened
	}
	return nil
}

// replacement writes files again under a wider schema.
type replacement struct {
	*copier
	widened *catalog.Widened
	old     map[int]bool // the field ids that go
	bytes   int64        // that may still be read
}

func (s *Sink) newReplacement(ctx context.Context, t *table.Table, w *catalog.Widened) (*replacement, error) {
	c, err := s.newCopier(ctx, t, w.Schema)
	if err != nil {
		return nil, err
	}
	r := &replacement{copier: c, widened: w, old: map[int]bool{}, bytes: s.cfg.ReplaceBytes}
	for _, column := range w.Replaced {
		r.old[column.ID] = true
	}
	meta := t.Metadata()
	if meta.Version() > 2 {
		return nil, r.refuse("the table has format version %d, whose row ids a rewrite would have to carry", meta.Version())
	}
	for _, spec := range meta.PartitionSpecs() {
		for _, f := range spec.Fields() {
			if r.old[f.SourceID()] {
				return nil, r.refuse("the table is partitioned by it")
			}
		}
	}
	for _, order := range meta.SortOrders() {
		for _, f := range order.Fields() {
			if slices.ContainsFunc(f.SourceIDs, func(id int) bool { return r.old[id] }) {
				return nil, r.refuse("the table is sorted by it")
			}
		}
	}
	for _, id := range meta.CurrentSchema().IdentifierFieldIDs {
		if r.old[id] {
			return nil, r.refuse("it identifies rows")
		}
	}
	return r, nil
}

// refuse says why the first column is not replaced.
func (r *replacement) refuse(format string, args ...any) error {
	c := r.widened.Replaced[0]
	return &catalog.TypeError{Path: c.Path, Have: c.Have, Want: c.Want, Why: fmt.Sprintf(format, args...)}
}

// plan writes the table's files that hold an old column again.
func (r *replacement) plan(ctx context.Context) (*catalog.Rewrite, error) {
	plan := &catalog.Rewrite{Schema: r.widened.Schema}
	snapshot := r.table.CurrentSnapshot()
	if snapshot == nil {
		return plan, nil
	}
	manifests, err := snapshot.Manifests(r.fs)
	if err != nil {
		return nil, fmt.Errorf("manifests of table %s: %w", r.sink.spec.Name, err)
	}
	for _, m := range manifests {
		if m.ManifestContent() != iceberglib.ManifestContentData {
			return nil, r.refuse("rows were deleted with delete files; compact the table first")
		}
		for entry, err := range m.Entries(r.fs, true) {
			if err != nil {
				return nil, fmt.Errorf("manifest %s: %w", m.FilePath(), err)
			}
			again, err := r.again(ctx, entry.DataFile())
			if err != nil {
				return nil, err
			}
			if again != nil {
				plan.Old, plan.New = append(plan.Old, entry.DataFile()), append(plan.New, again)
			}
		}
	}
	return plan, nil
}

// staged writes the files of the group that is being staged again. Those that it takes the place of become orphans: whether the
// rewrite will land is not known yet.
func (r *replacement) staged(ctx context.Context) ([]iceberglib.DataFile, error) {
	out := make([]iceberglib.DataFile, 0, len(r.sink.done))
	for _, f := range r.sink.done {
		again, err := r.again(ctx, f)
		if err != nil {
			return nil, err
		}
		if again == nil {
			again = f
		}
		out = append(out, again)
	}
	return out, nil
}

// again writes one file under the new schema; nil if it holds none of the old columns.
func (r *replacement) again(ctx context.Context, f iceberglib.DataFile) (iceberglib.DataFile, error) {
	if f.FileFormat() != iceberglib.ParquetFile {
		return nil, r.refuse("file %s is not Parquet", f.FilePath())
	}
	var out iceberglib.DataFile
	err := r.open(f, func(pf *file.Reader) (err error) {
		if !r.holds(pf.MetaData().Schema.Root()) {
			return nil
		}
		if r.bytes -= f.FileSizeBytes(); r.bytes < 0 {
			return r.refuse("more than %d bytes of files hold it", r.sink.cfg.ReplaceBytes)
		}
		out, err = r.copy(ctx, pf, f)
		return r.unfit(err)
	})
	return out, err
}

// holds reports whether a file's schema has one of the old columns. The footer is asked, not the manifest: a writer may leave
// statistics of a column out.
func (r *replacement) holds(n schema.Node) bool {
	if r.old[int(n.FieldID())] {
		return true
	}
	if g, ok := n.(*schema.GroupNode); ok {
		for i := range g.NumFields() {
			if r.holds(g.Field(i)) {
				return true
			}
		}
	}
	return false
}

// unfit says of a value that cannot stay what it is that the column is not replaced.
func (r *replacement) unfit(err error) error {
	var row *RowError
	if errors.As(err, &row) {
		return r.refuse("%s", row.Error())
	}
	return err
}
