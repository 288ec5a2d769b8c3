package catalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
)

// TypeError says that a column of a table cannot take values of another type.
type TypeError struct {
	Path string // the column, its parts joined by dots
	Have string // the table's type
	Want string // the type of the values
}

func (e *TypeError) Error() string {
	return fmt.Sprintf("column %s of the table is %s and cannot hold %s", e.Path, e.Have, e.Want)
}

// Evolve widens the table's schema until every column of want has its place: new columns are added as optional ones, int becomes long
// and float becomes double. want's field ids are not looked at; columns are matched by name. It gives the table as it is then.
// Errors: *TypeError where no promotion leads from one type to the other, ErrNoTable.
//
// The change is a commit of its own, pinned to the schema that was read. Whatever the catalog answers, the table is loaded again: the
// change is there, by whose hand is all the same, or it is tried again.
func (c *Committer) Evolve(ctx context.Context, want *iceberg.Schema) (*table.Table, error) {
	var last error
	for try := range maxSends {
		if try > 0 {
			if err := c.wait(ctx, try-1); err != nil {
				return nil, err
			}
		}
		t, err := c.Load(ctx)
		if errors.Is(err, ErrNoTable) {
			return nil, err
		}
		if err != nil {
			last = err
			continue
		}
		meta := t.Metadata()
		w := widening{lastID: meta.LastColumnID()}
		fields, err := w.fields("", meta.CurrentSchema().Fields(), want.Fields())
		if err != nil {
			return nil, err
		}
		if !w.changed {
			return t, nil
		}
		if _, last = c.send(ctx, t, schemaRequest(meta, fields)); last == nil {
			if t, last = c.Load(ctx); last == nil {
				return t, nil
			}
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return nil, fmt.Errorf("change the schema of table %s: %w", c.Name(), last)
}

// schemaRequest makes fields the table's current schema, if nobody else has changed it or has given out field ids.
func schemaRequest(meta table.Metadata, fields []iceberg.NestedField) *request {
	current := meta.CurrentSchema()
	next := 0
	for _, s := range meta.Schemas() {
		next = max(next, s.ID+1)
	}
	return &request{
		requirements: []table.Requirement{
			table.AssertTableUUID(meta.TableUUID()),
			table.AssertCurrentSchemaID(current.ID),
			table.AssertLastAssignedFieldID(meta.LastColumnID()),
		},
		updates: []table.Update{
			table.NewAddSchemaUpdate(iceberg.NewSchemaWithIdentifiers(next, current.IdentifierFieldIDs, fields...)),
			table.NewSetCurrentSchemaUpdate(-1), // the one that was just added
		},
	}
}

// widening merges schemas by name.
type widening struct {
	lastID  int // the greatest field id that the table has ever given out
	changed bool
}

func (w *widening) next() int {
	w.lastID++
	return w.lastID
}

// fields merges the fields of want into those of have, which keep their ids and their order.
func (w *widening) fields(path string, have, want []iceberg.NestedField) ([]iceberg.NestedField, error) {
	at := make(map[string]int, len(have))
	out := make([]iceberg.NestedField, len(have), len(have)+len(want))
	for i, f := range have {
		at[f.Name] = i
		out[i] = f
	}
	for _, f := range want {
		i, ok := at[f.Name]
		if !ok {
			w.changed = true
			f.ID, f.Required = w.next(), false
			f.Type = w.fresh(f.Type)
			out = append(out, f)
			continue
		}
		t, err := w.merge(join(path, f.Name), out[i].Type, f.Type)
		if err != nil {
			return nil, err
		}
		out[i].Type = t
	}
	return out, nil
}

// merge is the type that holds the values of both.
func (w *widening) merge(path string, have, want iceberg.Type) (iceberg.Type, error) {
	switch h := have.(type) {
	case *iceberg.StructType:
		if s, ok := want.(*iceberg.StructType); ok {
			fields, err := w.fields(path, h.FieldList, s.FieldList)
			return &iceberg.StructType{FieldList: fields}, err
		}
	case *iceberg.ListType:
		if l, ok := want.(*iceberg.ListType); ok {
			element, err := w.merge(join(path, "element"), h.Element, l.Element)
			return &iceberg.ListType{ElementID: h.ElementID, Element: element, ElementRequired: h.ElementRequired}, err
		}
	case *iceberg.MapType:
		if m, ok := want.(*iceberg.MapType); ok && m.KeyType.Equals(h.KeyType) {
			value, err := w.merge(join(path, "value"), h.ValueType, m.ValueType)
			return &iceberg.MapType{KeyID: h.KeyID, KeyType: h.KeyType, ValueID: h.ValueID, ValueType: value, ValueRequired: h.ValueRequired}, err
		}
	default:
		switch {
		case Holds(have, want):
			return have, nil
		case promotes(have, want):
			w.changed = true
			return want, nil
		}
	}
	return nil, &TypeError{Path: path, Have: have.String(), Want: want.String()}
}

// fresh gives a type that is new in the table ids of its own.
func (w *widening) fresh(t iceberg.Type) iceberg.Type {
	switch t := t.(type) {
	case *iceberg.StructType:
		out := &iceberg.StructType{FieldList: make([]iceberg.NestedField, len(t.FieldList))}
		for i, f := range t.FieldList {
			f.ID, f.Required = w.next(), false
			f.Type = w.fresh(f.Type)
			out.FieldList[i] = f
		}
		return out
	case *iceberg.ListType:
		id := w.next()
		return &iceberg.ListType{ElementID: id, Element: w.fresh(t.Element)}
	case *iceberg.MapType:
		key, value := w.next(), w.next()
		return &iceberg.MapType{KeyID: key, KeyType: w.fresh(t.KeyType), ValueID: value, ValueType: w.fresh(t.ValueType)}
	}
	return t
}

// Holds reports whether a column of type have takes every value of type want as it is. A long column takes the values of a double
// column that are whole, and the reverse those that are exact, but that is for whoever converts them to find out.
func Holds(have, want iceberg.Type) bool {
	switch have.(type) {
	case iceberg.Int64Type:
		if _, ok := want.(iceberg.Int32Type); ok {
			return true
		}
	case iceberg.Float64Type:
		switch want.(type) {
		case iceberg.Int32Type, iceberg.Int64Type, iceberg.Float32Type:
			return true
		}
	}
	h, isDecimal := have.(iceberg.DecimalType)
	if w, ok := want.(iceberg.DecimalType); ok && isDecimal {
		return h.Scale() == w.Scale() && h.Precision() >= w.Precision()
	}
	return have.Equals(want)
}

// promotes reports whether Iceberg allows a column of type have to become one of type want in place.
func promotes(have, want iceberg.Type) bool {
	switch h := have.(type) {
	case iceberg.Int32Type:
		_, ok := want.(iceberg.Int64Type)
		return ok
	case iceberg.Float32Type:
		_, ok := want.(iceberg.Float64Type)
		return ok
	case iceberg.DecimalType:
		w, ok := want.(iceberg.DecimalType)
		return ok && h.Scale() == w.Scale() && h.Precision() < w.Precision()
	}
	return false
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
