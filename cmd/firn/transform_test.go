package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob/file"
	"github.com/firn-io/firn/runtime/host"
	"github.com/firn-io/firn/runtime/pipeline"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// workbench is a folder with a log, job files and tables.
type workbench struct {
	t       *testing.T
	dir     string
	journal tailtest.Journal
}

func newWorkbench(t *testing.T) *workbench {
	w := &workbench{t: t, dir: t.TempDir()}
	store, err := file.Open(filepath.Join(w.dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	w.journal = tailtest.Journal{Store: store}
	w.journal.Append(t, []kfs.Entry{kfs.Cluster{ID: kfs.TopicID{9}, Lineage: kfs.TopicID{8}, Journals: 1}})
	return w
}

// run runs a job file until everything is committed, as a process of its own would.
func (w *workbench) run(text string) error {
	path := filepath.Join(w.dir, "job.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
	jobs, err := readJobs([]string{path})
	if err != nil {
		return err
	}
	p := &program{logger: slog.New(slog.NewTextHandler(w.t.Output(), nil)), out: io.Discard}
	return p.runner().Run(w.t.Context(), jobs, host.Settings{Data: w.dir, MemoryBytes: 64 << 20, Until: pipeline.Until{Latest: true}})
}

// rows is a table's rows as JSON by their offsets, without the coordinates and nulls; one partition.
func (w *workbench) rows(name string) map[int64]string {
	w.t.Helper()
	lake, _, err := openCatalog(w.t.Context(), nil, w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	defer lake.Close()
	tbl, err := lake.Client().LoadTable(w.t.Context(), strings.Split(name, "."))
	if err != nil {
		w.t.Fatal(err)
	}
	_, batches, err := tbl.Scan().ToArrowRecords(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	all := map[int64]string{}
	for b, err := range batches {
		if err != nil {
			w.t.Fatal(err)
		}
		text, err := b.MarshalJSON()
		if err != nil {
			w.t.Fatal(err)
		}
		var rows []map[string]any
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		if err := d.Decode(&rows); err != nil {
			w.t.Fatal(err)
		}
		for _, row := range rows {
			offset, err := row["kafka_offset"].(json.Number).Int64()
			if err != nil {
				w.t.Fatal(err)
			}
			maps.DeleteFunc(row, func(k string, v any) bool { return strings.HasPrefix(k, "kafka_") || v == nil })
			if _, twice := all[offset]; twice {
				w.t.Errorf("table %s has offset %d twice", name, offset)
			}
			one, err := json.Marshal(row)
			if err != nil {
				w.t.Fatal(err)
			}
			all[offset] = string(one)
		}
		b.Release()
	}
	return all
}

func (w *workbench) want(name string, want map[int64]string) {
	w.t.Helper()
	got := w.rows(name)
	for _, o := range slices.Sorted(maps.Keys(got)) {
		if want[o] != got[o] {
			w.t.Errorf("table %s, offset %d: %s, want %s", name, o, got[o], want[o])
		}
	}
	for o := range want {
		if _, ok := got[o]; !ok {
			w.t.Errorf("table %s: offset %d is missing", name, o)
		}
	}
}

// TestTransformsIntoTables runs every built-in transform into an Iceberg table, with restarts in between: what is inferred anew goes with
// what the table has.
func TestTransformsIntoTables(t *testing.T) {
	w := newWorkbench(t)
	events := tailtest.Topic("events", 1, 0)
	w.journal.Append(t, []kfs.Entry{events}, tailtest.Values(events, 0,
		`{"id":1,"user":"a","password":"x","status":200,"size":"10","at":1769860800000}`,
		`{"id":2,"user":"b","password":"y","status":500,"size":"11","at":1769860800001}`,
		`{"id":3,"user":"c","status":200,"size":"twelve"}`,
		`{"id":4}`))
	job := `
name: web
source: {topics: [events]}
transform:
- drop: [password]
- filter: status == null || status < 500
- rename: {user: login}
- cast: {size: long}
- timestamp: {field: at, unit: ms}
- compute: {slot: "id % 2 == 0 ? 'even' : 'odd'"}
`
	if err := w.run(job); err != nil {
		t.Fatal(err)
	}
	want := map[int64]string{
		0: `{"at":"2026-01-31T12:00:00Z","id":1,"login":"a","size":10,"slot":"odd","status":200}`,
		3: `{"id":4,"slot":"even"}`,
	}
	w.want("default.events", want)
	// The dropped field is of another type now, the one that was cast is a number, and a new one comes.
	w.journal.Append(t, nil, tailtest.Values(events, 0,
		`{"id":5,"user":"e","password":7,"status":201,"size":50,"at":1769860800002,"extra":{"deep":true}}`,
		`{"id":6,"user":6}`))
	if err := w.run(job); err != nil {
		t.Fatal(err)
	}
	want[4] = `{"at":"2026-01-31T12:00:00.002Z","extra":{"deep":true},"id":5,"login":"e","size":50,"slot":"odd","status":201}`
	w.want("default.events", want)
	letters := w.rows("default.web_dead_letter")
	if len(letters) != 2 || !strings.Contains(letters[2], `"error_class":"cast_failed","error_message":"column size: \"twelve\" is no long"`) ||
		!strings.Contains(letters[5], `"error_class":"type_conflict"`) {
		t.Errorf("dead letters: %v", letters)
	}
}

// TestNestedIntoTables takes fields out of structs into an Iceberg table, with a restart in between: the table's columns lead back to where
// the fields are in records, and new ones still come.
func TestNestedIntoTables(t *testing.T) {
	w := newWorkbench(t)
	events := tailtest.Topic("changes", 1, 0)
	job := `
name: changes
source: {topics: [changes]}
transform:
- drop: [before, after.password]
- rename: {after.id: id, after.name: after.title, source.table: table}
- cast: {after.size: string}
- timestamp: {field: source.ts, column: event_time}
- filter: op != "skip"
table: {name: "default.changes_{field:source.db|none}"}
`
	w.journal.Append(t, []kfs.Entry{events}, tailtest.Values(events, 0,
		`{"op":"c","after":{"id":1,"name":"a","password":"x","size":3},"source":{"table":"users","db":"eu","ts":1769860800000}}`,
		`{"op":"d","before":{"id":1},"after":null,"source":{"table":"users","db":"eu","ts":1769860800001}}`,
		`{"op":"c","after":"none of your business","source":{"db":"eu"}}`,
		`{"op":"c","after":{"id":4,"title":"taken","name":"b"},"source":{"db":"eu"}}`))
	if err := w.run(job); err != nil {
		t.Fatal(err)
	}
	want := map[int64]string{
		0: `{"after":{"size":"3","title":"a"},"event_time":"2026-01-31T12:00:00Z","id":1,"op":"c","source":{"db":"eu","ts":1769860800000},"table":"users"}`,
		1: `{"event_time":"2026-01-31T12:00:00.001Z","op":"d","source":{"db":"eu","ts":1769860800001},"table":"users"}`,
	}
	w.want("default.changes_eu", want)
	// What is lifted keeps its type, what was dropped may have another one, and what comes anew is added.
	w.journal.Append(t, nil, tailtest.Values(events, 0,
		`{"op":"u","after":{"id":2,"name":"b","password":7,"size":"big","color":"red"},"source":{"table":"users","db":"eu","ts":1769860800002,"lsn":9}}`,
		`{"op":"u","after":{"id":"two"},"source":{"db":"eu"}}`))
	if err := w.run(job); err != nil {
		t.Fatal(err)
	}
	want[0] = `{"after":{"color":null,"size":"3","title":"a"},"event_time":"2026-01-31T12:00:00Z","id":1,"op":"c","source":{"db":"eu","lsn":null,"ts":1769860800000},"table":"users"}`
	want[1] = `{"event_time":"2026-01-31T12:00:00.001Z","op":"d","source":{"db":"eu","lsn":null,"ts":1769860800001},"table":"users"}`
	want[4] = `{"after":{"color":"red","size":"big","title":"b"},"event_time":"2026-01-31T12:00:00.002Z","id":2,"op":"u","source":{"db":"eu","lsn":9,"ts":1769860800002},"table":"users"}`
	w.want("default.changes_eu", want)
	letters := w.rows("default.changes_dead_letter")
	for offset, why := range map[int64]string{2: `"type_conflict"`, 3: `field after.title has the name that another column was given by rename`, 5: `"type_conflict"`} {
		if !strings.Contains(letters[offset], why) {
			t.Errorf("dead letter %d: %s, want %s", offset, letters[offset], why)
		}
	}
}

// TestTransformConflicts: what transforms make of records and the table cannot hold becomes dead letters.
func TestTransformConflicts(t *testing.T) {
	w := newWorkbench(t)
	events := tailtest.Topic("events", 1, 0)
	w.journal.Append(t, []kfs.Entry{events}, tailtest.Values(events, 0, `{"n":1}`))
	job := "name: a\nsource: {topics: [events]}\n"
	if err := w.run(job + "transform: [{compute: {x: n + 1}}]\n"); err != nil {
		t.Fatal(err)
	}
	w.journal.Append(t, nil, tailtest.Values(events, 0, `{"n":2}`, `{"m":3}`))
	if err := w.run(job + "transform: [{compute: {x: string(n)}}]\n"); err != nil {
		t.Fatal(err)
	}
	w.want("default.events", map[int64]string{0: `{"n":1,"x":2}`, 2: `{"m":3}`})
	if letters := w.rows("default.a_dead_letter"); len(letters) != 1 || !strings.Contains(letters[1], "column x: the table has int64, the transforms made utf8") {
		t.Errorf("dead letters: %v", letters)
	}
}

// TestDeclaredColumnsAreChecked: where the columns are declared, a transform that names none of them is found before there is data.
func TestDeclaredColumnsAreChecked(t *testing.T) {
	const job = "name: a\nsource: {topics: [x]}\ndecode: {value: {schema: [{name: id, type: long}, {name: tags, type: list<string>}]}}\ntransform: "
	for text, want := range map[string]string{
		"[{drop: [ids]}]":                   `transform 1 (drop): there is no column "ids" (did you mean id?); there are kafka_topic, kafka_partition, kafka_offset, kafka_timestamp, kafka_key, kafka_headers, id, tags`,
		"[{drop: [id]}, {filter: id > 1}]":  `transform 2 (filter): expression "id > 1": column 1: undeclared reference to 'id' (there is no column "id"`,
		"[{cast: {tags: long}}]":            "column tags: a list<string> does not become a long",
		"[{rename: {id: tags}}]":            "there is a column tags already",
		"[{compute: {x: tags}}]":            "the result is a list",
		"[{filter: id > 1}, {drop: [id]}]":  "",
		"[{compute: {x: 'dyn(id)'}}]":       "say it: {expr: …, type: …}",
		"[{timestamp: {field: tags}}]":      "is no point in time",
		"[{compute: {x: id}}, {drop: [x]}]": "",
	} {
		w := &workbench{t: t, dir: t.TempDir()}
		err := w.run(job + text + "\n")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
