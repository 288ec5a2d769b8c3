package decode

import (
	"fmt"
	"slices"
	"strings"

	"github.com/firn-io/firn/runtime/schema"
)

// parser reads JSON into columns, in one pass without looking back. Its functions take the document and the position of a value, and
// give the position behind it, or -1 after a fault.
type parser struct {
	inferred bool // an unknown field is a misfit; else it is ignored
	fault    fault
	path     []string // of the fault, innermost first
	scratch  []byte   // a string with its escapes resolved
	inexact  []place  // where the document gives Long columns integers that no double can hold

	bound  int64 // bytes that lists of a small document may take
	listed int64 // bits that elements of lists have taken since the last look at the memory, at most
	most   int64 // what that may come to with the document in hand

	// Of infer.
	stale   [][2]int // ranges of the document that do not count
	objects int      // seen so far
	guesses int      // made so far
}

// decode reads a document into slot of the members of root. After a fault the members may hold parts of it, from slot on.
func (p *parser) decode(root *column, slot int, doc []byte) bool {
	p.inexact = p.inexact[:0]
	p.most = p.listed + 8*max(p.bound, listGrowth*int64(len(doc)))
	i := space(doc, 0)
	if i >= len(doc) || doc[i] != '{' {
		return p.end(p.notObject(doc, i))
	}
	i = p.object(root, slot, doc, i)
	if i < 0 {
		return p.end(i)
	}
	if i = space(doc, i); i < len(doc) {
		return p.end(p.invalid(doc, i, "after the object"))
	}
	if len(p.inexact) > 0 {
		p.keepInexact()
	}
	return true
}

// end completes a fault with the path to it.
func (p *parser) end(i int) bool {
	if i >= 0 {
		return true
	}
	if len(p.path) > 0 {
		slices.Reverse(p.path)
		p.fault.what = "field " + excerptPath(strings.Join(p.path, ".")) + ": " + p.fault.what
		p.path = p.path[:0]
	}
	return false
}

func (p *parser) fail(class Class, what string) int {
	p.fault = fault{class: class, what: what}
	p.path = p.path[:0]
	return -1
}

// misfit is a fault that a wider schema may heal.
func (p *parser) misfit(class Class, what string) int {
	p.fail(class, what)
	p.fault.misfit = true
	return -1
}

// invalid is the fault of a document that is no JSON at byte i.
func (p *parser) invalid(doc []byte, i int, where string) int {
	if i >= len(doc) {
		return p.fail(InvalidJSON, fmt.Sprintf("the document ends at byte %d, %s", len(doc), where))
	}
	return p.fail(InvalidJSON, fmt.Sprintf("unexpected %q at byte %d, %s", rune(doc[i]), i, where))
}

func (p *parser) notObject(doc []byte, i int) int {
	end := p.skip(doc, i, 0)
	if end < 0 {
		return end
	}
	if end = space(doc, end); end < len(doc) {
		return p.invalid(doc, end, "after the value")
	}
	return p.fail(NotObject, "the value is JSON, but "+kindOf(doc[i])+" where an object is wanted")
}

// kindOf names the kind of value that begins with c.
func kindOf(c byte) string {
	switch c {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	default:
		return "a number"
	}
}

// object reads the object at i into slot of the members of s. It does not set the slot of s itself.
func (p *parser) object(s *column, slot int, doc []byte, i int) int {
	i = space(doc, i+1)
	if i < len(doc) && doc[i] == '}' {
		return p.complete(s, slot, i+1)
	}
	next := &s.first
	for {
		// Most objects have the members of the one before, in the same order and without spaces.
		var c *column
		if k := int(*next); k < len(s.fields) {
			if f := s.fields[k]; f.nameAt(doc, i) {
				c, i = f, i+len(f.quoted)
			}
		}
		if c == nil {
			if c, i = p.name(s, doc, i); i < 0 {
				return i
			}
			if c != nil {
				*next = c.place
			}
		}
		i = space(doc, i)
		if c != nil {
			if i = p.value(c, slot, doc, i); i < 0 {
				p.path = append(p.path, c.name)
				return i
			}
			next = &c.follower
		} else if i = p.unknown(doc, i); i < 0 {
			return i
		}
		i = space(doc, i)
		switch {
		case i < len(doc) && doc[i] == ',':
			i = space(doc, i+1)
		case i < len(doc) && doc[i] == '}':
			return p.complete(s, slot, i+1)
		default:
			return p.invalid(doc, i, "where a comma or the end of an object is wanted")
		}
	}
}

// complete checks that an object had what it needs.
func (p *parser) complete(s *column, slot, i int) int {
	for _, f := range s.needs {
		if f.n <= slot {
			return p.misfit(MissingField, "the required field "+excerptPath(f.name)+" is missing or null")
		}
	}
	return i
}

// name reads a member's name and the colon; the column is nil if s has none of that name.
func (p *parser) name(s *column, doc []byte, i int) (*column, int) {
	if i >= len(doc) || doc[i] != '"' {
		return nil, p.invalid(doc, i, "where a name is wanted")
	}
	name, i := p.text(doc, i)
	if i < 0 {
		return nil, i
	}
	if i = space(doc, i); i >= len(doc) || doc[i] != ':' {
		return nil, p.invalid(doc, i, "where a colon is wanted")
	}
	if k, ok := s.index[string(name)]; ok {
		return s.fields[k], i + 1
	}
	return nil, i + 1
}

// unknown reads a value that has no column. One that tells no type needs none.
func (p *parser) unknown(doc []byte, i int) int {
	if !p.inferred {
		return p.skip(doc, i, 0)
	}
	if end := p.typeless(doc, i, 0); end >= 0 {
		return end
	}
	return p.misfit(TypeConflict, "a field without a column")
}

// value reads the value at i into slot of c.
func (p *parser) value(c *column, slot int, doc []byte, i int) int {
	if i >= len(doc) {
		return p.invalid(doc, i, "where a value is wanted")
	}
	switch c.kind {
	case schema.String:
		if doc[i] == '"' {
			c.seek(slot)
			return p.string(c, slot, doc, i)
		}
	case schema.Long:
		if v, end := integer(doc, i); end > 0 {
			c.seek(slot)
			p.setLong(c, slot, v)
			return end
		}
		if isNumber(doc[i]) {
			return p.number(c, slot, doc, i)
		}
	case schema.Double:
		if isNumber(doc[i]) {
			return p.double(c, slot, doc, i)
		}
	case schema.Boolean:
		if doc[i] == 't' && literal(doc, i, "true") {
			c.seek(slot)
			c.setBool(slot, true)
			return i + len("true")
		}
		if doc[i] == 'f' && literal(doc, i, "false") {
			c.seek(slot)
			c.setBool(slot, false)
			return i + len("false")
		}
	case schema.Struct:
		if doc[i] == '{' {
			c.seek(slot)
			end := p.object(c, slot, doc, i)
			if end >= 0 {
				c.present(slot)
			}
			return end
		}
	case schema.List:
		if doc[i] == '[' {
			c.seek(slot)
			return p.list(c, slot, doc, i)
		}
	case schema.Int, schema.Float, schema.Decimal:
		if isNumber(doc[i]) {
			return p.number(c, slot, doc, i)
		}
		if c.kind == schema.Decimal && doc[i] == '"' {
			return p.special(c, slot, doc, i)
		}
	case schema.Date, schema.Timestamp, schema.Timestamptz, schema.Binary:
		if doc[i] == '"' {
			return p.special(c, slot, doc, i)
		}
		if c.kind == schema.Timestamptz && isNumber(doc[i]) {
			return p.number(c, slot, doc, i)
		}
	}
	return p.other(c, slot, doc, i)
}

// other reads a null, or a value without a type that is taken for one, or finds that the value does not fit the column.
func (p *parser) other(c *column, slot int, doc []byte, i int) int {
	if literal(doc, i, "null") {
		if c.n > slot {
			c.truncate(slot)
		}
		return i + len("null")
	}
	if p.inferred {
		if end := p.typeless(doc, i, 0); end >= 0 {
			c.truncate(slot)
			return end
		}
	}
	return p.misfit(TypeConflict, fmt.Sprintf("the column is %s, the value %s", c.typ.Short(), kindOf(doc[i])))
}

// listGrowth is how many times its own size a document's lists may take in any case. Numbers in a list take hardly more than eight times what
// they are written with; {} in a list of structs takes thousands of times that, as soon as a later element has values.
const listGrowth = 9

func (p *parser) list(c *column, slot int, doc []byte, i int) int {
	element := c.fields[0]
	at := int(c.i32[slot])
	i = space(doc, i+1)
	if i < len(doc) && doc[i] == ']' {
		c.setList(slot, at)
		return i + 1
	}
	for {
		if i = p.value(element, at, doc, i); i < 0 {
			p.path = append(p.path, element.name)
			return i
		}
		at++
		if p.listed += int64(element.width); p.listed > p.most {
			return p.fail(TooLarge, fmt.Sprintf("its elements, with the lists before it, would take more than %d bytes", max(p.bound, listGrowth*int64(len(doc)))))
		}
		if element.required && element.n < at {
			return p.misfit(MissingField, "a null in a list whose elements are required")
		}
		i = space(doc, i)
		switch {
		case i < len(doc) && doc[i] == ',':
			i = space(doc, i+1)
		case i < len(doc) && doc[i] == ']':
			c.setList(slot, at)
			return i + 1
		default:
			return p.invalid(doc, i, "where a comma or the end of an array is wanted")
		}
	}
}

// space is the position of the first byte from i on that is no white space.
func space(doc []byte, i int) int {
	if i < len(doc) && doc[i] > ' ' {
		return i
	}
	return skipSpace(doc, i)
}

func skipSpace(doc []byte, i int) int {
	for i < len(doc) && (doc[i] == ' ' || doc[i] == '\n' || doc[i] == '\r' || doc[i] == '\t') {
		i++
	}
	return i
}

func literal(doc []byte, i int, word string) bool {
	return len(doc)-i >= len(word) && string(doc[i:i+len(word)]) == word
}

func isNumber(c byte) bool { return c == '-' || '0' <= c && c <= '9' }

// excerptPath keeps a message short although names are not.
func excerptPath(path string) string {
	const most = 256
	path = strings.ToValidUTF8(path, "\uFFFD")
	if len(path) > most {
		return strings.ToValidUTF8(path[:most], "") + "…"
	}
	return path
}
