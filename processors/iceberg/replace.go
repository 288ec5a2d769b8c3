package iceberg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/apache/arrow-go/v18/parquet/schema"
	iceberglib "github.com/apache/iceberg-go"
	icebergio "github.com/apache/iceberg-go/io"
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
		s.done = staged
	}
	return nil
}

// replacement writes files again under a wider schema.
type replacement struct {
	sink    *Sink
	table   *table.Table
	fs      icebergio.WriteFileIO
	widened *catalog.Widened
	old     map[int]bool // the field ids that go
	bytes   int64        // that may still be read
	written []iceberglib.DataFile
}

func (s *Sink) newReplacement(ctx context.Context, t *table.Table, w *catalog.Widened) (*replacement, error) {
	fs, err := t.FS(context.WithoutCancel(ctx)) // undo removes files when the call has ended
	if err != nil {
		return nil, fmt.Errorf("files of table %s: %w", s.spec.Name, err)
	}
	writable, ok := fs.(icebergio.WriteFileIO)
	if !ok {
		return nil, fmt.Errorf("files of table %s cannot be written", s.spec.Name)
	}
	r := &replacement{sink: s, table: t, fs: writable, widened: w, old: map[int]bool{}, bytes: s.cfg.ReplaceBytes}
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

// undo removes what was written. No request has named it.
func (r *replacement) undo() error {
	var errs []error
	for _, f := range r.written {
		if err := r.fs.Remove(f.FilePath()); err != nil {
			errs = append(errs, fmt.Errorf("remove data file %s: %w", f.FilePath(), err))
		}
	}
	return errors.Join(errs...)
}

// again writes one file under the new schema; nil if it holds none of the old columns.
func (r *replacement) again(ctx context.Context, f iceberglib.DataFile) (iceberglib.DataFile, error) {
	if f.FileFormat() != iceberglib.ParquetFile {
		return nil, r.refuse("file %s is not Parquet", f.FilePath())
	}
	in, err := r.fs.Open(f.FilePath())
	if err != nil {
		return nil, fmt.Errorf("data file: %w", err)
	}
	defer in.Close()
	pf, err := file.NewParquetReader(in)
	if err != nil {
		return nil, fmt.Errorf("data file %s: %w", f.FilePath(), err)
	}
	defer pf.Close()
	if !r.holds(pf.MetaData().Schema.Root()) {
		return nil, nil
	}
	if r.bytes -= f.FileSizeBytes(); r.bytes < 0 {
		return nil, r.refuse("more than %d bytes of files hold it", r.sink.cfg.ReplaceBytes)
	}
	reader, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{BatchSize: wholeGroupRows}, r.sink.cfg.Allocator)
	if err != nil {
		return nil, fmt.Errorf("data file %s: %w", f.FilePath(), err)
	}
	out, err := r.copy(ctx, reader, f)
	if err != nil {
		return nil, fmt.Errorf("write data file %s again: %w", f.FilePath(), err)
	}
	r.written = append(r.written, out)
	return out, nil
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

// copy writes the rows of a file to a new one.
func (r *replacement) copy(ctx context.Context, reader *pqarrow.FileReader, f iceberglib.DataFile) (iceberglib.DataFile, error) {
	source, err := reader.Schema()
	if err != nil {
		return nil, err
	}
	fields, keep := r.present(source.Fields())
	c, err := newConformer(r.sink.cfg.Allocator, arrow.NewSchema(fields, nil), r.widened.Schema)
	if err != nil {
		return nil, r.unfit(err)
	}
	l, err := newLayout(ctx, r.table, c.schema, &r.sink.cfg)
	if err != nil {
		return nil, err
	}
	spec := r.table.Metadata().PartitionSpecByID(int(f.SpecID()))
	if spec == nil {
		return nil, fmt.Errorf("partition spec %d is gone", f.SpecID())
	}
	l.iceberg, l.spec = r.widened.Schema, *spec
	name, err := r.sink.newID()
	if err != nil {
		return nil, err
	}
	w, err := l.create(name, f.Partition(), nil)
	if err != nil {
		return nil, err
	}
	if err := r.rows(ctx, reader, c, keep, w); err != nil {
		return nil, errors.Join(r.unfit(err), w.abort())
	}
	return w.close()
}

// rows copies the rows.
func (r *replacement) rows(ctx context.Context, reader *pqarrow.FileReader, c *conformer, keep []int, w *fileWriter) error {
	records, err := reader.GetRecordReader(ctx, nil, nil)
	if err != nil {
		return err
	}
	defer records.Release()
	for records.Next() {
		rec := records.RecordBatch()
		columns := make([]arrow.Array, len(keep))
		for i, at := range keep {
			columns[i] = rec.Column(at)
		}
		picked := array.NewRecordBatch(arrow.NewSchema(c.source.Fields(), nil), columns, rec.NumRows())
		out, err := c.apply(ctx, picked)
		picked.Release()
		if err != nil {
			return err
		}
		err = w.write(out, recordBytes(out))
		out.Release()
		if err != nil {
			return err
		}
	}
	return records.Err()
}

// present are the columns of a file that the table still has, under the names that it gives them now.
func (r *replacement) present(fields []arrow.Field) (out []arrow.Field, keep []int) {
	current := r.table.Schema()
	for i, f := range fields {
		text, ok := f.Metadata.GetValue(table.ArrowParquetFieldIDKey)
		id, err := strconv.Atoi(text)
		if !ok || err != nil {
			continue
		}
		if now, ok := current.FindFieldByID(id); ok {
			f.Name = now.Name
			out, keep = append(out, f), append(keep, i)
		}
	}
	return out, keep
}

// unfit says of a value that cannot stay what it is that the column is not replaced.
func (r *replacement) unfit(err error) error {
	var row *RowError
	if errors.As(err, &row) {
		return r.refuse("%s", row.Error())
	}
	return err
}
