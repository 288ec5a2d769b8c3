package schema

import (
	"maps"
	"strings"
)

// What follows says in JSON Schema, for editors, what ParseFields and ParseType read, as far as that can be said: not what is within
// struct<…> and list<…>, whether two names are one, or how deep fields are nested.

// ScalarPattern matches the text of types that have no others in them.
func ScalarPattern() string { return typePattern() }

// typePattern matches scalars and what else is said.
func typePattern(others ...string) string {
	return `^ *(` + strings.Join(append(append(plain(), `decimal *\( *[0-9]+ *, *[0-9]+ *\)`), others...), "|") + `) *$`
}

type object = map[string]any

// FieldsJSONSchema is a list of declared fields. at is where the result stands in the whole, as a JSON pointer in a reference.
func FieldsJSONSchema(at string) map[string]any {
	const nested = `(struct|list) *<.*>`
	// only allows a key with one type, and requires it there.
	only := func(kind, key string) object {
		return object{
			"if":   object{"properties": object{"type": object{"const": kind}}, "required": []string{"type"}},
			"then": object{"required": []string{key}}, "else": object{"properties": object{key: object{"type": "null"}}},
		}
	}
	entry := func(more object, required ...string) object {
		properties := object{
			"type":     object{"type": "string", "pattern": typePattern(nested, "struct", "list")},
			"required": object{"type": "boolean"},
			"doc":      object{"type": "string"},
			"fields":   object{"$ref": at},
			"element":  object{"anyOf": []object{{"type": "string", "pattern": typePattern(nested)}, {"$ref": at + "/$defs/element"}}},
		}
		maps.Copy(properties, more)
		return object{"type": "object", "properties": properties, "required": required, "additionalProperties": false,
			"allOf": []object{only(Struct.String(), "fields"), only(List.String(), "element")}}
	}
	name := object{"type": "string", "pattern": `^[^.\x00-\x1f\x7f]+$`}
	return object{"type": "array", "minItems": 1, "items": entry(object{"name": name}, "name", "type"), "$defs": object{"element": entry(nil, "type")}}
}
