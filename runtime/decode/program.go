package decode

import (
	"encoding/binary"
	"encoding/json"

	"github.com/firn-io/firn/runtime/schema"
)

// member is a column's place in the struct that it belongs to.
type member struct {
	quoted   string // the name as it most often stands in JSON: "name":
	place    int32  // in the struct's fields
	follower int32  // the member that came after this one in the last object
	head     uint64 // the first bytes of quoted, at most eight, little endian
	mask     uint64 // of the bytes in head
	required bool
	name     string // what the payload calls it
}

func newMember(f schema.Field) member {
	m := member{name: f.Source(), required: f.Required}
	text, err := json.Marshal(m.name) // a name may hold quotes
	if err != nil {
		panic(err) // no string has an error
	}
	m.quoted = string(text) + ":"
	for i := range min(8, len(m.quoted)) {
		m.head |= uint64(m.quoted[i]) << (8 * i)
		m.mask |= 0xff << (8 * i)
	}
	return m
}

// nameAt reports whether quoted stands at i.
func (m *member) nameAt(doc []byte, i int) bool {
	if i+8 > len(doc) {
		return literal(doc, i, m.quoted)
	}
	if binary.LittleEndian.Uint64(doc[i:])&m.mask != m.head {
		return false
	}
	n := len(m.quoted)
	return n <= 8 || len(doc)-i >= n && string(doc[i+8:i+n]) == m.quoted[8:]
}

// program is what a column of structs or lists does with the bytes of a value.
type program struct {
	fields  []*column        // a struct's members; a list's element
	index   map[string]int32 // a struct's members by their names in the payload
	first   int32            // a struct's member that came first in the last object
	needs   []*column        // a struct's required members
	inexact bool             // a Long held an integer that no double can hold
	width   int              // bits of a slot, with those of a struct's members
}

// addField appends a member, or the element of a list.
func (c *column) addField(f schema.Field) {
	m := newColumn(f, c.mem)
	m.place = int32(len(c.fields))
	m.follower = m.place + 1
	c.fields = append(c.fields, m)
	if c.index == nil {
		c.index = map[string]int32{}
	}
	c.index[m.name] = m.place
	if m.required {
		c.needs = append(c.needs, m)
	}
}

// setLong sets an integer of a Long column, and notes when the column can never become Double.
func (p *parser) setLong(c *column, slot int, v int64) {
	const exact = 1 << 53
	if uint64(v+exact) > 2*exact && !doubleHolds(v) {
		p.inexact = append(p.inexact, place{c, slot})
	}
	c.setInt64(slot, v)
}

// place is a slot of a column.
type place struct {
	c    *column
	slot int
}

// keepInexact marks the columns of the integers in a document that is a row now; a later member of the same name may have replaced them.
func (p *parser) keepInexact() {
	for _, at := range p.inexact {
		if at.slot < at.c.n && !doubleHolds(at.c.i64[at.slot]) {
			at.c.inexact = true
		}
	}
}

// doubleHolds reports whether a double can hold v exactly.
func doubleHolds(v int64) bool {
	f := float64(v)
	return f < 1<<63 && int64(f) == v
}

// setWidth computes the column's width from its kind and its members.
func (c *column) setWidth() {
	c.width = slotBits(c.kind)
	if c.kind == schema.Struct {
		for _, f := range c.fields {
			c.width += f.width
		}
	}
}

// widen changes the column to a type that schema merging made of its own: members are appended, numbers converted in place.
func (c *column) widen(t schema.Type) {
	c.typ = t
	for i, f := range t.Fields {
		if i == len(c.fields) {
			c.addField(f)
		} else {
			c.fields[i].widen(f.Type)
		}
	}
	defer c.setWidth()
	if c.kind == t.Kind {
		return
	}
	from, old := c.kind, *c
	c.kind, c.values, c.room = t.Kind, nil, 0
	c.i32, c.i64, c.f32, c.f64 = nil, nil, nil, nil
	if old.values == nil {
		return
	}
	c.grow(old.room)
	for i := range c.n {
		switch {
		case from == schema.Int && t.Kind == schema.Long:
			c.i64[i] = int64(old.i32[i])
		case from == schema.Int:
			c.f64[i] = float64(old.i32[i])
		case from == schema.Long:
			c.f64[i] = float64(old.i64[i])
		case from == schema.Float:
			c.f64[i] = float64(old.f32[i])
		}
	}
	old.values.Release()
}
