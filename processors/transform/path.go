package transform

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/schema"
	"github.com/firn-io/firn/runtime/spelling"
)

// path is a column, or a field of structs, as a setting names it.
type path struct {
	schema.Path
	text string // as it stands in the job file
}

// Settings that name columns. JSONSchema says what parsePaths wants of them.
type (
	names    []string          // columns
	newNames map[string]string // by the name before
	newTypes map[string]string // by column
)

// JSONSchema is for editors.
func (names) JSONSchema() map[string]any {
	return map[string]any{"type": "array", "items": map[string]any{"type": "string", "minLength": 1}, "minItems": 1}
}

// JSONSchema is for editors.
func (newNames) JSONSchema() map[string]any {
	return map[string]any{"type": "object", "additionalProperties": map[string]any{"type": "string", "minLength": 1}, "minProperties": 1}
}

// JSONSchema is for editors.
func (newTypes) JSONSchema() map[string]any {
	return map[string]any{"type": "object", "additionalProperties": map[string]any{"type": "string", "pattern": schema.ScalarPattern()}, "minProperties": 1}
}

// parsePaths reads what settings name. Coordinates they cannot name, and not nothing.
func parsePaths(texts ...string) ([]path, error) {
	if len(texts) == 0 {
		return nil, fmt.Errorf("name at least one column")
	}
	paths := make([]path, len(texts))
	for i, text := range texts {
		p, err := schema.ParsePath(text)
		if err == nil && coordinates[strings.ToLower(p[0])] {
			err = fmt.Errorf("column %s stays as it is: it says where a row came from", p[0])
		}
		if err != nil {
			return nil, &plugin.SettingError{Setting: text, Err: err}
		}
		paths[i] = path{p, text}
	}
	return paths, nil
}

// require refuses paths that lead to nothing.
func require(in *arrow.Schema, paths ...path) error {
	for _, p := range paths {
		if _, ok := p.Find(in.Fields()); !ok {
			return &plugin.SettingError{Setting: p.text, Err: missing(p.Path, in)}
		}
	}
	return nil
}

// missing is the error that a path leads to nothing. It says what there is where the path ends, and which path was meant, perhaps.
func missing(p schema.Path, in *arrow.Schema) error {
	n, fields := 0, in.Fields()
	for ; n < len(p)-1; n++ {
		at, ok := p[:n+1].Find(in.Fields())
		if !ok {
			break
		}
		outer := schema.FieldAt(in.Fields(), at).Type
		inner, ok := outer.(*arrow.StructType)
		if !ok {
			return fmt.Errorf("column %s is a %s: %s leads into structs only", p[:n+1], nameOf(outer), p)
		}
		fields = inner.Fields()
	}
	what := fmt.Sprintf("there is no column %q", p[n])
	if n > 0 {
		what = fmt.Sprintf("column %s has no field %q", p[:n], p[n])
	}
	if near := nearest(p, in); near != "" {
		what += fmt.Sprintf(" (did you mean %s?)", near)
	}
	var there []string
	for _, f := range fields {
		there = append(there, schema.Path{f.Name}.String())
	}
	return fmt.Errorf("%s; there are %s", what, strings.Join(there, ", "))
}

// nearest is the path that was meant by one that leads nowhere: to a field of that name elsewhere, or with the fewest edits.
func nearest(p schema.Path, in *arrow.Schema) string {
	var known []string
	elsewhere := ""
	var walk func(outer schema.Path, fields []arrow.Field)
	walk = func(outer schema.Path, fields []arrow.Field) {
		for _, f := range fields {
			at := append(outer[:len(outer):len(outer)], f.Name)
			known = append(known, at.String())
			if elsewhere == "" && f.Name == p[len(p)-1] {
				elsewhere = at.String()
			}
			if inner, ok := f.Type.(*arrow.StructType); ok {
				walk(at, inner.Fields())
			}
		}
	}
	walk(nil, in.Fields()[min(processor.Coordinates, in.NumFields()):])
	if elsewhere != "" {
		return elsewhere
	}
	return spelling.Nearest(p.String(), known)
}

// nameOf is a type as job files have it.
func nameOf(t arrow.DataType) string {
	s, err := schema.FromArrow([]arrow.Field{{Name: "f", Type: t}})
	if err != nil {
		return t.String()
	}
	return s.Fields[0].Type.String()
}
