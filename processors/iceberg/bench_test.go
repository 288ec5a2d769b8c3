package iceberg

import (
	"os"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/runtime/processor"
)

// BenchmarkCommit stages 1000 small records, seals and commits them on SQLite and local files; -benchtime 600x shows what many commits
// leave behind.
func BenchmarkCommit(b *testing.B) {
	dir := b.TempDir()
	c, err := catalog.Open(b.Context(), catalog.Config{Type: "sqlite", Properties: map[string]string{
		"uri": "sqlite:///" + dir + "/catalog.db", "warehouse": "file://" + dir + "/warehouse",
	}})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	opened, err := New(Config{Catalog: c, Options: catalog.Options{Job: "job"}}).Open(b.Context(), processors.Table{Name: "default.events"})
	if err != nil {
		b.Fatal(err)
	}
	s := opened.(*Sink)
	const size = 1000
	b.ReportAllocs()
	var at int64
	for b.Loop() {
		batch := events(memory.DefaultAllocator, source0, at, at+size)
		if err := s.Stage(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		batch.Records.Release()
		sealed, err := s.Seal(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Commit(b.Context(), processor.Positions{source0: at}, processor.Positions{source0: at + size}, []processor.Staged{sealed}); err != nil {
			b.Fatal(err)
		}
		at += size
	}
	t, err := s.committer.Load(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(strings.TrimPrefix(t.MetadataLocation(), "file://"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size()), "metadata-bytes")
}
