//go:build integration

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// offsetsOf counts what a backfill is to bring in, or has.
func offsetsOf(r *backfillResult) (n int64) {
	for _, s := range r.Spans {
		n += s.Until - s.From
	}
	return n
}

// TestIntegrationBackfill brings in what was there before a job began, beside the job at work: what is from before a time first, killed again and again.
func TestIntegrationBackfill(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	b := start(t, "broker", "--store", filepath.Join(folder, "store"), "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0")
	const old, morning = 60_000, 40_000
	began := time.Now().Add(-12 * time.Hour).Truncate(time.Second)
	cut := began.Add(morning * time.Second / 2).UTC().Format(time.RFC3339)
	records := make([]*kgo.Record, old)
	for i := range records {
		line := fmt.Sprintf(`{"id": %d, "text": %q}`, i, strings.Repeat("x", i%200))
		if i%1000 == 0 {
			line = "no JSON"
		}
		records[i] = &kgo.Record{Value: []byte(line), Timestamp: began.Add(time.Duration(i) * time.Second / 2)}
	}
	client := newClient(t, b, kgo.DefaultProduceTopic("orders"))
	defer client.Close()
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	bin, job := fromEnv(t, "FIRN_BIN"), filepath.Join(folder, "job.yaml")
	err := os.WriteFile(job, fmt.Appendf(nil, `name: orders
source: {topics: [orders], store: "file://%[1]s/store", from: latest}
table: {name: "lake.{topic}", partition: ["bucket(4, id)"]}
catalog: {type: sqlite, uri: "sqlite:///%[1]s/lake.db", warehouse: "file://%[1]s/lake"}
commit: {freshness: 100ms, file_size: 128KiB}
`, folder), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, args ...string) {
		t.Helper()
		out, err := run(t, bin, append([]string{"backfill", "-f", job}, args...)...)
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("backfill %v printed %s, %v; want an error with %q", args, out, err, what)
		}
	}
	at := start(t, "process", "-f", job)
	p := startProducer(t, b, "orders", old)
	eventually(t, func() error {
		out, err := exec.Command(bin, "backfill", "-f", job, "--dry-run", "--json").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	var dry backfillResult
	firnJSON(t, &dry, "backfill", "-f", job, "--dry-run")
	all := dry.Offsets
	if len(dry.Spans) != 4 || all < old || offsetsOf(&dry) != all {
		t.Fatalf("a dry run says %+v", dry)
	}
	refused("the job began at", "--until", fmt.Sprintf("orders:0=%d", dry.Spans[0].Until+1))
	refused("has no records", "--until", "orders:9=5")

	killUntilDone(t, 100*time.Millisecond, 30, func() {}, "backfill", "-f", job, "--until", cut, "--id", "morning", "--spill-size", "128KiB")
	firnJSON(t, &dry, "backfill", "-f", job, "--until", cut, "--id", "morning")
	if dry.Offsets != 0 {
		t.Errorf("the backfill is not done: %+v", dry)
	}
	if got := offsetsOf(&dry); got != morning {
		t.Errorf("the morning has %d records, want %d", got, morning)
	}
	refused("has accounted for", "--id", "all")
	var rest backfillResult
	firnJSON(t, &rest, "backfill", "-f", job, "--from", cut, "--id", "rest")
	if got := offsetsOf(&rest); got != all-morning || rest.Offsets != got {
		t.Errorf("the rest has %d records, want %d: %+v", got, all-morning, rest)
	}
	for _, id := range []string{"morning", "rest"} {
		if _, err := os.Stat(filepath.Join(folder, "store", "jobs", "orders.backfill."+id+".json")); err == nil {
			t.Errorf("retention still waits for the backfill %s", id)
		}
		if _, err := os.Stat(filepath.Join(folder, "store", "jobs", "orders", "backfill-"+id+".json")); err == nil {
			t.Errorf("other backfills still wait for the backfill %s", id)
		}
	}
	acknowledged := p.stop(t)
	at.stop(t)
	if out, err := run(t, bin, "process", "-f", job, "--until", "latest"); err != nil {
		t.Fatal(err, out)
	}
	for _, args := range [][]string{{}, {"--deep"}} {
		if out, err := run(t, bin, append([]string{"verify", "-f", job}, args...)...); err != nil {
			t.Error(err, out)
		}
	}
	var reports []struct {
		Rows int64 `json:"rows"`
	}
	firnJSON(t, &reports, "verify", "-f", job)
	if want := int64(old - old/1000 + len(acknowledged)); reports[0].Rows != want {
		t.Errorf("%d rows, want %d", reports[0].Rows, want)
	}
	var status []jobStatus
	firnJSON(t, &status, "status", "-f", job)
	if known := status[0].Tables[0].Backfills; len(known) != 2 || known[0].Offsets+known[1].Offsets != all {
		t.Errorf("status says %+v", known)
	}
	var found []whereabouts
	firnJSON(t, &found, "where", "orders", "0", "7", "-f", job)
	if len(found) != 1 || found[0].State != stateVisible {
		t.Errorf("where says %+v", found)
	}
}
