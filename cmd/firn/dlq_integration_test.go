//go:build integration

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writeJob writes a job file for topic orders into table lake.orders of a catalog of its own, with a declared schema.
func writeJob(t *testing.T, folder, schema, freshness string) string {
	t.Helper()
	path := filepath.Join(folder, "job.yaml")
	text := fmt.Sprintf(`name: orders
source: {topics: [orders], store: "file://%[1]s/store"}
decode: {value: {format: json, schema: [%[2]s]}}
table: {name: "lake.{topic}"}
catalog: {type: sqlite, uri: "sqlite:///%[1]s/lake.db", warehouse: "file://%[1]s/lake"}
commit: {freshness: %[3]s}
`, folder, schema, freshness)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// firnJSON runs a command of firn that prints JSON.
func firnJSON(t *testing.T, into any, args ...string) {
	t.Helper()
	out, err := run(t, fromEnv(t, "FIRN_BIN"), append(args, "--json")...)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("firn %s printed %s: %v", strings.Join(args, " "), out, err)
	}
}

// TestIntegrationRetry kills retries of dead letters again and again, beside the job at work; in the end every record is a row once.
func TestIntegrationRetry(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	firn := start(t, "dev", "--data", folder, "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0", "--partitions", "2")
	const records = 12_000
	lines := make([]string, records)
	for i := range lines {
		lines[i] = fmt.Sprintf(`{"id": %d, "text": "t%d"}`, i, i)
		if i%3 == 0 {
			lines[i] = fmt.Sprintf(`{"id": "number %d", "text": "t%d"}`, i, i)
		}
	}
	produceLines(t, firn, "orders", lines)
	bin, job := fromEnv(t, "FIRN_BIN"), writeJob(t, folder, "{name: id, type: long}, {name: text, type: string}", "200ms")
	if out, err := run(t, bin, "process", "-f", job, "--until", "latest"); err != nil {
		t.Fatal(err, out)
	}
	var groups []letterGroup
	firnJSON(t, &groups, "dlq", "ls", "-f", job)
	if len(groups) != 1 || groups[0].Letters != records/3 || groups[0].Resolved != 0 {
		t.Fatalf("dead letters: %+v", groups)
	}

	job = writeJob(t, folder, "{name: text, type: string}", "200ms")
	var dry []retryLine
	firnJSON(t, &dry, "dlq", "retry", "-f", job, "--dry-run")
	if len(dry) != 1 || dry[0].Repaired != records/3 {
		t.Fatalf("dry run: %+v", dry)
	}
	at := start(t, "process", "-f", job)
	kills := killUntilDone(t, 40*time.Millisecond, 40, func() {
		produceLines(t, firn, "orders", lines[1:3]) // the job goes on committing
	}, "dlq", "retry", "-f", job)
	at.stop(t)
	// What came last, the job that was stopped may not have read.
	if out, err := run(t, bin, "process", "-f", job, "--until", "latest"); err != nil {
		t.Fatal(err, out)
	}
	var last []retryLine
	firnJSON(t, &last, "dlq", "retry", "-f", job)
	if len(last) != 0 {
		t.Errorf("a retry after all was done: %+v", last)
	}
	if out, err := run(t, bin, "verify", "-f", job, "--deep"); err != nil {
		t.Error(err, out)
	}
	firnJSON(t, &groups, "dlq", "ls", "-f", job)
	if len(groups) != 1 || groups[0].Resolved != records/3 {
		t.Errorf("dead letters in the end: %+v", groups)
	}
	// The letters' records are visible, in the snapshots of repairs.
	var letter letterLine
	out, err := run(t, bin, "dlq", "show", "-f", job, "--max", "1", "--json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &letter)
	}
	if err != nil {
		t.Fatal(err, out)
	}
	var found []whereabouts
	firnJSON(t, &found, "where", "orders", fmt.Sprint(letter.Partition), fmt.Sprint(letter.Offset), "-f", job)
	if len(found) != 1 || found[0].State != stateVisible || letter.Resolved == "" {
		t.Errorf("letter %+v is %+v", letter, found)
	}
	var reports []struct {
		Table string `json:"table"`
		Rows  int64  `json:"rows"`
	}
	firnJSON(t, &reports, "verify", "-f", job)
	if want := int64(records + 2*kills); reports[0].Rows != want {
		t.Errorf("%s has %d rows, want %d", reports[0].Table, reports[0].Rows, want)
	}
}
