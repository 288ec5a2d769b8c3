package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors/iceberg/deadletter"
	"github.com/firn-io/firn/processors/iceberg/rebuild"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// rebuild runs `firn rebuild` with a job file.
func (w *workbench) rebuild(text string, arguments ...string) (result rebuildResult, err error) {
	w.t.Helper()
	return w.rebuildSaying(io.Discard, text, arguments...)
}

// rebuildSaying is rebuild, and gives what it says beside its result.
func (w *workbench) rebuildSaying(said io.Writer, text string, arguments ...string) (result rebuildResult, err error) {
	w.t.Helper()
	path := filepath.Join(w.dir, "rebuild.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	var out bytes.Buffer
	p := &program{logger: slog.New(slog.NewTextHandler(w.t.Output(), nil)), out: io.Discard}
	c := p.rebuildCommand()
	c.SetOut(&out)
	c.SetErr(said)
	c.SetIn(strings.NewReader(""))
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetArgs(append([]string{"-f", path, "--data", w.dir, "--json"}, arguments...))
	if err = c.ExecuteContext(w.t.Context()); err == nil {
		err = json.Unmarshal(out.Bytes(), &result)
	}
	return result, err
}

const (
	shopBefore = `
name: shop
source: {topics: [events, orders]}
decode: {value: {schema: [{name: id, type: long}, {name: price, type: double}, {name: note, type: string}]}}
transform: [{drop: [note]}]
table: {name: "lake.{topic}"}
`
	// Prices may be text now.
	shopAfter = `
name: shop
source: {topics: [events, orders]}
decode: {value: {schema: [{name: id, type: long}, {name: price, type: string}]}}
transform:
  - cast: {price: double}
table: {name: "lake.{topic}"}
`
)

// TestRebuild makes a table anew with a changed job file: dead letters become rows and rows become dead letters; then the job goes on
// with the new file, and not with the former one.
func TestRebuild(t *testing.T) {
	w := newWorkbench(t)
	events, orders := tailtest.Topic("events", 1, 0), tailtest.Topic("orders", 2, 0)
	w.journal.Append(t, []kfs.Entry{events, orders}, tailtest.Values(events, 0, `{"id":0,"price":1.5}`, `{"id":1,"price":"2.5"}`, `{"id":2}`, `nonsense`))
	w.journal.Append(t, nil, tailtest.Values(orders, 0, `{"id":0}`))
	if err := w.run(shopBefore); err != nil {
		t.Fatal(err)
	}
	was := map[int64]string{0: `{"id":0,"price":1.5}`, 2: `{"id":2}`}
	w.want("lake.events", was)

	if _, err := w.rebuild(shopAfter, "--yes"); err == nil || !strings.Contains(err.Error(), "say which with --table: lake.events, lake.orders") {
		t.Errorf("without --table: %v", err)
	}
	planned, err := w.rebuild(shopAfter, "--table", "lake.events", "--dry-run")
	if err != nil || planned.Outcome != "planned" || len(planned.Sources) != 1 || planned.Sources[0].Until != 4 || planned.Sources[0].At != -1 {
		t.Fatalf("%+v, %v", planned, err)
	}
	built, err := w.rebuild(shopAfter, "--table", "lake.events")
	if err != nil || built.Outcome != "built" {
		t.Fatalf("%+v, %v", built, err)
	}
	if d := built.Diff; d.Rows != [2]int64{2, 2} || d.Letters != [2]int64{2, 2} {
		t.Errorf("%+v", built.Diff)
	}
	w.want("lake.events", was)
	if held, err := filepath.Glob(filepath.Join(w.dir, "store", "jobs", "shop.rebuild.*.json")); err != nil || len(held) != 1 {
		t.Errorf("the log is held by %v, %v", held, err)
	}
	if out, err := w.verified(shopBefore, "--deep"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}

	// The job goes on meanwhile.
	if got := w.status("lake.events").Rebuild; got == nil || *got != (rebuildStatus{To: rebuild.OnBranch, Offsets: 4}) {
		t.Errorf("status says %+v", got)
	}
	w.journal.Append(t, nil, tailtest.Values(events, 0, `{"id":4,"price":4}`, `{"id":5,"price":"5"}`))
	if err := w.run(shopBefore); err != nil {
		t.Fatal(err)
	}
	if got := w.status("lake.events").Rebuild; got == nil || *got != (rebuildStatus{To: rebuild.OnBranch, Offsets: 4, Left: 2}) {
		t.Errorf("status says %+v", got)
	}
	w.paused("lake.events")
	swapped, err := w.rebuild(shopAfter, "--table", "lake.events", "--yes")
	if err != nil || swapped.Outcome != "swapped" || !strings.HasPrefix(swapped.Replaced, "before_rebuild_") {
		t.Fatalf("%+v, %v", swapped, err)
	}
	if err := w.run(shopBefore); err == nil || !strings.Contains(err.Error(), "rebuilt with another job file") {
		t.Errorf("the job with its former file: %v", err)
	}
	if out, err := w.verified(shopAfter, "--deep"); err != nil || !strings.Contains(out, "rebuilt with another job file") || strings.Count(out, "note:") != 1 {
		t.Errorf("%v\n%s", err, out)
	}
	w.journal.Append(t, nil, tailtest.Values(events, 0, `{"id":6,"price":"6"}`))
	if err := w.run(shopAfter); err != nil {
		t.Fatal(err)
	}
	if got := w.status("lake.events"); got.Rebuild != nil || got.Rows != 4 {
		t.Errorf("status says %+v", got)
	}
	// By the new file numbers are no prices.
	w.want("lake.events", map[int64]string{1: `{"id":1,"price":2.5}`, 2: `{"id":2}`, 5: `{"id":5,"price":5}`, 6: `{"id":6,"price":6}`})
	w.want("lake.orders", map[int64]string{0: `{"id":0}`})
	if out, err := w.verified(shopAfter, "--deep"); err != nil || strings.Contains(out, "note:") {
		t.Errorf("%v\n%s", err, out)
	}
	if held, err := filepath.Glob(filepath.Join(w.dir, "store", "jobs", "shop.rebuild.*.json")); err != nil || len(held) > 0 {
		t.Errorf("the log is held by %v, %v", held, err)
	}
}

// shopAgain has columns of other types, and partitions.
const shopAgain = `
name: shop
source: {topics: [events, orders]}
decode: {value: {schema: [{name: id, type: string}, {name: price, type: string}, {name: vat, type: double}]}}
table: {name: "lake.{topic}", partition: ["bucket(4, id)"]}
`

// status is what `firn status` says of a table of the job that was run last.
func (w *workbench) status(table string) tableStatus {
	w.t.Helper()
	all := w.statuses("rebuild.yaml")
	for _, t := range all[0].Tables {
		if t.Table == table {
			return t
		}
	}
	w.t.Fatalf("status says nothing of %s: %+v", table, all)
	return tableStatus{}
}

// statuses is what `firn status` says of the jobs of a file.
func (w *workbench) statuses(file string) (all []jobStatus) {
	w.t.Helper()
	var out bytes.Buffer
	c := statusCommand()
	c.SetOut(&out)
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetArgs([]string{"-f", filepath.Join(w.dir, file), "--data", w.dir, "--json"})
	err := c.ExecuteContext(w.t.Context())
	if err := errors.Join(err, json.Unmarshal(out.Bytes(), &all)); err != nil {
		w.t.Fatal(err)
	}
	return all
}

// paused pauses a table, as a rebuild that is killed then leaves it, and checks that status tells of it.
func (w *workbench) paused(table string) {
	w.t.Helper()
	lake, _, err := openCatalog(w.t.Context(), nil, w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	defer lake.Close()
	now := time.Now()
	p := catalog.Pause{By: "a rebuild", Since: now.UnixMilli(), Until: now.Add(catalog.MaxPause).UnixMilli()}
	if err := lake.Pause(w.t.Context(), table, p, catalog.Options{Job: "shop"}); err != nil {
		w.t.Fatal(err)
	}
	if got := w.status(table).Rebuild; got == nil || got.Paused == nil || *got.Paused != p {
		w.t.Errorf("status says %+v of a table that is paused", got)
	}
}

// TestRebuildInTable makes a table anew that cannot hold the new rows; then another rebuild is made on a branch of what has come of it.
func TestRebuildInTable(t *testing.T) {
	w := newWorkbench(t)
	events := tailtest.Topic("events", 1, 0)
	w.journal.Append(t, []kfs.Entry{events}, tailtest.Values(events, 0, `{"id":0,"price":1.5}`, `{"id":"1","price":"2.5"}`, `nonsense`))
	if err := w.run(shopBefore); err != nil {
		t.Fatal(err)
	}
	if _, err := w.rebuild(shopAgain, "--to", "branch", "--yes"); err == nil || !strings.Contains(err.Error(), "column id of the table is long and cannot hold string") {
		t.Errorf("on a branch: %v", err)
	}
	built, err := w.rebuild(shopAgain)
	if err != nil || built.To != "table" || built.Name != "lake.events__rebuild" || built.Diff.Rows != [2]int64{1, 1} || built.Diff.Letters != [2]int64{2, 2} {
		t.Fatalf("%+v, %v", built, err)
	}
	w.want("lake.events", map[int64]string{0: `{"id":0,"price":1.5}`})
	if gone, err := w.rebuild(shopAgain, "--abandon"); err != nil || gone.Outcome != "abandoned" {
		t.Fatalf("%+v, %v", gone, err)
	}
	w.journal.Append(t, nil, tailtest.Values(events, 0, `{"id":"3","price":"4"}`))
	if err := w.run(shopBefore); err != nil {
		t.Fatal(err)
	}
	swapped, err := w.rebuild(shopAgain, "--yes")
	if err != nil || swapped.Outcome != "swapped" || !strings.HasPrefix(swapped.Replaced, "lake.events__before_rebuild_") {
		t.Fatalf("%+v, %v", swapped, err)
	}
	rows := map[int64]string{1: `{"id":"1","price":"2.5"}`, 3: `{"id":"3","price":"4"}`}
	w.want("lake.events", rows)
	w.want(swapped.Replaced, map[int64]string{0: `{"id":0,"price":1.5}`})
	if err := w.run(shopBefore); err == nil || !strings.Contains(err.Error(), "rebuilt with another job file") {
		t.Errorf("the job with its former file: %v", err)
	}
	w.journal.Append(t, nil, tailtest.Values(events, 0, `{"id":"4","vat":0.25}`))
	if err := w.run(shopAgain); err != nil {
		t.Fatal(err)
	}
	rows[4] = `{"id":"4","vat":0.25}`
	w.want("lake.events", rows)
	if out, err := w.verified(shopAgain, "--deep"); err != nil || strings.Contains(out, "note:") {
		t.Errorf("%v\n%s", err, out)
	}

	again, err := w.rebuild(shopAgain+"transform: [{drop: [vat]}]\n", "--yes")
	if err != nil || again.Outcome != "swapped" || again.To != "branch" {
		t.Fatalf("%+v, %v", again, err)
	}
	rows[4] = `{"id":"4"}`
	w.want("lake.events", rows)
	if out, err := w.verified(shopAgain, "--deep"); err != nil || strings.Contains(out, "note:") {
		t.Errorf("%v\n%s", err, out)
	}
	w.dropOld(swapped.Replaced, again.Replaced)
	w.want("lake.events", rows)
	if out, err := w.verified(shopAgain, "--deep"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// dropOld drops what rebuilds of lake.events have left, a table and a tag, and nothing else.
func (w *workbench) dropOld(aside, tag string) {
	w.t.Helper()
	lake, _, err := openCatalog(w.t.Context(), nil, w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	defer lake.Close()
	refs := func() (names []string) {
		_, t, err := lake.Account(w.t.Context(), "lake.events", nil)
		if err != nil {
			w.t.Fatal(err)
		}
		for name := range t.Metadata().Refs() {
			names = append(names, name)
		}
		slices.Sort(names)
		return names
	}
	_, before, err := lake.Account(w.t.Context(), "lake.events", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	// Others may have tags of such names, and tables.
	const mine, current = "before_rebuild_mine", "before_rebuild_20260101_000000_000"
	for name, id := range map[string]int64{mine: before.SnapshotByName(tag).SnapshotID, current: before.CurrentSnapshot().SnapshotID} {
		if _, _, err := lake.Client().CommitTable(w.t.Context(), before.Identifier(), nil, []table.Update{table.NewSetSnapshotRefUpdate(name, id, table.TagRef, 0, 0, 0)}); err != nil {
			w.t.Fatal(err)
		}
	}
	const other = "lake.events__before_rebuild_20260101_000000_000"
	if _, err := lake.Client().CreateTable(w.t.Context(), table.Identifier{"lake", strings.TrimPrefix(other, "lake.")}, before.Schema()); err != nil {
		w.t.Fatal(err)
	}

	if _, err := w.rebuild(shopAgain, "--to", "table"); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.rebuild(shopAgain, "--drop-old", "--yes"); !errors.Is(err, rebuild.ErrUnfinished) {
		w.t.Errorf("while a rebuild is not finished: %v", err)
	}
	if _, err := w.rebuild(shopAgain, "--abandon"); err != nil {
		w.t.Fatal(err)
	}
	for _, args := range [][]string{{"--dry-run", "--yes"}, {}} {
		kept, err := w.rebuild(shopAgain, append(args, "--drop-old")...)
		if err != nil || kept.Outcome != "kept" || len(kept.Old) != 2 || kept.Old[0].Name != aside || kept.Old[1].Name != tag {
			w.t.Errorf("%q: %+v, %v", args, kept, err)
		}
	}
	if got, want := refs(), []string{current, tag, mine, "main"}; !slices.Equal(got, want) {
		w.t.Errorf("the table has refs %v, want %v", got, want)
	}
	for _, want := range []string{"dropped", "kept"} {
		if dropped, err := w.rebuild(shopAgain, "--drop-old", "--yes"); err != nil || dropped.Outcome != want || len(dropped.Old) > 0 != (want == "dropped") {
			w.t.Errorf("%+v, %v, want it %s", dropped, err, want)
		}
	}
	if got, want := refs(), []string{current, mine, "main"}; !slices.Equal(got, want) {
		w.t.Errorf("the table has refs %v, want %v", got, want)
	}
	if _, _, err := lake.Account(w.t.Context(), aside, nil); !errors.Is(err, catalog.ErrNoTable) {
		w.t.Errorf("table %s: %v", aside, err)
	}
	if _, _, err := lake.Account(w.t.Context(), other, nil); err != nil {
		w.t.Errorf("a table that no rebuild has left: %v", err)
	}
}

// TestRebuildPartial refuses where the log has lost what the table has, and goes without it where it is told to; the letters of those
// records stay as they are.
func TestRebuildPartial(t *testing.T) {
	w := newWorkbench(t)
	events := tailtest.Topic("events", 1, 0)
	w.journal.Append(t, []kfs.Entry{events}, tailtest.Values(events, 0, `nonsense`, `{"id":1}`, `{"id":2}`, `{"id":3,"price":"3"}`, `nonsense`))
	if err := w.run(shopBefore); err != nil {
		t.Fatal(err)
	}
	w.journal.Append(t, []kfs.Entry{kfs.Trim{Topic: events.ID, Partition: 0, LogStart: 2}})
	w.journal.Checkpoint(t) // from here on nobody reads what was trimmed
	if _, err := w.rebuild(shopAfter, "--yes"); err == nil || !strings.Contains(err.Error(), "the table begins at offset 0 and the log at 2: the rows of 2 offsets would be lost") {
		t.Errorf("a rebuild of a part: %v", err)
	}
	w.want("lake.events", map[int64]string{1: `{"id":1}`, 2: `{"id":2}`})
	done, err := w.rebuild(shopAfter, "--yes", "--partial")
	if err != nil || done.Outcome != "swapped" || done.Sources[0].From != 2 || done.Sources[0].First != 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	w.want("lake.events", map[int64]string{2: `{"id":2}`, 3: `{"id":3,"price":3}`})
	if out, err := w.verified(shopAfter, "--deep"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	lake, _, err := openCatalog(t.Context(), nil, w.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lake.Close()
	_, letters, err := lake.Account(t.Context(), "lake.shop_dead_letter", nil)
	if err != nil {
		t.Fatal(err)
	}
	var dead []int64
	for l, err := range deadletter.Read(t.Context(), letters, deadletter.Selection{Dead: true}) {
		if err != nil {
			t.Fatal(err)
		}
		dead = append(dead, l.Offset)
	}
	if slices.Sort(dead); !slices.Equal(dead, []int64{0, 4}) {
		t.Errorf("dead letters of %v, want 0 and 4", dead)
	}

	// The rest of the log is trimmed too: there is nothing to read, and the position must come along all the same.
	w.journal.Append(t, []kfs.Entry{kfs.Trim{Topic: events.ID, Partition: 0, LogStart: 5}})
	if done, err = w.rebuild(shopBefore, "--yes", "--partial"); err != nil || done.Outcome != "swapped" || done.Diff.Rows != [2]int64{2, 0} {
		t.Fatalf("%+v, %v", done, err)
	}
	w.journal.Append(t, nil, tailtest.Values(events, 0, `{"id":5}`))
	if err := w.run(shopBefore); err != nil {
		t.Fatal(err)
	}
	w.want("lake.events", map[int64]string{5: `{"id":5}`})
}

// TestRebuildBesideAnother: a second process says at once that there is another one, and what it does beside it.
func TestRebuildBesideAnother(t *testing.T) {
	w := newWorkbench(t)
	events := tailtest.Topic("events", 1, 0)
	w.journal.Append(t, []kfs.Entry{events}, tailtest.Values(events, 0, `{"id":0,"price":1.5}`, `{"id":1,"price":"2.5"}`))
	if err := w.run(shopBefore); err != nil {
		t.Fatal(err)
	}
	// at has a process be at work on the rebuild, as the object says that holds the log for it.
	key := ""
	at := func() {
		t.Helper()
		f := &kfs.Job{Version: kfs.JobVersion, Name: strings.TrimSuffix(filepath.Base(key), ".json"), Tables: []kfs.JobTable{}, Workers: []kfs.JobWorker{{ID: "a", Name: "elsewhere/7"}}}
		body, err := kfs.EncodeJob(f)
		if err == nil {
			err = os.WriteFile(key, body, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	says := func(want string, arguments ...string) {
		t.Helper()
		var said bytes.Buffer
		if _, err := w.rebuildSaying(&said, shopAfter, arguments...); err != nil {
			t.Fatal(err)
		}
		line := ""
		for one := range strings.Lines(said.String()) {
			if strings.HasPrefix(one, "table lake.events: ") {
				line += one
			}
		}
		if want == "" && line != "" || !strings.Contains(line, want) {
			t.Errorf("%q, want %q", line, want)
		}
	}
	says("")
	held, err := filepath.Glob(filepath.Join(w.dir, "store", "jobs", "shop.rebuild.*.json"))
	if err != nil || len(held) != 1 {
		t.Fatalf("the log is held by %v, %v", held, err)
	}
	key = held[0]
	says("this goes on with the rebuild that was begun in branch firn_rebuild")
	at()
	says("elsewhere/7 is at work too, unless it was killed", "--dry-run")
	if _, err := w.rebuild(shopAfter, "--abandon"); err != nil {
		t.Fatal(err)
	}
	at()
	says("takes the place of a rebuild that had not come to its first commit; elsewhere/7, unless")
	says("this goes on")
	if err := os.WriteFile(key, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	says("who else works on the rebuild is not known", "--yes")
}
