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
)

// TestIntegrationBackfill brings in what was there before a job began, killed again and again, beside the job at work.
func TestIntegrationBackfill(t *testing.T) {
	folder := t.TempDir()
	b := start(t, "broker", "--store", filepath.Join(folder, "store"), "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0")
	const old = 60_000
	lines := make([]string, old)
	for i := range lines {
		lines[i] = fmt.Sprintf(`{"id": %d, "text": %q}`, i, strings.Repeat("x", i%200))
		if i%1000 == 0 {
			lines[i] = "no JSON"
		}
	}
	produceLines(t, b, "orders", lines)
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
	if len(dry.Spans) != 4 || dry.Offsets < old {
		t.Fatalf("a dry run says %+v", dry)
	}
	refused("the job began at", "--until", fmt.Sprintf("orders:0=%d", dry.Spans[0].Until+1))
	refused("has no records", "--until", "orders:9=5")

	kills := 0
	for delay := 250 * time.Millisecond; ; delay += delay / 4 {
		cmd := exec.Command(bin, "backfill", "-f", job, "--id", "all")
		out := &lockedBuffer{}
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err, out)
			}
		case <-time.After(delay):
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			<-ended
			if kills++; kills < 30 {
				continue
			}
			t.Fatal("the backfill does not end")
		}
		break
	}
	t.Logf("killed %d times", kills)
	if kills == 0 {
		t.Error("the backfill ended before it could be killed: use more records")
	}
	refused("has accounted for", "--id", "again")
	firnJSON(t, &dry, "backfill", "-f", job, "--id", "all")
	if dry.Offsets != 0 {
		t.Errorf("the backfill is not done: %+v", dry)
	}
	if _, err := os.Stat(filepath.Join(folder, "store", "jobs", "orders.backfill.all.json")); err == nil {
		t.Error("retention still waits for the backfill")
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
	if all := status[0].Tables[0].Backfills; len(all) != 1 || all[0].ID != "all" || all[0].Offsets < old {
		t.Errorf("status says %+v", all)
	}
	var found []whereabouts
	firnJSON(t, &found, "where", "orders", "0", "7", "-f", job)
	if len(found) != 1 || found[0].State != stateVisible {
		t.Errorf("where says %+v", found)
	}
}
