package schema

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// ParseFields reads a declared schema as a job file has it, decoded from YAML or JSON: a list of {name, type, required, doc}, with
// types under their Iceberg names.
//
//   - {name: id, type: long, required: true}
//   - {name: at, type: timestamptz}
//   - {name: price, type: "decimal(9, 2)"}
//   - {name: geo, type: struct, fields: [{name: lat, type: double}, {name: lon, type: double}]}
//   - {name: tags, type: list<string>}
//   - {name: items, type: list, element: {type: struct, fields: [{name: sku, type: string}]}}
//
// Within a type's text structs are written struct<lat: double, lon: double>. A field that is not required may be missing or null. The
// error names every entry that is wrong. What is reserved is not known here: see Validate.
func ParseFields(value any) (Schema, error) {
	fields, err := parseFields(value, "schema", 1)
	if err != nil {
		return Schema{}, err
	}
	s := Schema{Fields: fields}
	return s, s.Validate(nil)
}

// EntryError says what is wrong with an entry of a declared schema.
type EntryError struct {
	Path string // of the entry, or of a key of it: "schema[0].type"
	What string
}

// Error implements error.
func (e *EntryError) Error() string { return e.Path + ": " + e.What }

func parseFields(value any, at string, depth int) ([]Field, error) {
	list, ok := value.([]any)
	if !ok || len(list) == 0 {
		return nil, &EntryError{at, "want a list of fields such as {name: id, type: long}"}
	}
	if depth > MaxDepth {
		return nil, &LimitError{Path: at, What: fmt.Sprintf("nested deeper than %d", MaxDepth)}
	}
	var fields []Field
	var errs []error
	for i, v := range list {
		f, err := parseField(v, fmt.Sprintf("%s[%d]", at, i), depth)
		fields, errs = append(fields, f), append(errs, err)
	}
	return fields, errors.Join(errs...)
}

func parseField(value any, at string, depth int) (Field, error) {
	e, err := newEntry(value, at, "name", "type", "required", "doc", "fields", "element")
	if err != nil {
		return Field{}, err
	}
	f := Field{Name: e.text("name"), Doc: e.text("doc"), Required: e.flag("required")}
	if f.Name == "" {
		e.fail("name", "is missing")
	}
	f.Type = e.typ(depth)
	return f, errors.Join(e.errs...)
}

// entry is one map of a declared schema while it is read, and what was found wrong with it.
type entry struct {
	values map[string]any
	at     string
	errs   []error
}

func newEntry(value any, at string, known ...string) (*entry, error) {
	m, ok := value.(map[string]any)
	if !ok {
		return nil, &EntryError{at, "want a map such as {name: id, type: long}"}
	}
	e := &entry{values: m, at: at}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(known, key) {
			e.fail(key, "is no setting of a field; there are "+strings.Join(known, ", "))
		}
	}
	return e, nil
}

func (e *entry) fail(key, what string) {
	e.errs = append(e.errs, &EntryError{e.at + "." + key, what})
}

func (e *entry) text(key string) string {
	s, ok := e.values[key].(string)
	if !ok && e.values[key] != nil {
		e.fail(key, fmt.Sprintf("want text, not %v", e.values[key]))
	}
	return s
}

func (e *entry) flag(key string) bool {
	b, ok := e.values[key].(bool)
	if !ok && e.values[key] != nil {
		e.fail(key, fmt.Sprintf("want true or false, not %v", e.values[key]))
	}
	return b
}

// typ reads the keys type, fields and element.
func (e *entry) typ(depth int) Type {
	text := e.text("type")
	if e.values["fields"] != nil && text != "struct" {
		e.fail("fields", "goes with type: struct")
	}
	if e.values["element"] != nil && text != "list" {
		e.fail("element", "goes with type: list")
	}
	switch text {
	case "":
		e.fail("type", "is missing")
		return Type{}
	case "struct":
		fields, err := parseFields(e.values["fields"], e.at+".fields", depth+1)
		if err != nil {
			e.errs = append(e.errs, err)
		}
		return StructOf(fields...)
	case "list":
		return e.element(depth)
	}
	t, err := ParseType(text)
	if err != nil {
		e.fail("type", err.Error())
	}
	return t
}

func (e *entry) element(depth int) Type {
	if depth >= MaxDepth {
		e.fail("element", fmt.Sprintf("nested deeper than %d", MaxDepth))
		return Type{}
	}
	if text, ok := e.values["element"].(string); ok {
		t, err := ParseType(text)
		if err != nil {
			e.fail("element", err.Error())
		}
		return ListOf(t)
	}
	inner, err := newEntry(e.values["element"], e.at+".element", "type", "required", "doc", "fields", "element")
	if err != nil {
		e.fail("element", "want the type of the list's elements, such as string or {type: struct, fields: […]}")
		return Type{}
	}
	f := Field{Name: elementName, Doc: inner.text("doc"), Required: inner.flag("required"), Type: inner.typ(depth + 1)}
	e.errs = append(e.errs, inner.errs...)
	return Type{Kind: List, Fields: []Field{f}}
}

// ParseType reads a type as String writes it. Members of structs and elements of lists are nullable.
func ParseType(text string) (Type, error) {
	p := typeText{rest: text}
	t, err := p.typ(1)
	if err == nil && p.rest != "" {
		err = fmt.Errorf("%q is left over", p.rest)
	}
	if err != nil {
		return Type{}, fmt.Errorf("type %q: %w", text, err)
	}
	return t, nil
}

// plain is the names of types that are written as their name alone.
func plain() []string {
	return slices.DeleteFunc(slices.Clone(kindNames[Boolean:Struct]), func(name string) bool { return name == Decimal.String() })
}

// typeText is what is left of a type's text.
type typeText struct{ rest string }

func (p *typeText) skip() { p.rest = strings.TrimLeft(p.rest, " ") }

// take takes a token if it is next.
func (p *typeText) take(token string) bool {
	p.skip()
	rest, ok := strings.CutPrefix(p.rest, token)
	if ok {
		p.rest = rest
		p.skip()
	}
	return ok
}

// word takes everything up to one of the characters in stop.
func (p *typeText) word(stop string) string {
	p.skip()
	i := strings.IndexAny(p.rest, stop)
	if i < 0 {
		i = len(p.rest)
	}
	w := strings.TrimRight(p.rest[:i], " ")
	p.rest = p.rest[i:]
	return w
}

func (p *typeText) typ(depth int) (Type, error) {
	if depth > MaxDepth {
		return Type{}, fmt.Errorf("it is nested deeper than %d", MaxDepth)
	}
	switch name := p.word("<>(),"); {
	case slices.Contains(plain(), name):
		return Type{Kind: Kind(slices.Index(kindNames[:], name))}, nil
	case name == "decimal":
		return p.decimal()
	case name == "list":
		if !p.take("<") {
			return Type{}, errors.New("want list<…>")
		}
		t, err := p.typ(depth + 1)
		if err == nil && !p.take(">") {
			err = errors.New("a > is missing")
		}
		return ListOf(t), err
	case name == "struct":
		return p.structure(depth)
	default:
		return Type{}, fmt.Errorf("%q is none of %s, decimal(p, s), struct and list", name, strings.Join(plain(), ", "))
	}
}

func (p *typeText) decimal() (Type, error) {
	if p.take("(") {
		precision, err1 := strconv.ParseUint(p.word(",)"), 10, 8)
		if p.take(",") {
			scale, err2 := strconv.ParseUint(p.word(")"), 10, 8)
			if p.take(")") && err1 == nil && err2 == nil {
				return Type{Kind: Decimal, Precision: int32(precision), Scale: int32(scale)}, nil
			}
		}
	}
	return Type{}, errors.New("want decimal(precision, scale)")
}

func (p *typeText) structure(depth int) (Type, error) {
	if !p.take("<") {
		return Type{}, errors.New("want struct<name: type, …>")
	}
	t := Type{Kind: Struct}
	for {
		name := p.word(":<>,")
		if !p.take(":") {
			return t, fmt.Errorf("a colon is missing after %q", name)
		}
		m, err := p.typ(depth + 1)
		if err != nil {
			return t, err
		}
		t.Fields = append(t.Fields, Field{Name: name, Type: m})
		if p.take(">") {
			return t, nil
		}
		if !p.take(",") {
			return t, errors.New("a > is missing")
		}
	}
}
