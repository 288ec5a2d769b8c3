package route

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/schema"
)

// sorted is the rows of a batch by table, and within each as they came.
type sorted struct {
	rows arrow.RecordBatch // owned
	ends []int             // of the rows of each dest
}

// sortRows brings rows together that go to one table. All are moved once: to choose those of each table costs far more, where there are many.
func (s *Sink) sortRows(ctx context.Context, rows arrow.RecordBatch, a *assignment) (sorted, error) {
	out := sorted{ends: make([]int, len(a.dests))}
	for _, i := range a.of {
		out.ends[i]++
	}
	if len(a.dests) == 1 {
		rows.Retain()
		out.rows = rows
		return out, nil
	}
	next, at := make([]int, len(a.dests)), 0
	for i, n := range out.ends {
		next[i], at = at, at+n
		out.ends[i] = at
	}
	numbers := make([]int32, len(a.of))
	for row, i := range a.of {
		numbers[next[i]] = int32(row)
		next[i]++
	}
	b := array.NewInt32Builder(s.cfg.Allocator)
	defer b.Release()
	b.AppendValues(numbers, nil)
	indices := b.NewInt32Array()
	defer indices.Release()
	from, by := compute.NewDatumWithoutOwning(rows), compute.NewDatumWithoutOwning(indices)
	taken, err := compute.Take(compute.WithAllocator(ctx, s.cfg.Allocator), *compute.DefaultTakeOptions(), from, by)
	if err != nil {
		return out, fmt.Errorf("sort rows by table: %w", err)
	}
	out.rows = taken.(*compute.RecordDatum).Value
	return out, nil
}

// pick gives the rows of one table, from an offset on; nil if there are none.
func (s *Sink) pick(ctx context.Context, c *child, all sorted, from int64, which int) (arrow.RecordBatch, error) {
	offsets, ok := all.rows.Column(2).(*array.Int64)
	if !ok {
		return nil, fmt.Errorf("offsets are %s", all.rows.Column(2).DataType())
	}
	begin, end := 0, all.ends[which]
	if which > 0 {
		begin = all.ends[which-1]
	}
	for begin < end && offsets.Value(begin) < from {
		begin++
	}
	if begin == end {
		return nil, nil
	}
	rows, err := copyRows(all.rows, begin, end, s.cfg.Allocator)
	if err != nil || !s.cfg.Inferred {
		return rows, err
	}
	defer rows.Release()
	table, _, err := c.columns(ctx)
	if err != nil {
		return nil, err
	}
	return withoutEmpty(rows, table), nil
}

// columns are the table's, nil if there is none; ok is false if its sink cannot tell.
func (c *child) columns(ctx context.Context) (columns *arrow.Schema, ok bool, err error) {
	d, ok := c.sink.(processor.Described)
	if !ok {
		return nil, false, nil
	}
	if columns, err = d.Schema(ctx); err != nil {
		return nil, true, fmt.Errorf("columns of table %s: %w", c.name, err)
	}
	return columns, true, nil
}

// unfitError says that a table would have a column of a type that does not go with another table's.
type unfitError struct {
	column string
	err    error
}

var _ processor.Unfit = (*unfitError)(nil)

func (e *unfitError) Error() string       { return e.err.Error() }
func (e *unfitError) Unwrap() error       { return e.err }
func (e *unfitError) UnfitColumn() string { return e.column }

// agree refuses rows that would give a table a column which does not go with that of another table: records are decoded into the columns of all
// together. So the first to come decides, as it does in one table.
func (s *Sink) agree(ctx context.Context, c *child, rows *arrow.Schema) error {
	own, ok, err := c.columns(ctx)
	if err != nil || !ok {
		return err
	}
	fresh := rows.Fields()[processor.Coordinates:]
	if own != nil {
		fresh = slices.DeleteFunc(slices.Clone(fresh), func(f arrow.Field) bool {
			at := own.FieldIndices(f.Name)
			return len(at) > 0 && arrow.TypeEqual(own.Field(at[0]).Type, f.Type)
		})
	}
	if len(fresh) == 0 {
		return nil
	}
	for _, other := range s.sorted() {
		columns, _, err := other.columns(ctx)
		if err != nil {
			return err
		}
		if other == c || columns == nil {
			continue
		}
		for _, f := range fresh {
			if len(columns.FieldIndices(f.Name)) == 0 {
				continue
			}
			if _, err := together(columns.Field(columns.FieldIndices(f.Name)[0]), f); err != nil {
				return &unfitError{unfitColumn(f.Name, err), fmt.Errorf("table %s: column %s does not go with that of table %s: %w", c.name, f.Name, other.name, err)}
			}
		}
	}
	return nil
}

// unfitColumn is the part of a column that does not fit.
func unfitColumn(name string, err error) string {
	var conflict *schema.ConflictError
	if errors.As(err, &conflict) && conflict.Path != "" {
		return name + "." + conflict.Path
	}
	return name
}

// copyRows gives the rows from one to another. They take no more memory than they need: a slice of the batch would hold all of it.
func copyRows(rows arrow.RecordBatch, begin, end int, mem memory.Allocator) (arrow.RecordBatch, error) {
	if begin == 0 && end == int(rows.NumRows()) {
		rows.Retain()
		return rows, nil
	}
	slice := rows.NewSlice(int64(begin), int64(end))
	defer slice.Release()
	columns := make([]arrow.Array, 0, slice.NumCols())
	defer func() {
		for _, c := range columns {
			c.Release()
		}
	}()
	for _, c := range slice.Columns() {
		copied, err := array.Concatenate([]arrow.Array{c}, mem)
		if err != nil {
			return nil, fmt.Errorf("copy rows: %w", err)
		}
		columns = append(columns, copied)
	}
	return array.NewRecordBatch(rows.Schema(), columns, slice.NumRows()), nil
}

// withoutEmpty leaves out the columns that hold nothing and that the table does not have: they came with rows of other tables.
func withoutEmpty(rows arrow.RecordBatch, table *arrow.Schema) arrow.RecordBatch {
	var fields []arrow.Field
	var columns []arrow.Array
	for i, f := range rows.Schema().Fields() {
		known := table != nil && len(table.FieldIndices(f.Name)) > 0
		if i < processor.Coordinates || known || rows.Column(i).NullN() < rows.Column(i).Len() {
			fields, columns = append(fields, f), append(columns, rows.Column(i))
		}
	}
	return array.NewRecordBatch(arrow.NewSchema(fields, nil), columns, rows.NumRows())
}

// Schema gives the columns of all tables together: records are decoded into them before it is known where they go.
func (s *Sink) Schema(ctx context.Context) (*arrow.Schema, error) {
	var fields []arrow.Field
	from := map[string]string{} // the table that a column was seen in first
	at := map[string]int{}
	seen := map[string]int{}
	tables := 0
	for _, c := range s.sorted() {
		columns, ok, err := c.columns(ctx)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, nil
		}
		if columns == nil {
			continue
		}
		tables++
		for _, f := range columns.Fields() {
			seen[f.Name]++
			i, ok := at[f.Name]
			if !ok {
				at[f.Name], from[f.Name] = len(fields), c.name
				fields = append(fields, f)
				continue
			}
			merged, err := together(fields[i], f)
			if err != nil {
				return nil, &processor.HaltError{
					Reason: fmt.Sprintf("column %s is %s in table %s and %s in table %s", f.Name, fields[i].Type, from[f.Name], f.Type, c.name),
					Decide: "one topic is decoded into one set of columns: change the column in one of the tables, or give one kind of records another name for it",
				}
			}
			fields[i] = merged
		}
	}
	if tables == 0 {
		return nil, nil
	}
	for i := range fields {
		if seen[fields[i].Name] < tables {
			fields[i].Nullable = true
		}
	}
	return arrow.NewSchema(fields, nil), nil
}

// together is a column that holds the values of both.
func together(a, b arrow.Field) (arrow.Field, error) {
	a.Nullable = a.Nullable || b.Nullable
	if arrow.TypeEqual(a.Type, b.Type) {
		return a, nil
	}
	first, err := schema.FromArrow([]arrow.Field{a})
	if err != nil {
		return a, err
	}
	second, err := schema.FromArrow([]arrow.Field{b})
	if err != nil {
		return a, err
	}
	merged, err := schema.Merge(first.Fields[0].Type, second.Fields[0].Type)
	if err == nil {
		a.Type = merged.Arrow()
	}
	return a, err
}

// Decided implements processor.Deciding: what one table has, is decided.
func (s *Sink) Decided(src processor.Source) (next int64, config string, ok bool) {
	for _, c := range s.sorted() {
		d, deciding := c.sink.(processor.Deciding)
		if !deciding {
			continue
		}
		if at, by, has := d.Decided(src); has && (!ok || at > next) {
			next, config, ok = at, by, true
		}
	}
	return next, config, ok
}

// Tables implements processor.Several.
func (s *Sink) Tables() []processor.TableState {
	var all []processor.TableState
	for _, c := range s.sorted() {
		if len(c.next) == 0 {
			continue
		}
		one := processor.TableState{Name: c.name, Positions: maps.Clone(c.next), Shown: maps.Clone(c.shown)}
		if i, ok := c.sink.(processor.Identified); ok {
			one.Identity = i.Identity()
		}
		all = append(all, one)
	}
	return all
}

// Buffered implements processor.Buffering.
func (s *Sink) Buffered() int64 {
	held := int64(0)
	for _, c := range s.children {
		if b, ok := c.sink.(processor.Buffering); ok {
			held += b.Buffered()
		}
	}
	return held
}

// Spills implements processor.Spilling.
func (s *Sink) Spills() bool {
	for _, c := range s.children {
		if c.spilling() != nil {
			return true
		}
	}
	return false
}

// Spill implements processor.Spilling.
func (s *Sink) Spill(ctx context.Context) error {
	for _, c := range s.sorted() {
		if sink := c.spilling(); sink != nil {
			if err := sink.Spill(ctx); err != nil {
				return errors.Join(fmt.Errorf("table %s: %w", c.name, err), s.giveUp(ctx))
			}
		}
	}
	return nil
}

// spilling is the table's sink, nil if it cannot put rows aside.
func (c *child) spilling() processor.Spilling {
	if sink, ok := c.sink.(processor.Spilling); ok && sink.Spills() {
		return sink
	}
	return nil
}

// Close closes the sinks of all tables.
func (s *Sink) Close() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(s.children)) {
		errs = append(errs, s.children[name].close())
	}
	s.children = map[string]*child{}
	return errors.Join(errs...)
}
