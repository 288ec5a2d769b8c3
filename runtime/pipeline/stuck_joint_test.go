package pipeline

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// TestJointRunOfLaterRecords: where processes do a bounded run together, what one does not find another may have: none ends for it before the others
// have committed theirs, however slow they are. What comes late is waited for where it is read, and where it never comes, the run ends.
func TestJointRunOfLaterRecords(t *testing.T) {
	for name, c := range map[string]struct {
		processes, slow int
		found           bool
	}{
		"the first is slow":  {3, 0, true},
		"the second is slow": {3, 1, true},
		"the third is slow":  {3, 2, true},
		"one, and slow":      {1, 0, true},
		"nowhere":            {1, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { jointRunOfLaterRecords(t, c.processes, c.slow, c.found) })
		})
	}
}

func jointRunOfLaterRecords(t *testing.T, processes, slow int, found bool) {
	c := newCrew(t)
	l := newSpreadLog(t, c)
	for range 20 {
		l.add(t, 1, 5)
		l.add(t, 2, 5)
	}
	if found {
		last := len(spread.Journals) - 1
		l.journals[2].Append(t, nil, tailtest.Values(spread, int32(last), `{"n":1,"ts":"2026-01-01T00:00:00Z"}`))
		l.next[last]++
	}
	c.lake.table("db.events").needs = "ts"
	c.until = Until{Latest: true}
	for i := range processes {
		if c.slow = 0; i == slow {
			c.slow = 3 * time.Second
		}
		c.start(false)
	}
	c.finish(30 * time.Minute)
	for i, p := range c.all {
		if found && p.err != nil || !found && (p.err == nil || !strings.Contains(p.err.Error(), "there is no column ts")) {
			t.Errorf("process %d has ended with %v", i, p.err)
		}
	}
	if c.lake.table("db.events").lacked == 0 {
		t.Error("no process was without the column")
	}
	for p, next := range l.ends() {
		if !found {
			next = 0
		}
		wantOffsets(t, c.lake.table("db.events"), int32(p), 0, next)
	}
}
