package transform

import (
	"fmt"
	"reflect"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// provider tells CEL the types of columns: structs are object types that are named by their paths.
type provider struct {
	*types.Registry
	structs map[string]map[string]member
}

// member is a field of a struct column.
type member struct {
	typ   *cel.Type
	index int
}

func newProvider(in *arrow.Schema) (*provider, error) {
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, fmt.Errorf("types of expressions: %w", err)
	}
	p := &provider{registry, map[string]map[string]member{}}
	p.add(rowName, in.Fields())
	return p, nil
}

func (p *provider) add(path string, fields []arrow.Field) {
	members := make(map[string]member, len(fields))
	for i, f := range fields {
		if t := p.typeOf(path+"."+f.Name, f.Type); t != nil {
			members[f.Name] = member{t, i}
		}
	}
	p.structs[path] = members
}

// typeOf is the type of a column, nil if expressions have none for it.
func (p *provider) typeOf(path string, t arrow.DataType) *cel.Type {
	switch t := t.(type) {
	case *arrow.BooleanType:
		return cel.NullableType(cel.BoolType)
	case *arrow.Int32Type, *arrow.Int64Type:
		return cel.NullableType(cel.IntType)
	case *arrow.Float32Type, *arrow.Float64Type:
		return cel.NullableType(cel.DoubleType)
	case *arrow.StringType:
		return cel.NullableType(cel.StringType)
	case *arrow.BinaryType:
		return cel.NullableType(cel.BytesType)
	case *arrow.Date32Type, *arrow.TimestampType:
		return cel.TimestampType
	case *arrow.ListType:
		if element := p.typeOf(path+".element", t.Elem()); element != nil {
			return cel.NullableType(cel.ListType(element))
		}
	case *arrow.StructType:
		p.add(path, t.Fields())
		return cel.ObjectType(path)
	}
	return nil
}

// variables are the columns and the row. Those in loose, and whatever else it names, have values of any type.
func (p *provider) variables(in *arrow.Schema, loose []string) []cel.EnvOption {
	var all []cel.EnvOption
	known := map[string]*cel.Type{rowName: cel.ObjectType(rowName)}
	for _, f := range in.Fields() {
		if m, ok := p.structs[rowName][f.Name]; ok {
			known[f.Name] = m.typ
		}
	}
	for _, name := range loose {
		known[name] = cel.DynType
	}
	for name, t := range known {
		all = append(all, cel.Variable(name, t))
	}
	return all
}

// FindStructType implements types.Provider.
func (p *provider) FindStructType(name string) (*types.Type, bool) {
	if _, ok := p.structs[name]; ok {
		return types.NewTypeTypeWithParam(newStructType(name)), true
	}
	return p.Registry.FindStructType(name)
}

// FindStructFieldNames implements types.Provider.
func (p *provider) FindStructFieldNames(name string) ([]string, bool) {
	members, ok := p.structs[name]
	if !ok {
		return p.Registry.FindStructFieldNames(name)
	}
	var names []string
	for n := range members {
		names = append(names, n)
	}
	return names, true
}

// FindStructFieldType implements types.Provider.
func (p *provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	members, ok := p.structs[name]
	if !ok {
		return p.Registry.FindStructFieldType(name, field)
	}
	m, ok := members[field]
	if !ok {
		return nil, false
	}
	get := func(target any) (any, error) {
		if s, ok := target.(*structValue); ok {
			return s.member(m.index, field), nil
		}
		return nil, errNull
	}
	return &types.FieldType{
		Type: m.typ, GetFrom: get,
		IsSet: func(target any) bool {
			s, ok := target.(*structValue)
			return ok && s.member(m.index, field) != types.NullValue
		},
	}, true
}

// structValue is a struct of a row, or the row itself.
type structValue struct {
	typ    *types.Type
	row    *rowValues
	fields *array.Struct // nil: the row itself
	slot   int
}

var (
	_ ref.Val            = (*structValue)(nil)
	_ traits.Indexer     = (*structValue)(nil)
	_ traits.FieldTester = (*structValue)(nil)
)

func newStructType(path string) *types.Type {
	return types.NewObjectType(path, traits.IndexerType, traits.FieldTesterType)
}

// Get implements traits.Indexer, for expressions that do not know the type.
func (s *structValue) Get(index ref.Val) ref.Val {
	name, ok := index.(types.String)
	if !ok {
		return types.NewErr("members of a struct have names, not %s", index.Type().TypeName())
	}
	if s.fields == nil {
		v, _ := s.row.ResolveName(string(name))
		return v.(ref.Val)
	}
	i, ok := s.fields.DataType().(*arrow.StructType).FieldIdx(string(name))
	if !ok {
		s.row.null = true
		return types.NullValue
	}
	return s.member(i, string(name))
}

// IsSet implements traits.FieldTester.
func (s *structValue) IsSet(field ref.Val) ref.Val {
	return types.Bool(s.Get(field) != types.NullValue)
}

func (s *structValue) member(i int, name string) ref.Val {
	if s.fields == nil {
		return s.row.value(s.row.rows.Column(i), s.row.row, s.typ.TypeName()+"."+name)
	}
	return s.row.value(s.fields.Field(i), s.slot, s.typ.TypeName()+"."+name)
}

// ConvertToNative implements ref.Val.
func (s *structValue) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("a struct does not become %s", t)
}

// ConvertToType implements ref.Val.
func (s *structValue) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("a struct does not become %s", t.TypeName())
}

// Equal implements ref.Val.
func (s *structValue) Equal(other ref.Val) ref.Val {
	o, ok := other.(*structValue)
	if !ok || s.fields == nil || o.fields == nil {
		return types.Bool(s == o)
	}
	return types.Bool(array.SliceEqual(s.fields, int64(s.slot), int64(s.slot+1), o.fields, int64(o.slot), int64(o.slot+1)))
}

// Type implements ref.Val.
func (s *structValue) Type() ref.Type { return s.typ }

// Value implements ref.Val.
func (s *structValue) Value() any { return s }

// value is one value of an array. path is what provider calls its type if it is a struct.
func (r *rowValues) value(a arrow.Array, i int, path string) ref.Val {
	if a.IsNull(i) {
		r.null = true
		return types.NullValue
	}
	switch a := a.(type) {
	case *array.Boolean:
		return types.Bool(a.Value(i))
	case *array.Int32:
		return types.Int(a.Value(i))
	case *array.Int64:
		return types.Int(a.Value(i))
	case *array.Float32:
		return types.Double(a.Value(i))
	case *array.Float64:
		return types.Double(a.Value(i))
	case *array.String:
		return types.String(a.Value(i))
	case *array.Binary:
		return types.Bytes(a.Value(i))
	case *array.Date32:
		return types.Timestamp{Time: a.Value(i).ToTime()}
	case *array.Timestamp:
		return types.Timestamp{Time: timeOf(a, i)}
	case *array.List:
		from, to := a.ValueOffsets(i)
		elements := make([]ref.Val, 0, to-from)
		for j := from; j < to; j++ {
			elements = append(elements, r.value(a.ListValues(), int(j), path+".element"))
		}
		return types.NewRefValList(types.DefaultTypeAdapter, elements)
	case *array.Struct:
		return &structValue{newStructType(path), r, a, i}
	}
	return types.NewErr("a %s has no type in expressions", a.DataType())
}

func timeOf(a *array.Timestamp, i int) time.Time {
	return a.Value(i).ToTime(a.DataType().(*arrow.TimestampType).Unit)
}
