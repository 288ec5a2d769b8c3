package job

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/schema"
)

func place(name string, t *token.Token) string {
	if t == nil {
		return name
	}
	return fmt.Sprintf("%s:%d:%d", name, t.Position.Line, t.Position.Column)
}

// schemaKey is the key of what schema.ParseFields reads.
const schemaKey = "decode.value.schema"

// settingIn is where a setting stands that a transform's error is about: as a key or a value of its settings, or else where the step does.
func (s *Step) settingIn(err error) *token.Token {
	var about *plugin.SettingError
	if !errors.As(err, &about) {
		return s.token
	}
	var at *token.Token
	ast.Walk(visitor(func(n ast.Node) {
		if _, scalar := n.(ast.ScalarNode); scalar && at == nil && n.GetToken().Value == about.Setting {
			at = n.GetToken()
		}
	}), s.settings)
	return cmp.Or(at, s.token)
}

// where is the place of a fault: as exactly as its error tells.
func (d document) where(f *fault) *token.Token {
	var entry *schema.EntryError
	var column *schema.ColumnError
	switch {
	case f.token != nil:
		return f.token
	case errors.As(f.err, &entry):
		return find(d.root, schemaKey+strings.TrimPrefix(entry.Path, "schema"))
	case errors.As(f.err, &column) && f.key == schemaKey:
		if n := findColumn(nodeOf(d.root, strings.Split(schemaKey, ".")...), column.Path); n != nil {
			return n.GetToken()
		}
	}
	return find(d.root, f.key)
}

// find is where the value of a key begins, or that of the longest part of its path that is there; nil if no part is. The path has dots
// between keys, and [n] behind the key of a list: decode.value.schema[0].type.
func find(n ast.Node, path string) *token.Token {
	value, rest := step(n, path)
	if value == nil {
		return nil
	}
	if t := find(value, rest); t != nil {
		return t
	}
	return begin(n, value)
}

// step takes the first part of a path.
func step(n ast.Node, path string) (value ast.Node, rest string) {
	switch n := n.(type) {
	case ast.MapNode:
		for entries := n.MapRange(); entries.Next(); {
			rest, ok := strings.CutPrefix(path, entries.Key().GetToken().Value)
			if ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
				return entries.Value(), strings.TrimPrefix(rest, ".")
			}
		}
	case *ast.SequenceNode:
		number, rest, _ := strings.Cut(strings.TrimPrefix(path, "["), "]")
		if i, err := strconv.Atoi(number); err == nil && i < len(n.Values) {
			return n.Values[i], strings.TrimPrefix(rest, ".")
		}
	}
	return nil, ""
}

// begin is the token that people take for the beginning of a value in n: of a map, whose own token is the colon behind its first key, the key
// that it belongs to, or in a list its first.
func begin(n, value ast.Node) *token.Token {
	m, ok := value.(ast.MapNode)
	if !ok {
		return value.GetToken()
	}
	if in, ok := n.(ast.MapNode); ok {
		for entries := in.MapRange(); entries.Next(); {
			if entries.Value() == value {
				return entries.Key().GetToken()
			}
		}
	}
	if entries := m.MapRange(); entries.Next() {
		return entries.Key().GetToken()
	}
	return value.GetToken()
}

// nodeOf is the value of a key by the keys that lead to it, nil if it is not there.
func nodeOf(n ast.Node, keys ...string) ast.Node {
	for _, key := range keys {
		m, ok := n.(ast.MapNode)
		if !ok {
			return nil
		}
		n = nil
		for entries := m.MapRange(); entries.Next(); {
			if entries.Key().GetToken().Value == key {
				n = entries.Value()
			}
		}
	}
	return n
}

// findColumn is where the name of a column stands in a list of declared fields, or that of the innermost column around it whose type is not
// written as text; nil if there is none. Of two fields of a name it is the second.
func findColumn(list ast.Node, path []string) ast.Node {
	fields, ok := list.(*ast.SequenceNode)
	if !ok {
		return nil
	}
	for _, field := range slices.Backward(fields.Values) {
		name := nodeOf(field, "name")
		if name == nil || name.GetToken().Value != path[0] {
			continue
		}
		rest := path[1:]
		for len(rest) > 0 && nodeOf(field, "element") != nil { // the path says "element" for it
			field, rest = nodeOf(field, "element"), rest[1:]
		}
		if len(rest) > 0 {
			if inner := findColumn(nodeOf(field, "fields"), rest); inner != nil {
				return inner
			}
		}
		return name
	}
	return nil
}
