package schema

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
)

// docKey is the metadata key under which Iceberg's Arrow schemas carry a column's comment.
const docKey = "doc"

// Arrow is the schema's columns as Arrow fields, comments in the metadata key "doc".
func (s Schema) Arrow() []arrow.Field { return arrowFields(s.Fields) }

func arrowFields(fields []Field) []arrow.Field {
	out := make([]arrow.Field, len(fields))
	for i, f := range fields {
		out[i] = arrow.Field{Name: f.Name, Type: f.Type.Arrow(), Nullable: !f.Required}
		if f.Doc != "" {
			out[i].Metadata = arrow.NewMetadata([]string{docKey}, []string{f.Doc})
		}
	}
	return out
}

// Arrow is the type as Arrow has it. Unknown has none, and panics.
func (t Type) Arrow() arrow.DataType {
	switch t.Kind {
	case Boolean:
		return arrow.FixedWidthTypes.Boolean
	case Int:
		return arrow.PrimitiveTypes.Int32
	case Long:
		return arrow.PrimitiveTypes.Int64
	case Float:
		return arrow.PrimitiveTypes.Float32
	case Double:
		return arrow.PrimitiveTypes.Float64
	case Decimal:
		return &arrow.Decimal128Type{Precision: t.Precision, Scale: t.Scale}
	case String:
		return arrow.BinaryTypes.String
	case Binary:
		return arrow.BinaryTypes.Binary
	case Date:
		return arrow.FixedWidthTypes.Date32
	case Timestamp:
		return &arrow.TimestampType{Unit: arrow.Microsecond}
	case Timestamptz:
		return &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	case Struct:
		return arrow.StructOf(arrowFields(t.Fields)...)
	case List:
		return arrow.ListOfField(arrowFields(t.Fields)[0])
	}
	panic("schema: " + t.Kind.String() + " has no Arrow type")
}

// FromArrow reads columns back. Field metadata other than the comment, such as a table's field ids, is left out. A column of a type that
// is not in this package's lattice is an error that names it.
func FromArrow(fields []arrow.Field) (Schema, error) {
	out, err := (&arrowReader{}).fields(fields, "")
	return Schema{Fields: out}, err
}

// FromTable reads the columns of a table that others may have given columns, or members of structs, of types that are not in this package's
// lattice: a map, a UUID, a time of day. Where those may be null they are left out, and others names their paths: rows can do without them.
func FromTable(fields []arrow.Field) (s Schema, others []string, err error) {
	r := arrowReader{lenient: true}
	s.Fields, err = r.fields(fields, "")
	return s, r.others, err
}

// arrowReader reads Arrow fields as columns.
type arrowReader struct {
	lenient bool     // fields of other types are left out if they may be null
	others  []string // their paths
}

func (r *arrowReader) fields(fields []arrow.Field, path string) ([]Field, error) {
	out := make([]Field, 0, len(fields))
	for _, f := range fields {
		at := join(path, f.Name)
		left := len(r.others)
		t, err := r.typeOf(f.Type, at)
		if err != nil && r.lenient && f.Nullable {
			r.others = append(r.others[:left], at)
			continue
		}
		if err != nil {
			return nil, err
		}
		one := Field{Name: f.Name, Type: t, Required: !f.Nullable}
		if doc, ok := f.Metadata.GetValue(docKey); ok {
			one.Doc = doc
		}
		out = append(out, one)
	}
	if path != "" && len(out) == 0 && len(fields) > 0 {
		return nil, fmt.Errorf("column %s: nothing in it has a type that payload fields can have", path)
	}
	return out, nil
}

func (r *arrowReader) typeOf(dt arrow.DataType, path string) (Type, error) {
	switch dt := dt.(type) {
	case *arrow.BooleanType:
		return Type{Kind: Boolean}, nil
	case *arrow.Int32Type:
		return Type{Kind: Int}, nil
	case *arrow.Int64Type:
		return Type{Kind: Long}, nil
	case *arrow.Float32Type:
		return Type{Kind: Float}, nil
	case *arrow.Float64Type:
		return Type{Kind: Double}, nil
	case *arrow.Decimal128Type:
		return Type{Kind: Decimal, Precision: dt.Precision, Scale: dt.Scale}, nil
	case *arrow.StringType, *arrow.LargeStringType:
		return Type{Kind: String}, nil
	case *arrow.BinaryType, *arrow.LargeBinaryType:
		return Type{Kind: Binary}, nil
	case *arrow.Date32Type:
		return Type{Kind: Date}, nil
	case *arrow.TimestampType:
		if dt.Unit == arrow.Microsecond && dt.TimeZone == "" {
			return Type{Kind: Timestamp}, nil
		}
		if dt.Unit == arrow.Microsecond {
			return Type{Kind: Timestamptz}, nil
		}
	case *arrow.StructType:
		fields, err := r.fields(dt.Fields(), path)
		return Type{Kind: Struct, Fields: fields}, err
	case arrow.ListLikeType:
		element := dt.ElemField()
		element.Name = elementName
		switch dt.ID() {
		case arrow.LIST, arrow.LARGE_LIST:
			fields, err := r.fields([]arrow.Field{element}, path)
			return Type{Kind: List, Fields: fields}, err
		}
	}
	return Type{}, fmt.Errorf("column %s: type %s is none that payload fields can have", path, dt)
}
