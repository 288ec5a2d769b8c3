package decode

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/runtime/schema"
)

// widen is the slow path of a record that the columns do not fit: it merges the record's types into the schema, and decodes the record
// into the widened columns. A record that does not fit then either is a fault, and changes nothing; but one that is too large for all the
// columns only may have widened them. What faults cost depends on the record, not on the number of columns that there are.
func (d *Decoder) widen(v []byte) *fault {
	misfit := d.json.fault
	types, f := d.json.infer(d.root, v)
	if f != nil {
		return f
	}
	if len(d.json.stale) > 0 {
		v = d.json.withoutStale(v)
		if d.json.decode(d.root, d.rows, v) {
			return nil
		}
		d.root.truncate(d.rows)
		misfit = d.json.fault
		if types, f = d.json.infer(d.root, v); f != nil {
			return f
		}
	}
	if d.cfg.Declared != nil {
		return &misfit
	}
	if f := d.try(v, types, &misfit); f != nil {
		return f
	}
	merged, err := d.payload.Merge(schema.Schema{Fields: types.Fields}, d.reserved)
	if err != nil {
		return mergeFault(err)
	}
	d.root.widen(schema.StructOf(merged.Fields...))
	d.setPayload(merged)
	if d.json.decode(d.root, d.rows, v) {
		return nil
	}
	if d.json.fault.class != TooLarge { // lists of all columns take more than those of the record's own
		panic("decode: a record fits empty columns but not those that hold rows: " + d.json.fault.what)
	}
	d.root.truncate(d.rows)
	return &d.json.fault
}

// try tells whether the columns that a record needs can be widened so that it fits, before anything that holds rows is changed: the
// record is decoded into empty columns. types is what the record says, misfit why it does not fit now.
func (d *Decoder) try(v []byte, types schema.Type, misfit *fault) *fault {
	have := schema.Schema{Fields: d.root.project(types).Fields}
	merged, err := have.Merge(schema.Schema{Fields: types.Fields}, d.reserved)
	if err != nil {
		return mergeFault(err)
	}
	from, to := schema.StructOf(have.Fields...), schema.StructOf(merged.Fields...)
	if to.Equal(from) {
		return misfit
	}
	if n := d.leaves + to.Leaves() - from.Leaves(); n > schema.MaxColumns {
		return mergeFault(&schema.LimitError{What: fmt.Sprintf("the record would make %d columns, more than %d", n, schema.MaxColumns)})
	}
	if path := d.cfg.pinned(from, to, ""); path != "" {
		return &fault{class: TypeConflict, what: "column " + path + ": the table cannot widen it to hold this"}
	}
	if path := d.other(to, ""); path != "" {
		return &fault{class: TypeConflict, what: "column " + path + ": the table has it of a type that no value of a record has"}
	}
	if path := d.root.stuck(to, ""); path != "" {
		return &fault{class: OutOfRange, what: "field " + path + ": a number with a fraction, and the column has held integers that no double can hold"}
	}
	trial := newColumn(schema.Field{Type: to}, memory.DefaultAllocator)
	fits := d.json.decode(trial, 0, v)
	trial.release()
	if !fits {
		return &d.json.fault
	}
	return nil
}

// other finds a member of a struct that would be a column which somebody has given the table for something else. Case does not tell columns apart.
func (d *Decoder) other(t schema.Type, path string) string {
	if len(d.others) == 0 {
		return ""
	}
	for _, f := range t.Fields {
		at := path + f.Name
		if slices.ContainsFunc(d.others, func(other string) bool { return strings.EqualFold(other, at) }) {
			return at
		}
		if found := d.other(f.Type, at+"."); found != "" {
			return found
		}
	}
	return ""
}

// project is the column's type without the members that a record of the type rec does not have, unless they are required.
func (c *column) project(rec schema.Type) schema.Type {
	t := c.typ
	switch {
	case c.kind == schema.Struct && rec.Kind == schema.Struct:
		t.Fields = nil
		seen := map[*column]bool{}
		for _, r := range rec.Fields {
			if m := c.memberNamed([]byte(r.Name)); m != nil {
				f := c.typ.Fields[m.place]
				f.Type = m.project(r.Type)
				t.Fields = append(t.Fields, f)
				seen[m] = true
			}
		}
		for _, m := range c.needs {
			if !seen[m] {
				t.Fields = append(t.Fields, c.typ.Fields[m.place])
			}
		}
	case c.kind == schema.List && rec.Kind == schema.List:
		f := c.typ.Fields[0]
		f.Type = c.fields[0].project(rec.Fields[0].Type)
		t.Fields = []schema.Field{f}
	}
	return t
}

// stuck finds a column, by its payload path, that would become double and has held integers that no double can hold. t is made from a
// projection of the column's own type.
func (c *column) stuck(t schema.Type, path string) string {
	if c.kind == schema.Long && t.Kind == schema.Double && c.inexact {
		return path
	}
	for _, f := range t.Fields {
		name := f.Source()
		m := c.memberNamed([]byte(name))
		if c.kind == schema.List {
			m = c.fields[0]
		}
		if m == nil {
			continue // a new one
		}
		if path != "" {
			name = path + "." + name
		}
		if found := m.stuck(f.Type, name); found != "" {
			return found
		}
	}
	return ""
}

// pinned finds a pinned column whose type would change from one struct to the next, which has the same fields first.
func (c Config) pinned(from, to schema.Type, path string) string {
	if len(c.Pinned) == 0 {
		return ""
	}
	for i, f := range from.Fields {
		at := path + f.Name
		if f.Type.Kind != to.Fields[i].Type.Kind && slices.Contains(c.Pinned, at) {
			return at
		}
		if found := c.pinned(f.Type, to.Fields[i].Type, at+"."); found != "" {
			return found
		}
	}
	return ""
}

func mergeFault(err error) *fault {
	var limit *schema.LimitError
	if errors.As(err, &limit) {
		return &fault{class: SchemaLimit, what: err.Error()}
	}
	return &fault{class: TypeConflict, what: err.Error()}
}
