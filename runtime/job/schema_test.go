package job_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/firn-io/firn/processors/exec"
	"github.com/firn-io/firn/processors/jsonl"
	"github.com/firn-io/firn/processors/transform"
	"github.com/firn-io/firn/runtime/job"
)

var update = flag.Bool("update", false, "write the JSON Schema anew")

// TestJSONSchemaIsCurrent makes the schema from the types and holds it against the file.
func TestJSONSchemaIsCurrent(t *testing.T) {
	g := generator{comments: map[string]string{}}
	g.read(t, ".")
	g.read(t, "../../processors/transform")
	g.read(t, "../../processors/exec")
	g.read(t, "../../processors/jsonl")
	root := g.object(reflect.TypeFor[job.Job]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Firn job"
	root["required"] = []string{"name", "source"}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(root); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("job.schema.json", text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(job.JSONSchema(), text.Bytes()) && !*update {
		t.Error("job.schema.json is not what the types say: run `make schema`")
	}
}

// generator makes a schema of Go types, and of the comments in their source.
type generator struct {
	comments map[string]string // by type and field
}

// read takes the comments of struct fields in the package of a folder.
func (g generator) read(t *testing.T, dir string) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			s, ok := spec.Type.(*ast.StructType)
			if !ok {
				return true
			}
			for _, field := range s.Fields.List {
				for _, name := range field.Names {
					g.comments[spec.Name.Name+"."+name.Name] = strings.TrimSpace(field.Comment.Text() + field.Doc.Text())
				}
			}
			return true
		})
	}
}

type object = map[string]any

func (g generator) object(t reflect.Type) object {
	properties := object{}
	for i := range t.NumField() {
		f := t.Field(i)
		key := f.Tag.Get("yaml")
		if key == "" {
			continue
		}
		s := g.of(f.Type)
		if enum := f.Tag.Get("enum"); enum != "" {
			s["enum"] = strings.Split(enum, ",")
		}
		if comment := g.comments[t.Name()+"."+f.Name]; comment != "" {
			s["description"] = comment
		}
		if t == reflect.TypeFor[job.Value]() && f.Name == "Schema" {
			s["oneOf"] = []object{{"const": "inferred"}, {"type": "array", "items": object{"type": "object"}, "minItems": 1}}
		}
		properties[key] = s
	}
	return object{"type": "object", "properties": properties, "additionalProperties": false}
}

func (g generator) of(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[job.Step]():
		return g.steps()
	case reflect.TypeFor[*job.Step]():
		return object{"type": "object", "properties": object{"iceberg": object{"type": "object"}, "jsonl": g.of(jsonl.Kind().Settings)}, "minProperties": 1, "maxProperties": 1}
	case reflect.TypeFor[job.Duration]():
		return object{"type": "string", "examples": []string{"500ms", "2s", "1m"}}
	case reflect.TypeFor[job.Size]():
		return object{"type": []string{"string", "integer"}, "examples": []string{"512KiB", "128MiB", "1GiB"}}
	case reflect.TypeFor[transform.Computed]():
		return object{"oneOf": []object{{"type": "string"}, g.object(t)}}
	}
	switch t.Kind() {
	case reflect.String:
		return object{"type": "string"}
	case reflect.Int, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Slice:
		return object{"type": "array", "items": g.of(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": g.of(t.Elem())}
	case reflect.Struct:
		return g.object(t)
	case reflect.Interface:
		return object{}
	}
	panic(fmt.Sprintf("%s has no schema", t))
}

// steps is one step: one of the transforms, or a plug-in's.
func (g generator) steps() object {
	kinds := transform.Kinds()
	kinds["exec"] = exec.Kind()
	properties := object{}
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		properties[name] = g.of(kinds[name].Settings)
	}
	return object{"type": "object", "properties": properties, "minProperties": 1, "maxProperties": 1}
}
