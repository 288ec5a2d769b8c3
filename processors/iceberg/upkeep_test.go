package iceberg

import (
	"testing"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/memory"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/runtime/processor"
)

// TestUpkeepOfShortProcesses commits once in each process, as a scheduled job does: what their commits leave in the table is bounded all the same.
func TestUpkeepOfShortProcesses(t *testing.T) {
	const processes = upkeepEvery + 5
	c := catalog.New(memory.New())
	var last *Sink
	for n := range int64(processes) {
		s, _ := openSink(t, c, processors.Table{Name: "lake.events"}, func(cfg *Config) {
			cfg.Options.Upkeep = catalog.Upkeep{Manifests: 20, Snapshots: 30, Age: 1}
		})
		if _, err := s.Committed(t.Context()); err != nil {
			t.Fatal(err)
		}
		b := events(s.cfg.Allocator, source0, n, n+1)
		stage(t, s, b)
		from, to := processor.Positions{source0: n}, processor.Positions{source0: n + 1}
		if err := s.Commit(t.Context(), from, to, []processor.Staged{seal(t, s)}); err != nil {
			t.Fatal(err)
		}
		last = s
	}
	loaded, err := last.committer.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(loaded.Metadata().Snapshots()); n > 30+10 {
		t.Errorf("%d snapshots after %d commits", n, processes)
	}
	fs, err := loaded.FS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	manifests, err := loaded.CurrentSnapshot().Manifests(fs)
	if err != nil {
		t.Fatal(err)
	}
	if len(manifests) > 20+10 {
		t.Errorf("%d manifests after %d commits", len(manifests), processes)
	}
	there, err := offsets(t.Context(), last)
	if err != nil {
		t.Fatal(err)
	}
	for n := range int64(processes) {
		if there[[2]int64{0, n}] != 1 {
			t.Errorf("offset %d is in the table %d times", n, there[[2]int64{0, n}])
		}
	}
}
