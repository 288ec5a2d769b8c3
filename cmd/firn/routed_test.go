package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

const routedJob = `
name: shop
source: {topics: [events]}
transform: [{drop: [secret]}]
table: {name: "lake.{topic}_{field:kind}", max: 4, properties: {by: shop}}
`

// verified runs `firn verify --deep` on a job.
func (w *workbench) verified(job string, arguments ...string) (string, error) {
	w.t.Helper()
	return w.command(verifyCommand(), job, arguments)
}

// command runs a command on a job, and gives what it prints.
func (w *workbench) command(c *cobra.Command, job string, arguments []string) (string, error) {
	w.t.Helper()
	path := filepath.Join(w.dir, "command.yaml")
	if err := os.WriteFile(path, []byte(job), 0o600); err != nil {
		w.t.Fatal(err)
	}
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(io.Discard)
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetArgs(append([]string{"-f", path, "--data", w.dir}, arguments...))
	err := c.ExecuteContext(w.t.Context())
	return out.String(), err
}

// TestRecordsNameTheirTables brings one topic into several Iceberg tables, with restarts in between, and proves them together.
func TestRecordsNameTheirTables(t *testing.T) {
	w := newWorkbench(t)
	events := tailtest.Topic("events", 1, 0)
	w.journal.Append(t, []kfs.Entry{events}, tailtest.Values(events, 0,
		`{"kind":"order","id":1,"price":2.5,"secret":"x"}`, `{"kind":"click","url":"/"}`, `{"id":3}`, `{"kind":"order","id":4}`))
	if err := w.run(routedJob); err != nil {
		t.Fatal(err)
	}
	w.journal.Append(t, nil, tailtest.Values(events, 0,
		`{"kind":"re-fund","id":5}`, `{"kind":"re_fund","id":6}`, `{"kind":"click","url":"/a","id":7}`, `{"kind":"Order","id":8}`, `{"kind":"a"}`, `{"kind":"b"}`))
	if err := w.run(routedJob); err != nil {
		t.Fatal(err)
	}
	w.journal.Append(t, nil, tailtest.Values(events, 0, `{"kind":"re_fund","id":10}`, `{"kind":"order","id":11}`))
	if err := w.run(routedJob); err != nil {
		t.Fatal(err)
	}
	w.want("lake.events_order", map[int64]string{0: `{"id":1,"kind":"order","price":2.5}`, 3: `{"id":4,"kind":"order"}`, 11: `{"id":11,"kind":"order"}`})
	w.want("lake.events_click", map[int64]string{1: `{"kind":"click","url":"/"}`, 6: `{"id":7,"kind":"click","url":"/a"}`})
	w.want("lake.events_re_fund", map[int64]string{4: `{"id":5,"kind":"re-fund"}`})
	w.want("lake.events_a", map[int64]string{8: `{"kind":"a"}`})
	letters := w.rows("lake.shop_dead_letter")
	for offset, class := range map[int64]string{2: "route_missing", 5: "route_collision", 7: "route_collision", 9: "route_limit", 10: "route_collision"} {
		if !strings.Contains(letters[offset], class) {
			t.Errorf("offset %d: dead letter %s, want %s", offset, letters[offset], class)
		}
	}
	if len(letters) != 5 {
		t.Errorf("dead letters %v", letters)
	}
	for _, arguments := range [][]string{nil, {"--deep"}} {
		out, err := w.verified(routedJob, arguments...)
		if err != nil || strings.Contains(out, "note") || !strings.Contains(out, "lake.events_{field:kind}: ok") || !strings.Contains(out, "[0, 12)  7 rows, 5 dead letters") {
			t.Errorf("verify %v: %v\n%s", arguments, err, out)
		}
	}
	if _, err := w.rebuild(routedJob, "--yes"); err == nil || !strings.Contains(err.Error(), "is named by what records hold") || !strings.Contains(err.Error(), instead) {
		t.Errorf("a rebuild: %v", err)
	}
}

// TestRoutedBesideDeadLetters has a template that the name of the dead-letter table could come from, too: it is none of the tables that records
// name, also where the job's object, of a version that took it for one, says so.
func TestRoutedBesideDeadLetters(t *testing.T) {
	w := newWorkbench(t)
	routed := strings.Replace(routedJob, "lake.{topic}_{field:kind}", "lake.{topic}{field:kind}", 1)
	routed = strings.Replace(routed, "name: shop", "name: events", 1)
	events := tailtest.Topic("events", 1, 0)
	w.journal.Append(t, []kfs.Entry{events}, tailtest.Values(events, 0, `{"kind":"a"}`, `{}`, `{"kind":"_dead_letter"}`))
	if err := w.run(routed); err != nil {
		t.Fatal(err)
	}
	key := kfs.JobKey("events")
	filed := w.filed(key)
	for _, table := range filed.Tables {
		if table.Table == "lake.eventsa" {
			table.Table, table.UUID = "lake.events_dead_letter", "00000000-0000-4000-8000-000000000000"
			filed.Tables = append(filed.Tables, table)
		}
	}
	body, err := kfs.EncodeJob(filed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.journal.Store.Put(t.Context(), key, body, false); err != nil {
		t.Fatal(err)
	}
	w.journal.Append(t, nil, tailtest.Values(events, 0, `{"kind":"a"}`, `{}`))
	if err := w.run(routed); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, table := range w.filed(key).Tables {
		names = append(names, table.Table)
	}
	if want := []string{"lake.eventsa", "lake.events{field:kind}"}; !slices.Equal(names, want) {
		t.Errorf("the job's object has tables %v, want %v", names, want)
	}
	w.want("lake.eventsa", map[int64]string{0: `{"kind":"a"}`, 3: `{"kind":"a"}`})
	if letters := w.rows("lake.events_dead_letter"); len(letters) != 3 {
		t.Errorf("dead letters %v", letters)
	}
	out, err := w.verified(routed, "--deep")
	if err != nil || strings.Count(out, "lake.events_dead_letter: ok") != 1 || !strings.Contains(out, "[0, 5)  2 rows, 3 dead letters") {
		t.Errorf("verify: %v\n%s", err, out)
	}
}

// filed reads what the object of a job says.
func (w *workbench) filed(key string) *kfs.Job {
	w.t.Helper()
	body, _, err := blob.ReadAll(w.t.Context(), w.journal.Store, key, blob.All, kfs.MaxJobBytes)
	if err != nil {
		w.t.Fatal(err)
	}
	filed, err := kfs.DecodeJob(body)
	if err != nil {
		w.t.Fatal(err)
	}
	return filed
}

// TestVerifyRoutedTables finds, of tables that divide a topic, a row that is in none of them, and one that is in two.
func TestVerifyRoutedTables(t *testing.T) {
	w := newWorkbench(t)
	events := tailtest.Topic("events", 1, 0)
	w.journal.Append(t, []kfs.Entry{events}, tailtest.Values(events, 0, `{"kind":"a"}`, `{"kind":"b"}`, `{"kind":"a"}`))
	if err := w.run(routedJob); err != nil {
		t.Fatal(err)
	}
	w.journal.Append(t, nil, tailtest.Values(events, 0, `{"kind":"b"}`, `{"kind":"a"}`))
	if err := w.run(routedJob); err != nil {
		t.Fatal(err)
	}
	// A job that takes its records for others than they are, on the same tables.
	if err := os.RemoveAll(filepath.Join(w.dir, "store", "jobs")); err != nil {
		t.Fatal(err)
	}
	w.journal.Append(t, nil, tailtest.Values(events, 0, `{"kind":"b"}`))
	misled := strings.Replace(routedJob, "{drop: [secret]}", `{filter: "kind == 'a'"}`, 1)
	if err := w.run(misled); err != nil {
		t.Fatal(err)
	}
	if out, err := w.verified(routedJob, "--deep"); err != nil {
		t.Errorf("a job that left records out before: %v\n%s", err, out)
	}
	if err := os.RemoveAll(filepath.Join(w.dir, "store", "jobs", "shop")); err != nil { // nothing tells of that file any more
		t.Fatal(err)
	}
	for _, arguments := range [][]string{nil, {"--deep"}} {
		out, err := w.verified(routedJob, arguments...)
		if err == nil || !strings.Contains(out, "WRONG: missing") || strings.Count(out, "WRONG") != 1 {
			t.Errorf("verify %v: %v\n%s", arguments, err, out)
		}
	}
	if out, err := w.verified(misled, "--deep"); err != nil {
		t.Errorf("a job that leaves records out: %v\n%s", err, out)
	}
}

// TestRoutedSinkMustList refuses tables by content where nobody could tell which there are.
func TestRoutedSinkMustList(t *testing.T) {
	w := newWorkbench(t)
	err := w.run(strings.Replace(routedJob, ", properties: {by: shop}", "", 1) + fmt.Sprintf("sink: {jsonl: {url: %q}}\n", "file://"+w.dir+"/lines"))
	if err == nil || !strings.Contains(err.Error(), "does not tell which tables there are") {
		t.Errorf("error %v", err)
	}
}

// TestCheckRoutes finds what cannot name a table before there is data.
func TestCheckRoutes(t *testing.T) {
	w := newWorkbench(t)
	for change, want := range map[string]string{
		`decode: {value: {schema: [{name: a, type: long}]}}`:      "{field:kind}: rows have no column kind",
		`decode: {value: {schema: [{name: kind, type: double}]}}`: "{field:kind}: a float64 names no table",
		`decode: {value: {format: raw}}`:                          "{field:kind}: rows have no column kind",
		`decode: {value: {schema: [{name: kind, type: string}]}}`: "",
	} {
		path := filepath.Join(w.dir, "checked.yaml")
		if err := os.WriteFile(path, []byte(strings.Replace(routedJob, "transform: [{drop: [secret]}]\n", "", 1)+change+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		p := &program{logger: slog.New(slog.DiscardHandler), out: io.Discard}
		c := p.processCommand()
		c.SilenceErrors, c.SilenceUsage = true, true
		c.SetArgs([]string{"-f", path, "--check", "--data", w.dir})
		err := c.ExecuteContext(t.Context())
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", change, err, want)
		}
	}
}
