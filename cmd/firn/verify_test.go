package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// TestVerifyOfNothing has a job that has not had a record yet.
func TestVerifyOfNothing(t *testing.T) {
	const shop = "name: shop\nsource: {topics: [events]}\n"
	w := newWorkbench(t)
	w.journal.Append(t, []kfs.Entry{tailtest.Topic("events", 1, 0)})
	if err := w.run(shop); err != nil {
		t.Fatal(err)
	}
	if out, err := w.verified(shop); err != nil || out != "job shop has filled no table yet: there is nothing to verify\n" {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := w.verified(shop, "--json"); err != nil || strings.TrimSpace(out) != "[]" {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestVerifyTellsOfHalts has a partition that halts before its first row, beside one that is committed; then all of a topic's, so that there is no
// table. What is in the tables is right, and the job is not sound.
func TestVerifyTellsOfHalts(t *testing.T) {
	const halting = `
name: strict
source: {topics: [%]}
decode: {value: {schema: [{name: id, type: long, required: true}]}}
table: {name: "lake.{topic}"}
errors: {policy: halt}
`
	w := newWorkbench(t)
	good, bad := tailtest.Topic("events", 1, 0, 0), tailtest.Topic("bad", 2, 0)
	w.journal.Append(t, []kfs.Entry{good, bad}, tailtest.Values(good, 0, `{"id":1}`), tailtest.Values(good, 1, `{"id":"no"}`), tailtest.Values(bad, 0, `no`))
	for topic, want := range map[string][]string{
		"events": {"lake.events: 1 findings", "/0  [0, 1)  1 rows", "WRONG: halt: events/1: "},
		"bad":    {"lake.bad: 1 findings", "WRONG: halt: bad/0: "},
	} {
		job := strings.Replace(halting, "%", topic, 1)
		if err := w.run(job); err == nil {
			t.Fatalf("%s: the job ended well", topic)
		}
		for _, arguments := range [][]string{nil, {"--deep"}, {"lake." + topic}} {
			out, err := w.verified(job, arguments...)
			if err == nil || err.Error() != "1 findings" {
				t.Errorf("verify %v: %v", arguments, err)
			}
			for _, text := range want {
				if !strings.Contains(out, text) {
					t.Errorf("verify %v does not say %q:\n%s", arguments, text, out)
				}
			}
		}
		if out, err := w.verified(strings.Replace(job, "policy: halt", "policy: dead_letter", 1), "lake.strict_dead_letter"); err == nil || strings.Contains(out, "WRONG") {
			t.Errorf("verify of the dead letters alone: %v\n%s", err, out)
		}
		mended := strings.Replace(job, "policy: halt", "policy: skip", 1)
		if err := w.run(mended); err != nil {
			t.Fatal(err)
		}
		if out, err := w.verified(mended); err != nil {
			t.Errorf("%s, mended: %v\n%s", topic, err, out)
		}
	}
}

// TestVerifyTellsOfTopicsWithoutATable has two topics that would go to one table: what is in the table is right, and the other's records are nowhere.
func TestVerifyTellsOfTopicsWithoutATable(t *testing.T) {
	const job = `
name: clash
source: {pattern: 'a.*'}
table: {name: "lake.{topic}"}
`
	w := newWorkbench(t)
	first, second := tailtest.Topic("a-b", 1, 0), tailtest.Topic("a.b", 2, 0)
	w.journal.Append(t, []kfs.Entry{first, second}, tailtest.Values(first, 0, `{"id":1}`))
	if err := w.run(job); err == nil {
		t.Fatal("the job ended well")
	}
	if out, err := w.verified(job); err != nil || !strings.Contains(out, "no records that wait for it") {
		t.Errorf("a topic without records has no table: %v\n%s", err, out)
	}
	w.journal.Append(t, nil, tailtest.Values(second, 0, `{"id":2}`))
	if err := w.run(job); err == nil {
		t.Fatal("the job ended well")
	}
	if out, err := w.verified(job); err == nil || err.Error() != "1 findings" || !strings.Contains(out, "WRONG: halt: topics a-b and a.b would both go to table") {
		t.Errorf("verify: %v\n%s", err, out)
	}
}

// TestVerifyKnowsFormerJobFiles verifies a table of a job whose file, and whose backfill's file, left records out, and does not any more. A row that is
// gone is missed all the same.
func TestVerifyKnowsFormerJobFiles(t *testing.T) {
	const whole = `
name: events
source: {topics: [events]}
table: {name: "lake.{topic}"}
`
	const filters = whole + "transform: [{filter: \"n % 2 == 0\"}]\n"
	sound := func(t *testing.T, w *workbench, job string) {
		t.Helper()
		for _, arguments := range [][]string{nil, {"--deep"}} {
			if out, err := w.verified(job, arguments...); err != nil || !strings.Contains(out, "lake.events: ok") {
				t.Errorf("verify %v: %v\n%s", arguments, err, out)
			}
		}
	}
	t.Run("the job's", func(t *testing.T) {
		w := newWorkbench(t)
		events := tailtest.Topic("events", 1, 0)
		w.journal.Append(t, []kfs.Entry{events}, tailtest.Values(events, 0, `{"n":0}`, `{"n":1}`, `{"n":2}`))
		if err := w.run(filters); err != nil {
			t.Fatal(err)
		}
		sound(t, w, filters)
		w.journal.Append(t, nil, tailtest.Values(events, 0, `{"n":3}`, `{"n":4}`))
		if err := w.run(whole); err != nil {
			t.Fatal(err)
		}
		w.want("lake.events", map[int64]string{0: `{"n":0}`, 2: `{"n":2}`, 3: `{"n":3}`, 4: `{"n":4}`})
		sound(t, w, whole)
		if err := os.Remove(w.files("events", "*.parquet")[0]); err != nil {
			t.Fatal(err)
		}
		if out, err := w.verified(whole, "--deep"); err == nil || !strings.Contains(out, "WRONG: missing: ") {
			t.Errorf("a data file is gone: %v\n%s", err, out)
		}
	})
	t.Run("a backfill's", func(t *testing.T) {
		w := newWorkbench(t)
		events := tailtest.Topic("events", 1, 0)
		at := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
		w.journal.Now = func() time.Time { return at }
		w.journal.Append(t, []kfs.Entry{events}, tailtest.Values(events, 0, `{"n":0}`, `{"n":1}`, `{"n":2}`))
		at = at.Add(time.Hour)
		w.journal.Append(t, nil, tailtest.Values(events, 0, `{"n":3}`, `{"n":4}`))
		later := func(job string) string {
			return strings.Replace(job, "[events]", "[events], from: 2024-01-01T01:00:00Z", 1)
		}
		if err := w.run(later(whole)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(w.dir, "job.yaml"), []byte(later(filters)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := w.backfill(); err != nil {
			t.Fatal(err)
		}
		w.want("lake.events", map[int64]string{0: `{"n":0}`, 2: `{"n":2}`, 3: `{"n":3}`, 4: `{"n":4}`})
		sound(t, w, later(whole))
	})
}

// TestVerifySeveral verifies a table that can be and one that cannot: what is known of the one is told, and that of the other nothing is known.
func TestVerifySeveral(t *testing.T) {
	const job = `
name: several
source: {topics: [good, bad]}
table: {name: "lake.{topic}"}
`
	w := newWorkbench(t)
	good, bad := tailtest.Topic("good", 1, 0), tailtest.Topic("bad", 2, 0)
	w.journal.Append(t, []kfs.Entry{good, bad}, tailtest.Values(good, 0, `{"id":1}`, `{"id":2}`), tailtest.Values(bad, 0, `{"id":1}`))
	if err := w.run(job); err != nil {
		t.Fatal(err)
	}
	for _, path := range w.files("bad", "*.avro") {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	out, err := w.verified(job, "--deep")
	if err == nil || exitCode(err) != exitUnverified || !strings.Contains(err.Error(), "table lake.bad: ") {
		t.Errorf("exit code %d: %v", exitCode(err), err)
	}
	if !strings.Contains(out, "lake.good: ok") {
		t.Errorf("nothing is said of the other table:\n%s", out)
	}
	for _, path := range w.files("good", "*.parquet") {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	out, err = w.verified(job, "--deep")
	if err == nil || exitCode(err) != 1 || !strings.Contains(err.Error(), "2 findings") || !strings.Contains(err.Error(), "table lake.bad: ") {
		t.Errorf("exit code %d: %v", exitCode(err), err)
	}
	if !strings.Contains(out, "WRONG: damage: data file ") || !strings.Contains(out, "2 rows are missing: [0, 2)") {
		t.Errorf("it is not said what is wrong:\n%s", out)
	}
	if _, err := w.verified(job, "lake.several_dead_letter"); err == nil || !strings.Contains(err.Error(), "nothing has come for lake.several_dead_letter yet") {
		t.Errorf("a table that is not there: %v", err)
	}
	if _, err := w.verified(job, "lake.god"); err == nil || !strings.Contains(err.Error(), "lake.god is none of the job's tables") {
		t.Errorf("a table that is none: %v", err)
	}
}

// files are those of a table in the warehouse whose names match.
func (w *workbench) files(table, pattern string) []string {
	w.t.Helper()
	var all []string
	err := filepath.WalkDir(filepath.Join(w.dir, "warehouse"), func(path string, d fs.DirEntry, err error) error {
		if match, _ := filepath.Match(pattern, d.Name()); err == nil && match && strings.Contains(path, string(filepath.Separator)+table+string(filepath.Separator)) {
			all = append(all, path)
		}
		return err
	})
	if err != nil || len(all) == 0 {
		w.t.Fatalf("files of table %s: %d, %v", table, len(all), err)
	}
	return all
}
