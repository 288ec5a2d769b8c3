//go:build integration

package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestIntegrationPlan plans a job over real earthquakes beside a broker at work, and leaves nothing behind.
func TestIntegrationPlan(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	b := start(t, "broker", "--store", filepath.Join(folder, "store"), "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0")
	produceLines(t, b, "quakes", readLines(t, earthquakes))
	produceLines(t, b, "quakes", []string{"no JSON"})
	job := filepath.Join(folder, "job.yaml")
	err := os.WriteFile(job, []byte(`name: quakes
source: {topics: [quakes], store: "`+filepath.Join(folder, "store")+`"}
table: {name: "lake.{topic}", partition: [day(kafka_timestamp)]}
catalog: {type: sqlite, uri: "sqlite:///`+folder+`/lake.db", warehouse: "file://`+folder+`/lake"}
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var plans []jobPlan
	firnJSON(t, &plans, "plan", "-f", job)
	t.Logf("a plan took %s", time.Since(began).Round(time.Millisecond))
	if len(plans) != 1 || len(plans[0].Tables) != 1 {
		t.Fatalf("%+v", plans)
	}
	r := plans[0].Tables[0]
	if r.Table != "lake.quakes" || !strings.Contains(r.DDL, "PARTITIONED BY (days(`kafka_timestamp`))") || r.Rows == 0 || r.RowBytes == 0 {
		t.Errorf("%+v", r)
	}
	out, err := run(t, fromEnv(t, "FIRN_BIN"), "plan", "-f", job)
	if err != nil || !strings.Contains(out, "CREATE TABLE `lake`.`quakes`") {
		t.Error(out, err)
	}
	t.Log(out)
	for _, name := range []string{"lake.db", "lake"} {
		if _, err := os.Stat(filepath.Join(folder, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a plan has written %s: %v", name, err)
		}
	}
	if out, err := run(t, fromEnv(t, "FIRN_BIN"), "process", "-f", job, "--until", "latest"); err != nil {
		t.Fatal(out, err)
	}
	// What the plan said is what comes.
	var groups []letterGroup
	firnJSON(t, &groups, "dlq", "ls", "-f", job)
	if len(groups) != 1 || len(r.Rejects) != 1 || groups[0].Class != r.Rejects[0].Class {
		t.Errorf("rejects %+v, dead letters %+v", r.Rejects, groups)
	}
}
