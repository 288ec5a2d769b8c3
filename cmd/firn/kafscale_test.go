package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// TestRegressionKafScaleBucket runs a job on a bucket that KafScale has written: every record becomes a row once, also over restarts; a hole stops its
// partition and no other.
func TestRegressionKafScaleBucket(t *testing.T) {
	w := &workbench{t: t, dir: t.TempDir()}
	store := filepath.Join(w.dir, "store")
	if err := os.CopyFS(store, os.DirFS("../../runtime/tail/testdata/kafscale")); err != nil {
		t.Fatal(err)
	}
	put := func(name string, base int64, values ...string) {
		t.Helper()
		var bytes [][]byte
		for _, v := range values {
			bytes = append(bytes, []byte(v))
		}
		segment, _, err := kfs.SealSegment(1_700_000_000_100, [][]byte{tailtest.Batch(t, base, 1_700_000_000_000, 0, bytes...)})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(store, name), segment, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const job = "name: old\nsource: {pattern: '.*', format: kafscale}\n"
	if err := w.run(job); err != nil {
		t.Fatal(err)
	}
	events := map[int64]string{0: `{"n":1}`, 1: `{"n":2}`, 2: `{"n":3}`, 3: `{"n":4}`, 4: `{"n":5}`, 10: `{"n":6}`}
	w.want("default.events", events)
	w.want("default.orders", map[int64]string{0: `{"at":"2024-02-29T23:59:59.999999Z","id":9007199254740993}`})

	if _, err := w.rebuild(job, "--yes"); err == nil || !strings.Contains(err.Error(), "start a job with the changed file, another name and another table.name") {
		t.Errorf("a rebuild: %v", err)
	}
	if err := w.run(strings.Replace(job, "old", "anew", 1) + "transform: [{compute: {by: \"'anew'\"}}]\ntable: {name: 'default.{topic}_anew'}\n"); err != nil { // as it says
		t.Fatal(err)
	}
	anew := map[int64]string{}
	for offset, row := range events {
		anew[offset] = `{"by":"anew",` + row[1:]
	}
	w.want("default.events_anew", anew)

	put("events/0/segment-00000000000000000005.kfs", 5, `{"n": 7}`, `no json`)
	put("events/1/segment-00000000000000000013.kfs", 13, `{"n": 9}`) // 11 and 12 are missing
	err := w.run(job)
	if err == nil || !strings.Contains(err.Error(), "events/1: offsets [11, 13) were trimmed before this job has read them") {
		t.Errorf("a hole: %v", err)
	}
	more := maps.Clone(events)
	more[5] = `{"n":7}`
	w.want("default.events", more)

	put("events/1/segment-00000000000000000011.kfs", 11, `{"n": 8}`, `{"n": 0}`)
	const last = "events/0/segment-00000000000000000007.kfs"
	put(last, 7, `{"n": 10}`)
	damaged, err := os.ReadFile(filepath.Join(store, last))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(store, last), bytes.Replace(damaged, []byte("10"), []byte("11"), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := w.run(job); err == nil || !strings.Contains(err.Error(), "segment-00000000000000000007.kfs") {
		t.Errorf("a damaged segment: %v", err)
	}
	more[11], more[12], more[13] = `{"n":8}`, `{"n":0}`, `{"n":9}`
	w.want("default.events", more)
}
