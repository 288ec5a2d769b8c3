//go:build integration

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/firn-io/firn/catalog"
)

// rebuiltRow is a row as pyiceberg has it.
type rebuiltRow struct {
	ID        any   `json:"id"`
	Partition int64 `json:"kafka_partition"`
	Offset    int64 `json:"kafka_offset"`
}

// TestIntegrationRebuild makes a table anew beside a job at work, killed again and again: on a branch at first, then in a table of its own
// because a column gets another type. Other engines read what has come of it. The job commits faster than the rebuild can follow: it has to
// wait for the swap.
func TestIntegrationRebuild(t *testing.T) {
	folder := t.TempDir()
	firn := start(t, "broker", "--store", filepath.Join(folder, "store"), "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0")
	const old = 30_000
	lines := make([]string, old)
	for i := range lines {
		switch lines[i] = fmt.Sprintf(`{"id": %d, "text": %q}`, i, strings.Repeat("x", i%200)); {
		case i%1000 == 0:
			lines[i] = "no JSON"
		case i%100 == 0:
			lines[i] = fmt.Sprintf(`{"id": %d, "text": 1}`, i)
		}
	}
	produceLines(t, firn, "orders", lines)
	const noJSON = old / 1000
	bin := fromEnv(t, "FIRN_BIN")
	job := writeJob(t, folder, "{name: id, type: long}, {name: text, type: string}", "200ms")
	if out, err := run(t, bin, "process", "-f", job, "--until", "latest"); err != nil {
		t.Fatal(err, out)
	}
	produced := old
	isNumber := func(id any) bool { _, ok := id.(float64); return ok }
	isText := func(id any) bool { _, ok := id.(string); return ok }
	for _, step := range []struct {
		schema, transform, place string
		id                       func(any) bool
	}{
		{"{name: id, type: long}", "", "branch", isNumber}, // texts are not read any more: those that were none are rows now
		{"{name: id, type: long}", "transform: [{cast: {id: string}}]", "table", isText},
	} {
		at := start(t, "process", "-f", job) // with the file that it had
		p := startProducer(t, firn, "orders", produced)
		job = writeJob(t, folder, step.schema, "200ms")
		text, err := os.ReadFile(job)
		if err == nil {
			err = os.WriteFile(job, append(text, step.transform...), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		var dry rebuildResult
		firnJSON(t, &dry, "rebuild", "-f", job, "--dry-run")
		if string(dry.To) != step.place {
			t.Errorf("a dry run says %+v, want it in a %s", dry, step.place)
		}
		killUntilDone(t, 150*time.Millisecond, 40, func() {}, "rebuild", "-f", job, "--yes", "--spill-size", "128KiB")
		produced += len(p.stop(t))
		eventually(t, func() error {
			out, err := exec.Command(bin, "status", "-f", job).CombinedOutput()
			if err == nil || !strings.Contains(string(out), "HALTED") {
				return fmt.Errorf("the job goes on with its former file: %s", out)
			}
			return nil
		})
		at.stop(t)
		if out, err := run(t, bin, "process", "-f", job, "--until", "latest"); err != nil {
			t.Fatal(err, out)
		}
		for _, args := range [][]string{{}, {"--deep"}} {
			if out, err := run(t, bin, append([]string{"verify", "-f", job}, args...)...); err != nil {
				t.Error(err, out)
			}
		}
		readRebuilt(t, folder, produced-noJSON, step.id)
	}
}

// readRebuilt reads the table with pyiceberg and with DuckDB.
func readRebuilt(t *testing.T, folder string, rows int, id func(any) bool) {
	t.Helper()
	python := fromEnv(t, "FIRN_PYTHON")
	out, err := run(t, python, "testdata/rows.py", filepath.Join(folder, "lake.db"), filepath.Join(folder, "lake"), "lake.orders", "id", "kafka_partition", "kafka_offset")
	if err != nil {
		t.Fatal(err)
	}
	var all []rebuiltRow
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		t.Fatal(err)
	}
	seen := map[[2]int64]bool{}
	for _, r := range all {
		if at := [2]int64{r.Partition, r.Offset}; seen[at] || !id(r.ID) {
			t.Fatalf("row %+v, there before: %t", r, seen[at])
		} else {
			seen[at] = true
		}
	}
	if len(all) != rows {
		t.Errorf("pyiceberg reads %d rows, want %d", len(all), rows)
	}
	lake, err := catalog.Open(t.Context(), catalog.Config{Type: "sqlite", Properties: map[string]string{"uri": "sqlite:///" + folder + "/lake.db", "warehouse": "file://" + folder + "/lake"}})
	if err != nil {
		t.Fatal(err)
	}
	defer lake.Close()
	_, loaded, err := lake.Account(t.Context(), "lake.orders", nil)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "testdata/sql.py")
	cmd.Stdin = strings.NewReader(fmt.Sprintf("SELECT count(*), count(DISTINCT (kafka_partition, kafka_offset)) FROM iceberg_scan('%s')", strings.TrimPrefix(loaded.MetadataLocation(), "file://")))
	cmd.Stderr = os.Stderr
	counted, err := cmd.Output()
	if want := fmt.Sprintf("[(%d, %d)]", rows, rows); err != nil || strings.TrimSpace(string(counted)) != want {
		t.Errorf("DuckDB counts %s, %v, want %s", counted, err, want)
	}
}
