package transform

import (
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/schema"
)

// shape is what the columns of a batch become where no value changes: which fields the result has, and where they were.
type shape []shaped

type shaped struct {
	field arrow.Field // of the result
	from  []int       // of a column, its place in the batch, and if it is lifted out of structs its place there; of a member, its place in the struct
	inner shape       // of a struct that does not keep its members as they are; else nil
}

// asIs is a field that stays what and where it is.
func asIs(f arrow.Field, i int) shaped { return shaped{field: f, from: []int{i}} }

// structOf is a struct with other members.
func structOf(f arrow.Field, i int, inner shape) shaped {
	f.Type = arrow.StructOf(inner.fields()...)
	return shaped{f, []int{i}, inner}
}

func (s shape) fields() []arrow.Field {
	fields := make([]arrow.Field, len(s))
	for i, one := range s {
		fields[i] = one.field
	}
	return fields
}

func (s shape) schema() *arrow.Schema { return arrow.NewSchema(s.fields(), nil) }

// of gives rows their shape. It borrows rows; the result is the caller's.
func (s shape) of(rows arrow.RecordBatch, mem memory.Allocator) arrow.RecordBatch {
	if in := rows.Schema(); s.same(in.Fields()) && s.schema().Equal(in) {
		rows.Retain()
		return rows
	}
	columns := make([]arrow.Array, len(s))
	for i, one := range s {
		columns[i] = one.column(rows, mem)
		defer columns[i].Release()
	}
	return array.NewRecordBatch(s.schema(), columns, rows.NumRows())
}

// column is a column of the result.
func (s shaped) column(rows arrow.RecordBatch, mem memory.Allocator) arrow.Array {
	if len(s.from) > 1 {
		return nestedAt(rows, s.from).lifted(mem)
	}
	column := rows.Column(s.from[0])
	if s.inner == nil {
		column.Retain()
		return column
	}
	data := s.inner.members(column.Data(), s.field.Type)
	defer data.Release()
	return array.MakeFromData(data)
}

// members gives the data of a struct the members of a shape.
func (s shape) members(outer arrow.ArrayData, t arrow.DataType) arrow.ArrayData {
	children := make([]arrow.ArrayData, len(s))
	for i, one := range s {
		child := outer.Children()[one.from[0]]
		if one.inner == nil {
			child.Retain()
		} else {
			child = one.inner.members(child, one.field.Type)
		}
		defer child.Release()
		children[i] = child
	}
	return array.NewData(t, outer.Len(), outer.Buffers(), children, outer.NullN(), outer.Offset())
}

// nested is a column, or a member of structs with the structs around it. Where one of them is null, it is.
type nested struct {
	arrow.Array
	outer []arrow.Array
}

// nestedAt is what is at a place that a path has found.
func nestedAt(rows arrow.RecordBatch, at []int) nested {
	n := nested{Array: rows.Column(at[0])}
	for _, i := range at[1:] {
		n.outer = append(n.outer, n.Array)
		n.Array = n.Array.(*array.Struct).Field(i)
	}
	return n
}

// null reports whether a row has no value there.
func (n nested) null(row int) bool {
	return n.IsNull(row) || slices.ContainsFunc(n.outer, func(a arrow.Array) bool { return a.IsNull(row) })
}

// lifted is the column by itself: with the nulls of the structs around it.
func (n nested) lifted(mem memory.Allocator) arrow.Array {
	data := n.Data()
	outer := slices.DeleteFunc(slices.Clone(n.outer), func(a arrow.Array) bool { return a.NullN() == 0 })
	if len(outer) == 0 || n.DataType().ID() == arrow.NULL {
		n.Retain()
		return n.Array
	}
	from, length := data.Offset(), data.Len()
	valid := memory.NewResizableBuffer(mem)
	defer valid.Release()
	valid.Resize(int(bitutil.BytesForBits(int64(from + length))))
	bits := valid.Bytes()
	bitutil.SetBitsTo(bits, 0, int64(from+length), true)
	for _, a := range append(outer, n.Array) {
		if a.NullN() > 0 {
			bitutil.BitmapAnd(bits, a.NullBitmapBytes(), int64(from), int64(a.Data().Offset()), bits, int64(from), int64(length))
		}
	}
	buffers := slices.Clone(data.Buffers())
	buffers[0] = valid
	own := array.NewData(data.DataType(), length, buffers, data.Children(), array.UnknownNullCount, from)
	defer own.Release()
	return array.MakeFromData(own)
}

// without is the fields but those that are named, with all that is in them, and structs of which nothing is left.
func without(fields []arrow.Field, gone func(p schema.Path) bool) shape {
	return pruned(fields, nil, gone)
}

func pruned(fields []arrow.Field, outer schema.Path, gone func(p schema.Path) bool) shape {
	var all shape
	for i, f := range fields {
		p := append(outer[:len(outer):len(outer)], f.Name)
		if gone(p) {
			continue
		}
		inner, ok := f.Type.(*arrow.StructType)
		if !ok {
			all = append(all, asIs(f, i))
			continue
		}
		switch left := pruned(inner.Fields(), p, gone); {
		case left.same(inner.Fields()):
			all = append(all, asIs(f, i))
		case len(left) > 0:
			all = append(all, structOf(f, i, left))
		}
	}
	return all
}

// same reports whether all members are as they were.
func (s shape) same(fields []arrow.Field) bool {
	return len(s) == len(fields) && !slices.ContainsFunc(s, func(one shaped) bool { return one.inner != nil || len(one.from) > 1 })
}

// refusal is a place where no value can be. A row that has one there is rejected.
type refusal struct {
	at []int
	reason
}

// refuse rejects rows, and takes the places out, which are null in all others. It takes ownership of the batch's rows.
func refuse(b processor.Batch, refused []refusal, mem memory.Allocator) (processor.Batch, error) {
	if len(refused) == 0 {
		return b, nil
	}
	rows := b.Records
	defer rows.Release()
	keep := make([]bool, rows.NumRows())
	for row := range keep {
		keep[row] = true
	}
	for _, r := range refused {
		column := nestedAt(rows, r.at)
		for row := range keep {
			if keep[row] && !column.null(row) {
				keep[row] = false
				b.Rejected = append(b.Rejected, processor.Rejection{Offset: offset(rows, row), Class: r.class, Message: r.where})
			}
		}
	}
	kept, err := processor.KeepRows(rows, keep, mem)
	if err != nil {
		return processor.Batch{}, err
	}
	defer kept.Release()
	in := kept.Schema().Fields()
	b.Records = without(in, func(p schema.Path) bool {
		at, _ := p.Find(in)
		return slices.ContainsFunc(refused, func(r refusal) bool { return slices.Equal(r.at, at) })
	}).of(kept, mem)
	return b, nil
}

// unblock rejects the rows that have a value where a path wants a struct.
func unblock(b processor.Batch, paths []path, mem memory.Allocator) (processor.Batch, error) {
	var refused []refusal
	in := b.Records.Schema().Fields()
	for _, p := range paths {
		at, ok := p.Find(in)
		if !ok && at != nil && !slices.ContainsFunc(refused, func(r refusal) bool { return slices.Equal(r.at, at) }) {
			refused = append(refused, refusal{at, reason{classPath, fmt.Sprintf("column %s is a %s: %s leads into structs only", p.Path[:len(at)], nameOf(schema.FieldAt(in, at).Type), p)}})
		}
	}
	return refuse(b, refused, mem)
}
