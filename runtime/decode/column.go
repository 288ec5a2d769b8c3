package decode

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/runtime/schema"
)

// column is the buffers of one column and, for structs and lists, of the columns in it.
//
// Slots are filled in order. The slots of a struct's members are the struct's; those of a list's element are counted by the list's
// offsets. A column may lag behind: slots that were skipped become null when a later one is sought, or at last when the buffers are taken.
// So what is absent from a record costs nothing, and taking rows back is cutting every column to a length.
//
// To fill a slot: seek it, then set it. Setting a slot that is filled already (a name that is twice in an object) begins with seek
// cutting the column.
type column struct {
	member // first, with what every value touches behind it: they share cache lines
	kind   schema.Kind
	n      int // slots filled
	room   int // slots that the buffers have room for

	// Views of the buffers for the kind's values. valid is empty while no slot is null, else its bits from n on are 0.
	valid []byte
	i32   []int32          // Int, Date; String, Binary, List: offsets, one more than slots
	text  []byte           // String, Binary: the bytes, up to the offset of slot n
	i64   []int64          // Long, Timestamp, Timestamptz
	f64   []float64        // Double
	f32   []float32        // Float
	bits  []byte           // Boolean
	dec   []decimal128.Num // Decimal
	program

	typ                    schema.Type
	mem                    memory.Allocator
	validity, values, heap *memory.Buffer
	hint, textHint         int // slots and bytes of text at the last take: the first room of the next buffers
}

// newColumn makes an empty column, buffers come when they are needed.
func newColumn(f schema.Field, mem memory.Allocator) *column {
	c := &column{typ: f.Type, kind: f.Type.Kind, mem: mem, member: newMember(f)}
	for _, f := range f.Type.Fields {
		c.addField(f)
	}
	c.setWidth()
	return c
}

// seek makes slot the next to be set: what was skipped becomes null, what is there from slot on is dropped.
func (c *column) seek(slot int) {
	if c.n != slot || slot >= c.room {
		c.seekSlow(slot)
	}
}

func (c *column) seekSlow(slot int) {
	if c.n > slot {
		c.truncate(slot)
	}
	if slot >= c.room {
		c.grow(slot + 1)
	}
	if c.n < slot {
		c.pad(slot)
	}
}

// present ends the setting of a slot: it is not null.
func (c *column) present(slot int) {
	if len(c.valid) > 0 {
		c.valid[slot>>3] |= 1 << (slot & 7)
	}
	c.n = slot + 1
}

func (c *column) setInt32(slot int, v int32) {
	c.i32[slot] = v
	c.present(slot)
}

func (c *column) setInt64(slot int, v int64) {
	c.i64[slot] = v
	c.present(slot)
}

func (c *column) setFloat64(slot int, v float64) {
	c.f64[slot] = v
	c.present(slot)
}

func (c *column) setBool(slot int, v bool) {
	bit := byte(1) << (slot & 7)
	c.bits[slot>>3] &^= bit
	if v {
		c.bits[slot>>3] |= bit
	}
	c.present(slot)
}

func (c *column) setBytes(slot int, v []byte) {
	at := int(c.i32[slot])
	if at+len(v) > len(c.text) {
		c.growText(at + len(v))
	}
	c.setEnd(slot, at+copy(c.text[at:], v))
}

func (c *column) setString(slot int, v string) {
	at := int(c.i32[slot])
	if at+len(v) > len(c.text) {
		c.growText(at + len(v))
	}
	c.setEnd(slot, at+copy(c.text[at:], v))
}

// setEnd ends the setting of a slot whose bytes are in text already, up to end.
func (c *column) setEnd(slot, end int) {
	c.i32[slot+1] = int32(end)
	c.present(slot)
}

// setList ends the setting of a list whose elements end before element slot end.
func (c *column) setList(slot, end int) {
	c.i32[slot+1] = int32(end)
	c.present(slot)
}

// pad fills null slots up to slot, for which there is room.
func (c *column) pad(slot int) {
	if len(c.valid) == 0 {
		c.valid = c.resize(&c.validity, bitBytes(c.room))
		setBits(c.valid, c.n)
	}
	switch c.kind {
	case schema.Boolean:
		for i := c.n; i < slot; i++ {
			c.bits[i>>3] &^= 1 << (i & 7)
		}
	case schema.String, schema.Binary, schema.List:
		end := c.i32[c.n]
		for i := c.n; i < slot; i++ {
			c.i32[i+1] = end
		}
	case schema.Int, schema.Date:
		clear(c.i32[c.n:slot])
	case schema.Long, schema.Timestamp, schema.Timestamptz:
		clear(c.i64[c.n:slot])
	case schema.Float:
		clear(c.f32[c.n:slot])
	case schema.Double:
		clear(c.f64[c.n:slot])
	case schema.Decimal:
		clear(c.dec[c.n:slot])
	}
	c.n = slot
}

// truncate drops the slots from n on, and elements that belong to no slot.
func (c *column) truncate(n int) {
	if c.n > n {
		if len(c.valid) > 0 {
			clearBits(c.valid, n, c.n)
		}
		c.n = n
	}
	switch {
	case c.kind == schema.Struct:
		for _, f := range c.fields {
			f.truncate(n)
		}
	case c.kind == schema.List && c.room > 0:
		c.fields[0].truncate(int(c.i32[c.n]))
	}
}

// grow makes room for at least slots.
func (c *column) grow(slots int) {
	const first = 64
	room := max(slots, 2*c.room, first)
	if c.room == 0 {
		room = max(room, c.hint)
	}
	fresh := c.room == 0
	c.room = room
	if len(c.valid) > 0 {
		had := len(c.valid)
		c.valid = c.resize(&c.validity, bitBytes(room))
		clear(c.valid[had:])
	}
	switch c.kind {
	case schema.Boolean:
		c.bits = c.resize(&c.values, bitBytes(room))
	case schema.String, schema.Binary, schema.List:
		c.i32 = arrow.Int32Traits.CastFromBytes(c.resize(&c.values, (room+1)*arrow.Int32SizeBytes))
		if fresh {
			c.i32[0] = 0
		}
	case schema.Int, schema.Date:
		c.i32 = arrow.Int32Traits.CastFromBytes(c.resize(&c.values, room*arrow.Int32SizeBytes))
	case schema.Long, schema.Timestamp, schema.Timestamptz:
		c.i64 = arrow.Int64Traits.CastFromBytes(c.resize(&c.values, room*arrow.Int64SizeBytes))
	case schema.Float:
		c.f32 = arrow.Float32Traits.CastFromBytes(c.resize(&c.values, room*arrow.Float32SizeBytes))
	case schema.Double:
		c.f64 = arrow.Float64Traits.CastFromBytes(c.resize(&c.values, room*arrow.Float64SizeBytes))
	case schema.Decimal:
		c.dec = arrow.Decimal128Traits.CastFromBytes(c.resize(&c.values, room*arrow.Decimal128SizeBytes))
	}
}

// growText makes room for at least size bytes of text.
func (c *column) growText(size int) {
	const first = 1024
	room := max(size, 2*len(c.text), first)
	if len(c.text) == 0 {
		room = max(room, c.textHint)
	}
	c.text = c.resize(&c.heap, room)
}

// resize makes a buffer at least size bytes long, keeping what is in it. New bytes may be anything.
func (c *column) resize(b **memory.Buffer, size int) []byte {
	if *b == nil {
		*b = memory.NewResizableBuffer(c.mem)
	}
	(*b).Reserve(size)
	return (*b).Buf()
}

// bytes is the memory that the column would have after a take of slots.
func (c *column) bytes(slots int) int64 {
	size := int64(max(0, slots-c.n)) * int64(slotBits(c.kind)) / 8
	for _, b := range []*memory.Buffer{c.validity, c.values, c.heap} {
		if b != nil {
			size += int64(b.Cap())
		}
	}
	for _, f := range c.fields {
		if c.kind == schema.List {
			slots = 0
			if c.room > 0 {
				slots = int(c.i32[c.n])
			}
		}
		size += f.bytes(slots)
	}
	return size
}

// slotBits is what a slot takes beside text, its validity included.
func slotBits(k schema.Kind) int {
	switch k {
	case schema.Struct:
		return 1
	case schema.Boolean:
		return 2
	case schema.Int, schema.Date, schema.Float, schema.String, schema.Binary, schema.List:
		return 33
	case schema.Decimal:
		return 129
	default:
		return 65
	}
}

// release gives the buffers back. The column is empty then.
func (c *column) release() {
	for _, b := range []*memory.Buffer{c.validity, c.values, c.heap} {
		if b != nil {
			b.Release()
		}
	}
	c.reset()
	for _, f := range c.fields {
		f.release()
	}
}

// reset forgets the buffers, which are somebody else's now.
func (c *column) reset() {
	c.n, c.room = 0, 0
	c.validity, c.values, c.heap = nil, nil, nil
	c.valid, c.bits, c.text = nil, nil, nil
	c.i32, c.i64, c.f32, c.f64, c.dec = nil, nil, nil, nil, nil
}

func bitBytes(n int) int { return (n + 7) / 8 }

// setBits sets the first n bits and clears the others.
func setBits(b []byte, n int) {
	clear(b)
	for i := range n / 8 {
		b[i] = 0xff
	}
	if n%8 > 0 {
		b[n/8] = 1<<(n%8) - 1
	}
}

// clearBits clears the bits [from, to).
func clearBits(b []byte, from, to int) {
	for ; from < to && from%8 > 0; from++ {
		b[from/8] &^= 1 << (from % 8)
	}
	if from < to {
		clear(b[from/8 : bitBytes(to)])
	}
}
