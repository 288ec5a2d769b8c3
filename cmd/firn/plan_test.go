package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

func TestAbout(t *testing.T) {
	for x, want := range map[float64]string{0: "0", 0.125: "0.125", 42: "42", 99.96: "100", 9600: "9600", 9649.3: "9650", 1234567: "1230000", 999_999: "1000000"} {
		if got := about(x); got != want {
			t.Errorf("about(%v) is %s, want %s", x, got, want)
		}
	}
}

// TestPlanOfAYoungLog plans a log of twelve minutes, of an hour and of one moment: what is less than an hour's is taken for that, and it says so.
func TestPlanOfAYoungLog(t *testing.T) {
	for name, c := range map[string]struct {
		took time.Duration
		rows float64
		says string
	}{
		"minutes":  {12 * time.Minute, 48, "no more than 12m0s of its records, which were taken for an hour's: in truth it may be up to 5 times"},
		"a moment": {0, 48, "no more than 1s of its records, which were taken for an hour's: in truth it may be up to 3600 times"},
		"an hour":  {time.Hour, 48, ""},
		"two":      {2 * time.Hour, 24, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorkbench(t)
			now := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
			w.journal.Now = func() time.Time { return now }
			events := tailtest.Topic("events", 1, 0)
			w.journal.Append(t, []kfs.Entry{events}, tailtest.Values(events, 0, `{"n":0}`))
			now = now.Add(c.took)
			w.journal.Append(t, nil, tailtest.Values(events, 0, `{"n":1}`))
			path := filepath.Join(w.dir, "job.yaml")
			if err := os.WriteFile(path, []byte("name: shop\nsource: {topics: [events]}\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			jobs, err := readJobs([]string{path})
			if err != nil {
				t.Fatal(err)
			}
			p, err := planOf(t.Context(), jobs[0], filepath.Join(w.dir, "store"), 1<<20, prices{})
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Tables[0].Day; got.Rows != c.rows || got.Over != c.took.Seconds() {
				t.Errorf("a day is %+v, want %g rows", got, c.rows)
			}
			var out strings.Builder
			printPlan(&out, p)
			if c.says == "" && strings.Contains(out.String(), "taken for an hour's") || !strings.Contains(out.String(), c.says) {
				t.Errorf("%s\nwant it to say %q", out.String(), c.says)
			}
		})
	}
}

// TestPlanRefusesALargeSample: a sample is held in memory.
func TestPlanRefusesALargeSample(t *testing.T) {
	c := planCommand()
	c.SetArgs([]string{"--sample", "257MiB"})
	c.SilenceErrors, c.SilenceUsage = true, true
	if err := c.Execute(); err == nil || !strings.Contains(err.Error(), "--sample: 257MiB is more than 256.0 MiB: a sample is held in memory") {
		t.Error(err)
	}
}
