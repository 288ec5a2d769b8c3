package decode

import (
	"fmt"
	"slices"

	"github.com/firn-io/firn/runtime/schema"
)

// guess is what the values of one field tell about its type while a document is walked; the elements of a list share one. Its size is
// that of the document at most, and bounded by maxGuesses.
type guess struct {
	typ     schema.Type // of a scalar; for structs and lists only the kind
	members []guessedMember
	index   map[string]int // of members, by name
	element *guess
}

type guessedMember struct {
	name string
	guess
	object int    // the number of the object that had the member last
	at     [2]int // where it stands there, up to the next member
}

// maxGuesses bounds the fields of a document that are told apart: more can never become columns.
const maxGuesses = 10 * schema.MaxColumns

// infer is the type of a whole document as its values tell, seen beside the columns that are there: a value that its column takes, or
// would take if it were in range, has the column's type. Members have the payload's names. A fault is that of a document that is not
// JSON at all, or has too many fields. Where a name comes twice in an object the type is not to be used: p.stale has the members that do
// not count.
func (p *parser) infer(root *column, doc []byte) (schema.Type, *fault) {
	p.stale = p.stale[:0]
	p.objects, p.guesses = 0, 0
	var g guess
	i := p.see(&g, root, doc, space(doc, 0), 0)
	if i >= 0 {
		if i = space(doc, i); i < len(doc) {
			i = p.invalid(doc, i, "after the object")
		}
	}
	if i >= 0 && p.inferred && p.guesses > maxGuesses {
		i = p.fail(SchemaLimit, fmt.Sprintf("the record has more than %d different fields", maxGuesses))
	}
	if !p.end(i) {
		return schema.Type{}, &p.fault
	}
	return g.schema(), nil
}

// schema is the type that was guessed.
func (g *guess) schema() schema.Type {
	switch g.typ.Kind {
	case schema.Struct:
		t := schema.Type{Kind: schema.Struct}
		for i := range g.members {
			t.Fields = append(t.Fields, schema.Field{Name: g.members[i].name, Type: g.members[i].schema()})
		}
		return t
	case schema.List:
		return schema.ListOf(g.element.schema())
	}
	return g.typ
}

// known reports whether any value has told a type.
func (g *guess) known() bool {
	switch g.typ.Kind {
	case schema.Struct:
		return slices.ContainsFunc(g.members, func(m guessedMember) bool { return m.known() })
	case schema.List:
		return g.element.known()
	}
	return g.typ.Kind != schema.Unknown
}

// scalar takes in a value of a type. If that contradicts what is known the first type stays, and decoding will find the value that does
// not fit.
func (g *guess) scalar(t schema.Type) {
	if !g.known() {
		*g = guess{typ: t}
	} else if merged, err := schema.Merge(g.typ, t); err == nil {
		g.typ = merged
	}
}

// nested is g for a value that is a struct or a list, or a guess that goes nowhere if that contradicts what is known.
func (g *guess) nested(k schema.Kind) *guess {
	if g.typ.Kind == k {
		return g
	}
	if g.known() {
		g = new(guess)
	}
	*g = guess{typ: schema.Type{Kind: k}}
	if k == schema.List {
		g.element = new(guess)
	}
	return g
}

// see takes the value at i into g, and gives the position behind it. c is its column, nil if it has none.
func (p *parser) see(g *guess, c *column, doc []byte, i, depth int) int {
	if i >= len(doc) {
		return p.invalid(doc, i, "where a value is wanted")
	}
	switch b := doc[i]; {
	case b == '{' || b == '[':
		switch {
		case depth > schema.MaxDepth:
			g.scalar(schema.Type{Kind: schema.Boolean}) // anything: it is too deep to have a column
			return p.skip(doc, i, depth)
		case b == '[':
			return p.seeList(g.nested(schema.List), c, doc, i, depth)
		}
		return p.seeStruct(g.nested(schema.Struct), c, doc, i, depth)
	case b == '"':
		_, end := p.text(doc, i)
		g.scalar(columnType(c, schema.String))
		return end
	case isNumber(b):
		x, end := scanNumber(doc, i)
		if end < 0 {
			return p.invalid(doc, -1-end, "in a number")
		}
		g.scalar(typeOfNumber(c, x, doc[i:end]))
		return end
	case literal(doc, i, "null"):
		return i + len("null")
	}
	g.scalar(schema.Type{Kind: schema.Boolean})
	return p.skip(doc, i, depth)
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

func (p *parser) seeStruct(g *guess, c *column, doc []byte, i, depth int) int {
	p.objects++
	object := p.objects
	i = space(doc, i+1)
	if i < len(doc) && doc[i] == '}' {
		return i + 1
	}
	for {
		begin := i
		if i >= len(doc) || doc[i] != '"' {
			return p.invalid(doc, i, "where a name is wanted")
		}
		name, next := p.text(doc, i)
		if next < 0 {
			return next
		}
		if i = space(doc, next); i >= len(doc) || doc[i] != ':' {
			return p.invalid(doc, i, "where a colon is wanted")
		}
		m, column := p.guessOf(g, name), c.memberNamed(name)
		if m == nil {
			i = p.skip(doc, space(doc, i+1), depth+1)
		} else if i = p.see(&m.guess, column, doc, space(doc, i+1), depth+1); i < 0 {
			p.path = append(p.path, m.name)
		}
		if i < 0 {
			return i
		}
		i = space(doc, i)
		if i >= len(doc) || doc[i] != ',' && doc[i] != '}' {
			return p.invalid(doc, i, "where a comma or the end of an object is wanted")
		}
		after := space(doc, i+1)
		if m != nil {
			if m.object == object {
				p.stale = append(p.stale, m.at)
			}
			m.object, m.at = object, [2]int{begin, after}
		}
		if doc[i] == '}' {
			return i + 1
		}
		i = after
	}
}

// guessOf is the member of that name, made if there is none; nil if there are too many.
func (p *parser) guessOf(g *guess, name []byte) *guessedMember {
	if k, ok := g.index[string(name)]; ok {
		return &g.members[k]
	}
	if p.guesses++; p.guesses > maxGuesses {
		return nil
	}
	if g.index == nil {
		g.index = map[string]int{}
	}
	g.index[string(name)] = len(g.members)
	g.members = append(g.members, guessedMember{name: string(name)})
	return &g.members[len(g.members)-1]
}

// memberNamed is the member of a struct column that the payload calls name, or nil.
func (c *column) memberNamed(name []byte) *column {
	if c != nil && c.kind == schema.Struct {
		if k, ok := c.index[string(name)]; ok {
			return c.fields[k]
		}
	}
	return nil
}

func (p *parser) seeList(g *guess, c *column, doc []byte, i, depth int) int {
	var m *column
	if c != nil && c.kind == schema.List {
		m = c.fields[0]
	}
	i = space(doc, i+1)
	if i < len(doc) && doc[i] == ']' {
		return i + 1
	}
	for {
		if i = p.see(g.element, m, doc, i, depth+1); i < 0 {
			p.path = append(p.path, "element")
			return i
		}
		i = space(doc, i)
		switch {
		case i < len(doc) && doc[i] == ',':
			i = space(doc, i+1)
		case i < len(doc) && doc[i] == ']':
			return i + 1
		default:
			return p.invalid(doc, i, "where a comma or the end of an array is wanted")
		}
	}
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
