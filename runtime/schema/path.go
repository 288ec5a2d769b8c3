package schema

import (
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// Path is the name of a column, or of a field in structs: the names from the column on. What is in lists has none. In text there are dots
// between the names; a name with a dot in it, or with a backquote at its beginning, stands in backquotes, where a backquote is written
// twice: after.id, `user.id`.name.
type Path []string

// ParsePath reads a path.
func ParsePath(text string) (Path, error) {
	var p Path
	for rest := text; ; {
		name := rest
		if quoted, ok := strings.CutPrefix(rest, "`"); ok {
			end := closing(quoted)
			if end < 0 {
				return nil, fmt.Errorf("%q: a backquote is missing", text)
			}
			name, rest = strings.ReplaceAll(quoted[:end], "``", "`"), quoted[end+1:]
		} else if i := strings.IndexByte(rest, '.'); i >= 0 {
			name, rest = rest[:i], rest[i:]
		} else {
			rest = ""
		}
		if name == "" {
			return nil, fmt.Errorf("%q: a name is missing; write names with dots between them, such as after.id", text)
		}
		p = append(p, name)
		if rest == "" {
			return p, nil
		}
		var more bool
		if rest, more = strings.CutPrefix(rest, "."); !more {
			return nil, fmt.Errorf("%q: a dot is missing behind a backquote; a name that has dots in it stands between two of them", text)
		}
	}
}

// closing is where the backquote is that ends a name; -1 if there is none.
func closing(quoted string) int {
	for i := 0; i < len(quoted); i++ {
		switch {
		case quoted[i] != '`':
		case i+1 < len(quoted) && quoted[i+1] == '`':
			i++
		default:
			return i
		}
	}
	return -1
}

// String is the path as ParsePath reads it.
func (p Path) String() string {
	names := slices.Clone(p)
	for i, name := range names {
		if strings.ContainsRune(name, '.') || strings.HasPrefix(name, "`") || name == "" {
			names[i] = "`" + strings.ReplaceAll(name, "`", "``") + "`"
		}
	}
	return strings.Join(names, ".")
}

// Under reports whether the path leads to outer, or into it.
func (p Path) Under(outer Path) bool {
	return len(p) >= len(outer) && slices.Equal(p[:len(outer)], outer)
}

// Find gives the number of the column that a path begins with, and then those of the members of structs that it goes on with. Where the path
// leads into a column that is no struct, at is the place of that column, and ok is false; where it leads nowhere, at is nil.
func (p Path) Find(fields []arrow.Field) (at []int, ok bool) {
	for n, name := range p {
		i := slices.IndexFunc(fields, func(f arrow.Field) bool { return f.Name == name })
		if i < 0 {
			return nil, false
		}
		at = append(at, i)
		if n == len(p)-1 {
			return at, true
		}
		inner, ok := fields[i].Type.(*arrow.StructType)
		if !ok {
			return at, false
		}
		fields = inner.Fields()
	}
	return nil, false
}

// FieldAt is the field at a place that Find has given.
func FieldAt(fields []arrow.Field, at []int) arrow.Field {
	f := fields[at[0]]
	for _, i := range at[1:] {
		f = f.Type.(*arrow.StructType).Field(i)
	}
	return f
}
