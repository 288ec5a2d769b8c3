// Package decodetest has values as the world's producers send them: what is JSON, what only looks like it, and what is JSON that few tables
// can hold. Tests of decoding, and of readers of the tables, share it.
package decodetest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/firn-io/firn/runtime/schema"
)

// Value is the value of a record and what becomes of it under an inferred schema, if the values before it, in this order, came before.
type Value struct {
	Name  string
	JSON  []byte // nil is null
	Class string // of the dead letter; "" if it is a row
	Row   string // the row's columns that are not null, as JSON; of letters ""
}

// Values is the values. Together they make fewer columns than a table may have.
func Values() []Value {
	return slices.Concat(noObjects(), numbers(), texts(), changing(), nestings(), times())
}

func letter(name, json, class string) Value {
	return Value{Name: name, JSON: []byte(json), Class: class}
}
func row(name, json, row string) Value { return Value{Name: name, JSON: []byte(json), Row: row} }
func same(name, json string) Value     { return row(name, json, json) }

func noObjects() []Value {
	return []Value{
		{Name: "tombstone", Class: "null_value"},
		{Name: "empty value", JSON: []byte{}, Class: "invalid_json"},
		letter("spaces", " \n\t ", "invalid_json"),
		letter("null", `null`, "not_object"),
		letter("number", `7`, "not_object"),
		letter("string", `"text"`, "not_object"),
		letter("array of objects", `[{"x": 1}]`, "not_object"),
		letter("two objects", `{"x": 1}{"x": 2}`, "invalid_json"),
		letter("lines of objects", "{\"x\": 1}\n{\"x\": 2}", "invalid_json"),
		letter("byte order mark", "\ufeff{\"x\": 1}", "invalid_json"),
		letter("UTF-16", "{\x00\"\x00x\x00\"\x00:\x001\x00}\x00", "invalid_json"),
		letter("truncated", `{"x": "tex`, "invalid_json"),
		letter("comma at the end", `{"x": 1,}`, "invalid_json"),
		letter("comment", `{"x": 1 /* one */}`, "invalid_json"),
		letter("single quotes", `{'x': 1}`, "invalid_json"),
		letter("name without quotes", `{x: 1}`, "invalid_json"),
		letter("control character", "{\"x\": \"a\nb\"}", "invalid_json"),
		letter("binary", "\x00\x00\x00\x00\x01\x02", "invalid_json"),
		row("empty object", `{}`, `{}`),
		row("white space", "\r\n\t{ \"white\" :\t1 }\n", `{"white": 1}`),
	}
}

func numbers() []Value {
	return []Value{
		letter("NaN", `{"x": NaN}`, "invalid_json"),
		letter("Infinity", `{"x": Infinity}`, "invalid_json"),
		letter("-Infinity", `{"x": -Infinity}`, "invalid_json"),
		letter("leading zero", `{"x": 01}`, "invalid_json"),
		letter("leading plus", `{"x": +1}`, "invalid_json"),
		letter("hexadecimal", `{"x": 0x10}`, "invalid_json"),
		letter("bare point", `{"x": .5}`, "invalid_json"),
		letter("beyond doubles", `{"huge": 1e400}`, "out_of_range"),
		letter("beyond doubles, negative", `{"huge": -1e400}`, "out_of_range"),
		letter("an exponent of a million", `{"huge": 1e1000000}`, "out_of_range"),
		letter("2^63", `{"beyond": 9223372036854775808}`, "out_of_range"),
		same("2^63-1", `{"most": 9223372036854775807}`),
		same("-2^63", `{"least": -9223372036854775808}`),
		row("minus zero", `{"minus_zero": -0}`, `{"minus_zero": 0}`),
		row("minus zero with a fraction", `{"minus_zero_double": -0.5}`, `{"minus_zero_double": -0.5}`),
		row("below doubles", `{"tiny": 1e-400}`, `{"tiny": 0}`),
		row("0.1 with many digits", `{"digits": 0.1000000000000000055511151231257827021181583404541015625}`, `{"digits": 0.1}`),
		same("the greatest double", `{"greatest": 1.7976931348623157e308}`),
		row("integers in other spellings", `{"spelled": [1.0, 1e2, 10e-1, 1E+2]}`, `{"spelled": [1, 100, 1, 100]}`),
		row("long becomes double", `{"widened": 1}`, `{"widened": 1}`),
		same("and stays so", `{"widened": 1.5}`),
		letter("long that no double holds, in a double column", `{"widened": 9007199254740993}`, "out_of_range"),
	}
}

// texts are text, and names.
func texts() []Value {
	return []Value{
		letter("half a surrogate pair", `{"x": "\ud83d"}`, "invalid_utf8"),
		letter("surrogates the wrong way round", `{"x": "\ude00\ud83d"}`, "invalid_utf8"),
		letter("half a surrogate pair in a name", `{"\ud83d": 1}`, "invalid_utf8"),
		letter("Latin-1", "{\"x\": \"caf\xe9\"}", "invalid_utf8"),
		letter("overlong UTF-8", "{\"x\": \"\xc0\x80\"}", "invalid_utf8"),
		letter("surrogates in UTF-8", "{\"x\": \"\xed\xa0\x80\"}", "invalid_utf8"),
		row("escapes", `{"escapes": "\u00e9\ud83d\ude00\/\b\f\n\r\t\"\\\u0000"}`, `{"escapes": "é😀/\b\f\n\r\t\"\\\u0000"}`),
		same("emoji as a name", `{"😀": 1, "名前": "n", "a b": true, "quote\"d": 1, "semi;colon": 1}`),
		row("dots in names", `{"dotted.name": 1, "dotted": {"name": 2}}`, `{"dotted_name": 1, "dotted": {"name": 2}}`),
		row("names that differ in case", `{"case": 1, "Case": 2, "CASE": 3}`, `{"case": 1, "Case_2": 2, "CASE_3": 3}`),
		row("names that are taken", `{"_partition": 1, "_FILE": 2, "_pos": 3, "kafka_offset": -1, "Kafka_Topic": "t", "_row_id": 4}`,
			`{"_partition_2": 1, "_FILE_2": 2, "_pos_2": 3, "kafka_offset_2": -1, "Kafka_Topic_2": "t", "_row_id_2": 4}`),
		row("no name", `{"": 1}`, `{"_empty": 1}`),
		same("names of other systems", `{"_id": "m", "$oid": 1, "@timestamp": "2026-01-31T12:00:00Z", "key-with-dash": 1, "1": 1, "select": 1, "element": 1, "__proto__": 1}`),
		letter("a long name", `{"`+strings.Repeat("n", schema.MaxName+1)+`": 1}`, "schema_limit"),
		row("duplicate names", `{"twice": "a", "twice": 2}`, `{"twice": 2}`),
		row("duplicate names inside", `{"inside": {"x": 1, "x": null, "y": [1], "y": ["t"]}}`, `{"inside": {"y": ["t"]}}`),
	}
}

// changing are types that change from record to record.
func changing() []Value {
	return []Value{
		row("first a number", `{"mixed": 1}`, `{"mixed": 1}`),
		letter("then a string", `{"mixed": "1"}`, "type_conflict"),
		letter("a boolean", `{"mixed": true}`, "type_conflict"),
		letter("an object", `{"mixed": {"x": 1}}`, "type_conflict"),
		letter("a list", `{"mixed": [1]}`, "type_conflict"),
		row("null", `{"mixed": null}`, `{}`),
		row("and empty ones", `{"mixed": {}}`, `{}`),
		row("of either kind", `{"mixed": []}`, `{}`),
	}
}

// nestings are structs, lists and maps.
func nestings() []Value {
	return []Value{
		row("nothing to store", `{"hollow": {}, "hollow_list": [], "hollow_lists": [[], [null]], "hollow_in": {"a": {"b": {}}}}`, `{}`),
		row("something after all", `{"hollow": {"x": 1}, "hollow_list": [1], "hollow_lists": [[], [null], [1]], "hollow_in": {"a": {"b": {"c": 1}}}}`,
			`{"hollow": {"x": 1}, "hollow_list": [1], "hollow_lists": [[], [null], [1]], "hollow_in": {"a": {"b": {"c": 1}}}}`),
		row("hollow again", `{"hollow": {}, "hollow_list": [], "hollow_lists": [[]], "hollow_in": {"a": {}}}`,
			`{"hollow": {"x": null}, "hollow_list": [], "hollow_lists": [[]], "hollow_in": {"a": {"b": null}}}`),
		same("lists of lists", `{"matrix": [[1, 2], [], [3]], "cube": [[[0.5]]]}`),
		row("lists of objects that differ", `{"objects": [{"a": 1}, {"b": "x"}, {}, null]}`, `{"objects": [{"a": 1, "b": null}, {"a": null, "b": "x"}, {"a": null, "b": null}, null]}`),
		letter("lists of mixed types", `{"mixed_list": [1, "two"]}`, "type_conflict"),
		row("lists of mixed numbers", `{"numbers": [1, 2.5]}`, `{"numbers": [1, 2.5]}`),
		same("maps", `{"map": {"2026-01-31": 1, "2026-02-01": 2}}`),
		row("maps with other keys", `{"map": {"2026-02-02": 3}}`, `{"map": {"2026-01-31": null, "2026-02-01": null, "2026-02-02": 3}}`),
		letter("a map with more keys than a table has columns", wide("k", 10_000), "schema_limit"),
		same("as deep as a table goes", nested("deep", schema.MaxDepth)),
		letter("one deeper", nested("deeper", schema.MaxDepth+1), "schema_limit"),
		letter("a hundred thousand deep", strings.Repeat(`{"x":`, 100_000)+"1"+strings.Repeat("}", 100_000), "schema_limit"),
		letter("lists a hundred thousand deep", `{"x":`+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)+"}", "schema_limit"),
	}
}

// times are text until somebody declares or casts them.
func times() []Value {
	return []Value{
		same("times of many spellings", `{"t1": "2026-01-31T12:00:00Z", "t2": "2026-01-31 12:00:00", "t3": "2026-01-31T12:00:00.123456789+01:00", "t4": "31.1.2026", "t5": "2026-02-30", "t6": 1769860800000, "t7": "Sat, 31 Jan 2026 12:00:00 GMT"}`),
	}
}

// wide is an object with n members.
func wide(name string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"%s%d":%d`, name, i, i)
	}
	return "{" + b.String()[1:] + "}"
}

// nested is a number below n names, so that the first has depth 1 and the last depth n.
func nested(name string, n int) string {
	return strings.Repeat(fmt.Sprintf(`{"%s":`, name), n) + "1" + strings.Repeat("}", n)
}
