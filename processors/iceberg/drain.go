package iceberg

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
)

// drain writes what is on disk to data files, partition by partition.
func (s *Sink) drain(ctx context.Context) error {
	g := s.gathered
	if len(g.spill.sorted) == 0 {
		return nil
	}
	l, err := s.layoutOf(ctx, g.spill.sorted)
	if err != nil {
		return err
	}
	readers := make([]*runReader, 0, len(g.spill.sorted))
	defer func() {
		for _, r := range readers {
			r.close()
		}
	}()
	for _, run := range g.spill.sorted {
		convert, err := s.converter(ctx, run.schema, l.schema)
		if err != nil {
			return err
		}
		r, err := g.spill.open(run, convert)
		if err != nil {
			return err
		}
		readers = append(readers, r)
	}
	for n := range g.parts {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := s.drainPart(l, readers, int32(n)); err != nil {
			return err
		}
	}
	if g.total != 0 {
		return fmt.Errorf("%d rows are missing of those that were put aside", g.total)
	}
	return g.reset()
}

// drainPart writes the rows of one partition and ends its file.
func (s *Sink) drainPart(l *layout, readers []*runReader, number int32) error {
	p := s.gathered.parts[number]
	for _, r := range readers {
		err := r.next(number, func(rows arrow.RecordBatch, bytes int64) error {
			s.gathered.total -= rows.NumRows()
			return s.append(l, p, rows, bytes)
		})
		if err != nil {
			return err
		}
	}
	if s.open[p.key] == nil {
		return nil
	}
	return s.finish(p.key)
}

// layoutOf is the layout of files that hold rows of all runs: the writer's, or of all columns of the table where runs are of several
// schemas.
func (s *Sink) layoutOf(ctx context.Context, runs []spilled) (*layout, error) {
	same := true
	for _, r := range runs {
		same = same && r.schema.Equal(s.writer.layout.schema)
	}
	if same {
		return s.writer.layout, nil
	}
	if err := s.finishAll(); err != nil {
		return nil, err
	}
	all, err := table.SchemaToArrowSchema(s.table.Schema(), nil, false, false)
	if err != nil {
		return nil, fmt.Errorf("schema of table %s: %w", s.spec.Name, err)
	}
	c, err := newConformer(s.cfg.Allocator, all, s.table.Schema())
	if err != nil {
		return nil, err
	}
	return newLayout(ctx, s.table, c.schema, &s.cfg)
}

// converter brings rows that were put aside under one schema into the form of files of another.
func (s *Sink) converter(ctx context.Context, from, to *arrow.Schema) (func(arrow.RecordBatch) (arrow.RecordBatch, error), error) {
	if from.Equal(to) {
		return func(rec arrow.RecordBatch) (arrow.RecordBatch, error) { return rec, nil }, nil
	}
	c, err := newConformer(s.cfg.Allocator, from, s.table.Schema())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", catalog.ErrRestage, err) // somebody has changed the table's columns
	}
	return func(rec arrow.RecordBatch) (arrow.RecordBatch, error) {
		defer rec.Release()
		conformed, err := c.apply(ctx, rec)
		if err != nil {
			return nil, err
		}
		defer conformed.Release()
		return pad(s.cfg.Allocator, conformed, to), nil
	}, nil
}

// pad adds the columns, and the fields of structs, that rows lack. rec is borrowed and no slice.
func pad(mem memory.Allocator, rec arrow.RecordBatch, to *arrow.Schema) arrow.RecordBatch {
	columns := make([]arrow.Array, to.NumFields())
	for i, f := range to.Fields() {
		var from arrow.Array
		if at := rec.Schema().FieldIndices(f.Name); len(at) > 0 {
			from = rec.Column(at[0])
		}
		columns[i] = padArray(mem, from, f.Type, int(rec.NumRows()))
	}
	out := array.NewRecordBatch(to, columns, rec.NumRows())
	for _, c := range columns {
		c.Release()
	}
	return out
}

// padArray is an array with what its type lacks of another; nil is nulls.
func padArray(mem memory.Allocator, from arrow.Array, to arrow.DataType, rows int) arrow.Array {
	if from == nil {
		return array.MakeArrayOfNull(mem, to, rows)
	}
	var children []arrow.Array
	switch to := to.(type) {
	case *arrow.StructType:
		was := from.DataType().(*arrow.StructType)
		for _, f := range to.Fields() {
			var child arrow.Array
			if i, ok := was.FieldIdx(f.Name); ok {
				child = array.MakeFromData(from.Data().Children()[i])
			}
			children = append(children, padArray(mem, child, f.Type, from.Len()))
			if child != nil {
				child.Release()
			}
		}
	case *arrow.ListType:
		elements := array.MakeFromData(from.Data().Children()[0])
		children = append(children, padArray(mem, elements, to.Elem(), elements.Len()))
		elements.Release()
	default:
		from.Retain()
		return from
	}
	data := make([]arrow.ArrayData, len(children))
	for i, c := range children {
		data[i] = c.Data()
	}
	out := rebuild(to, from.Data(), data)
	for _, c := range children {
		c.Release()
	}
	return out
}
