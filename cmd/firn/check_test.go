package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// firn runs the program and gives what it printed.
func firn(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	c := newCommand(&out, io.Discard)
	c.SetArgs(args)
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

func TestProcessCheck(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{
		`
name: web
source: {topics: [events, orders], store: "s3://lake/firn"}
decode: {value: {schema: [{name: id, type: long}, {name: at, type: string}]}}
transform:
- filter: id > 0
- timestamp: {field: at}
table: {name: "logs.{topic}", partition: [day(at)]}
catalog: {type: rest, uri: "https://nobody.invalid"}
`: `job web
  reads     topics events, orders from s3://lake/firn, from earliest on where a table has no position
  decodes   values as json, columns as declared, keys as binary
  transform 1. filter: id > 0
  transform 2. timestamp: {field: at}
  writes    logs.{topic}, partitioned by day(at), by sink iceberg
  commits   2s after the acknowledgement, or at 134217728 bytes
  errors    become rows of logs.web_dead_letter
  columns   kafka_topic string, kafka_partition int, kafka_offset long, kafka_timestamp timestamptz, kafka_key binary, ` +
			`kafka_headers list<struct<key: string, value: binary>>, id long, at timestamptz
`,
		"name: a\nsource: {topics: [x]}\ntable: {partition: ['daily(x)']}\n":                                                                                      "job.yaml:3:1: table: partition ",
		"name: a\nsource: {topics: [x]}\ndecode: {value: {schema: [{name: id, type: long}]}}\ntransform: [{drop: [nothing]}]\n":                                   `job.yaml:4:21: transform 1 (drop): there is no column "nothing"`,
		"name: a\nsource: {topics: [x]}\ncatalog: {type: rest, uri: 'https://c', warehosue: a}\n":                                                                 `job.yaml:3:1: catalog: unknown property "warehosue": did you mean "warehouse"?`,
		"name: a\nsource: {topics: [x]}\ncatalog: {type: rest, uri: 'c:8181', s3.region: a}\n":                                                                    `job.yaml:3:1: catalog: uri is "c:8181": write https://host/path`,
		"name: a\nsource: {topics: [x]}\ndecode: {value: {format: raw}}\ntable: {partition: ['day(at)']}\n":                                                       `job.yaml:4:1: table: partition "day(at)": the table has no column at`,
		"name: a\nsource: {topics: [x]}\ntable: {partition: [bucket(4, id)]}\n":                                                                                   `job.yaml:3:1: table: partition "bucket(4": a comma begins the next one: put it in quotes`,
		"name: a\nsource: {topics: [x]}\ntable: {properties: {write.parquet.compression-codec: lzo}}\n":                                                           `job.yaml:3:1: table: table property write.parquet.compression-codec is "lzo"`,
		"name: a\nsource: {topics: [x]}\ntable: {partition: [day(at), day(at)]}\n":                                                                                `job.yaml:3:1: table: partition by day(at), day(at): invalid partition spec: duplicate partition name: at_day`,
		"name: a\nsource: {topics: [x]}\ntable: {partition: [day(at), month(at)]}\n":                                                                              `job.yaml:3:1: table: partition by day(at), month(at): invalid partition spec: redundant partition field`,
		"name: a\nsource: {topics: [x]}\ntable: {properties: {firn.progress.a: '{}'}}\n":                                                                          `job.yaml:3:1: table: table property firn.progress.a: those that begin with firn. are what jobs note for themselves`,
		"name: a\nsource: {topics: [x]}\ntable: {properties: {format-version: 9}}\n":                                                                              `job.yaml:3:1: table: table property format-version is "9"; there is 1, 2, 3`,
		"name: a\nsource: {topics: [x]}\ndecode: {value: {schema: [{name: at, type: timestamptz}, {name: at_DAY, type: date}]}}\ntable: {partition: [day(at)]}\n": `job.yaml:3:65: decode.value.schema: column at_DAY: the name is reserved`,
		"name: a\nsource: {topics: [x]}\ntable: {name: 'a.{field:kind}'}\nsink: {jsonl: {url: /x}}\n":                                                             `job.yaml:3:15: table.name: records cannot name their tables with this sink`,
		"name: a\nsource: {topics: [x]}\ntransform:\n- exec: {command: [no-such-program]}\n- exec: {command: [/no/such]}\n":                                       "job.yaml:4:3: exec: command: exec: \"no-such-program\": executable file not found in $PATH\n" + filepath.Join(dir, "job.yaml:5:3: exec: command: "),
		"name: a\nsource: {topics: [x]}\ntable: {name: 'a..{topic}'}\n":                                                                                           `job.yaml:3:1: table: table "a..topic": write namespace.table, without empty parts`,
		"name: a\nsource: {topics: [x]}\ntransform: [{drop: [a]}, null]\n":                                                                                        `job.yaml:3:26: transform[1]: transforms are written as one key with its settings, like drop: [password]`,
		"name: a\nsource: {topics: [x]}\ncatalog: {type: sqlite, uri: 'postgresql://me:secret@host/db'}\n":                                                        `job.yaml:3:1: catalog: uri "postgresql://me:xxxxx@host/db" is not absolute`,
		"name: a\nsource: {topics: [x]}\ncatalog: {type: rest, uri: 'ftp://me:secret@host'}\n":                                                                    `job.yaml:3:1: catalog: uri is "ftp://me:xxxxx@host": write https://host/path`,
		"name: a\nsource: {topics: [x], store: 's3://me:sec%zzret@b/x'}\n":                                                                                        `job.yaml:2:30: source.store: store URL: invalid URL escape "%zz"`,
		"name: a\nsource: {topics: [x, 'a b']}\n":                                                                                                                 `job.yaml:2:22: source.topics[1]: topic name "a b": character ' ' is outside`,
		"name: a\nsource: {topics: [x]}\nsink: {jsonl: {url: 'ftp://x'}}\n":                                                                                       `job.yaml:3:8: jsonl: url: store "ftp://x"`,
		"name: a\nsource: {topics: [x]}\nsink: {jsonl: {url: /x}}\ntable: {partition: [kafka_topic]}\n":                                                           `job.yaml:4:1: table: tables of sink jsonl have no partition`,
	} {
		path := filepath.Join(dir, "job.yaml")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := firn(t, "process", "-f", path, "--check", "--data", filepath.Join(dir, "data"))
		if err != nil {
			got = err.Error()
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		t.Error("--check has made a folder")
	}
	path := filepath.Join(dir, "job.yaml")
	if err := os.WriteFile(path, []byte("name: a\nsource: {topics: [x]}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := firn(t, "process", "-f", path, "--check", "--memory", "8MiB"); err == nil || !strings.Contains(err.Error(), "job a: memory of 8388608 bytes for the job") {
		t.Errorf("too little memory: %v", err)
	}
	if _, err := firn(t, "process", "-f", path, "--check", "--until", ""); err == nil || !strings.Contains(err.Error(), `--until: "" is neither latest`) {
		t.Errorf("an empty end: %v", err)
	}
}

func TestProcessSchema(t *testing.T) {
	text, err := firn(t, "process", "--schema")
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal([]byte(text), &schema); err != nil || schema["title"] != "Firn job" {
		t.Errorf("%v: %.100s", err, text)
	}
}
