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

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/firn-io/firn/processors/exec"
	"github.com/firn-io/firn/processors/jsonl"
	"github.com/firn-io/firn/processors/transform"
	"github.com/firn-io/firn/runtime/job"
	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/schema"
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
	all := object{"type": "object", "properties": properties, "additionalProperties": false}
	var required []string
	var oneOf []object
	for i := range t.NumField() {
		f := t.Field(i)
		key := f.Tag.Get("yaml")
		if key == "" {
			continue
		}
		s := object{}
		if t == reflect.TypeFor[job.Value]() && key == "schema" {
			const at = "#/properties/decode/properties/value/properties/schema/oneOf/1"
			s["oneOf"] = []object{{"const": "inferred"}, schema.FieldsJSONSchema(at)}
		} else {
			s = g.of(f.Type)
		}
		if enum := f.Tag.Get("enum"); enum != "" {
			s["enum"] = strings.Split(enum, ",")
		}
		if pattern := f.Tag.Get("pattern"); pattern != "" {
			s["pattern"] = pattern
		}
		if minimum := f.Tag.Get("minimum"); minimum != "" {
			s["minimum"] = json.Number(minimum)
		}
		if f.Tag.Get("required") != "" {
			required = append(required, key)
			s[map[string]string{"string": "minLength", "array": "minItems", "object": "minProperties"}[s["type"].(string)]] = 1
		}
		if f.Tag.Get("one") != "" {
			oneOf = append(oneOf, object{"required": []string{key}})
		}
		if comment := g.comments[t.Name()+"."+f.Name]; comment != "" {
			s["description"] = comment
		}
		properties[key] = s
	}
	if required != nil {
		all["required"] = required
	}
	if oneOf != nil {
		all["oneOf"] = oneOf
	}
	return all
}

// of is the schema of a type: what it says itself, or what its form says.
func (g generator) of(t reflect.Type) object {
	if says, ok := reflect.Zero(t).Interface().(interface{ JSONSchema() map[string]any }); ok {
		return says.JSONSchema()
	}
	switch t {
	case reflect.TypeFor[job.Step]():
		return g.steps()
	case reflect.TypeFor[*job.Step]():
		return object{"type": "object", "properties": object{"iceberg": g.of(reflect.TypeFor[map[string]string]()), "jsonl": g.of(jsonl.Kind().Settings)}, "minProperties": 1, "maxProperties": 1}
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

// verdicts are job files, and whether they are good. beyond says that only the parser can tell, for want of words in JSON Schema.
var verdicts = []struct {
	text         string
	good, beyond bool
}{
	{text: "{}"},
	{text: "name: a"},
	{text: "source: {topics: [x]}"},
	{text: "name: a\nsource: {topics: [x]}", good: true},
	{text: "name: a\nsource: {topics: [x]}\nsorce: 1"},
	{text: "name: ''\nsource: {topics: [x]}"},
	{text: "name: a b\nsource: {topics: [x]}"},
	{text: "name: -a\nsource: {topics: [x]}"},
	{text: "name: a\nsource: {topics: [x], pattern: y}"},
	{text: "name: a\nsource: {pattern: 'y.*'}", good: true},
	{text: "name: a\nsource: {pattern: '('}", beyond: true},
	{text: "name: a\nsource: {format: firn}"},
	{text: "name: a\nsource: {topics: [x], format: kafscale, from: latest}", good: true},
	{text: "name: a\nsource: {topics: [x], format: parquet}"},
	{text: "name: a\nsource: {topics: [x], from: '2026-01-31T12:00:00.5+01:00'}", good: true},
	{text: "name: a\nsource: {topics: [x], from: yesterday}"},
	{text: "name: a\nsource: {topics: [x], from: '2026-13-31T12:00:00Z'}", beyond: true},
	{text: "name: a\nsource: {topics: [x], store: 'gs://x'}", beyond: true},

	{text: base + "decode: {key: {format: string}, value: {format: raw}}", good: true},
	{text: base + "decode: {value: {format: avro}}"},
	{text: base + "decode: {value: {schema: guess}}"},
	{text: base + "decode: {value: {schema: []}}"},
	{text: base + "decode: {value: {schema: [{name: a, type: long, required: true, doc: b}]}}", good: true},
	{text: base + "decode: {value: {schema: [{name: a, type: itn}]}}"},
	{text: base + "decode: {value: {schema: [{name: a}]}}"},
	{text: base + "decode: {value: {schema: [{type: long}]}}"},
	{text: base + "decode: {value: {schema: [{name: a.b, type: long}]}}"},
	{text: base + "decode: {value: {schema: [{name: a, type: long, requird: true}]}}"},
	{text: base + "decode: {value: {schema: [{name: a, type: long, required: 1}]}}"},
	{text: base + "decode: {value: {schema: [a]}}"},
	{text: base + "decode: {value: {schema: [{name: a, type: 'decimal(9, 2)'}, {name: b, type: 'list<struct<c: long>>'}]}}", good: true},
	{text: base + "decode: {value: {schema: [{name: a, type: decimal}]}}"},
	{text: base + "decode: {value: {schema: [{name: a, type: 'decimal(50, 2)'}]}}", beyond: true},
	{text: base + "decode: {value: {schema: [{name: a, type: 'list<itn>'}]}}", beyond: true},
	{text: base + "decode: {value: {schema: [{name: a, type: long}, {name: A, type: long}]}}", beyond: true},
	{text: base + "decode: {value: {schema: [{name: _file, type: long}]}}", beyond: true},
	{text: base + "decode: {value: {schema: [{name: a, type: struct, fields: [{name: b, type: list, element: {type: struct, fields: [{name: c, type: date}]}}]}]}}", good: true},
	{text: base + "decode: {value: {schema: [{name: a, type: struct, fields: [{name: b, type: list, element: {type: struct, fields: [{name: c, type: dat}]}}]}]}}"},
	{text: base + "decode: {value: {schema: [{name: a, type: struct}]}}"},
	{text: base + "decode: {value: {schema: [{name: a, type: long, fields: [{name: b, type: int}]}]}}"},
	{text: base + "decode: {value: {schema: [{name: a, type: list, element: string}]}}", good: true},
	{text: base + "decode: {value: {schema: [{name: a, type: list, element: struct}]}}"},
	{text: base + "decode: {value: {schema: [{name: a, type: list}]}}"},
	{text: base + "decode: {value: {schema: [{name: a, type: string, element: string}]}}"},

	{text: base + "transform: [{drop: [a, b.c]}, {select: [a]}, {rename: {a: b}}, {filter: a > 1}]", good: true},
	{text: base + "transform: [{drop: []}]"},
	{text: base + "transform: [{drop: a}]"},
	{text: base + "transform: [{drop: ['a..b']}]", beyond: true},
	{text: base + "transform: [{rename: {}}]"},
	{text: base + "transform: [{drop: [a], filter: b}]"},
	{text: base + "transform: [{}]"},
	{text: base + "transform: [{filter: 'a <'}]", beyond: true},
	{text: base + "transform: [{flter: a}]", beyond: true}, // it may be a plug-in's
	{text: base + "transform: [{cast: {a: 'decimal(9, 2)', b.c: long}}]", good: true},
	{text: base + "transform: [{cast: {a: number}}]"},
	{text: base + "transform: [{cast: {a: list<long>}}]"},
	{text: base + "transform: [{timestamp: {field: a, unit: us, column: b}}]", good: true},
	{text: base + "transform: [{timestamp: {unit: us}}]"},
	{text: base + "transform: [{timestamp: {field: a, unit: min}}]"},
	{text: base + "transform: [{compute: {a: b + 1, c: {expr: d, type: int}}}]", good: true},
	{text: base + "transform: [{compute: {a: {expr: d, type: itn}}}]"},
	{text: base + "transform: [{compute: {a: {expr: d, typ: int}}}]"},
	{text: base + "transform: [{exec: {command: [x, y], timeout: 1m30s, memory: 1GiB}}]", good: true},
	{text: base + "transform: [{exec: {timeout: 1m}}]"},
	{text: base + "transform: [{exec: {command: []}}]"},
	{text: base + "transform: [{exec: {command: [x], memory: lots}}]"},

	{text: base + "table: {name: 'a.{topic}', max: 7, partition: [day(kafka_timestamp)], properties: {a: b}}", good: true},
	{text: base + "table: {name: a}"},
	{text: base + "table: {name: '{topic}.a'}"},
	{text: base + "table: {name: 'a.{tenant}'}", beyond: true},
	{text: base + "table: {max: -1}"},
	{text: base + "catalog: {type: rest, uri: 'https://c'}", good: true},
	{text: base + "catalog: [a]"},
	{text: base + "sink: {jsonl: {url: /x}}", good: true},
	{text: base + "sink: {jsonl: {}}"},
	{text: base + "sink: {jsonl: {ulr: /x}}"},
	{text: base + "sink: {jsonl: {url: 'ftp://x'}}", beyond: true},
	{text: base + "sink: {jsonl: {url: /x}, iceberg: {}}"},

	{text: base + "commit: {freshness: 500ms, file_size: 1 MB}", good: true},
	{text: base + "commit: {freshness: 1h2m3.5s, file_size: 1000000}", good: true},
	{text: base + "commit: {freshness: 2}"},
	{text: base + "commit: {freshness: 2 s}"},
	{text: base + "commit: {freshness: -2s}"},
	{text: base + "commit: {freshness: 0s}", beyond: true},
	{text: base + "commit: {file_size: 1.5MiB}"},
	{text: base + "commit: {file_size: 1mib}"},
	{text: base + "commit: {file_size: 0}"},
	{text: base + "commit: {file_size: 0KiB}"},
	{text: base + "commit: {file_size: 99999999999GiB}", beyond: true},
	{text: base + "errors: {policy: skip}", good: true},
	{text: base + "errors: {policy: ignore}"},
}

const base = "name: a\nsource: {topics: [x]}\n"

// TestJSONSchemaAgrees: what editors say of a job file is what the parser says, but for what JSON Schema has no words for: there the schema lets
// it pass. What is good is never called wrong.
func TestJSONSchemaAgrees(t *testing.T) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(job.JSONSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("job.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("job.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	transforms := transform.Kinds()
	transforms["exec"] = exec.Kind()
	reader := job.Reader{Getenv: func(string) (string, bool) { return "", false }, Transforms: transforms,
		Sinks: plugin.Sinks{"iceberg": {Settings: reflect.TypeFor[map[string]string]()}, "jsonl": jsonl.Kind()}, Sink: "iceberg"}
	for _, v := range verdicts {
		_, parsed := reader.Parse("job.yaml", []byte(v.text+"\n"))
		text, err := yaml.YAMLToJSON([]byte(v.text))
		if err != nil {
			t.Fatal(err)
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		checked := compiled.Validate(value)
		if (parsed == nil) != v.good || (checked == nil) != (v.good || v.beyond) {
			t.Errorf("%s\nthe parser says %v\nthe schema says %v", v.text, parsed, checked)
		}
	}
}
