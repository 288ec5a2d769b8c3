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
	Why  string // why the column could not be replaced by one of the wider type; empty if that was no question
}

// Error implements error.
func (e *TypeError) Error() string {
	s := fmt.Sprintf("column %s of the table is %s and cannot hold %s", e.Path, e.Have, e.Want)
	if e.Why != "" {
		s += ": " + e.Why
	}
	return s
}

// UnfitColumn is the column whose values do not fit the table.
func (e *TypeError) UnfitColumn() string { return e.Path }

// ReplaceError says that a schema can be widened only by replacing columns: Iceberg promotes neither int nor long to double. See
// Committer.Rewrite.
type ReplaceError struct {
	Columns []Replaced
}

// Error implements error.
func (e *ReplaceError) Error() string {
	c := e.Columns[0]
	return (&TypeError{Path: c.Path, Have: c.Have, Want: c.Want}).Error()
}

// Replaced is a column that another one of the same name, in the same place, takes over from.
type Replaced struct {
	Path       string // its parts joined by dots
	ID         int    // the old field id; the new one is in the new schema
	Have, Want string // types
}

// Widened is a table's schema with a place for every column of another.
type Widened struct {
	Schema   *iceberg.Schema // its id is free in the table
	Changed  bool            // it differs from the present one
	Replaced []Replaced      // the columns whose old values would be lost unless the files are rewritten
}

// Widen plans how a table's current schema takes the columns of want: new columns are added as optional ones, int becomes long and
// float becomes double in place, int and long become double by replacement. want's field ids are not looked at; columns are matched
// by name. The error is a *TypeError where nothing leads from one type to the other.
func Widen(meta table.Metadata, want *iceberg.Schema) (*Widened, error) {
	current := meta.CurrentSchema()
	w := widening{lastID: meta.LastColumnID()}
	fields, err := w.fields("", current.Fields(), want.Fields())
	if err != nil {
		return nil, err
	}
	next := 0
	for _, s := range meta.Schemas() {
		next = max(next, s.ID+1)
	}
	schema := iceberg.NewSchemaWithIdentifiers(next, current.IdentifierFieldIDs, fields...)
	return &Widened{Schema: schema, Changed: w.changed, Replaced: w.replaced}, nil
}

// Evolve widens the table's schema until every column of want has its place, see Widen, and gives the table as it is then. Errors:
// *TypeError; *HaltError where a new column has a partition's name; *ReplaceError where that takes a rewrite, and nothing was changed; ErrNoTable; what Options.Sound says.
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
		if err := c.sound(t); err != nil {
			return nil, err
		}
		w, err := Widen(t.Metadata(), want)
		switch {
		case err != nil:
			return nil, err
		case !w.Changed:
			return t, nil
		}
		if err := namesakes(t.Metadata(), w.Schema); err != nil {
			return nil, err
		}
		if len(w.Replaced) > 0 {
			return nil, &ReplaceError{Columns: w.Replaced}
		}
		if _, last = c.send(ctx, t, schemaRequest(t.Metadata(), w.Schema)); last == nil {
			if t, last = c.Load(ctx); last == nil {
				return t, nil
			}
		}
		if halt := (*HaltError)(nil); errors.As(last, &halt) {
			break
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return nil, fmt.Errorf("change the schema of table %s: %w", c.Name(), last)
}

// namesakes halts before a column is added that has the name of one of the table's partitions, present or past, and is not what that is made of:
// Spark and Trino would not load the table any more.
func namesakes(meta table.Metadata, schema *iceberg.Schema) error {
	for _, spec := range meta.PartitionSpecs() {
		for _, p := range spec.Fields() {
			column, taken := schema.FindFieldByName(p.Name)
			_, before := meta.CurrentSchema().FindFieldByName(p.Name)
			if taken && !before && column.ID != p.SourceID() {
				return &HaltError{
					Reason: fmt.Sprintf("column %s has the name of a partition of the table: other engines could not read it any more", p.Name),
					Decide: "give the column another name by the job's transforms",
				}
			}
		}
	}
	return nil
}

// schemaRequest makes schema the table's current one, if nobody else has changed it or has given out field ids.
func schemaRequest(meta table.Metadata, schema *iceberg.Schema) *request {
	return &request{
		requirements: []table.Requirement{
			table.AssertTableUUID(meta.TableUUID()),
			table.AssertCurrentSchemaID(meta.CurrentSchema().ID),
			table.AssertLastAssignedFieldID(meta.LastColumnID()),
		},
		updates: []table.Update{
			table.NewAddSchemaUpdate(schema),
			table.NewSetCurrentSchemaUpdate(-1), // the one that was just added
		},
	}
}

// widening merges schemas by name.
type widening struct {
	lastID   int // the greatest field id that the table has ever given out
	changed  bool
	replaced []Replaced
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
			f.ID, f.Required = w.next(), false // rows that are there do not have it
			f.Type = w.fresh(f.Type)
			out = append(out, f)
			continue
		}
		var err error
		if out[i].ID, out[i].Type, err = w.merge(join(path, f.Name), out[i].ID, out[i].Type, f.Type); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// merge is the type that holds the values of both, and the field id that goes with it.
func (w *widening) merge(path string, id int, have, want iceberg.Type) (int, iceberg.Type, error) {
	switch h := have.(type) {
	case *iceberg.StructType:
		if s, ok := want.(*iceberg.StructType); ok {
			fields, err := w.fields(path, h.FieldList, s.FieldList)
			return id, &iceberg.StructType{FieldList: fields}, err
		}
	case *iceberg.ListType:
		if l, ok := want.(*iceberg.ListType); ok {
			elementID, element, err := w.merge(join(path, "element"), h.ElementID, h.Element, l.Element)
			return id, &iceberg.ListType{ElementID: elementID, Element: element, ElementRequired: h.ElementRequired}, err
		}
	case *iceberg.MapType:
		if m, ok := want.(*iceberg.MapType); ok && m.KeyType.Equals(h.KeyType) {
			valueID, value, err := w.merge(join(path, "value"), h.ValueID, h.ValueType, m.ValueType)
			return id, &iceberg.MapType{KeyID: h.KeyID, KeyType: h.KeyType, ValueID: valueID, ValueType: value, ValueRequired: h.ValueRequired}, err
		}
	default:
		switch {
		case Holds(have, want):
			return id, have, nil
		case promotes(have, want):
			w.changed = true
			return id, want, nil
		case replaces(have, want):
			w.changed = true
			w.replaced = append(w.replaced, Replaced{Path: path, ID: id, Have: have.String(), Want: want.String()})
			return w.next(), want, nil
		}
	}
	return 0, nil, &TypeError{Path: path, Have: have.String(), Want: want.String()}
}

// fresh gives a type that is new in the table ids of its own.
func (w *widening) fresh(t iceberg.Type) iceberg.Type {
	switch t := t.(type) {
	case *iceberg.StructType:
		out := &iceberg.StructType{FieldList: make([]iceberg.NestedField, len(t.FieldList))}
		for i, f := range t.FieldList {
			f.ID = w.next()
			f.Type = w.fresh(f.Type)
			out.FieldList[i] = f
		}
		return out
	case *iceberg.ListType:
		id := w.next()
		return &iceberg.ListType{ElementID: id, Element: w.fresh(t.Element), ElementRequired: t.ElementRequired}
	case *iceberg.MapType:
		key, value := w.next(), w.next()
		return &iceberg.MapType{KeyID: key, KeyType: w.fresh(t.KeyType), ValueID: value, ValueType: w.fresh(t.ValueType), ValueRequired: t.ValueRequired}
	}
	return t
}

// Holds reports whether a column of type have takes values of type want. A double column takes longs as far as they are exact; whoever
// converts them finds out.
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

// replaces reports whether a column of type have can give way to one of type want that may hold its values.
func replaces(have, want iceberg.Type) bool {
	if _, ok := want.(iceberg.Float64Type); !ok {
		return false
	}
	switch have.(type) {
	case iceberg.Int32Type, iceberg.Int64Type:
		return true
	}
	return false
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
