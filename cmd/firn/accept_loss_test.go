package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// acceptLoss runs `firn accept-loss` on the job that was run last. Nobody answers questions.
func (w *workbench) acceptLoss(arguments ...string) (result lossResult, err error) {
	w.t.Helper()
	var out bytes.Buffer
	c := acceptLossCommand()
	c.SetIn(strings.NewReader(""))
	c.SetOut(&out)
	c.SetErr(io.Discard)
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetArgs(append([]string{"-f", filepath.Join(w.dir, "job.yaml"), "--data", w.dir, "--json"}, arguments...))
	err = c.ExecuteContext(w.t.Context())
	var all []lossResult
	if jsonErr := json.Unmarshal(out.Bytes(), &all); jsonErr != nil || len(all) != 1 {
		w.t.Fatalf("%s: %v, %v", out.Bytes(), jsonErr, err)
	}
	return all[0], err
}

// where is the state of a record of events/0.
func (w *workbench) where(offset int64) string {
	w.t.Helper()
	found, err := (&seeker{topic: "events", offset: offset}).run(w.t.Context(), &tableFlags{files: []string{filepath.Join(w.dir, "job.yaml")}, data: w.dir})
	if err != nil || len(found) != 1 {
		w.t.Fatalf("%+v, %v", found, err)
	}
	return found[0].State
}

// TestAcceptLoss has retention be faster than a job: it halts, says what is lost, and goes on in the same table once that is accepted.
func TestAcceptLoss(t *testing.T) {
	const shop = "name: shop\nsource: {topics: [events]}\ntable: {name: \"lake.{topic}\"}\n"
	w := newWorkbench(t)
	events := tailtest.Topic("events", 1, 0, 0)
	w.journal.Append(t, []kfs.Entry{events}, tailtest.Values(events, 0, `{"n":0}`, `no JSON`), tailtest.Values(events, 1, `{"m":0}`))
	if err := w.run(shop); err != nil {
		t.Fatal(err)
	}
	if r, err := w.acceptLoss(); err != nil || len(r.Lost) > 0 {
		t.Errorf("nothing is lost: %+v, %v", r, err)
	}
	w.journal.Append(t, nil, tailtest.Values(events, 0, `{"n":2}`, `{"n":3}`), tailtest.Values(events, 1, `{"m":1}`))
	w.journal.Append(t, nil, tailtest.Values(events, 0, `{"n":4}`, `no JSON`))
	w.journal.Append(t, []kfs.Entry{kfs.Trim{Topic: events.ID, LogStart: 4}})
	w.journal.Checkpoint(t)
	if err := w.run(shop); err == nil || !strings.Contains(err.Error(), "offsets [2, 4) were trimmed") || !strings.Contains(err.Error(), "firn accept-loss") {
		t.Errorf("a job that has lost records: %v", err)
	}
	if out, err := w.verified(shop); err == nil || !strings.Contains(out, "halt: events/0: offsets [2, 4) were trimmed") {
		t.Errorf("%v\n%s", err, out)
	}
	for _, arguments := range [][]string{{"--dry-run"}, {}} {
		r, err := w.acceptLoss(arguments...)
		if err == nil || r.Accepted || len(r.Lost) != 1 || r.Lost[0] != (lostRecords{Table: "lake.events", Topic: "events", ID: events.ID, From: 2, Until: 4}) {
			t.Errorf("accept-loss %v: %+v, %v", arguments, r, err)
		}
	}
	if got := w.where(2); got != statePending {
		t.Errorf("a lost record is %s before that is accepted", got)
	}
	if r, err := w.acceptLoss("--yes"); err != nil || !r.Accepted || len(r.Lost) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := w.acceptLoss("--yes"); err != nil || len(r.Lost) > 0 {
		t.Errorf("again: %+v, %v", r, err)
	}
	if err := w.run(shop); err != nil {
		t.Fatal(err)
	}
	for _, arguments := range [][]string{nil, {"--deep"}} {
		if out, err := w.verified(shop, arguments...); err != nil || !strings.Contains(out, "[0, 6)  2 rows, 2 dead letters, lost and given up: [2, 4)") {
			t.Errorf("%v\n%s", err, out)
		}
	}
	for offset, want := range []string{stateVisible, stateDead, stateLost, stateLost, stateVisible, stateDead} {
		if got := w.where(int64(offset)); got != want {
			t.Errorf("offset %d is %s, want %s", offset, got, want)
		}
	}
}

// TestAcceptLossOfSeveral is the same where records name their tables: what is lost is lost to each of them.
func TestAcceptLossOfSeveral(t *testing.T) {
	const shop = "name: shop\nsource: {topics: [events]}\ntable: {name: \"lake.{field:kind}\"}\n"
	w := newWorkbench(t)
	events := tailtest.Topic("events", 1, 0)
	w.journal.Append(t, []kfs.Entry{events}, tailtest.Values(events, 0, `{"kind":"a"}`, `{"kind":"b"}`))
	if err := w.run(shop); err != nil {
		t.Fatal(err)
	}
	w.journal.Append(t, nil, tailtest.Values(events, 0, `{"kind":"a"}`, `{"kind":"b"}`))
	w.journal.Append(t, nil, tailtest.Values(events, 0, `{"kind":"b"}`))
	w.journal.Append(t, []kfs.Entry{kfs.Trim{Topic: events.ID, LogStart: 4}})
	w.journal.Checkpoint(t)
	if err := w.run(shop); err == nil || !strings.Contains(err.Error(), "offsets [2, 4) were trimmed") {
		t.Errorf("a job that has lost records: %v", err)
	}
	if r, err := w.acceptLoss("--yes"); err != nil || !r.Accepted || len(r.Lost) != 2 || r.Lost[0].Table != "lake.a" || r.Lost[1].Table != "lake.b" {
		t.Errorf("%+v, %v", r, err)
	}
	if err := w.run(shop); err != nil {
		t.Fatal(err)
	}
	for _, arguments := range [][]string{nil, {"--deep"}} {
		if out, err := w.verified(shop, arguments...); err != nil || strings.Count(out, "lost and given up: [2, 4)") != 3 {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// TestAcceptLossOfAnObject takes an object of the log away that a job has not read: there is nothing to accept until the log lets go of its
// records, and the command does not leave it at that.
func TestAcceptLossOfAnObject(t *testing.T) {
	const shop = "name: shop\nsource: {topics: [events]}\ntable: {name: \"lake.{topic}\"}\n"
	w := newWorkbench(t)
	events := tailtest.Topic("events", 1, 0)
	w.journal.Append(t, []kfs.Entry{events}, tailtest.Values(events, 0, `{"n":0}`))
	if err := w.run(shop); err != nil {
		t.Fatal(err)
	}
	w.journal.Append(t, nil, tailtest.Values(events, 0, `{"n":1}`))
	gone := w.journal.Append(t, nil, tailtest.Values(events, 0, `{"n":2}`, `{"n":3}`))
	w.journal.Append(t, nil, tailtest.Values(events, 0, `{"n":4}`))
	w.journal.Checkpoint(t)
	if err := w.journal.Store.Delete(t.Context(), kfs.ObjectKey(0, gone.Sequence)); err != nil {
		t.Fatal(err)
	}
	if err := w.run(shop); err == nil || !strings.Contains(err.Error(), "missing") || !strings.Contains(err.Error(), "firn accept-loss") {
		t.Errorf("a job that comes to it: %v", err)
	}
	if r, err := w.acceptLoss("--yes"); err != nil || len(r.Lost) > 0 || len(r.Halts) != 1 {
		t.Errorf("accept-loss before the log has let go: %+v, %v", r, err)
	}
	if out, err := w.command(acceptLossCommand(), shop, nil); err != nil || !strings.Contains(out, "there is nothing to accept") || !strings.Contains(out, "HALTED: job shop") {
		t.Errorf("%v\n%s", err, out)
	}
	w.journal.Append(t, []kfs.Entry{kfs.Trim{Topic: events.ID, LogStart: 4}})
	w.journal.Checkpoint(t)
	if r, err := w.acceptLoss("--yes"); err != nil || !r.Accepted || len(r.Lost) != 1 || r.Lost[0].From != 2 || r.Lost[0].Until != 4 {
		t.Errorf("%+v, %v", r, err)
	}
	if err := w.run(shop); err != nil {
		t.Fatal(err)
	}
	if out, err := w.verified(shop, "--deep"); err != nil || !strings.Contains(out, "[0, 5)  3 rows, lost and given up: [2, 4)") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := w.command(acceptLossCommand(), shop, nil); err != nil || out != "job shop: nothing is lost\n" {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestRecreatedTopic deletes a topic and creates it again: its table halts, and what the message says helps.
func TestRecreatedTopic(t *testing.T) {
	const shop = "name: shop\nsource: {topics: [events]}\ntable: {name: \"%s.{topic}\"}\n"
	for name, help := range map[string]func(w *workbench) (table string){
		"another table": func(w *workbench) string {
			if err := w.run(fmt.Sprintf(shop, "again")); err != nil {
				w.t.Error(err)
			}
			w.want("lake.events", map[int64]string{0: `{"n":0}`, 1: `{"n":1}`})
			return "again"
		},
		"the table filled anew": func(w *workbench) string {
			w.drop("lake.events")
			if err := os.Remove(filepath.Join(w.dir, "store", filepath.FromSlash(kfs.JobKey("shop")))); err != nil {
				w.t.Fatal(err)
			}
			if err := w.run(fmt.Sprintf(shop, "lake")); err != nil {
				w.t.Error(err)
			}
			return "lake"
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorkbench(t)
			first, second := tailtest.Topic("events", 1, 0), tailtest.Topic("events", 2, 0)
			w.journal.Append(t, []kfs.Entry{first}, tailtest.Values(first, 0, `{"n":0}`, `{"n":1}`))
			if err := w.run(fmt.Sprintf(shop, "lake")); err != nil {
				t.Fatal(err)
			}
			for _, state := range []kfs.TopicState{kfs.TopicDeleting, kfs.TopicDeleted} {
				if first.State = state; state == kfs.TopicDeleted {
					w.journal.Append(t, []kfs.Entry{kfs.Ended{Topic: first.ID}})
				}
				w.journal.Append(t, []kfs.Entry{first})
			}
			w.journal.Append(t, []kfs.Entry{second}, tailtest.Values(second, 0, `{"n":7}`))
			if err := w.run(fmt.Sprintf(shop, "lake")); err == nil || !strings.Contains(err.Error(), "the topic was deleted and created again") || !strings.Contains(err.Error(), "delete jobs/shop.json") {
				t.Fatalf("a topic that was created again: %v", err)
			}
			table := help(w) + ".events"
			w.want(table, map[int64]string{0: `{"n":7}`})
			if got := len(w.rows(table)); got != 1 {
				t.Errorf("table %s has %d rows", table, got)
			}
		})
	}
}

// drop drops a table, as a person would.
func (w *workbench) drop(name string) {
	w.t.Helper()
	lake, _, err := openCatalog(w.t.Context(), nil, w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	defer lake.Close()
	dropper := lake.Client().(interface {
		DropTable(ctx context.Context, ident table.Identifier) error
	})
	if err := dropper.DropTable(w.t.Context(), strings.Split(name, ".")); err != nil {
		w.t.Fatal(err)
	}
}
