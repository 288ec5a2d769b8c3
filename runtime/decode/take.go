package decode

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/runtime/schema"
)

// take makes a record batch of the members of structs, n rows each, and leaves them empty. The batch owns the buffers.
func take(sc *arrow.Schema, n int, structs ...*column) arrow.RecordBatch {
	var z zeros
	defer z.release()
	var arrays []arrow.Array
	for _, s := range structs {
		s.hint = n
		for _, f := range s.fields {
			data := f.take(n, &z)
			arrays = append(arrays, array.MakeFromData(data))
			data.Release()
		}
		s.release()
	}
	batch := array.NewRecordBatch(sc, arrays, int64(n))
	for _, a := range arrays {
		a.Release()
	}
	return batch
}

// take makes an Arrow array of the column's first n slots, which owns the buffers, and leaves the column empty. A column without any
// value shares one buffer of zeros with others of its kind.
func (c *column) take(n int, z *zeros) arrow.ArrayData {
	if c.n == 0 {
		c.release()
		return c.takeNull(n, z)
	}
	if n > c.room {
		c.grow(n)
	}
	if c.n < n {
		c.pad(n)
	}
	nulls := 0
	if len(c.valid) > 0 {
		nulls = n - bitutil.CountSetBits(c.valid, 0, n)
	}
	buffers := []*memory.Buffer{nil}
	if nulls > 0 {
		c.validity.ResizeNoShrink(bitBytes(n))
		buffers[0] = c.validity
	} else if c.validity != nil {
		c.validity.Release()
	}
	var children []arrow.ArrayData
	switch c.kind {
	case schema.Struct:
		for _, f := range c.fields {
			children = append(children, f.take(n, z))
		}
	case schema.List:
		c.values.ResizeNoShrink((n + 1) * arrow.Int32SizeBytes)
		buffers = append(buffers, c.values)
		children = []arrow.ArrayData{c.fields[0].take(int(c.i32[n]), z)}
	case schema.String, schema.Binary:
		c.values.ResizeNoShrink((n + 1) * arrow.Int32SizeBytes)
		end := int(c.i32[n])
		if c.heap == nil {
			c.growText(0)
		}
		c.heap.ResizeNoShrink(end)
		c.textHint = end
		buffers = append(buffers, c.values, c.heap)
	default:
		c.values.ResizeNoShrink(valueBytes(c.kind, n))
		buffers = append(buffers, c.values)
	}
	data := array.NewData(c.typ.Arrow(), n, buffers, children, nulls, 0)
	releaseAll(buffers, children)
	c.hint = n
	c.reset()
	return data
}

// takeNull makes an array of n nulls.
func (c *column) takeNull(n int, z *zeros) arrow.ArrayData {
	buffers := []*memory.Buffer{nil}
	if n > 0 {
		buffers[0] = z.get(c.mem, bitBytes(n))
	}
	var children []arrow.ArrayData
	switch c.kind {
	case schema.Struct:
		for _, f := range c.fields {
			children = append(children, f.take(n, z))
		}
	case schema.List:
		buffers = append(buffers, z.get(c.mem, (n+1)*arrow.Int32SizeBytes))
		children = []arrow.ArrayData{c.fields[0].take(0, z)}
	case schema.String, schema.Binary:
		buffers = append(buffers, z.get(c.mem, (n+1)*arrow.Int32SizeBytes), z.get(c.mem, 0))
	default:
		buffers = append(buffers, z.get(c.mem, valueBytes(c.kind, n)))
	}
	data := array.NewData(c.typ.Arrow(), n, buffers, children, n, 0)
	releaseAll(buffers, children)
	return data
}

func releaseAll(buffers []*memory.Buffer, children []arrow.ArrayData) {
	for _, b := range buffers {
		if b != nil {
			b.Release()
		}
	}
	for _, c := range children {
		c.Release()
	}
}

// valueBytes is the size of n values of fixed width.
func valueBytes(k schema.Kind, n int) int {
	switch k {
	case schema.Boolean:
		return bitBytes(n)
	case schema.Int, schema.Date, schema.Float:
		return n * arrow.Int32SizeBytes
	case schema.Decimal:
		return n * arrow.Decimal128SizeBytes
	default:
		return n * arrow.Int64SizeBytes
	}
}

// zeros is a buffer of zeros that arrays share.
type zeros struct{ b *memory.Buffer }

// get is a buffer of size zero bytes, the caller's to release.
func (z *zeros) get(mem memory.Allocator, size int) *memory.Buffer {
	if z.b == nil || z.b.Len() < size {
		z.release()
		z.b = memory.NewResizableBuffer(mem)
		z.b.Resize(max(size, 64))
		clear(z.b.Bytes())
	}
	return memory.SliceBuffer(z.b, 0, size)
}

func (z *zeros) release() {
	if z.b != nil {
		z.b.Release()
		z.b = nil
	}
}
