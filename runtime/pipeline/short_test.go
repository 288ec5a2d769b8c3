package pipeline

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// TestRegressionLogPutBack begins on a log whose bucket was put back to an earlier state: the table, or the dead letters, have offsets that come
// again with other records. Their partition halts, and the other one goes on. They were passed over without a word.
func TestRegressionLogPutBack(t *testing.T) {
	source := processor.Source{Topic: "events", ID: events.ID}
	for name, c := range map[string]struct {
		table, letters int64 // where they stand; 0 is nowhere
		log            int   // records that the log has
		halts          bool
	}{
		"the table is ahead":              {table: 10, log: 6, halts: true},
		"of a log without records":        {table: 10, halts: true},
		"the dead letters are ahead":      {table: 5, letters: 10, log: 6, halts: true},
		"dead letters of no table":        {letters: 10, log: 6, halts: true},
		"the table stands where it ends":  {table: 6, log: 6},
		"the letters stand where it ends": {table: 2, letters: 6, log: 6},
	} {
		for _, checkpoint := range []bool{false, true} {
			for _, bounded := range []bool{false, true} {
				t.Run(name+map[bool]string{true: ", in a checkpoint"}[checkpoint]+map[bool]string{true: ", until latest"}[bounded], func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						store, l := blob.NewMemory(nil), newLake(t)
						w := tailtest.Journal{Store: store}
						w.Append(t, []kfs.Entry{cluster, events})
						for i := range c.log {
							w.Append(t, nil, jsons(events, 0, i, 1))
						}
						w.Append(t, nil, jsons(events, 1, 0, 3))
						if checkpoint {
							w.Checkpoint(t)
						}
						for table, at := range map[string]int64{"db.events": c.table, deadLetterTable: c.letters} {
							if at > 0 {
								l.table(table).next[source] = at
							}
						}
						halted := func(err error) {
							t.Helper()
							var halt *processor.HaltError
							if is := errors.As(err, &halt) && strings.Contains(halt.Reason, "put back to an earlier state"); is != c.halts {
								t.Errorf("the partition halts: %v, want %t", err, c.halts)
							}
						}
						cfg := testConfig(t, store, l)
						if bounded {
							halted(run(t, cfg))
						} else {
							job, stop := start(t, cfg)
							time.Sleep(time.Minute)
							var err error
							for _, of := range job.Status().Tables[0].Sources {
								err = errors.Join(err, of.Halted)
							}
							halted(err)
							w.Append(t, nil, jsons(events, 0, c.log, 8), jsons(events, 1, 3, 2))
							time.Sleep(time.Minute)
							if err := stop(); err != nil {
								t.Error(err)
							}
						}
						want := map[bool]int64{true: 3, false: 5}[bounded]
						wantOffsets(t, l.table("db.events"), 1, 0, want)
						if c.halts && c.letters == 0 {
							wantOffsets(t, l.table("db.events"), 0, 0, 0)
						}
					})
				})
			}
		}
	}
}

// TestTableAheadOfReader has a table that another process moves on while this one reads: it is ahead of what this one has seen, and of what a run
// that ends has found at its beginning, but never of the log.
func TestTableAheadOfReader(t *testing.T) {
	source := processor.Source{Topic: "events", ID: events.ID}
	for name, until := range map[string]Until{"continuous": {}, "until latest": {Latest: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, l := blob.NewMemory(nil), newLake(t)
				w := tailtest.Journal{Store: store}
				w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 5))
				w.Checkpoint(t)
				first := true
				l.table("db.events").fault = func(op string) (before, after error) {
					if op == "committed" && first { // the end of the log was read before
						first = false
						w.Append(t, nil, jsons(events, 0, 5, 3))
						l.table("db.events").next[source] = 8
					}
					return nil, nil
				}
				cfg := testConfig(t, store, l)
				if cfg.Until = until; until.Bounded() {
					if err := run(t, cfg); err != nil {
						t.Error(err)
					}
					return
				}
				job, stop := start(t, cfg)
				time.Sleep(time.Minute)
				if err := errors.Join(stop(), job.Status().Tables[0].Sources[0].Halted); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
