package pipeline

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// TestTableOfLaterRecords: what a table is made by may come in another partition, or later. A bounded run that has looked at all that one commit
// takes, and found nothing, ends and says why.
func TestTableOfLaterRecords(t *testing.T) {
	plain, timed := `{"n":1}`, `{"n":1,"ts":"2026-01-01T00:00:00Z"}`
	for name, c := range map[string]struct {
		objects  [][2]string // the record of each partition, "" if there is none
		fileSize int64
		tries    int // at most; of these none has found the column
		halts    bool
	}{
		"at once":                    {objects: [][2]string{{timed}, {plain}}},
		"in the second partition":    {objects: [][2]string{{plain, timed}}, tries: 1},
		"in the first partition":     {objects: [][2]string{{timed, plain}}, tries: 1},
		"later":                      {objects: [][2]string{{plain}, {plain, plain}, {plain}, {"", timed}}, tries: 4},
		"nowhere":                    {objects: [][2]string{{plain}, {"", plain}}, tries: 6, halts: true},
		"further than a commit goes": {objects: [][2]string{{plain}, {timed}}, fileSize: 1, tries: 4, halts: true},
	} {
		t.Run(name, func(t *testing.T) {
			store, l := blob.NewMemory(nil), newLake(t)
			w := tailtest.Journal{Store: store}
			w.Append(t, []kfs.Entry{cluster, events})
			var next [2]int64
			for _, object := range c.objects {
				var records []tailtest.Records
				for p, value := range object {
					if value != "" {
						records = append(records, tailtest.Values(events, int32(p), value))
						next[p]++
					}
				}
				w.Append(t, nil, records...)
			}
			cfg := testConfig(t, store, l)
			cfg.FileSize = c.fileSize
			l.table("db.events").needs = "ts"
			err := run(t, cfg)
			if tries := l.table("db.events").lacked; tries > c.tries {
				t.Errorf("%d tries to make the table", tries)
			}
			if c.halts {
				if err == nil || !strings.Contains(err.Error(), "there is no column ts: send it; a bounded run does not wait for that") {
					t.Errorf("the run has ended with %v", err)
				}
				next = [2]int64{}
			} else if err != nil {
				t.Fatal(err)
			}
			for p, n := range next {
				wantOffsets(t, l.table("db.events"), int32(p), 0, n)
			}
		})
	}
}

// TestStuck: what a person or other records may mend is tried until then, and told of meanwhile. A bounded run ends at once.
func TestStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := blob.NewMemory(nil), newLake(t)
		w := tailtest.Journal{Store: store}
		w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 3))
		cfg := testConfig(t, store, l)
		registry := prometheus.NewRegistry()
		var mended atomic.Bool
		calls := 0
		cfg.OpenTransforms = steps(applied(func(b processor.Batch) (processor.Batch, error) {
			if calls++; mended.Load() {
				return b, nil
			}
			b.Records.Release()
			return processor.Batch{}, &processor.StuckError{Reason: "no program", Mend: "bring it"}
		}))
		err := run(t, cfg)
		if err == nil || !strings.Contains(err.Error(), "no program: bring it; a bounded run does not wait for that") || calls != 1 {
			t.Fatalf("after %d calls the run has ended with %v", calls, err)
		}
		wantStuck(t, store, "no program: bring it; a bounded run does not")

		cfg.Registerer = registry
		j, stop := start(t, cfg)
		time.Sleep(time.Minute)
		if one := j.Status().Tables[0]; one.Halted != nil || one.Stuck == nil || calls < 5 {
			t.Errorf("after %d calls the table has halted: %v, is stuck: %v", calls, one.Halted, one.Stuck)
		}
		wantStuck(t, store, "stuck, and tried again until that has changed: ")
		if n := stuckGauge(t, registry); n != 1 {
			t.Errorf("%v tables are stuck by the metric", n)
		}
		mended.Store(true)
		time.Sleep(time.Minute)
		wantOffsets(t, l.table("db.events"), 0, 0, 3)
		wantStuck(t, store, "")
		if n := stuckGauge(t, registry); n != 0 {
			t.Errorf("%v tables are stuck by the metric, and none is", n)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// wantStuck checks what the job's object says, which status reads.
func wantStuck(t *testing.T, store blob.Store, what string) {
	t.Helper()
	body, _, err := blob.ReadAll(t.Context(), store, kfs.JobKey("test"), blob.All, kfs.MaxJobBytes)
	if err != nil {
		t.Fatal(err)
	}
	f, err := kfs.DecodeJob(body)
	switch {
	case err != nil:
		t.Fatal(err)
	case what == "" && len(f.Halts) == 0:
	case what == "" || len(f.Halts) != 1 || f.Halts[0].Table != "db.events" || !strings.Contains(f.Halts[0].What, what):
		t.Errorf("the job's object says %+v", f.Halts)
	}
}

// stuckGauge is the metric of stuck tables.
func stuckGauge(t *testing.T, registry *prometheus.Registry) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if family.GetName() == "firn_pipeline_halted" && label.GetValue() == "stuck" {
					return m.GetGauge().GetValue()
				}
			}
		}
	}
	t.Error("there is no such metric")
	return -1
}
