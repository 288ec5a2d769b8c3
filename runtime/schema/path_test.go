package schema

import (
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
)

func TestParsePath(t *testing.T) {
	for text, want := range map[string]Path{
		"id":                {"id"},
		"after.id":          {"after", "id"},
		"a.b.c":             {"a", "b", "c"},
		"`a.b`":             {"a.b"},
		"`a.b`.c.`d`":       {"a.b", "c", "d"},
		"a.`b.c`":           {"a", "b.c"},
		"```a```":           {"`a`"},
		"user-id":           {"user-id"},
		"a`b":               {"a`b"},
		"with blanks. here": {"with blanks", " here"},
	} {
		got, err := ParsePath(text)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", text, got, err)
		}
		if again, err := ParsePath(got.String()); err != nil || !slices.Equal(again, want) {
			t.Errorf("%s: written %s, read %q, %v", text, got, again, err)
		}
	}
	for text, want := range map[string]string{
		"":       "a name is missing",
		".":      "a name is missing",
		"a.":     "a name is missing",
		".a":     "a name is missing",
		"a..b":   "a name is missing",
		"``":     "a name is missing",
		"`a":     "a backquote is missing",
		"`a``":   "a backquote is missing",
		"`a`b":   "a dot is missing",
		"`a.b`.": "a name is missing",
	} {
		if got, err := ParsePath(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v, want %s", text, got, err, want)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	f.Add("a.`b.c`")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePath(text)
		if err != nil {
			return
		}
		if again, err := ParsePath(p.String()); err != nil || !slices.Equal(again, p) {
			t.Errorf("%q: %q, %v", p, again, err)
		}
	})
}

func TestPathFind(t *testing.T) {
	long := arrow.PrimitiveTypes.Int64
	inner := arrow.StructOf(arrow.Field{Name: "x", Type: long}, arrow.Field{Name: "y.z", Type: long})
	fields := []arrow.Field{{Name: "a", Type: long}, {Name: "b", Type: arrow.StructOf(arrow.Field{Name: "c", Type: inner})}, {Name: "l", Type: arrow.ListOf(inner)}}
	for _, c := range []struct {
		path string
		at   []int
		ok   bool
	}{
		{"a", []int{0}, true}, {"b.c.x", []int{1, 0, 0}, true}, {"b.c.`y.z`", []int{1, 0, 1}, true}, {"b.c", []int{1, 0}, true},
		{"l", []int{2}, true}, {"l.x", []int{2}, false}, {"a.b", []int{0}, false}, {"b.d", nil, false}, {"c", nil, false}, {"b.c.y.z", nil, false},
	} {
		p, err := ParsePath(c.path)
		if err != nil {
			t.Fatal(err)
		}
		at, ok := p.Find(fields)
		if !slices.Equal(at, c.at) || ok != c.ok {
			t.Errorf("%s: %v, %v", c.path, at, ok)
		}
		if ok && FieldAt(fields, at).Name != p[len(p)-1] {
			t.Errorf("%s: field %s", c.path, FieldAt(fields, at).Name)
		}
	}
}
