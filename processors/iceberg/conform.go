package iceberg

import (
	"context"
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
)

// conformer brings records of one schema into the form of the table: its field ids, its types where they are wider, and nothing that
// the table does not have.
type conformer struct {
	mem     memory.Allocator
	source  *arrow.Schema
	schema  *arrow.Schema // of the files: with field ids
	columns []int         // the record's columns that are written
	convert []conversion  // per column, nil where the array is written as it is
}

// conversion makes an array of the table's type. It borrows its argument.
type conversion func(ctx context.Context, mem memory.Allocator, a arrow.Array) (arrow.Array, error)

// RowError says that a value cannot become what its column holds. The record does not fit; others do.
type RowError struct {
	Path string // the column, its parts joined by dots
	Row  int    // in the column's array, which is the batch's row for a top-level column; -1 if the whole column does not fit
	Why  string
}

// Error implements error.
func (e *RowError) Error() string {
	if e.Row < 0 {
		return fmt.Sprintf("column %s: %s", e.Path, e.Why)
	}
	return fmt.Sprintf("column %s, row %d: %s", e.Path, e.Row, e.Why)
}

// UnfitColumn is the column whose values do not fit the table. Callers that cannot import this package find it by assertion.
func (e *RowError) UnfitColumn() string { return e.Path }

// newConformer prepares for records of schema source. Columns of type null are left out: they hold nothing and say nothing.
func newConformer(mem memory.Allocator, source *arrow.Schema, target *iceberg.Schema) (*conformer, error) {
	c := &conformer{mem: mem, source: source}
	byName := make(map[string]iceberg.NestedField)
	for _, f := range target.Fields() {
		byName[f.Name] = f
	}
	var fields []arrow.Field
	for i, f := range source.Fields() {
		if f.Type.ID() == arrow.NULL {
			continue
		}
		t, ok := byName[f.Name]
		if !ok {
			return nil, &RowError{Path: f.Name, Row: -1, Why: "the table has no such column"}
		}
		field, convert, err := conformField(f.Name, f, t)
		if err != nil {
			return nil, err
		}
		fields = append(fields, field)
		c.columns = append(c.columns, i)
		c.convert = append(c.convert, convert)
		delete(byName, f.Name)
	}
	for _, f := range byName {
		if f.Required {
			return nil, &RowError{Path: f.Name, Row: -1, Why: "the table requires this column and the records do not have it"}
		}
	}
	c.schema = arrow.NewSchema(fields, nil)
	return c, nil
}

// apply gives the record as it is written. The caller releases it; rec is borrowed.
func (c *conformer) apply(ctx context.Context, rec arrow.RecordBatch) (arrow.RecordBatch, error) {
	columns := make([]arrow.Array, 0, len(c.columns))
	defer func() {
		for _, column := range columns {
			column.Release()
		}
	}()
	for i, at := range c.columns {
		column := rec.Column(at)
		if c.convert[i] == nil {
			column.Retain()
		} else {
			var err error
			if column, err = c.convert[i](ctx, c.mem, column); err != nil {
				return nil, err
			}
		}
		columns = append(columns, column)
	}
	return array.NewRecordBatch(c.schema, columns, rec.NumRows()), nil
}

// withID is the field as it is written: with the table's field id.
func withID(f arrow.Field, id int, t arrow.DataType, required bool) arrow.Field {
	return arrow.Field{
		Name: f.Name, Type: t, Nullable: !required,
		Metadata: arrow.NewMetadata([]string{table.ArrowParquetFieldIDKey}, []string{fmt.Sprint(id)}),
	}
}

// conformField plans one column.
func conformField(path string, f arrow.Field, to iceberg.NestedField) (arrow.Field, conversion, error) {
	t, convert, err := conformType(path, f.Type, to.Type)
	if err != nil {
		return arrow.Field{}, nil, err
	}
	if convert == nil && !arrow.TypeEqual(t, f.Type) {
		// The same bytes under a type that differs in who may be null.
		convert = func(_ context.Context, _ memory.Allocator, a arrow.Array) (arrow.Array, error) {
			return rebuild(t, a.Data(), a.Data().Children()), nil
		}
	}
	return withID(f, to.ID, t, to.Required), convert, nil
}

// conformType plans a type and everything in it.
func conformType(path string, from arrow.DataType, to iceberg.Type) (arrow.DataType, conversion, error) {
	switch to := to.(type) {
	case *iceberg.StructType:
		if st, ok := from.(*arrow.StructType); ok {
			return conformStruct(path, st, to)
		}
	case *iceberg.ListType:
		if l, ok := from.(*arrow.ListType); ok {
			element, convert, err := conformField(path+".element", l.ElemField(), to.ElementField())
			if err != nil {
				return nil, nil, err
			}
			t := arrow.ListOfField(element)
			return t, convertChild(t, convert), nil
		}
	case *iceberg.MapType:
		if m, ok := from.(*arrow.MapType); ok {
			return conformMap(path, m, to)
		}
	default:
		return conformPrimitive(path, from, to)
	}
	return nil, nil, &RowError{Path: path, Row: -1, Why: fmt.Sprintf("the table has %s, the records have %s", to, from)}
}

// conformPrimitive plans a column without children.
func conformPrimitive(path string, from arrow.DataType, to iceberg.Type) (arrow.DataType, conversion, error) {
	is, err := table.ArrowTypeToIceberg(from, false)
	if err == nil && is.Equals(to) {
		switch t := from.(type) {
		case *arrow.TimestampType:
			if t.Unit != arrow.Microsecond {
				break // arrow's coarser units are written as Iceberg's microseconds
			}
			return from, nil, nil
		default:
			switch from.ID() {
			case arrow.UINT8, arrow.UINT16, arrow.UINT32, arrow.UINT64, arrow.INT8, arrow.INT16, arrow.FLOAT16:
			default:
				return from, nil, nil
			}
		}
	}
	target, err := table.TypeToArrowType(to, false, false)
	if err != nil {
		return nil, nil, &RowError{Path: path, Row: -1, Why: err.Error()}
	}
	if from.ID() == arrow.INT64 && target.ID() == arrow.FLOAT64 {
		return target, exactDoubles(path), nil
	}
	if !convertible(from, target) {
		return nil, nil, &RowError{Path: path, Row: -1, Why: fmt.Sprintf("the table has %s, the records have %s", to, from)}
	}
	return target, func(ctx context.Context, mem memory.Allocator, a arrow.Array) (arrow.Array, error) {
		out, err := compute.CastArray(compute.WithAllocator(ctx, mem), a, compute.SafeCastOptions(target))
		if err != nil {
			return nil, &RowError{Path: path, Row: -1, Why: err.Error()}
		}
		return out, nil
	}, nil
}

// convertible reports whether a checked cast keeps every value.
func convertible(from, to arrow.DataType) bool {
	switch {
	case arrow.IsInteger(from.ID()):
		return arrow.IsInteger(to.ID()) || from.ID() != arrow.UINT64 && to.ID() == arrow.FLOAT64
	case arrow.IsFloating(from.ID()):
		return arrow.IsFloating(to.ID())
	case from.ID() == arrow.TIMESTAMP:
		f, t := from.(*arrow.TimestampType), to
		ts, ok := t.(*arrow.TimestampType)
		return ok && (f.TimeZone == "") == (ts.TimeZone == "")
	case arrow.IsDecimal(from.ID()):
		return arrow.IsDecimal(to.ID())
	}
	return false
}

// exactDoubles converts long to double and refuses what a double cannot hold.
func exactDoubles(path string) conversion {
	return func(_ context.Context, mem memory.Allocator, a arrow.Array) (arrow.Array, error) {
		longs := a.(*array.Int64)
		b := array.NewFloat64Builder(mem)
		defer b.Release()
		b.Reserve(longs.Len())
		for i := range longs.Len() {
			if longs.IsNull(i) {
				b.AppendNull()
				continue
			}
			v, ok := exactDouble(longs.Value(i))
			if !ok {
				return nil, &RowError{Path: path, Row: i, Why: fmt.Sprintf("%d is no exact double, and the column is double", longs.Value(i))}
			}
			b.Append(v)
		}
		return b.NewArray(), nil
	}
}

// exactDouble is n as a double, if that has exactly the same value.
func exactDouble(n int64) (float64, bool) {
	f := float64(n)
	return f, f < math.MaxInt64 && int64(f) == n
}

// conformStruct plans a struct: its known fields, in the records' order.
func conformStruct(path string, from *arrow.StructType, to *iceberg.StructType) (arrow.DataType, conversion, error) {
	byName := make(map[string]iceberg.NestedField, len(to.FieldList))
	for _, f := range to.FieldList {
		byName[f.Name] = f
	}
	var (
		fields  []arrow.Field
		keep    []int
		convert []conversion
		plain   = true
	)
	for i, f := range from.Fields() {
		if f.Type.ID() == arrow.NULL {
			plain = false
			continue
		}
		t, ok := byName[f.Name]
		if !ok {
			return nil, nil, &RowError{Path: path + "." + f.Name, Row: -1, Why: "the table has no such column"}
		}
		field, c, err := conformField(path+"."+f.Name, f, t)
		if err != nil {
			return nil, nil, err
		}
		plain = plain && c == nil && field.Nullable == f.Nullable
		fields, keep, convert = append(fields, field), append(keep, i), append(convert, c)
	}
	if len(fields) == 0 {
		return nil, nil, &RowError{Path: path, Row: -1, Why: "a struct without fields cannot be stored"}
	}
	target := arrow.StructOf(fields...)
	if plain {
		return target, nil, nil
	}
	return target, func(ctx context.Context, mem memory.Allocator, a arrow.Array) (arrow.Array, error) {
		data := a.Data()
		children := make([]arrow.ArrayData, 0, len(keep))
		defer func() {
			for _, child := range children {
				child.Release()
			}
		}()
		for i, at := range keep {
			// The children of a sliced struct are not sliced: convert them whole, so that the offset keeps its meaning.
			child := array.MakeFromData(data.Children()[at])
			out, err := child, error(nil)
			if convert[i] != nil {
				out, err = convert[i](ctx, mem, child)
				child.Release()
			}
			if err != nil {
				return nil, err
			}
			out.Data().Retain()
			children = append(children, out.Data())
			out.Release()
		}
		return rebuild(target, data, children), nil
	}, nil
}

// conformMap plans a map.
func conformMap(path string, from *arrow.MapType, to *iceberg.MapType) (arrow.DataType, conversion, error) {
	key, convertKey, err := conformField(path+".key", from.KeyField(), to.KeyField())
	if err != nil {
		return nil, nil, err
	}
	value, convertValue, err := conformField(path+".value", from.ItemField(), to.ValueField())
	if err != nil {
		return nil, nil, err
	}
	if convertKey != nil || convertValue != nil {
		return nil, nil, &RowError{Path: path, Row: -1, Why: fmt.Sprintf("the table has %s, the records have %s", to, from)}
	}
	return arrow.MapOfFields(key, value), nil, nil
}

// convertChild converts the elements of a list; nil if they stay as they are.
func convertChild(target *arrow.ListType, convert conversion) conversion {
	if convert == nil {
		return nil
	}
	return func(ctx context.Context, mem memory.Allocator, a arrow.Array) (arrow.Array, error) {
		data := a.Data()
		elements := array.MakeFromData(data.Children()[0])
		defer elements.Release()
		out, err := convert(ctx, mem, elements)
		if err != nil {
			return nil, err
		}
		defer out.Release()
		return rebuild(target, data, []arrow.ArrayData{out.Data()}), nil
	}
}

// rebuild is data with another type and other children.
func rebuild(t arrow.DataType, data arrow.ArrayData, children []arrow.ArrayData) arrow.Array {
	out := array.NewData(t, data.Len(), data.Buffers(), children, data.NullN(), data.Offset())
	defer out.Release()
	return array.MakeFromData(out)
}
