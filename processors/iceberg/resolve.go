package iceberg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	iceberglib "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/runtime/processor"
)

// Dead letters are marked by writing their files again, with a time in the column resolved_at: delete files would be cheaper to write, and
// make every reader of the table pay. Letters are few.

var resolvedField = arrow.Field{Name: ResolvedColumn, Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true}

// resolveBytes bounds the files that one commit takes the place of.
const resolveBytes = 256 << 20

// ErrDeletes says that letters cannot be marked because rows of their table were deleted with delete files.
var ErrDeletes = errors.New("rows of the table were deleted with delete files: compact it first")

// Resolve marks the letters of some offsets, which are in order, as resolved at a time, and gives how many it has marked: all of them or,
// with an error, some. Those that are marked already keep their time. Every commit is pinned to the head that it was made for; the job may
// go on writing letters beside it. Letters that are not there are none;
// those that do not say which topic of the name they are of have a zero id.
func (s *Sink) Resolve(ctx context.Context, offsets map[processor.Source][]int64, at time.Time) (marked int64, err error) {
	if len(offsets) == 0 {
		return 0, nil
	}
	column := iceberglib.NewSchema(0, iceberglib.NestedField{ID: 1, Name: ResolvedColumn, Type: iceberglib.PrimitiveTypes.TimestampTz})
	if _, err := s.committer.Evolve(ctx, column); err != nil {
		if errors.Is(err, catalog.ErrNoTable) {
			err = nil
		}
		return 0, err
	}
	r := &resolution{sink: s, offsets: offsets, at: at, again: map[string]*outcome{}}
	for {
		var now int64
		done := false
		err := s.committer.Rewrite(ctx, func(ctx context.Context, t *table.Table) (plan *catalog.Rewrite, err error) {
			plan, now, err = r.plan(ctx, t)
			done = plan == nil
			return plan, err
		})
		if err != nil || done {
			return marked, asProcessor(err)
		}
		marked += now
	}
}

// Reopen takes the mark off letters that are resolved: their records are no rows after all. For the rest see Resolve.
func (s *Sink) Reopen(ctx context.Context, offsets map[processor.Source][]int64) (reopened int64, err error) {
	return s.Resolve(ctx, offsets, time.Time{})
}

// Resolvable tells why letters could not be marked, nil if they can be. A table that does not exist has none.
func (s *Sink) Resolvable(ctx context.Context) error {
	t, err := s.committer.Load(ctx)
	if errors.Is(err, catalog.ErrNoTable) || err == nil && t.CurrentSnapshot() == nil {
		return nil
	}
	if err != nil {
		return err
	}
	fs, err := t.FS(ctx)
	if err != nil {
		return fmt.Errorf("files of table %s: %w", s.spec.Name, err)
	}
	manifests, err := t.CurrentSnapshot().Manifests(fs)
	if err != nil {
		return fmt.Errorf("manifests of table %s: %w", s.spec.Name, err)
	}
	return s.withoutDeletes(manifests)
}

func (s *Sink) withoutDeletes(manifests []iceberglib.ManifestFile) error {
	for _, m := range manifests {
		if m.ManifestContent() != iceberglib.ManifestContentData && (m.HasAddedFiles() || m.HasExistingFiles()) {
			return fmt.Errorf("table %s: %w", s.spec.Name, ErrDeletes)
		}
	}
	return nil
}

// resolution is one call of Resolve.
type resolution struct {
	sink    *Sink
	offsets map[processor.Source][]int64
	at      time.Time           // zero to take marks off
	again   map[string]*outcome // by the path of the old file: what came of it. Files never change, so one look is enough
}

// outcome is a file that was written again, with so many letters marked; file is nil where there was nothing to mark.
type outcome struct {
	file iceberglib.DataFile
	rows int64
}

// plan writes the files of the head again that hold letters to be marked, up to a number of bytes; nil if there are none.
func (r *resolution) plan(ctx context.Context, t *table.Table) (*catalog.Rewrite, int64, error) {
	head := t.CurrentSnapshot()
	if head == nil {
		return nil, 0, nil
	}
	c, err := r.copier(ctx, t)
	if err != nil {
		return nil, 0, err
	}
	manifests, err := head.Manifests(c.fs)
	if err != nil {
		return nil, 0, fmt.Errorf("manifests of table %s: %w", r.sink.spec.Name, err)
	}
	if err := r.sink.withoutDeletes(manifests); err != nil {
		return nil, 0, err
	}
	plan, rows, bytes := &catalog.Rewrite{}, int64(0), int64(0)
	for _, m := range manifests {
		if m.ManifestContent() != iceberglib.ManifestContentData {
			continue
		}
		for entry, err := range m.Entries(c.fs, true) {
			if err != nil {
				return nil, 0, fmt.Errorf("manifest %s: %w", m.FilePath(), err)
			}
			f := entry.DataFile()
			if bytes > 0 && bytes+f.FileSizeBytes() > resolveBytes {
				return plan, rows, nil
			}
			again, err := r.mark(ctx, c, f)
			if err != nil {
				return nil, 0, errors.Join(err, c.undo())
			}
			if again.file != nil {
				plan.Old, plan.New = append(plan.Old, f), append(plan.New, again.file)
				rows, bytes = rows+again.rows, bytes+f.FileSizeBytes()
			}
		}
	}
	if len(plan.Old) == 0 {
		return nil, 0, nil
	}
	return plan, rows, nil
}

func (r *resolution) copier(ctx context.Context, t *table.Table) (*copier, error) {
	c, err := r.sink.newCopier(ctx, t, t.Schema())
	if err != nil {
		return nil, err
	}
	c.set = &setColumn{field: resolvedField, make: func(rows arrow.RecordBatch, old arrow.Array) (arrow.Array, error) {
		made, _, err := r.column(rows, old)
		return made, err
	}}
	return c, nil
}

// mark writes a file again, unless that was done before or there is nothing to mark in it.
func (r *resolution) mark(ctx context.Context, c *copier, f iceberglib.DataFile) (*outcome, error) {
	if known, ok := r.again[f.FilePath()]; ok {
		return known, nil
	}
	out := &outcome{}
	err := c.open(f, func(pf *file.Reader) (err error) {
		if out.rows, err = r.count(ctx, c, pf); err == nil && out.rows > 0 {
			out.file, err = c.copy(ctx, pf, f)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	r.again[f.FilePath()] = out
	return out, nil
}

// count is how many letters of a file are to be marked: it reads their coordinates alone.
func (r *resolution) count(ctx context.Context, c *copier, pf *file.Reader) (int64, error) {
	reader, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{BatchSize: wholeGroupRows}, r.sink.cfg.Allocator)
	if err != nil {
		return 0, err
	}
	names := append(r.coordinates(), ResolvedColumn, TopicIDColumn)
	var leaves []int
	for i := range pf.MetaData().Schema.NumColumns() {
		leaf := pf.MetaData().Schema.Column(i)
		now, ok := c.table.Schema().FindFieldByID(int(leaf.SchemaNode().FieldID()))
		if ok && len(leaf.ColumnPath()) == 1 && slices.Contains(names, now.Name) {
			leaves = append(leaves, i)
		}
	}
	records, err := reader.GetRecordReader(ctx, leaves, nil)
	if err != nil {
		return 0, err
	}
	defer records.Release()
	var n int64
	for records.Next() {
		rec := records.RecordBatch()
		fields, keep := c.present(rec.Schema().Fields())
		rows := c.pick(rec, arrow.NewSchema(fields, nil), keep)
		made, marked, err := r.column(rows, c.old(rec))
		rows.Release()
		if err != nil {
			return 0, err
		}
		made.Release()
		n += marked
	}
	return n, records.Err()
}

func (r *resolution) coordinates() []string {
	p := r.sink.cfg.Prefix
	return []string{p + "topic", p + "partition", p + "offset"}
}

// column is resolved_at for some letters, and how many of them it marks that were not marked. old is nil if none was.
func (r *resolution) column(rows arrow.RecordBatch, old arrow.Array) (arrow.Array, int64, error) {
	c, err := coordinatesOf(rows, r.sink.cfg.Prefix)
	before, okBefore := old.(*array.Timestamp)
	if err != nil || old != nil && !okBefore {
		return nil, 0, fmt.Errorf("the columns are %s: this is no dead-letter table", rows.Schema())
	}
	b := array.NewTimestampBuilder(r.sink.cfg.Allocator, resolvedField.Type.(*arrow.TimestampType))
	defer b.Release()
	var marked int64
	for i := range int(rows.NumRows()) {
		at, ok := c.place(i)
		wanted := false
		if ok {
			_, wanted = slices.BinarySearch(r.offsets[at], c.offsets.Value(i))
		}
		switch {
		case r.at.IsZero() && wanted:
			b.AppendNull()
			if old != nil && before.IsValid(i) {
				marked++
			}
		case old != nil && before.IsValid(i):
			b.Append(before.Value(i))
		case wanted:
			b.Append(arrow.Timestamp(r.at.UnixMicro()))
			marked++
		default:
			b.AppendNull()
		}
	}
	return b.NewArray(), marked, nil
}
