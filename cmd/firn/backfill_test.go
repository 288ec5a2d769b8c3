package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/job"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// backfill runs `firn backfill` on the job that was run last.
func (w *workbench) backfill(arguments ...string) (result backfillResult, err error) {
	w.t.Helper()
	var out bytes.Buffer
	p := &program{logger: slog.New(slog.NewTextHandler(w.t.Output(), nil)), out: io.Discard}
	c := p.backfillCommand()
	c.SetOut(&out)
	c.SetErr(io.Discard)
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetArgs(append([]string{"-f", filepath.Join(w.dir, "job.yaml"), "--data", w.dir, "--json"}, arguments...))
	if err = c.ExecuteContext(w.t.Context()); err == nil && out.Len() > 0 {
		err = json.Unmarshal(out.Bytes(), &result)
	}
	return result, err
}

// TestBackfillByTime brings in what is from before a job began, a month first, then what lies on both sides of it.
func TestBackfillByTime(t *testing.T) {
	w := newWorkbench(t)
	events, orders := tailtest.Topic("events", 1, 0), tailtest.Topic("orders", 2, 0)
	var offset int
	month := func(at string, n int, entries ...kfs.Entry) {
		t.Helper()
		now, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		w.journal.Now = func() time.Time { return now }
		var values []string
		for range n {
			values = append(values, fmt.Sprintf(`{"n":%d}`, offset))
			offset++
		}
		w.journal.Append(t, entries, tailtest.Values(events, 0, values...))
	}
	month("2023-12-31T23:59:59.999Z", 2, events, orders)
	w.journal.Append(t, nil, tailtest.Values(orders, 0, `{"n":0}`)) // nothing of January, so that its ends meet
	month("2024-01-01T00:00:00Z", 3)
	month("2024-01-31T23:59:59.999Z", 1)
	w.journal.Page(t)
	month("2024-02-01T00:00:00Z", 2)
	w.journal.Checkpoint(t)
	month("2024-03-01T00:00:00Z", 1)
	w.journal.Append(t, nil, tailtest.Values(orders, 0, `{"n":1}`))
	if err := w.run(`
name: shop
source: {topics: [events, orders], from: 2024-03-01T00:00:00Z}
table: {name: "lake.{topic}"}
`); err != nil {
		t.Fatal(err)
	}
	rows := map[int64]string{8: `{"n":8}`}
	w.want("lake.events", rows)
	for _, step := range []struct {
		from, until int64 // of events
		orders      int   // spans
		arguments   []string
	}{
		{2, 6, 0, []string{"--from", "2024-01-01T00:00:00Z", "--until", "2024-02-01T00:00:00Z", "--id", "january"}},
		{6, 8, 0, []string{"--from", "2024-02-01T00:00:00Z"}},
		{0, 2, 1, []string{"--until", "2024-01-01T00:00:00Z"}},
	} {
		for _, dry := range []bool{true, false} {
			arguments := step.arguments
			if dry {
				arguments = append(slices.Clone(arguments), "--dry-run")
			}
			done, err := w.backfill(arguments...)
			if err != nil {
				t.Fatal(arguments, err)
			}
			if len(done.Spans) != 1+step.orders || done.Spans[0].Topic != "events" || done.Spans[0].From != step.from || done.Spans[0].Until != step.until ||
				done.Offsets != step.until-step.from+int64(step.orders) {
				t.Fatalf("%v: %+v", arguments, done)
			}
			if dry {
				w.want("lake.events", rows)
			}
		}
		for at := step.from; at < step.until; at++ {
			rows[at] = fmt.Sprintf(`{"n":%d}`, at)
		}
		w.want("lake.events", rows)
	}
	w.want("lake.orders", map[int64]string{0: `{"n":0}`, 1: `{"n":1}`})
	// All is in, and a part of it is not brought in again.
	if _, err := w.backfill(); err == nil || !strings.Contains(err.Error(), "has accounted for") {
		t.Errorf("all of it again: %v", err)
	}
	if again, err := w.backfill("--from", "2024-01-01T00:00:00Z", "--until", "2024-02-01T00:00:00Z", "--id", "january"); err != nil || again.Offsets != 0 {
		t.Errorf("january again: %+v, %v", again, err)
	}
	// An end behind the job's beginning is the job's beginning, where it is a time.
	if again, err := w.backfill("--from", "2024-03-01T00:00:00Z", "--until", "2024-04-01T00:00:00Z"); err != nil || again.Offsets != 0 {
		t.Errorf("of the job's own time: %+v, %v", again, err)
	}
	if out, err := w.verified(`
name: shop
source: {topics: [events, orders], from: 2024-03-01T00:00:00Z}
table: {name: "lake.{topic}"}
`, "--deep"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

const oldShop = "name: shop\nsource: {topics: [events], from: 2024-03-01T00:00:00Z}\ntable: {name: \"lake.{topic}\"}\n"

// newOldWorkbench has a job that has begun with the last of eleven records, whose objects are 2 to 12.
func newOldWorkbench(t *testing.T) *workbench {
	w := newWorkbench(t)
	now := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	w.journal.Now = func() time.Time { return now }
	events := tailtest.Topic("events", 1, 0)
	w.journal.Append(t, []kfs.Entry{events})
	for n := range 11 {
		if n == 10 {
			now = now.AddDate(0, 2, 0)
		}
		w.journal.Append(t, nil, tailtest.Values(events, 0, fmt.Sprintf(`{"n":%d}`, n)))
	}
	if err := w.run(oldShop); err != nil {
		t.Fatal(err)
	}
	return w
}

// interrupted runs a backfill that ends with an error at an object, which is damaged meanwhile.
func (w *workbench) interrupted(object uint64, arguments ...string) {
	w.t.Helper()
	path := filepath.Join(w.dir, "store", filepath.FromSlash(kfs.ObjectKey(0, object)))
	whole, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	damaged := slices.Clone(whole)
	damaged[kfs.HeaderSize+60] ^= 1 // in the record, which plans do not read
	if err := os.WriteFile(path, damaged, 0o600); err != nil {
		w.t.Fatal(err)
	}
	if done, err := w.backfill(arguments...); err == nil {
		w.t.Fatalf("a backfill has passed a damaged object: %+v", done)
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// claimed lists the claims of the job's backfills.
func (w *workbench) claimed() (names []string) {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.dir, "store", filepath.FromSlash(kfs.BackfillsPrefix("shop"))+"*"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range files {
		names = append(names, filepath.Base(f))
	}
	return names
}

// held lists the objects by which the job's backfills hold records of the log against retention.
func (w *workbench) held() (names []string) {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.dir, "store", filepath.FromSlash(kfs.JobsPrefix), "shop.backfill.*.json"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".json"))
	}
	return names
}

// TestBackfillsApart refuses what another backfill brings in that has begun and not ended, also where it has committed nothing yet; until that
// one has ended, or is given up.
func TestBackfillsApart(t *testing.T) {
	w := newOldWorkbench(t)
	w.interrupted(6, "--until", "events:0=6")
	begun := w.claimed()
	if len(begun) != 1 {
		t.Fatalf("claims are %v", begun)
	}
	id := strings.TrimSuffix(strings.TrimPrefix(begun[0], "backfill-"), ".json")
	if got := w.held(); !slices.Equal(got, []string{"shop.backfill." + id}) {
		t.Errorf("the log is held by %v", got)
	} else if from, ok := w.filed(kfs.JobKey(got[0])).Holds()("events", kfs.PartitionID{Topic: tailtest.Topic("events", 1).ID}); !ok || from != 0 {
		t.Errorf("a backfill that has not ended holds the log from %d: %t", from, ok)
	}
	for _, arguments := range [][]string{{"--dry-run"}, {"--from", "events:0=5", "--until", "events:0=8"}, {"--until", "events:0=6", "--id", "low"}} {
		if done, err := w.backfill(arguments...); err == nil || !strings.Contains(err.Error(), "events/0: backfill "+id+" brings in [0, 6)") || !strings.Contains(err.Error(), "--id "+id+" --abandon") {
			t.Errorf("%v beside a backfill that has not ended: %+v, %v", arguments, done, err)
		}
	}
	if got := w.claimed(); !slices.Equal(got, begun) {
		t.Errorf("who was refused has left claims: %v", got)
	}
	if done, err := w.backfill("--from", "events:0=6", "--until", "events:0=8", "--id", "high"); err != nil || done.Offsets != 2 {
		t.Errorf("apart from it: %+v, %v", done, err)
	}
	if done, err := w.backfill("--until", "events:0=6"); err != nil || done.Spans[0].Until != 6 {
		t.Errorf("going on with it: %+v, %v", done, err)
	}
	if _, err := w.backfill("--until", "events:0=6", "--id", "low"); err == nil || !strings.Contains(err.Error(), "has accounted for") {
		t.Errorf("when it has ended: %v", err)
	}
	w.interrupted(11, "--from", "events:0=8", "--id", "gone")
	if _, err := w.backfill("--from", "events:0=9", "--id", "rest"); err == nil || !strings.Contains(err.Error(), "backfill gone brings in [8, 10)") {
		t.Errorf("beside one that has claimed the rest: %v", err)
	}
	if _, err := w.backfill("--id", "gone", "--abandon"); err != nil {
		t.Error(err)
	}
	if _, err := w.backfill("--id", "gone", "--abandon"); err == nil || !strings.Contains(err.Error(), "no backfill gone") {
		t.Errorf("given up twice: %v", err)
	}
	if done, err := w.backfill("--from", "events:0=9", "--id", "rest"); err != nil || done.Offsets != 1 {
		t.Errorf("the rest: %+v, %v", done, err)
	}
	if done, err := w.backfill("--from", "events:0=8", "--until", "events:0=9", "--id", "between"); err == nil && done.Offsets != 1 {
		t.Errorf("what was given up: %+v", done)
	}
	rows := map[int64]string{}
	for at := range int64(11) {
		rows[at] = fmt.Sprintf(`{"n":%d}`, at)
	}
	w.want("lake.events", rows)
	if got := append(w.claimed(), w.held()...); len(got) > 0 {
		t.Errorf("%v are left", got)
	}
}

// TestBackfillsAtATime has two backfills over offsets that overlap begin at the same time: not both bring in what they were asked for, and no
// offset comes twice.
func TestBackfillsAtATime(t *testing.T) {
	w := newOldWorkbench(t)
	errs := make(chan error, 2)
	for _, arguments := range [][]string{{"--until", "events:0=7", "--id", "low"}, {"--from", "events:0=4", "--id", "high"}} {
		go func() {
			_, err := w.backfill(arguments...)
			errs <- err
		}()
	}
	if a, b := <-errs, <-errs; a == nil && b == nil {
		t.Error("both ended well")
	}
	if out, err := w.verified(oldShop, "--deep"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestBackfillsClaimAtATime has another backfill claim between the plan of one and its claim: it is refused, and leaves nothing.
func TestBackfillsClaimAtATime(t *testing.T) {
	w := newOldWorkbench(t)
	tables := &jobTables{job: &job.Job{Name: "shop"}, store: w.journal.Store}
	of := func(id string, from, until int64) *backfill {
		return &backfill{tables: tables, id: id, spans: []backfillSpan{{Table: "lake.events", Topic: "events", ID: kfs.TopicID{1}, From: from, Until: until}}}
	}
	low, high := of("low", 0, 7), of("high", 4, 10)
	if err := low.claim(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := high.claim(t.Context()); err == nil || !strings.Contains(err.Error(), "events/0: backfill low brings in [0, 7)") {
		t.Errorf("a claim beside another: %v", err)
	}
	if got := w.claimed(); !slices.Equal(got, []string{"backfill-low.json"}) {
		t.Errorf("claims are %v", got)
	}
	if err := low.claim(t.Context()); err != nil {
		t.Errorf("its own claim again: %v", err)
	}
}

// TestBackfillBounds refuses bounds that cannot be meant, before anything is read.
func TestBackfillBounds(t *testing.T) {
	for _, c := range []struct{ from, until, want string }{
		{"earliest", "latest", "--until: a backfill lies before where the job began"},
		{"latest", "", "--from: a backfill lies before where the job began"},
		{"yesterday", "", "--from: "},
		{"earliest", "9999-01-01T00:00:00Z", "--until: that time lies in the future"},
		{"2026-02-01T00:00:00Z", "2026-01-01T00:00:00Z", "--until 2026-01-01T00:00:00Z lies before --from 2026-02-01T00:00:00Z"},
		{"events:0=5,events:1=7", "events:0=9,events:1=6", "events/1: --until 6 lies before --from 7"},
		{"2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", ""},
		{"events:0=5", "events:0=5,events:1=6", ""},
		{"events:0=5", "2026-01-01T00:00:00Z", ""},
		{"earliest", "", ""},
	} {
		if _, err := parseBackfill(c.from, c.until); c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("--from %s --until %s: %v, want %q", c.from, c.until, err, c.want)
		}
	}
}
