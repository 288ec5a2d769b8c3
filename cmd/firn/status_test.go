package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// TestStatusOfDeadLettersAlone: where all records are dead letters there is no table yet, and nothing is behind.
func TestStatusOfDeadLettersAlone(t *testing.T) {
	w := newWorkbench(t)
	events := tailtest.Topic("events", 1, 0)
	w.journal.Append(t, []kfs.Entry{events}, tailtest.Values(events, 0, `no JSON`, `[]`))
	const text = "name: events\nsource: {topics: [events]}\n"
	if err := w.run(text); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.dir, "status.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := firn(t, "status", "-f", path, "--data", w.dir, "--json")
	if err != nil {
		t.Fatal(err)
	}
	var got []jobStatus
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || len(got[0].Tables) != 1 {
		t.Fatalf("%s, want one table", out)
	}
	if s := got[0].Tables[0]; s.Lag != 0 || s.Behind != 0 || s.Rows != 0 || s.DeadLetters != 2 || len(s.Sources) != 1 || s.Sources[0].Position != 2 {
		t.Errorf("%+v, want two dead letters and no lag", s)
	}
}
