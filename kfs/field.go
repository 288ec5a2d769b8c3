package kfs

import (
	"encoding/binary"
	"fmt"
)

// A field is a tagged body, and bodies are fixed values followed by fields again, so that every structure can grow:
//
//	kind    u16   with the high bit set a reader that does not know the kind skips the field, else it refuses the whole
//	length  u32   bytes of the body
//	body
//
// A string is its length in bytes as u16, then the bytes. All numbers are big endian.
const (
	fieldHeader   = 6
	optionalField = 0x8000
)

// encoder appends values to a buffer. What it writes was validated before, so it has no errors.
type encoder struct{ b []byte }

func (e *encoder) u8(v uint8)   { e.b = append(e.b, v) }
func (e *encoder) u16(v uint16) { e.b = binary.BigEndian.AppendUint16(e.b, v) }
func (e *encoder) u32(v uint32) { e.b = binary.BigEndian.AppendUint32(e.b, v) }
func (e *encoder) u64(v uint64) { e.b = binary.BigEndian.AppendUint64(e.b, v) }
func (e *encoder) i32(v int32)  { e.u32(uint32(v)) }
func (e *encoder) i64(v int64)  { e.u64(uint64(v)) }

func (e *encoder) id(v [16]byte) { e.b = append(e.b, v[:]...) }

func (e *encoder) str(s string) {
	e.u16(uint16(len(s)))
	e.b = append(e.b, s...)
}

// begin opens a field and returns what end needs to close it.
func (e *encoder) begin(kind uint16) (mark int) {
	e.u16(kind)
	e.u32(0)
	return len(e.b)
}

func (e *encoder) end(mark int) {
	binary.BigEndian.PutUint32(e.b[mark-4:], uint32(len(e.b)-mark))
}

// decoder reads values from untrusted bytes. After the first value that is not there it gives zeros, and err reports it.
type decoder struct {
	b     []byte
	short bool
}

func (d *decoder) take(n int) []byte {
	if len(d.b) < n {
		d.b, d.short = nil, true
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) u8() uint8 {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) u16() uint16 {
	if v := d.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if v := d.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if v := d.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func (d *decoder) i32() int32 { return int32(d.u32()) }
func (d *decoder) i64() int64 { return int64(d.u64()) }

func (d *decoder) id() (v [16]byte) {
	copy(v[:], d.take(len(v)))
	return v
}

// str gives the bytes of a string; they belong to the input.
func (d *decoder) str() []byte { return d.take(int(d.u16())) }

// field gives the next field; ok is false at the end and where a field does not fit, which err then reports.
func (d *decoder) field() (kind uint16, body decoder, ok bool) {
	if len(d.b) == 0 {
		return 0, decoder{}, false
	}
	kind = d.u16()
	n := d.u32()
	if uint64(n) > uint64(len(d.b)) {
		d.b, d.short = nil, true
	}
	if d.short {
		return 0, decoder{}, false
	}
	return kind, decoder{b: d.take(int(n))}, true
}

// err reports that a value was not there in full.
func (d *decoder) err(what string) error {
	if d.short {
		return corrupt("%s is cut short", what)
	}
	return nil
}

// finish reads the fields that end a body in which this version knows none.
func (d *decoder) finish(what string) error {
	for {
		kind, _, ok := d.field()
		if !ok {
			return d.err(what)
		}
		if err := unknown(kind, what); err != nil {
			return err
		}
	}
}

// unknown is the rule for kinds that this version does not know.
func unknown(kind uint16, what string) error {
	if kind&optionalField != 0 {
		return nil
	}
	return fmt.Errorf("%s: %w: field of kind 0x%04x must be understood", what, ErrVersion, kind)
}

// count is how many of the fields ahead have that kind and at least size bytes. It bounds what a decoder allocates in one go
// by the bytes that are there.
func (d decoder) count(kind uint16, size int) (n int) {
	for {
		k, body, ok := d.field()
		if !ok {
			return n
		}
		if k == kind && len(body.b) >= size {
			n++
		}
	}
}

// interner gives equal names in a row one string.
type interner struct{ last string }

func (n *interner) str(b []byte) string {
	if string(b) != n.last {
		n.last = string(b)
	}
	return n.last
}
