package job

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/runtime/plugin"
)

const keptFile = `
name: events
source: {pattern: 'ev(.*)', store: "s3://${BUCKET}/firn", from: latest}
decode:
  key: {format: string}
  value: {schema: [{name: status, type: int, required: true}, {name: a, type: int}, {name: b, type: int}, {name: x, type: int}, {name: "h\"o<t>", type: "struct<a: long>"}]}
transform:
  - drop: [a, b] # a comment
  - drop: ['x']
table: {name: "lake.{topic}", partition: [status], properties: {a: b}}
catalog: {type: rest, uri: "https://x", credential: "${SECRET}"}
commit: {freshness: 5s, file_size: 1MiB}
errors: {policy: skip}
`

func keptReader() Reader {
	r := reader
	r.Getenv = func(string) (string, bool) { return "a-secret", true }
	return r
}

// TestKept: what decides is kept and read back, and nothing else is.
func TestKept(t *testing.T) {
	r := keptReader()
	j, err := r.Parse("job.yaml", []byte(keptFile))
	if err != nil {
		t.Fatal(err)
	}
	text, err := j.Kept()
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(text) {
		t.Errorf("not JSON: %s", text)
	}
	for _, no := range []string{"secret", "SECRET", "BUCKET", "rest", "latest", "freshness", "5s", "partition", "comment", "ev("} {
		if strings.Contains(string(text), no) {
			t.Errorf("%q is kept: %s", no, text)
		}
	}
	back, err := r.ParseKept(text)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	again, err := back.Kept()
	if err != nil || string(again) != string(text) {
		t.Errorf("kept %s\nread %s, %v", text, again, err)
	}
	hash, err := j.Hash()
	if err := errors.Join(err, CheckKept(hash, text)); err != nil {
		t.Errorf("what was kept, under its hash: %v", err)
	}
	if err := CheckKept(hash, bytes.Replace(text, []byte("drop"), []byte("exec"), 1)); err == nil || !strings.Contains(err.Error(), "somebody has changed it") {
		t.Errorf("another file under its hash: %v", err)
	}
	want, _ := j.Decoding()
	got, err := back.Decoding()
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("decoding %+v, want %+v: %v", got, want, err)
	}
	if steps, err := back.Steps(plugin.Env{Allocator: memory.DefaultAllocator}); err != nil || len(steps) != 2 {
		t.Errorf("steps %v, %v", steps, err)
	}
	if back.Errors.Policy != "skip" || back.Table.Name != "lake.{topic}" {
		t.Errorf("%+v", back)
	}
}

// TestHash changes with what decides what records become, and with nothing else.
func TestHash(t *testing.T) {
	r := keptReader()
	hash := func(text string) string {
		t.Helper()
		j, err := r.Parse("job.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		h, err := j.Hash()
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	first := hash(keptFile)
	if first != "" && len(first) != 16 {
		t.Errorf("hash %q", first)
	}
	for _, c := range []struct {
		from, to string
		same     bool
	}{
		{"freshness: 5s", "freshness: 6s", true},
		{"${SECRET}", "${OTHER}", true},
		{"https://x", "https://y", true},
		{"name: events", "name: other", true},
		{"from: latest", "from: earliest", true},
		{"partition: [status]", "partition: []", true},
		{"[a, b] # a comment", `["a",  'b']`, true},
		{"ev(.*)", "e(.*)", true},
		{"[a, b]", "[b, a]", false},
		{"format: string", "format: binary", false},
		{"type: int", "type: long", false},
		{"required: true", "required: false", false},
		{"lake.{topic}", "lake2.{topic}", false},
		{"policy: skip", "policy: halt", false},
		{"  - drop: ['x']\n", "", false},
	} {
		if !strings.Contains(keptFile, c.from) {
			t.Fatalf("no %q", c.from)
		}
		if got := hash(strings.Replace(keptFile, c.from, c.to, 1)); (got == first) != c.same {
			t.Errorf("%s → %s: same hash: %t", c.from, c.to, got == first)
		}
	}
	matched := strings.Replace(keptFile, "{topic}", "{match:1}", 1)
	if hash(matched) == hash(strings.Replace(matched, "ev(.*)", "e(.*)", 1)) {
		t.Error("the pattern does not count where the table is named by it")
	}
}

func TestParseKeptErrors(t *testing.T) {
	r := keptReader()
	for text, want := range map[string]string{
		``:              "JSON",
		`{"version":2}`: "version 2",
		`{"version":1,"job":{"decode":{"value":{"format":"json","schema":[{"name":"a","type":"nothing"}]}},"table":{"name":"a.b"}}}`:    "nothing",
		`{"version":1,"job":{"transform":[{"gone":1}],"table":{"name":"a.b"},"decode":{"value":{"format":"raw","schema":"inferred"}}}}`: `there is no transform "gone"`,
		`{"version":1,"job":{"novel":1}}`: `unknown key "novel"`,
	} {
		if _, err := r.ParseKept([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", text, err, want)
		}
	}
}

// FuzzParseKept reads what may lie in a bucket under the name of a configuration.
func FuzzParseKept(f *testing.F) {
	r := keptReader()
	j, err := r.Parse("job.yaml", []byte(keptFile))
	if err != nil {
		f.Fatal(err)
	}
	kept, err := j.Kept()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(kept)
	f.Add([]byte(`{"version":1,"job":{"transform":[{"drop":["a"]}]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		j, err := r.ParseKept(text)
		if (j == nil) == (err == nil) {
			t.Fatalf("job %v, error %v", j, err)
		}
	})
}
