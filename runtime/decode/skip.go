package decode

import "fmt"

// maxNesting is how deep values may be that have no columns.
const maxNesting = 512

// skip validates the value at i.
func (p *parser) skip(doc []byte, i, depth int) int {
	if i >= len(doc) {
		return p.invalid(doc, i, "where a value is wanted")
	}
	switch c := doc[i]; {
	case c == '"':
		_, i = p.text(doc, i)
		return i
	case c == '{', c == '[':
		if depth >= maxNesting {
			return p.fail(SchemaLimit, fmt.Sprintf("nested deeper than %d", maxNesting))
		}
		return p.skipNested(doc, i, depth)
	case literal(doc, i, "null"), literal(doc, i, "true"):
		return i + 4
	case literal(doc, i, "false"):
		return i + 5
	case isNumber(c):
		_, end := scanNumber(doc, i)
		if end < 0 {
			return p.invalid(doc, -1-end, "in a number")
		}
		return end
	}
	return p.invalid(doc, i, "where a value is wanted")
}

func (p *parser) skipNested(doc []byte, i, depth int) int {
	object := doc[i] == '{'
	closing := doc[i] + 2
	i = space(doc, i+1)
	if i < len(doc) && doc[i] == closing {
		return i + 1
	}
	for {
		if object {
			if i >= len(doc) || doc[i] != '"' {
				return p.invalid(doc, i, "where a name is wanted")
			}
			if _, i = p.text(doc, i); i < 0 {
				return i
			}
			if i = space(doc, i); i >= len(doc) || doc[i] != ':' {
				return p.invalid(doc, i, "where a colon is wanted")
			}
			i = space(doc, i+1)
		}
		if i = p.skip(doc, i, depth+1); i < 0 {
			return i
		}
		i = space(doc, i)
		switch {
		case i < len(doc) && doc[i] == ',':
			i = space(doc, i+1)
		case i < len(doc) && doc[i] == closing:
			return i + 1
		default:
			return p.invalid(doc, i, "where a comma or the end of an object or array is wanted")
		}
	}
}

// typeless is the position behind the value at i if there are only nulls and empty arrays and objects in it, else -1.
func (p *parser) typeless(doc []byte, i, depth int) int {
	switch {
	case literal(doc, i, "null"):
		return i + len("null")
	case i >= len(doc) || doc[i] != '[' && doc[i] != '{' || depth > maxNesting:
		return -1
	}
	object, closing := doc[i] == '{', doc[i]+2
	if i = space(doc, i+1); i < len(doc) && doc[i] == closing {
		return i + 1
	}
	for {
		if object {
			if i >= len(doc) || doc[i] != '"' {
				return -1
			}
			if _, i = p.text(doc, i); i < 0 {
				return -1
			}
			if i = space(doc, i); i >= len(doc) || doc[i] != ':' {
				return -1
			}
			i = space(doc, i+1)
		}
		if i = p.typeless(doc, i, depth+1); i < 0 {
			return -1
		}
		if i = space(doc, i); i >= len(doc) || doc[i] != ',' && doc[i] != closing {
			return -1
		}
		if doc[i] == closing {
			return i + 1
		}
		i = space(doc, i+1)
	}
}
