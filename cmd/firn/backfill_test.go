package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firn-io/firn/kfs"
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
	if err = c.ExecuteContext(w.t.Context()); err == nil {
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
