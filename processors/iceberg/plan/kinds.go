package plan

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	iceberglib "github.com/apache/iceberg-go"

	"github.com/firn-io/firn/kfs/record"
)

// Field is what the sampled records have in one field of theirs, and what column takes it.
type Field struct {
	Field string          `json:"field"`
	Type  string          `json:"column_type,omitempty"` // of the column of that name; empty if there is none
	Seen  map[string]Seen `json:"seen"`                  // by kind of JSON value: null, boolean, integer, number, string, object, array
	// Coerced are the kinds whose values become something else in the column, or are rejected there.
	Coerced []string `json:"coerced,omitempty"`
}

// Seen is how often values of a kind were seen, and one of them.
type Seen struct {
	Records int64  `json:"records"`
	Example string `json:"example"`
}

// maxFields bounds the fields that are told apart, and exampleBytes their examples.
const (
	maxFields    = 2000
	exampleBytes = 64
)

// kinds counts what JSON documents have in their fields.
type kinds struct {
	names []string // in the order in which they were met
	seen  map[string]map[string]Seen
}

func newKinds() *kinds { return &kinds{seen: map[string]map[string]Seen{}} }

// see counts the fields of the documents in record batches. What is no object counts nowhere.
func (k *kinds) see(batches []byte) error {
	var reader record.Reader
	var r record.Record
	for batch, err := range record.Batches(batches) {
		if err != nil {
			return err
		}
		if err := reader.Reset(batch, record.DecompressedBytes); err != nil {
			return err
		}
		for {
			ok, err := reader.Next(&r)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			var doc map[string]json.RawMessage
			if json.Unmarshal(r.Value, &doc) == nil {
				for _, name := range slices.Sorted(maps.Keys(doc)) {
					k.count(name, doc[name])
				}
			}
		}
	}
	return nil
}

func (k *kinds) count(name string, value json.RawMessage) {
	of := k.seen[name]
	if of == nil {
		if len(k.names) == maxFields {
			return
		}
		of = map[string]Seen{}
		k.names, k.seen[name] = append(k.names, name), of
	}
	kind := kindOf(value)
	s := of[kind]
	if s.Records++; s.Example == "" {
		s.Example = strings.ToValidUTF8(string(value[:min(len(value), exampleBytes)]), "\uFFFD")
	}
	of[kind] = s
}

func kindOf(value json.RawMessage) string {
	switch value[0] {
	case 'n':
		return "null"
	case 't', 'f':
		return "boolean"
	case '"':
		return "string"
	case '{':
		return "object"
	case '[':
		return "array"
	}
	if strings.ContainsAny(string(value), ".eE") {
		return "number"
	}
	return "integer"
}

// fields says which columns take the fields.
func (k *kinds) fields(schema *iceberglib.Schema) []Field {
	out := []Field{}
	for _, name := range k.names {
		f := Field{Field: name, Seen: k.seen[name]}
		if column, ok := schema.FindFieldByNameCaseInsensitive(name); ok {
			f.Type = column.Type.String()
			for _, kind := range slices.Sorted(maps.Keys(f.Seen)) {
				if !natural(kind, column.Type) {
					f.Coerced = append(f.Coerced, kind)
				}
			}
		}
		out = append(out, f)
	}
	return out
}

// natural reports whether a kind of JSON value is what a column's type is made for.
func natural(kind string, t iceberglib.Type) bool {
	switch t.(type) {
	case iceberglib.BooleanType:
		return kind == "null" || kind == "boolean"
	case iceberglib.Int32Type, iceberglib.Int64Type:
		return kind == "null" || kind == "integer"
	case iceberglib.Float32Type, iceberglib.Float64Type:
		return kind == "null" || kind == "number"
	case iceberglib.StringType:
		return kind == "null" || kind == "string"
	case *iceberglib.StructType, *iceberglib.MapType:
		return kind == "null" || kind == "object"
	case *iceberglib.ListType:
		return kind == "null" || kind == "array"
	}
	return kind == "null"
}
