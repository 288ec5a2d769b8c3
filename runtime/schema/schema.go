// Package schema says what columns a table's rows have and how that may change while records arrive.
//
// A Schema is an ordered list of fields over a small lattice of types, those that JSON values become and that Iceberg can hold.
// It converts to and from an Arrow schema, which is what travels to sinks. Field ids belong to the table and do not exist here.
//
// Merge is the one rule of evolution: new fields are appended, numbers widen (int → long → double, float → double), structs and lists
// merge inside, and nothing else changes. A column is never removed, renamed, reordered or narrowed. What cannot be merged is a
// ConflictError, what would grow without bound a LimitError; both name the path and leave the schema as it was.
//
// A field that was only null, {} or [] so far has no type yet (Unknown) and no column: its values are null until a record tells what
// it is. Such a value goes with every type, before and after, so that a record that was a row stays one however the schema has grown
// when it is decoded again. Values are immutable: Merge shares what it does not change.
package schema

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Bounds of an inferred or declared schema. Records beyond them are not decoded, so that hostile input cannot grow a table's metadata.
const (
	MaxColumns = 1000 // leaves, the coordinate columns not counted
	MaxDepth   = 32   // structs and lists inside each other; a top-level field has depth 1
	MaxName    = 255  // bytes of a column name
)

// Kind is what a value is.
type Kind uint8

// The kinds of types, under their Iceberg names.
const (
	Unknown     Kind = iota // no value has told yet; never a column
	Boolean                 // true or false
	Int                     // 32-bit signed
	Long                    // 64-bit signed
	Float                   // 32-bit IEEE 754
	Double                  // 64-bit IEEE 754
	Decimal                 // exact, Precision ≤ 38 digits of which Scale are behind the point
	String                  // UTF-8
	Binary                  // bytes
	Date                    // days since 1970-01-01
	Timestamp               // microseconds since 1970-01-01T00:00 in no time zone
	Timestamptz             // microseconds since 1970-01-01T00:00 UTC
	Struct                  // Fields
	List                    // one field, "element"
)

var kindNames = [...]string{"unknown", "boolean", "int", "long", "float", "double", "decimal", "string", "binary", "date", "timestamp",
	"timestamptz", "struct", "list"}

// String is Iceberg's name of the kind.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Type is a column's type. The zero value is Unknown.
type Type struct {
	Kind      Kind
	Precision int32   // of a decimal, 1 to 38
	Scale     int32   // of a decimal, 0 to Precision
	Fields    []Field // a struct's members in order; of a list exactly one, its element
}

// Field is a column, or a member of one. The zero value of Required, nullable, is what inference makes.
type Field struct {
	Name     string // the column's name
	Type     Type
	Required bool   // never null
	Doc      string // the column's comment; of a renamed column it also says what the payload calls it, see Source
}

// Schema is the ordered columns of a payload.
type Schema struct {
	Fields []Field
}

// ListOf is a list of nullable elements.
func ListOf(element Type) Type {
	return Type{Kind: List, Fields: []Field{{Name: elementName, Type: element}}}
}

// StructOf is a struct of the fields, in that order.
func StructOf(fields ...Field) Type { return Type{Kind: Struct, Fields: fields} }

// elementName is what Iceberg and Parquet call the member of a list.
const elementName = "element"

// Equal reports whether the two types are the same, member names, order, comments and nullability included.
func (t Type) Equal(o Type) bool {
	if t.Kind != o.Kind || t.Precision != o.Precision || t.Scale != o.Scale || len(t.Fields) != len(o.Fields) {
		return false
	}
	for i, f := range t.Fields {
		g := o.Fields[i]
		if f.Name != g.Name || f.Required != g.Required || f.Doc != g.Doc || !f.Type.Equal(g.Type) {
			return false
		}
	}
	return true
}

// Equal reports whether the two schemas have the same columns in the same order.
func (s Schema) Equal(o Schema) bool { return StructOf(s.Fields...).Equal(StructOf(o.Fields...)) }

// Known reports whether there is anything in the type that makes a column.
func (t Type) Known() bool {
	if t.Kind != Struct && t.Kind != List {
		return t.Kind != Unknown
	}
	return slices.ContainsFunc(t.Fields, func(f Field) bool { return f.Type.Known() })
}

// Leaves counts the columns that hold values: structs and lists count as what is in them.
func (t Type) Leaves() int {
	if t.Kind != Struct && t.Kind != List {
		return 1
	}
	n := 0
	for _, f := range t.Fields {
		n += f.Type.Leaves()
	}
	return n
}

// String is the type as Iceberg writes it: "decimal(9, 2)", "struct<a: long, b: list<string>>".
func (t Type) String() string {
	switch t.Kind {
	case Decimal:
		return fmt.Sprintf("decimal(%d, %d)", t.Precision, t.Scale)
	case List:
		return "list<" + t.Fields[0].Type.String() + ">"
	case Struct:
		var b strings.Builder
		b.WriteString("struct<")
		for i, f := range t.Fields {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(f.Name + ": " + f.Type.String())
		}
		return b.String() + ">"
	}
	return t.Kind.String()
}

// Validate checks what no table can hold: bad decimals, malformed lists, names that are empty, too long, reserved or equal but for
// case, and the bounds of this package. Only top-level names can be reserved; reserved may be nil.
func (s Schema) Validate(reserved Reserved) error {
	if n := StructOf(s.Fields...).Leaves(); n > MaxColumns {
		return &LimitError{What: fmt.Sprintf("%d columns are more than %d", n, MaxColumns)}
	}
	return validateFields(s.Fields, reserved, nil, 1)
}

// ColumnError says what is wrong with a column of a schema.
type ColumnError struct {
	Path []string // its name, behind those of the structs that it is in; the element of a list is "element"
	Err  error
}

// Error implements error.
func (e *ColumnError) Error() string {
	return fmt.Sprintf("column %s: %v", strings.Join(e.Path, "."), e.Err)
}

// Unwrap gives what is wrong.
func (e *ColumnError) Unwrap() error { return e.Err }

func validateFields(fields []Field, reserved Reserved, path []string, depth int) error {
	seen := make(map[string]string, len(fields))
	for _, f := range fields {
		at := append(slices.Clip(path), f.Name)
		if depth > MaxDepth {
			return &LimitError{Path: strings.Join(at, "."), What: fmt.Sprintf("nested deeper than %d", MaxDepth)}
		}
		if err := validateName(f.Name, reserved); err != nil {
			return &ColumnError{at, err}
		}
		folded := fold(f.Name)
		if other, ok := seen[folded]; ok {
			return &ColumnError{at, fmt.Errorf("%q is there already, and engines compare names without case", other)}
		}
		seen[folded] = f.Name
		if err := validateType(f.Type, at, depth); err != nil {
			return err
		}
	}
	return nil
}

func validateType(t Type, at []string, depth int) error {
	switch t.Kind {
	case Unknown:
		return &ColumnError{at, errors.New("it has no type")}
	case Decimal:
		if t.Precision < 1 || t.Precision > 38 || t.Scale < 0 || t.Scale > t.Precision {
			return &ColumnError{at, fmt.Errorf("%s: want a precision of 1 to 38 and a scale of 0 to the precision", t)}
		}
	case List:
		if len(t.Fields) != 1 {
			return &ColumnError{at, fmt.Errorf("a list has one element type, not %d", len(t.Fields))}
		}
		return validateFields(t.Fields, nil, at, depth+1)
	case Struct:
		if len(t.Fields) == 0 {
			return &ColumnError{at, errors.New("a struct needs fields")}
		}
		return validateFields(t.Fields, nil, at, depth+1)
	}
	return nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
