package schema

import "fmt"

// ConflictError says that a value's type and its column's have no common type.
type ConflictError struct {
	Path string // of the column, in the payload's names: "a.b", list elements as "a.element"
	Have Type   // the column's
	Got  Type   // the record's
}

// Error implements error.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("field %s: the column is %s, the value %s", e.Path, e.Have.Short(), e.Got.Short())
}

// Short is the type for a message: nested types by their kind alone.
func (t Type) Short() string {
	if t.Kind == Struct || t.Kind == List {
		return t.Kind.String()
	}
	return t.String()
}

// LimitError says that a schema would grow beyond a bound of this package.
type LimitError struct {
	Path string // the column, or "" for the whole schema
	What string // which bound
}

// Error implements error.
func (e *LimitError) Error() string {
	const decide = "; declare a schema in the job if only some fields are wanted"
	if e.Path == "" {
		return e.What + decide
	}
	return "field " + e.Path + ": " + e.What + decide
}

// Merge is the type that holds the values of have and of got, two types of values whose members have the payload's names. Paths in
// errors begin there.
func Merge(have, got Type) (Type, error) {
	t, _, err := mergeType(have, got, "", 1)
	return t, err
}

// Merge is the schema that holds the rows of s and a record of the type rec, whose fields have the payload's names. Fields are found by
// Source; new ones are appended in rec's order. If nothing changes, the result is s itself. Errors are *ConflictError and *LimitError.
//
// A new column is nullable and has the payload's name, unless a table cannot have it: "" becomes "_empty", dots and control characters
// become "_", and a name that is reserved, or is another column's but for case, gets the first free of the suffixes _2, _3, … The comment
// of a renamed column keeps the payload's name.
func (s Schema) Merge(rec Schema, reserved Reserved) (Schema, error) {
	fields, changed, err := mergeFields(s.Fields, rec.Fields, reserved, "", 1)
	if err != nil || !changed {
		return s, err
	}
	if n := StructOf(fields...).Leaves(); n > MaxColumns {
		return s, &LimitError{What: fmt.Sprintf("the record would make %d columns, more than %d", n, MaxColumns)}
	}
	return Schema{Fields: fields}, nil
}

// mergeFields merges the members of a struct; changed says whether the result differs from have.
func mergeFields(have, got []Field, reserved Reserved, path string, depth int) (merged []Field, changed bool, err error) {
	if depth > MaxDepth && len(got) > 0 {
		return nil, false, &LimitError{Path: path, What: fmt.Sprintf("nested deeper than %d", MaxDepth)}
	}
	index := make(map[string]int, len(have)+len(got))
	taken := make(map[string]bool, len(have)+len(got))
	for i, f := range have {
		index[f.Source()] = i
		taken[fold(f.Name)] = true
	}
	merged = have
	for _, g := range got {
		at := join(path, g.Source())
		i, known := index[g.Source()]
		var t Type
		if known {
			t = merged[i].Type
		}
		t, differs, err := mergeType(t, g.Type, at, depth)
		if err != nil {
			return nil, false, err
		}
		if !differs {
			continue
		}
		if !changed {
			merged, changed = append(make([]Field, 0, len(have)+len(got)), have...), true
		}
		if known {
			merged[i].Type = t
			continue
		}
		f := newField(g.Source(), t, taken, reserved)
		if len(f.Name) > MaxName {
			return nil, false, &LimitError{Path: path, What: fmt.Sprintf("a name has %d bytes, more than %d", len(f.Name), MaxName)}
		}
		index[g.Source()], taken[fold(f.Name)] = len(merged), true
		merged = append(merged, f)
	}
	return merged, changed, nil
}

// mergeType merges what a column is (Unknown: there is none) with what a value is; changed says whether the column's type differs then.
// A struct or list in which nothing has a type goes with every type.
func mergeType(have, got Type, path string, depth int) (merged Type, changed bool, err error) {
	if !got.Known() {
		return have, false, nil
	}
	if !have.Known() {
		have = Type{}
	}
	switch {
	case got.Kind == Struct && (have.Kind == Struct || have.Kind == Unknown):
		have.Fields, changed, err = mergeFields(have.Fields, got.Fields, nil, path, depth+1)
		if changed {
			have.Kind = Struct
		}
		return have, changed, err
	case got.Kind == List && (have.Kind == List || have.Kind == Unknown):
		return mergeList(have, got, path, depth)
	case have.Kind == Unknown:
		return got, true, nil
	case have.Kind == Decimal && got.Kind == Decimal && have.Scale == got.Scale:
		merged = have
		merged.Precision = max(have.Precision, got.Precision)
		return merged, merged.Precision != have.Precision, nil
	case have.Kind == got.Kind && have.Kind != Decimal && have.Kind != Struct && have.Kind != List:
		return have, false, nil
	}
	kind, ok := widen(have.Kind, got.Kind)
	if !ok {
		return have, false, &ConflictError{Path: path, Have: have, Got: got}
	}
	return Type{Kind: kind}, kind != have.Kind, nil
}

func mergeList(have, got Type, path string, depth int) (Type, bool, error) {
	if depth >= MaxDepth {
		return have, false, &LimitError{Path: path, What: fmt.Sprintf("nested deeper than %d", MaxDepth)}
	}
	var element Field
	element.Name = elementName
	if have.Kind == List {
		element = have.Fields[0]
	}
	t, changed, err := mergeType(element.Type, got.Fields[0].Type, join(path, elementName), depth+1)
	if err != nil || !changed {
		return have, false, err
	}
	element.Type = t
	return Type{Kind: List, Fields: []Field{element}}, true, nil
}

// widen is the common kind of two different kinds of numbers that holds the values of both. Iceberg promotes int to long and float to
// double in place; int and long to double is a rewrite of the column, which is the sink's to do.
func widen(a, b Kind) (Kind, bool) {
	rank := func(k Kind) int {
		switch k {
		case Int:
			return 1
		case Long:
			return 2
		case Float, Double:
			return 3
		}
		return 0
	}
	switch ra, rb := rank(a), rank(b); {
	case ra == 0 || rb == 0:
		return Unknown, false
	case ra == 3 || rb == 3:
		return Double, true
	default:
		return max(a, b), true
	}
}
