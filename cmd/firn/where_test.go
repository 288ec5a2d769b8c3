package main

import (
	"strings"
	"testing"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// asked runs `firn where` on a job.
func (w *workbench) asked(job string, arguments ...string) (string, error) {
	w.t.Helper()
	return w.command(whereCommand(), job, arguments)
}

// TestWhereOfWhatIsLeftOut asks for records that a filter leaves out, that are dead letters, and that are in one of several tables: what the
// job has come past is not visible for that.
func TestWhereOfWhatIsLeftOut(t *testing.T) {
	w := newWorkbench(t)
	events := tailtest.Topic("events", 1, 0)
	w.journal.Append(t, []kfs.Entry{events}, tailtest.Values(events, 0, `{"kind":"a","id":1}`, `{"kind":"b","id":2}`, `no`))
	filtering := strings.ReplaceAll(routedJob, "_{field:kind}", "")
	filtering = strings.Replace(filtering, "{drop: [secret]}", "{filter: \"id > 1\"}", 1)
	for _, c := range []struct {
		job, offset string
		code        int
		want, but   string
	}{
		{filtering, "0", 1, "left out", "visible"},
		{filtering, "1", 0, "visible", "left out"},
		{filtering, "2", 0, "dead letter", "visible"},
		{filtering, "3", exitNotYet, "pending", "visible"},
		{strings.Replace(routedJob, "name: shop", "name: routed", 1), "1", 0, "lake.events_b  visible", "lake.events_a  visible"},
	} {
		if err := w.run(c.job); err != nil {
			t.Fatal(err)
		}
		out, err := w.asked(c.job, "events", "0", c.offset)
		code := 0
		if err != nil {
			code = exitCode(err)
		}
		if code != c.code || !strings.Contains(out, c.want) || strings.Contains(out, c.but) {
			t.Errorf("offset %s: exit code %d, %v\n%s", c.offset, code, err, out)
		}
	}
}
