package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/inspect"
)

// TestBill reckons a month by hand: two journals, one of which had 600 objects on its last day, and 20 segments with their indexes.
func TestBill(t *testing.T) {
	u := &inspect.Usage{
		Bytes:      10 << 30,
		Journals:   []inspect.JournalUsage{{Day: inspect.Amount{Objects: 600}}, {Journal: 1}},
		Partitions: []inspect.PartitionUsage{{Day: inspect.Amount{Objects: 40}}},
	}
	b := billOf(u, prices{Storage: 0.02, Puts: 0.005, Gets: 0.0004})
	want := bill{Prices: b.Prices, Storage: 0.2, Puts: 18000 + 120 + 1200, Lists: 60 + 2*2880, Gets: 18000 + 120 + 2400, Follow: 2 * 2592000}
	want.Broker = float64(want.Puts+want.Lists)*0.000005 + float64(want.Gets)*0.0000004
	want.Job = float64(want.Follow) * 0.0000004
	near := func(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 }
	if b.Puts != want.Puts || b.Lists != want.Lists || b.Gets != want.Gets || b.Follow != want.Follow || !near(b.Storage, want.Storage) || !near(b.Broker, want.Broker) || !near(b.Job, want.Job) {
		t.Errorf("%+v\nwant %+v", b, want)
	}
}

func TestPrintUsage(t *testing.T) {
	since := time.UnixMilli(1_700_000_000_000)
	u := &inspect.Usage{
		Objects: 3, Bytes: 3 << 20, Jobs: []inspect.JobHold{{Job: "firn", Bytes: 1 << 20}, {Job: "broken", Err: "corrupt"}},
		Journals:   []inspect.JournalUsage{{Released: inspect.Amount{Objects: 2, Bytes: 2 << 20}, Since: since}},
		Partitions: []inspect.PartitionUsage{{Topic: "events", ID: kfs.TopicID{1}, Next: 7, Ended: true, Waiting: inspect.Amount{Objects: 2, Bytes: 100}}},
	}
	for name, c := range map[string]struct {
		change func()
		want   []string
	}{
		"released":        {func() {}, []string{"events (deleted)", "[0, 7)", "after 2023-11-15 04:13 UTC", "firn", "its object cannot be read: corrupt", "0.023 a GiB"}},
		"not known to be": {func() { u.Journals[0].Since = time.Time{} }, []string{"after the next checkpoints"}},
		"a restore point": {func() {
			u.Snapshots = []inspect.SnapshotHold{{Name: "before", Created: since, Held: inspect.Amount{Objects: 2, Bytes: 2 << 20}}}
			u.Journals[0].Held = u.Journals[0].Released
		}, []string{"when restore points are deleted", "before", "2023-11-14 22:13 UTC  2.0 MiB"}},
		"for some":          {func() { u.Journals[0].Held = inspect.Amount{Objects: 1, Bytes: 1 << 20} }, []string{"1.0 MiB in 1 when restore points are deleted"}},
		"one not read":      {func() { u.Snapshots = []inspect.SnapshotHold{{Name: "odd", Err: "corrupt"}} }, []string{"odd", "everything, for it cannot be read: corrupt"}},
		"nothing to delete": {func() { u.Journals[0].Released = inspect.Amount{} }, []string{"in 0"}},
	} {
		was, journals := *u, u.Journals[0]
		c.change()
		var out bytes.Buffer
		if err := printUsage(&out, u, billOf(u, prices{Storage: 0.023}), 6*time.Hour); err != nil {
			t.Fatal(err)
		}
		for _, want := range c.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: %q is missing in\n%s", name, want, out.String())
			}
		}
		*u = was
		u.Journals[0] = journals
	}
}

// TestBucketCommand runs the command on a folder.
func TestBucketCommand(t *testing.T) {
	dir := "file://" + t.TempDir()
	for _, args := range [][]string{{"--store", dir}, {"--store", dir, "--json", "--price-puts", "1"}} {
		c := bucketCommand()
		var out bytes.Buffer
		c.SetOut(&out)
		c.SetArgs(args)
		if err := c.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		var got struct {
			Month bill `json:"month"`
		}
		if len(args) > 2 {
			if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.Month.Prices.Puts != 1 {
				t.Errorf("%v: %s", err, out.String())
			}
		} else if !strings.Contains(out.String(), "0 objects") {
			t.Errorf("%s", out.String())
		}
	}
}
