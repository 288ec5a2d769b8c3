package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/runtime/host"
	"github.com/firn-io/firn/runtime/pipeline"
	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// stillborn is a table whose commits do not land.
type stillborn struct{ *iceberg.Sink }

func (stillborn) Commit(context.Context, processor.Positions, processor.Positions, []processor.Staged) error {
	return &processor.HaltError{Reason: "killed", Decide: "start again"}
}

// stillbornTables opens one of a job's tables as stillborn.
type stillbornTables struct {
	plugin.Tables
	name string
}

func (s stillbornTables) Open(ctx context.Context, t plugin.Table) (processor.Sink, error) {
	sink, err := s.Tables.Open(ctx, t)
	if err != nil || t.Name != s.name {
		return sink, err
	}
	return stillborn{sink.(*iceberg.Sink)}, nil
}

// TestJobFileIsChangedAfterAKill: dead letters were committed and their rows were not when the job was killed. It is started with another
// file, and finishes these records by the one that has decided them.
func TestJobFileIsChangedAfterAKill(t *testing.T) {
	w := newWorkbench(t)
	events := tailtest.Topic("events", 1, 0)
	w.journal.Append(t, []kfs.Entry{events}, tailtest.Values(events, 0, `{"n":0}`))
	const before = `
name: events
source: {topics: [events]}
decode: {value: {schema: [{name: n, type: long}]}}
transform: [{filter: "n != 1"}, {compute: {by: "'before'"}}]
table: {name: "lake.{topic}"}
`
	after := strings.NewReplacer("n != 1", "n != 6", "'before'", "'after'", "type: long", "type: int").Replace(before)
	if err := w.run(before); err != nil {
		t.Fatal(err)
	}
	w.journal.Append(t, nil, tailtest.Values(events, 0, `{"n":1}`, `{"n":2}`, `{"n":3000000000}`, `no JSON`))
	p := &program{logger: slog.New(slog.NewTextHandler(t.Output(), nil)), out: io.Discard}
	runner := p.runner()
	sink := runner.Sinks["iceberg"]
	runner.Sinks["iceberg"] = plugin.Sink{Settings: sink.Settings, Open: func(ctx context.Context, settings plugin.Decode, env plugin.SinkEnv) (plugin.Tables, error) {
		tables, err := sink.Open(ctx, settings, env)
		return stillbornTables{tables, "lake.events"}, err
	}}
	path := filepath.Join(w.dir, "before.yaml")
	if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	jobs, err := runner.Read([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	if err := runner.Run(t.Context(), jobs, host.Settings{Data: w.dir, MemoryBytes: 64 << 20, Until: pipeline.Until{Latest: true}}); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("error %v", err)
	}
	w.journal.Append(t, nil, tailtest.Values(events, 0, `{"n":5}`, `{"n":6}`, `{"n":3000000000}`))

	kept, err := filepath.Glob(filepath.Join(w.dir, "store", "jobs", "events", "config-*.json"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept are %v, %v", kept, err)
	}
	if err := os.Rename(kept[0], kept[0]+".away"); err != nil {
		t.Fatal(err)
	}
	if err := w.run(after); err == nil || !strings.Contains(err.Error(), "--decide-anew") {
		t.Errorf("without the file that has decided: %v", err)
	}
	if err := os.WriteFile(kept[0], []byte(`{"version":1,"job":{"transform":[{"exec":{"command":["touch","/tmp/taken"]}}],"table":{"name":"lake.{topic}"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.run(after); err == nil || !strings.Contains(err.Error(), "somebody has changed it") {
		t.Errorf("with another file in the place of the one that has decided: %v", err)
	}
	if err := os.Rename(kept[0]+".away", kept[0]); err != nil {
		t.Fatal(err)
	}
	if err := w.run(after); err != nil {
		t.Fatal(err)
	}
	// By the file of before: 1 is filtered, 3 is a row for its type is long, 4 is a dead letter. By the one of after: 6 is filtered, 7 is a dead letter.
	w.want("lake.events", map[int64]string{0: `{"by":"before","n":0}`, 2: `{"by":"before","n":2}`, 3: `{"by":"before","n":3000000000}`, 5: `{"by":"after","n":5}`})
	if letters := w.rows("lake.events_dead_letter"); len(letters) != 2 || letters[4] == "" || letters[7] == "" {
		t.Errorf("dead letters %v", letters)
	}
}
