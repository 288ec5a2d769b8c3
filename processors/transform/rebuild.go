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

// rebuilding is a batch while columns of it are made anew. Rows that one of them rejects are left out at the end.
type rebuilding struct {
	b      processor.Batch
	in     arrow.RecordBatch // the rows as they came, owned
	keep   []bool
	fields []arrow.Field
	arrays []arrow.Array // owned
	mem    memory.Allocator
}

// reason is what rejections of a column have in common.
type reason struct{ class, where string }

// newRebuilding takes ownership of the batch's rows. finish or giveUp must follow.
func newRebuilding(b processor.Batch, mem memory.Allocator) *rebuilding {
	r := &rebuilding{b: b, in: b.Records, keep: make([]bool, b.Records.NumRows()), mem: mem,
		fields: slices.Clone(b.Records.Schema().Fields()), arrays: slices.Clone(b.Records.Columns())}
	for i := range r.keep {
		r.keep[i] = true
	}
	for _, a := range r.arrays {
		a.Retain()
	}
	return r
}

// set makes a column of what value gives for each row, nil being null: a member of the struct at a place, or a column if that is nil. Rows for
// which it fails, or whose value the type does not hold, are rejected.
func (r *rebuilding) set(in []int, f arrow.Field, typ schema.Type, value func(row int) (any, error), why reason) {
	b := array.NewBuilder(r.mem, f.Type)
	defer b.Release()
	b.Reserve(len(r.keep))
	r.each(why, func(row int) error {
		v, err := value(row)
		switch {
		case err != nil:
		case v == nil && f.Nullable:
			b.AppendNull()
		case v == nil: // a struct around it is
			b.AppendEmptyValue()
		default:
			err = put(b, v, typ)
		}
		if err != nil {
			b.AppendEmptyValue()
		}
		return err
	}, b.AppendEmptyValue)
	column := b.NewArray()
	fields := setField(r.fields, in, f)
	var i int
	if len(in) > 0 {
		i = in[0]
		member := column
		defer member.Release()
		column = setMember(r.arrays[i].(*array.Struct), fields[i].Type, in[1:], f.Name, member, r.mem)
	} else {
		i = placeOf(fields, f.Name)
	}
	if r.fields = fields; i == len(r.arrays) {
		r.arrays = append(r.arrays, column)
		return
	}
	r.arrays[i].Release()
	r.arrays[i] = column
}

// setMember is a struct with another member, in it or in the struct at a place in it, of the type that it has then.
func setMember(outer *array.Struct, t arrow.DataType, in []int, name string, member arrow.Array, mem memory.Allocator) arrow.Array {
	to := t.(*arrow.StructType)
	children := make([]arrow.ArrayData, to.NumFields())
	for i := range outer.NumField() {
		children[i] = outer.Field(i).Data()
	}
	if len(in) > 0 {
		inner := setMember(outer.Field(in[0]).(*array.Struct), to.Field(in[0]).Type, in[1:], name, member, mem)
		defer inner.Release()
		children[in[0]] = inner.Data()
	} else {
		i, _ := to.FieldIdx(name)
		children[i] = member.Data()
	}
	// The members are as long as the struct, however it was sliced; so must be what says which are null.
	valid := []*memory.Buffer{nil}
	if outer.NullN() > 0 {
		valid[0] = memory.NewResizableBuffer(mem)
		defer valid[0].Release()
		valid[0].Resize(int(bitutil.BytesForBits(int64(outer.Len()))))
		bitutil.CopyBitmap(outer.NullBitmapBytes(), outer.Data().Offset(), outer.Len(), valid[0].Bytes(), 0)
	}
	data := array.NewData(t, outer.Len(), valid, children, outer.NullN(), 0)
	defer data.Release()
	return array.MakeFromData(data)
}

// check rejects the rows for which value fails.
func (r *rebuilding) check(value func(row int) (any, error), why reason) {
	r.each(why, func(row int) error {
		_, err := value(row)
		return err
	}, func() {})
}

// each tries every row that is not rejected yet, and passes over the others.
func (r *rebuilding) each(why reason, try func(row int) error, pass func()) {
	for row := range r.keep {
		if !r.keep[row] {
			pass()
			continue
		}
		if err := try(row); err != nil {
			r.keep[row] = false
			r.b.Rejected = append(r.b.Rejected, processor.Rejection{Offset: offset(r.in, row), Class: why.class, Message: fmt.Sprintf("%s: %v", why.where, err)})
		}
	}
}

// remove leaves a column out, if it is there.
func (r *rebuilding) remove(name string) {
	if i := placeOf(r.fields, name); i >= 0 {
		r.arrays[i].Release()
		r.fields, r.arrays = slices.Delete(r.fields, i, i+1), slices.Delete(r.arrays, i, i+1)
	}
}

// finish gives the batch as it is now.
func (r *rebuilding) finish() (processor.Batch, error) {
	rows := array.NewRecordBatch(arrow.NewSchema(r.fields, nil), r.arrays, r.in.NumRows())
	defer rows.Release()
	r.giveUp()
	kept, err := processor.KeepRows(rows, r.keep, r.mem)
	r.b.Records = kept
	return r.b, err
}

// giveUp releases what is held.
func (r *rebuilding) giveUp() {
	r.in.Release()
	for _, a := range r.arrays {
		a.Release()
	}
}
