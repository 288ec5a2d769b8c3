package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// TestDeadLettersAlone: where all records are dead letters there is no table yet, nothing is behind, and they are where they are.
func TestDeadLettersAlone(t *testing.T) {
	w := newWorkbench(t)
	events := tailtest.Topic("events", 1, 0)
	w.journal.Append(t, []kfs.Entry{events}, tailtest.Values(events, 0, `no JSON`, `[]`))
	const text = "name: events\nsource: {topics: [events]}\n"
	if err := w.run(text); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.dir, "job.yaml")
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
	if out, err := firn(t, "where", "events", "0", "1", "-f", path, "--data", w.dir); err != nil || !strings.Contains(out, "default.events_dead_letter  dead letter") {
		t.Errorf("where: %v\n%s", err, out)
	}
	if out, err := firn(t, "where", "events", "0", "2", "-f", path, "--data", w.dir); err == nil || !strings.Contains(out, "pending") {
		t.Errorf("where a record is that does not exist yet: %v\n%s", err, out)
	}
}

// TestDeadLettersOfBackfills: those that a backfill has found are dead letters of the job's table as its own are.
func TestDeadLettersOfBackfills(t *testing.T) {
	w := newWorkbench(t)
	events := tailtest.Topic("events", 1, 0)
	at := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	w.journal.Now = func() time.Time { return at }
	w.journal.Append(t, []kfs.Entry{events}, tailtest.Values(events, 0, `no JSON`, `{"n":1}`, `none`))
	at = at.AddDate(0, 1, 0)
	w.journal.Append(t, nil, tailtest.Values(events, 0, `{"n":3}`, `nor this`))
	if err := w.run("name: events\nsource: {topics: [events], from: 2024-02-01T00:00:00Z}\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.backfill(); err != nil {
		t.Fatal(err)
	}
	got := w.statuses("job.yaml")
	if s := got[0].Tables[0]; s.DeadLetters != 3 || s.Rows != 1 || len(s.Backfills) != 1 || s.Backfills[0].Rows != 1 {
		t.Errorf("%+v, want three dead letters, a row of the job and one of the backfill", s)
	}
}

// TestStatusAfterARollback: rows that somebody else has rolled back are not in the table any more, whatever its property says.
func TestStatusAfterARollback(t *testing.T) {
	w := newWorkbench(t)
	events := tailtest.Topic("events", 1, 0)
	w.journal.Append(t, []kfs.Entry{events}, tailtest.Values(events, 0, `{"a":1}`, `{"a":2}`))
	const text = "name: events\nsource: {topics: [events]}\n"
	if err := w.run(text); err != nil {
		t.Fatal(err)
	}
	w.journal.Append(t, nil, tailtest.Values(events, 0, `{"a":3}`))
	if err := w.run(text); err != nil {
		t.Fatal(err)
	}
	rows := func(want int64) {
		t.Helper()
		got := w.statuses("job.yaml")
		if len(got) != 1 || len(got[0].Tables) != 1 || got[0].Tables[0].Rows != want || got[0].Tables[0].Sources[0].Position != want {
			t.Errorf("%+v, want %d rows", got, want)
		}
	}
	rows(3)
	lake, _, err := openCatalog(t.Context(), nil, w.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lake.Close()
	tbl, err := lake.Client().LoadTable(t.Context(), []string{"default", "events"})
	if err != nil {
		t.Fatal(err)
	}
	tx := tbl.NewTransaction()
	if err := tx.RollbackToSnapshot(*tbl.CurrentSnapshot().ParentSnapshotID); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	rows(2)
}

// TestLastCommit: where snapshots have expired, that of the last commit of rows too, nothing tells when it was; never is where there are no rows.
func TestLastCommit(t *testing.T) {
	for _, c := range []struct {
		status tableStatus
		want   string
	}{
		{tableStatus{Commit: -1}, "never"},
		{tableStatus{Commit: -1, Rows: 3}, "-"},
		{tableStatus{Commit: -1, Rows: -1}, "-"},
		{tableStatus{Commit: 2, Rows: 3}, "2s ago"},
		{tableStatus{Commit: 2}, "2s ago"},
	} {
		if got := c.status.lastCommit(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.status, got, c.want)
		}
	}
}

// TestLooksWhereThereIsNoCatalog: who gives the folder of another catalog, or none, is told so, and not that all tables are gone; and none is made.
func TestLooksWhereThereIsNoCatalog(t *testing.T) {
	w := newWorkbench(t)
	if err := w.run("name: events\nsource: {topics: [events]}\n"); err != nil {
		t.Fatal(err)
	}
	path, store, elsewhere := filepath.Join(w.dir, "job.yaml"), filepath.Join(w.dir, "store"), filepath.Join(t.TempDir(), "elsewhere")
	for _, command := range [][]string{{"status"}, {"verify"}, {"dlq", "ls"}, {"sweep", "--dry-run"}, {"where", "events", "0", "0"}, {"backfill", "--dry-run"}, {"rebuild", "--dry-run"}} {
		_, err := firn(t, append(command, "-f", path, "--store", store, "--data", elsewhere)...)
		if err == nil || !strings.Contains(err.Error(), "there is no catalog "+filepath.Join(elsewhere, "catalog.db")) {
			t.Errorf("%v: %v", command, err)
		}
	}
	if _, err := os.Stat(elsewhere); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder was made: %v", err)
	}
	if out, err := firn(t, "sweep", "--dry-run", "-f", path, "--data", w.dir); err != nil || !strings.HasSuffix(out, "0 files, 0 B, would be deleted\n") {
		t.Errorf("a sweep of no tables: %v\n%s", err, out)
	}
}

// TestListsThatAreEmpty: in JSON they are [] and never null, so that .halts[] and .spans[] hold for whoever reads it.
func TestListsThatAreEmpty(t *testing.T) {
	w := newWorkbench(t)
	empty, letters, events := tailtest.Topic("empty", 1, 0), tailtest.Topic("letters", 2, 0), tailtest.Topic("events", 3, 0)
	w.journal.Append(t, []kfs.Entry{empty, letters, events}, tailtest.Values(letters, 0, `no JSON`), tailtest.Values(events, 0, `{}`))
	for _, topics := range []string{"empty", "letters", "events"} {
		if err := w.run("name: a" + topics + "\nsource: {topics: [" + topics + "]}\n"); err != nil {
			t.Fatal(err)
		}
		for _, command := range [][]string{{"status"}, {"verify"}, {"dlq", "ls"}, {"dlq", "retry"}, {"plan"}, {"sweep"}, {"backfill", "--dry-run"}, {"where", topics, "0", "0"}} {
			out, err := firn(t, append(command, "-f", filepath.Join(w.dir, "job.yaml"), "--data", w.dir, "--json")...)
			if strings.Contains(out, "null") {
				t.Errorf("%s: %v: %v\n%s", topics, command, err, out)
			}
			if out != "" && !json.Valid([]byte(out)) {
				t.Errorf("%s: %v is no JSON: %s", topics, command, out)
			}
		}
	}
}
