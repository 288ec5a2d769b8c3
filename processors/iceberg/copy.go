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
	iceberglib "github.com/apache/iceberg-go"
	icebergio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"
)

// copier writes data files again: the same rows, under a schema, and with a column set anew if that is asked for.
type copier struct {
	sink    *Sink
	table   *table.Table
	fs      icebergio.WriteFileIO
	schema  *iceberglib.Schema    // of the new files
	set     *setColumn            // nil: columns stay as they are
	written []iceberglib.DataFile // that no request has named yet
}

// setColumn is a column of the table that copies get anew. make gives it for rows; old is the column as it was, nil if the file has none.
type setColumn struct {
	field arrow.Field
	make  func(rows arrow.RecordBatch, old arrow.Array) (arrow.Array, error)
}

func (s *Sink) newCopier(ctx context.Context, t *table.Table, schema *iceberglib.Schema) (*copier, error) {
	fs, err := t.FS(context.WithoutCancel(ctx)) // undo removes files when the call has ended
	if err != nil {
		return nil, fmt.Errorf("files of table %s: %w", s.spec.Name, err)
	}
	writable, ok := fs.(icebergio.WriteFileIO)
	if !ok {
		return nil, fmt.Errorf("files of table %s cannot be written", s.spec.Name)
	}
	return &copier{sink: s, table: t, fs: writable, schema: schema}, nil
}

// undo removes what was written. No request has named it.
func (c *copier) undo() error {
	var errs []error
	for _, f := range c.written {
		if err := c.fs.Remove(f.FilePath()); err != nil {
			errs = append(errs, fmt.Errorf("remove data file %s: %w", f.FilePath(), err))
		}
	}
	return errors.Join(errs...)
}

// open reads a data file.
func (c *copier) open(f iceberglib.DataFile, do func(*file.Reader) error) error {
	in, err := c.fs.Open(f.FilePath())
	if err != nil {
		return fmt.Errorf("data file: %w", err)
	}
	defer in.Close()
	pf, err := file.NewParquetReader(in)
	if err != nil {
		return fmt.Errorf("data file %s: %w", f.FilePath(), err)
	}
	defer pf.Close()
	return do(pf)
}

// copy writes the rows of a file to a new one.
func (c *copier) copy(ctx context.Context, pf *file.Reader, f iceberglib.DataFile) (iceberglib.DataFile, error) {
	out, err := c.rewrite(ctx, pf, f)
	if err != nil {
		return nil, fmt.Errorf("write data file %s again: %w", f.FilePath(), err)
	}
	c.written = append(c.written, out)
	return out, nil
}

func (c *copier) rewrite(ctx context.Context, pf *file.Reader, f iceberglib.DataFile) (iceberglib.DataFile, error) {
	reader, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{BatchSize: wholeGroupRows}, c.sink.cfg.Allocator)
	if err != nil {
		return nil, err
	}
	source, err := reader.Schema()
	if err != nil {
		return nil, err
	}
	fields, keep := c.present(source.Fields())
	if c.set != nil {
		fields = append(fields, c.set.field)
	}
	conform, err := newConformer(c.sink.cfg.Allocator, arrow.NewSchema(fields, nil), c.schema)
	if err != nil {
		return nil, err
	}
	l, err := newLayout(ctx, c.table, conform.schema, &c.sink.cfg)
	if err != nil {
		return nil, err
	}
	spec := c.table.Metadata().PartitionSpecByID(int(f.SpecID()))
	if spec == nil {
		return nil, fmt.Errorf("partition spec %d is gone", f.SpecID())
	}
	l.iceberg, l.spec = c.schema, *spec
	name, err := c.sink.newID()
	if err != nil {
		return nil, err
	}
	w, err := l.create(name, f.Partition(), nil)
	if err != nil {
		return nil, err
	}
	if err := c.rows(ctx, reader, conform, keep, w); err != nil {
		return nil, errors.Join(err, w.abort())
	}
	return w.close()
}

// rows copies the rows, one row group after the other: a batch of many rows would hold several of them.
func (c *copier) rows(ctx context.Context, reader *pqarrow.FileReader, conform *conformer, keep []int, w *fileWriter) error {
	for group := range reader.ParquetReader().NumRowGroups() {
		if err := c.group(ctx, reader, group, conform, keep, w); err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) group(ctx context.Context, reader *pqarrow.FileReader, group int, conform *conformer, keep []int, w *fileWriter) error {
	records, err := reader.GetRecordReader(ctx, nil, []int{group})
	if err != nil {
		return err
	}
	defer records.Release()
	for records.Next() {
		picked := c.pick(records.RecordBatch(), arrow.NewSchema(conform.source.Fields()[:len(keep)], nil), keep)
		if c.set != nil {
			if picked, err = c.withSet(picked, records.RecordBatch()); err != nil {
				return err
			}
		}
		out, err := conform.apply(ctx, picked)
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

// pick gives the columns that are kept, under the table's names. rec is borrowed, the result is the caller's.
func (c *copier) pick(rec arrow.RecordBatch, as *arrow.Schema, keep []int) arrow.RecordBatch {
	columns := make([]arrow.Array, len(keep))
	for i, at := range keep {
		columns[i] = rec.Column(at)
	}
	return array.NewRecordBatch(as, columns, rec.NumRows())
}

// withSet adds the column that is set. It takes ownership of rows, and borrows rec, which they are of.
func (c *copier) withSet(rows, rec arrow.RecordBatch) (arrow.RecordBatch, error) {
	defer rows.Release()
	made, err := c.set.make(rows, c.old(rec))
	if err != nil {
		return nil, err
	}
	defer made.Release()
	fields, columns := slices.Concat(rows.Schema().Fields(), []arrow.Field{c.set.field}), slices.Concat(rows.Columns(), []arrow.Array{made})
	return array.NewRecordBatch(arrow.NewSchema(fields, nil), columns, rows.NumRows()), nil
}

// old is the column of a file that is set anew, nil if it has none. It is borrowed.
func (c *copier) old(rec arrow.RecordBatch) arrow.Array {
	set, ok := c.setID()
	for i, f := range rec.Schema().Fields() {
		if ok && fieldID(f) == set {
			return rec.Column(i)
		}
	}
	return nil
}

// setID is the field id of the column that is set.
func (c *copier) setID() (int, bool) {
	if c.set == nil {
		return 0, false
	}
	f, ok := c.schema.FindFieldByName(c.set.field.Name)
	return f.ID, ok
}

// present are the columns of a file that the table still has, under the names that it gives them now, without the one that is set.
func (c *copier) present(fields []arrow.Field) (out []arrow.Field, keep []int) {
	current := c.table.Schema()
	set, setting := c.setID()
	for i, f := range fields {
		id := fieldID(f)
		if id < 0 || setting && id == set {
			continue
		}
		if now, ok := current.FindFieldByID(id); ok {
			f.Name = now.Name
			out, keep = append(out, f), append(keep, i)
		}
	}
	return out, keep
}

// fieldID is the field id of a file's column, -1 if it has none.
func fieldID(f arrow.Field) int {
	text, _ := f.Metadata.GetValue(table.ArrowParquetFieldIDKey)
	if id, err := strconv.Atoi(text); err == nil {
		return id
	}
	return -1
}
