package main

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firn-io/firn/runtime/host"
)

// TestOpenJobRefusesWhatCannotWork: what is wrong with a job file is said before there is data.
func TestOpenJobRefusesWhatCannotWork(t *testing.T) {
	p := &program{logger: slog.New(slog.DiscardHandler), out: io.Discard}
	for text, want := range map[string]string{
		"table: {partition: ['daily(ts)']}":               "daily",
		"table: {name: '{topic}'}":                        "table.name",
		"catalog: {type: mysql}":                          `"mysql" is not known`,
		"decode: {value: {schema: [{name: a, type: b}]}}": "decode.value.schema",
		"": "",
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "job.yaml")
		if err := os.WriteFile(path, []byte("name: a\nsource: {topics: [x]}\n"+text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		jobs, err := readJobs([]string{path})
		if err == nil {
			var r *host.Job
			r, err = p.runner().Open(t.Context(), jobs[0], host.Settings{Data: dir, MemoryBytes: 64 << 20})
			if err == nil {
				err = r.Close()
			}
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestReadJobsWantsNamesOfTheirOwn(t *testing.T) {
	dir := t.TempDir()
	var paths []string
	for _, name := range []string{"one.yaml", "two.yaml"} {
		paths = append(paths, filepath.Join(dir, name))
		if err := os.WriteFile(paths[len(paths)-1], []byte("name: same\nsource: {topics: [x]}\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := readJobs(paths); err == nil || !strings.Contains(err.Error(), `"same"`) {
		t.Errorf("two jobs of one name: %v", err)
	}
}
