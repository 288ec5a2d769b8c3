package job

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firn-io/firn/processors/transform"
	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
)

var reader = Reader{Getenv: func(string) (string, bool) { return "", false }, Transforms: transform.Kinds(),
	Sinks: plugin.Sinks{"iceberg": {Settings: reflect.TypeFor[map[string]string](), Check: checkX, CheckTable: checkPartition}, "other": {Settings: reflect.TypeFor[others](), Check: checkOthers}}, Sink: "iceberg"}

type others struct {
	URL string `yaml:"url"`
}

func checkOthers(settings plugin.Decode) error {
	return errors.Join(settings(&others{}), errors.New("no url"), errors.New("no hope"))
}

func checkX(settings plugin.Decode) error {
	properties := map[string]string{}
	if err := settings(&properties); err != nil || properties["uri"] != "x" {
		return err
	}
	return errors.New("cannot be x")
}

func checkPartition(t plugin.Table, columns *arrow.Schema) error {
	if len(t.Partition) == 0 || t.Partition[0] != "x" {
		return nil
	}
	var names []string
	if columns != nil {
		for _, f := range columns.Fields()[processor.Coordinates:] {
			names = append(names, f.Name)
		}
	}
	return fmt.Errorf("cannot be %v of %v", t.Partition, names)
}

func TestParseFillsDefaults(t *testing.T) {
	j, err := reader.Parse("job.yaml", []byte("name: events\nsource: {topics: [events, orders]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if j.Table.Name != "default.{topic}" || j.Decode.Value.Format != "json" || j.Decode.Value.Schema != "inferred" || j.Decode.Key.Format != "binary" ||
		j.Errors.Policy != "dead_letter" || time.Duration(j.Commit.Freshness) != 2*time.Second || j.Commit.FileSize != 128<<20 || j.Source.From != "earliest" {
		t.Errorf("defaults are wrong: %+v", j)
	}
}

func TestParseReadsEverything(t *testing.T) {
	text := `
name: events
source: {pattern: "a.*", store: "s3://${BUCKET}/x", from: 2026-01-31T12:00:00Z}
decode: {key: {format: string}, value: {format: json, schema: [{name: password, type: string, required: true}, {name: status, type: int}]}}
transform: [{drop: [password]}, {filter: "status < 500"}]
table: {name: "analytics.{topic}", partition: [day(kafka_timestamp)], properties: {a: b}}
catalog: {type: rest, uri: "https://x", credential: "${SECRET}", password: "${file:/run/secrets/x}"}
commit: {freshness: 500ms, file_size: 64MiB}
errors: {policy: halt}
`
	env := map[string]string{"BUCKET": "lake", "SECRET": "id:secret"}
	reader := reader
	var settings map[string]string
	reader.ReadFile = func(path string) ([]byte, error) { return []byte("hush\n"), nil }
	reader.Getenv = func(k string) (string, bool) { v, ok := env[k]; return v, ok }
	j, err := reader.Parse("job.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if name, err := j.sink.name, j.sink.settings(&settings); err != nil || name != "iceberg" || settings["password"] != "hush" {
		t.Errorf("sink %s: %v, %v", name, settings, err)
	}
	if j.Source.Store != "s3://lake/x" || j.Catalog["credential"] != "id:secret" || j.Commit.FileSize != 64<<20 || time.Duration(j.Commit.Freshness) != 500*time.Millisecond {
		t.Errorf("%+v", j)
	}
	fields, ok := j.Decode.Value.Schema.([]any)
	if !ok || len(fields) != 2 {
		t.Errorf("schema: %#v", j.Decode.Value.Schema)
	}
}

// TestParseByteOrderMark: the mark that editors on Windows put first is no part of a key.
func TestParseByteOrderMark(t *testing.T) {
	j, err := reader.Parse("job.yaml", []byte("\ufeffname: a\r\nsource: {topics: [b]}\r\n"))
	if err != nil || j.Name != "a" {
		t.Errorf("got %+v, %v", j, err)
	}
}

func TestDeadLetterTable(t *testing.T) {
	for table, want := range map[string]string{"lake.{topic}": "lake.a_dead_letter", "a.b.c": "a.b.a_dead_letter", "lake.x_{field:geo.city|none}": "lake.a_dead_letter"} {
		j := Job{Name: "a", Table: Table{Name: table}}
		if got := j.DeadLetterTable(); got != want {
			t.Errorf("%s: %s, want %s", table, got, want)
		}
	}
}

func TestParseErrorsSayWhereAndWhat(t *testing.T) {
	const job = "name: a\nsource: {topics: [b]}\n"
	for name, c := range map[string]struct{ text, want string }{
		"misspelt key":     {"name: a\nsource:\n  topisc: [b]\n", `job.yaml:3:3: unknown key "topisc": did you mean "topics"?`},
		"misspelt top key": {"name: a\nsorce: {topics: [b]}\n", `job.yaml:2:1: unknown key "sorce": did you mean "source"?`},
		"strange key":      {"name: a\nsource: {topics: [b]}\nzebracrossing: 1\n", `job.yaml:3:1: unknown key "zebracrossing"`},
		"key twice":        {"name: a\nname: b\nsource: {topics: [b]}\n", `job.yaml:2:1: mapping key "name" already defined at [1:1]`},
		"no name":          {"source: {topics: [b]}\n", "name: missing"},
		"no source":        {"name: a\n", "source: say which topics"},
		"both":             {"name: a\nsource: {topics: [b], pattern: c}\n", "job.yaml:2:1: source: topics and pattern exclude each other"},
		"bad pattern":      {"name: a\nsource: {pattern: '('}\n", "source.pattern:"},
		"bad from":         {"name: a\nsource: {topics: [b], from: yesterday}\n", `job.yaml:2:29: source.from: "yesterday" is neither`},
		"bad policy":       {"name: a\nsource: {topics: [b]}\nerrors: {policy: ignore}\n", `job.yaml:3:18: errors.policy: "ignore" is not one of`},
		"bad size":         {"name: a\nsource: {topics: [b]}\ncommit: {file_size: big}\n", `job.yaml:3:21: "big" is not a size`},
		"bad duration":     {"name: a\nsource: {topics: [b]}\ncommit: {freshness: 2}\n", `job.yaml:3:21: "2" is not a duration`},
		"wrong kind":       {"name: a\nsource: {topics: {a: b}}\n", "job.yaml:2:"},
		"unset variable":   {"name: a\nsource: {topics: [b]}\ncatalog: {uri: '${NOPE}'}\n", "job.yaml:3:16: catalog.uri: the environment has no variable NOPE"},
		"no transform":     {job + "transform:\n- flter: a\n", `job.yaml:4:3: there is no transform "flter": did you mean "filter"?`},
		"two transforms":   {job + "transform:\n- {drop: [a], filter: b}\n", "job.yaml:4:15: filter stands beside drop: a transform, or a sink, has one key"},
		"not a transform":  {job + "transform: [drop]\n", "job.yaml:3:13: transforms and sinks are written as one key with its settings"},
		"bad expression":   {job + "transform: [{filter: 'status <'}]\n", `job.yaml:3:14: filter: expression "status <": column 9: Syntax error`},
		"no filter":        {job + "transform: [{filter: '1 + 1'}]\n", "is a int: a filter is true or false"},
		"coordinate":       {job + "transform: [{drop: [kafka_key]}]\n", "column kafka_key stays as it is"},
		"setting":          {job + "transform:\n- timestamp: {feld: a}\n", `job.yaml:4:15: unknown key "feld"`},
		"kind of setting":  {job + "transform:\n- drop: {a: b}\n", "job.yaml:4:9: "},
		"bad type":         {job + "transform: [{cast: {a: number}}]\n", `a: type "number"`},
		"bad unit":         {job + "transform: [{timestamp: {field: a, unit: min}}]\n", `unit: "min" is not one of`},
		"no placeholder":   {job + "table: {name: 'db.{tenant}'}\n", "table.name: {tenant} stands for nothing"},
		"no group":         {"name: a\nsource: {pattern: 'a.*'}\ntable: {name: 'db.{match:1}'}\n", `table.name: {match:1}: source.pattern "a.*" has 0 groups`},
		"no sink":          {job + "sink: {icy: {}}\n", `job.yaml:3:8: there is no sink "icy"; there is iceberg, other`},
		"catalog of none":  {job + "sink: {other: {}}\ncatalog: {type: rest}\n", "catalog: goes with sink iceberg only"},
		"no such file":     {job + "sink: {other: {url: '${file:/no/such/secret}'}}\n", "sink: ${file:…}: open /no/such/secret"},
		"broken yaml":      {"name: [a\n", "job.yaml:1:"},
		"empty":            {"", "name: missing"},
		"two documents":    {job + "---\nname: b\n", "job.yaml:4:5: a second document begins here"},
		"tag":              {"name: a\nsource: {topics: !!set {b}}\n", "job.yaml:2:18: tag !!set: a job file has none"},
		"tag of text":      {job + "transform: !!str a\n", "job.yaml:3:12: tag !!str: a job file has none"},
		"dotted key":       {job + "catalog:\n  s3.region: eu\n  s3.endpoint: '${NOPE}'\n", "job.yaml:5:16: catalog.s3.endpoint: the environment has no variable NOPE"},
		"strange store":    {"name: a\nsource: {topics: [b], store: 'gs://lake'}\n", "job.yaml:2:30: source.store: "},
		"store's setting":  {"name: a\nsource: {topics: [b], store: 's3://lake?regoin=a'}\n", "job.yaml:2:30: source.store: store URL s3://lake?regoin=a: unknown parameter regoin"},
		"declared type":    {job + "decode: {value: {schema: [{name: id, type: itn}]}}\n", `job.yaml:3:44: decode.value.schema: schema[0].type: type "itn"`},
		"declared list": {job + "decode:\n  value:\n    schema:\n    - {name: id, type: long}\n    - name: tags\n      type: list\n      element: {type: itn}\n    - name: x\n",
			`job.yaml:9:23: decode.value.schema: schema[1].element.type: type "itn": "itn" is none of`},
		"no declared type": {job + "decode:\n  value:\n    schema:\n    - {name: id, type: long}\n    - name: x\n", "job.yaml:7:7: decode.value.schema: schema[1].type: is missing"},
		"declared twice":   {job + "decode:\n  value:\n    schema:\n    - {name: id, type: long}\n    - {name: ID, type: long}\n", `job.yaml:7:14: decode.value.schema: column ID: "id" is there already`},
		"declared deep": {job + "decode:\n  value:\n    schema:\n    - name: a\n      type: list\n      element:\n        type: struct\n        fields:\n        - {name: b, type: long}\n        - {name: c.d, type: long}\n",
			`job.yaml:12:18: decode.value.schema: column a.element.c.d: the name has '.' in it`},
		"declared as text": {job + "decode: {value: {schema: [{name: a, type: 'list<struct<b: decimal(50, 2)>>'}]}}\n", `job.yaml:3:34: decode.value.schema: column a.element.b: decimal(50, 2): want`},
		"reserved column":  {job + "decode: {value: {schema: [{name: a, type: int}, {name: _file, type: int}]}}\n", `job.yaml:3:56: decode.value.schema: column _file: the name is reserved`},
		"no map":           {job + "decode: {value: {schema: [{name: a, type: int}, b]}}\n", `job.yaml:3:49: decode.value.schema: schema[1]: want a map`},
		"declared column":  {job + "decode: {value: {schema: [{name: id, type: int}]}}\ntransform:\n- filter: di > 1\n", "job.yaml:5:3: transform 1 (filter): "},
		"declared path":    {job + "decode: {value: {schema: [{name: a, type: 'struct<b: int>'}]}}\ntransform:\n- drop:\n  - a.b\n- cast:\n    a.c: string\n", `job.yaml:8:5: transform 2 (cast): there is no column "a"; there are kafka_topic`},
		"declared field":   {job + "decode: {value: {schema: [{name: a, type: 'struct<b: int, d: int>'}]}}\ntransform:\n- drop: [a.b, a.c]\n", `job.yaml:5:15: transform 1 (drop): column a has no field "c" (did you mean a.b?); there are b, d`},
		"path":             {job + "transform:\n- rename: {a: b, a.b: c}\n", `job.yaml:4:18: rename: a and a.b: one is in the other`},
		"sink's setting":   {job + "sink: {other: {ulr: a}}\n", `job.yaml:3:16: unknown key "ulr"`},
		"sink's check":     {job + "sink: {other: {url: ''}}\n", "job.yaml:3:8: other: no url\njob.yaml:3:8: other: no hope"},
		"catalog's check":  {job + "catalog: {uri: x}\n", "job.yaml:3:1: catalog: cannot be x"},
		"table's check":    {job + "table: {partition: [x]}\n", "job.yaml:3:1: table: cannot be [x] of []"},
		"table's columns":  {job + "decode: {value: {format: raw}}\ntable: {partition: [x]}\n", "job.yaml:4:1: table: cannot be [x] of [value]"},
	} {
		_, err := reader.Parse("job.yaml", []byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want it to say %s", name, err, c.want)
		}
	}
}

// TestParseReportsEveryEntry: each wrong entry of a declared schema is said where it stands.
func TestParseReportsEveryEntry(t *testing.T) {
	_, err := reader.Parse("job.yaml", []byte("name: a\nsource: {topics: [b]}\ndecode:\n  value:\n    schema:\n    - {name: a, type: itn}\n    - {name: b, type: struct, fields: [{name: c, typ: int}]}\n"))
	for _, want := range []string{"job.yaml:6:23: ", "job.yaml:7:55: decode.value.schema: schema[1].fields[0].typ: is no setting", "job.yaml:7:41: decode.value.schema: schema[1].fields[0].type: is missing"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %s", err, want)
		}
	}
}

func TestParseReportsEverythingAtOnce(t *testing.T) {
	_, err := reader.Parse("job.yaml", []byte("source: {from: x}\nerrors: {policy: y}\n"))
	for _, want := range []string{"name:", "source:", "source.from:", "errors.policy:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not mention %s", err, want)
		}
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{"1": 1, "512KiB": 512 << 10, "128MiB": 128 << 20, "1GiB": 1 << 30, "2 MB": 2e6, "10B": 10} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "0", "1.5MiB", "99999999999GiB", "1TiBx"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", text, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("name: events\nsource: {topics: [events]}\n"))
	f.Add([]byte("name: a\nsource: {topisc: [b]}\n"))
	f.Add([]byte("name: &n a\nsource: {topics: !!seq [*n]}\ntransform: [!!map {drop: [a]}]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		j, err := reader.Parse("job.yaml", text)
		if (j == nil) == (err == nil) {
			t.Fatalf("job %v, error %v", j, err)
		}
	})
}
