package decode

import (
	"errors"
	"fmt"
	"slices"

	"github.com/firn-io/firn/runtime/schema"
)

// infer is the type of a whole document as its values tell, seen beside the columns that are there: a value that its column takes, or
// would take if it were in range, has the column's type. Members have the payload's names. A fault is that of a document that is not
// JSON at all.
func (p *parser) infer(root *column, doc []byte) (schema.Type, fault) {
	p.stale = p.stale[:0]
	t, i := p.typeOf(root, doc, space(doc, 0), 0)
	if i >= 0 {
		if i = space(doc, i); i < len(doc) {
			i = p.invalid(doc, i, "after the object")
		}
	}
	if !p.end(i) {
		return t, p.fault
	}
	return t, fault{}
}

// typeOf is the type of the value at i and the position behind it. c is its column, nil if it has none.
func (p *parser) typeOf(c *column, doc []byte, i, depth int) (schema.Type, int) {
	if i >= len(doc) {
		return schema.Type{}, p.invalid(doc, i, "where a value is wanted")
	}
	switch b := doc[i]; {
	case b == '{', b == '[':
		if depth > maxNesting {
			return schema.Type{}, p.fail(SchemaLimit, fmt.Sprintf("nested deeper than %d", maxNesting))
		}
		if b == '[' {
			return p.typeOfList(c, doc, i, depth)
		}
		return p.typeOfStruct(c, doc, i, depth)
	case b == '"':
		_, end := p.text(doc, i)
		return columnType(c, schema.String), end
	case literal(doc, i, "null"):
		return schema.Type{}, i + len("null")
	case isNumber(b):
		x, end := scanNumber(doc, i)
		if end < 0 {
			return schema.Type{}, p.invalid(doc, -1-end, "in a number")
		}
		return typeOfNumber(c, x, doc[i:end]), end
	}
	return schema.Type{Kind: schema.Boolean}, p.skip(doc, i, depth)
}

// columnType is the type of a column that takes values of a kind in its own way, else that kind.
func columnType(c *column, k schema.Kind) schema.Type {
	if c != nil {
		switch c.kind {
		case schema.Decimal, schema.Timestamptz:
			return c.typ
		case schema.Binary, schema.Date, schema.Timestamp:
			if k == schema.String {
				return c.typ
			}
		}
	}
	return schema.Type{Kind: k}
}

// typeOfNumber is the narrowest type that holds the number and that its column has or can become.
func typeOfNumber(c *column, x number, text []byte) schema.Type {
	kind := schema.Double
	if x.integer {
		kind = schema.Long
	}
	if c == nil {
		return schema.Type{Kind: kind}
	}
	switch v, w := x.int64(); c.kind {
	case schema.Int:
		if w == fits && v == int64(int32(v)) {
			kind = schema.Int
		} else if w == fits {
			kind = schema.Long
		}
	case schema.Long:
		if w == fits {
			kind = schema.Long
		}
	case schema.Float:
		kind = schema.Double
		if _, w := x.float(text, 32); w == fits {
			kind = schema.Float
		}
	default:
		return columnType(c, kind)
	}
	return schema.Type{Kind: kind}
}

func (p *parser) typeOfStruct(c *column, doc []byte, i, depth int) (schema.Type, int) {
	t := schema.Type{Kind: schema.Struct}
	seen := map[string]*occurrence{}
	i = space(doc, i+1)
	if i < len(doc) && doc[i] == '}' {
		return t, i + 1
	}
	for {
		begin := i
		if i >= len(doc) || doc[i] != '"' {
			return t, p.invalid(doc, i, "where a name is wanted")
		}
		raw, next := p.text(doc, i)
		if next < 0 {
			return t, next
		}
		name := string(raw)
		if i = space(doc, next); i >= len(doc) || doc[i] != ':' {
			return t, p.invalid(doc, i, "where a colon is wanted")
		}
		var f schema.Type
		if f, i = p.typeOf(c.memberNamed(name), doc, space(doc, i+1), depth+1); i < 0 {
			p.path = append(p.path, name)
			return t, i
		}
		i = space(doc, i)
		if i >= len(doc) || doc[i] != ',' && doc[i] != '}' {
			return t, p.invalid(doc, i, "where a comma or the end of an object is wanted")
		}
		after := space(doc, i+1)
		if o, ok := seen[name]; ok {
			p.stale = append(p.stale, o.at)
			t.Fields[o.place].Type, o.at = f, [2]int{begin, after}
		} else {
			seen[name] = &occurrence{len(t.Fields), [2]int{begin, after}}
			t.Fields = append(t.Fields, schema.Field{Name: name, Type: f})
		}
		if doc[i] == '}' {
			return t, i + 1
		}
		i = after
	}
}

// occurrence is the last member of a name in an object: its place among the fields, and where it stands, up to the next member.
type occurrence struct {
	place int
	at    [2]int
}

// memberNamed is the member of a struct column that the payload calls name, or nil.
func (c *column) memberNamed(name string) *column {
	if c != nil && c.kind == schema.Struct {
		if k, ok := c.index[name]; ok {
			return c.fields[k]
		}
	}
	return nil
}

// withoutStale is the document that infer has seen, without the members that do not count because their name comes again.
func (p *parser) withoutStale(doc []byte) []byte {
	slices.SortFunc(p.stale, func(a, b [2]int) int { return a[0] - b[0] })
	clean, at := make([]byte, 0, len(doc)), 0
	for _, s := range p.stale {
		if s[0] >= at { // else it lies within another
			clean, at = append(clean, doc[at:s[0]]...), s[1]
		}
	}
	return append(clean, doc[at:]...)
}

func (p *parser) typeOfList(c *column, doc []byte, i, depth int) (schema.Type, int) {
	var m *column
	if c != nil && c.kind == schema.List {
		m = c.fields[0]
	}
	var element schema.Type
	i = space(doc, i+1)
	if i < len(doc) && doc[i] == ']' {
		return schema.ListOf(element), i + 1
	}
	for {
		t, end := p.typeOf(m, doc, i, depth+1)
		if end < 0 {
			p.path = append(p.path, "element")
			return t, end
		}
		element = mergeElement(element, t)
		i = space(doc, end)
		switch {
		case i < len(doc) && doc[i] == ',':
			i = space(doc, i+1)
		case i < len(doc) && doc[i] == ']':
			return schema.ListOf(element), i + 1
		default:
			return t, p.invalid(doc, i, "where a comma or the end of an array is wanted")
		}
	}
}

// mergeElement merges the types of two elements. The caller will find what is wrong when they do not merge: a conflict when the document
// is decoded into columns of the first, a type that is too deep when it is merged into the schema.
func mergeElement(a, b schema.Type) schema.Type {
	merged, err := schema.Merge(a, b)
	var limit *schema.LimitError
	switch {
	case err == nil:
		return merged
	case errors.As(err, &limit):
		return b
	default:
		return a
	}
}
