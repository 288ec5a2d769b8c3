package job

import (
	"strings"
	"testing"
	"time"

	"github.com/firn-io/firn/processors/transform"
	"github.com/firn-io/firn/runtime/plugin"
)

var reader = Reader{Getenv: func(string) (string, bool) { return "", false }, Transforms: transform.Kinds(),
	Sinks: plugin.Sinks{"iceberg": {}, "other": {}}, Sink: "iceberg"}

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
decode: {key: {format: string}, value: {format: json, schema: [{name: id, type: long, required: true}]}}
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
	if !ok || len(fields) != 1 {
		t.Errorf("schema: %#v", j.Decode.Value.Schema)
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
		"both":             {"name: a\nsource: {topics: [b], pattern: c}\n", "topics and pattern exclude each other"},
		"bad pattern":      {"name: a\nsource: {pattern: '('}\n", "source.pattern:"},
		"bad from":         {"name: a\nsource: {topics: [b], from: yesterday}\n", `source.from: "yesterday" is neither`},
		"bad policy":       {"name: a\nsource: {topics: [b]}\nerrors: {policy: ignore}\n", `errors.policy: "ignore" is not one of`},
		"bad size":         {"name: a\nsource: {topics: [b]}\ncommit: {file_size: big}\n", `"big" is not a size`},
		"bad duration":     {"name: a\nsource: {topics: [b]}\ncommit: {freshness: 2}\n", `"2" is not a duration`},
		"wrong kind":       {"name: a\nsource: {topics: {a: b}}\n", "job.yaml:2:"},
		"unset variable":   {"name: a\nsource: {topics: [b]}\ncatalog: {uri: '${NOPE}'}\n", "catalog.uri: the environment has no variable NOPE"},
		"no transform":     {job + "transform:\n- flter: a\n", `job.yaml:4:3: there is no transform "flter": did you mean "filter"?`},
		"two transforms":   {job + "transform:\n- {drop: [a], filter: b}\n", "write drop and filter as two steps"},
		"not a transform":  {job + "transform: [drop]\n", "a transform is written as one key with its settings"},
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
	} {
		_, err := reader.Parse("job.yaml", []byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want it to say %s", name, err, c.want)
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
	f.Fuzz(func(t *testing.T, text []byte) {
		j, err := reader.Parse("job.yaml", text)
		if (j == nil) == (err == nil) {
			t.Fatalf("job %v, error %v", j, err)
		}
	})
}
