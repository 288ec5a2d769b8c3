package iceberg

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/catalogtest"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/runtime/processor"
)

// count reads how many rows a filter finds.
func count(t *testing.T, tbl *table.Table, filter iceberg.BooleanExpression) int64 {
	t.Helper()
	_, batches, err := tbl.Scan(table.WithRowFilter(filter)).ToArrowRecords(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	for rec, err := range batches {
		if err != nil {
			t.Fatal(err)
		}
		n += rec.NumRows()
		rec.Release()
	}
	return n
}

// dataFiles are the files below the table's data folder.
func dataFiles(t *testing.T, s *Sink) []string {
	t.Helper()
	loaded, err := s.committer.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(strings.TrimPrefix(loaded.Location(), "file://") + "/data/*.parquet")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestFilesEndAtTheirSize(t *testing.T) {
	s, mem := openSink(t, openSQLite(t), processors.Table{Name: "default.events"}, func(c *Config) { c.FileBytes = 20_000 })
	for base := int64(0); base < 10_000; base += 1000 {
		stage(t, s, events(mem, source0, base, base+1000))
	}
	if err := s.Commit(t.Context(), processor.Positions{source0: 0}, processor.Positions{source0: 10_000}, []processor.Staged{seal(t, s)}); err != nil {
		t.Fatal(err)
	}
	names := dataFiles(t, s)
	if len(names) < 2 {
		t.Errorf("%d files, want some", len(names))
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > 40_000 {
			t.Errorf("a file of %d bytes, want about 20000", info.Size())
		}
	}
	wantOffsets(t, s, map[int64]int64{0: 10_000})
}

func TestOpenFilesAndMemoryAreBounded(t *testing.T) {
	s, mem := openSink(t, openSQLite(t), processors.Table{Name: "default.events", Partition: []string{"bucket(16, name)"}}, func(c *Config) {
		c.OpenFiles, c.MemoryBytes = 3, 64_000
	})
	for base := int64(0); base < 4000; base += 500 {
		stage(t, s, events(mem, source0, base, base+500))
		if len(s.open) > 3 || s.Buffered() > 64_000 {
			t.Errorf("%d files are open and hold %d bytes", len(s.open), s.Buffered())
		}
	}
	sealed := seal(t, s)
	if s.Buffered() != 0 {
		t.Errorf("%d bytes are held after Seal", s.Buffered())
	}
	if err := s.Commit(t.Context(), processor.Positions{source0: 0}, processor.Positions{source0: 4000}, []processor.Staged{sealed}); err != nil {
		t.Fatal(err)
	}
	wantOffsets(t, s, map[int64]int64{0: 4000})
}

func TestDiscard(t *testing.T) {
	s, mem := openSink(t, openSQLite(t), processors.Table{Name: "default.events"}, nil)
	stage(t, s, events(mem, source0, 0, 10))
	sealed := seal(t, s)
	stage(t, s, events(mem, source0, 10, 20))
	if n := len(dataFiles(t, s)); n != 2 {
		t.Fatalf("%d files, want a sealed one and an open one", n)
	}
	if err := s.Discard(t.Context(), []processor.Staged{sealed}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(dataFiles(t, s)); n != 0 {
		t.Errorf("%d files are left", n)
	}
}

func TestStageRefuses(t *testing.T) {
	s, mem := openSink(t, openSQLite(t), processors.Table{Name: "default.events"}, nil)
	try := func(name, want string, b processor.Batch) {
		t.Helper()
		err := s.Stage(t.Context(), b)
		b.Records.Release()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", name, err, want)
		}
	}
	b := events(mem, source0, 0, 10)
	b.Span = kfs.Span{Base: 0, Next: 5}
	try("rows behind the span", "the rows have offsets 0 to 9", b)
	b = events(mem, source0, 3, 10)
	b.Span = kfs.Span{Base: 4, Next: 10}
	try("rows before the span", "the rows have offsets 3 to 9", b)
	stage(t, s, events(mem, source0, 0, 5))
	try("a hole", "the batch before ends at 5", events(mem, source0, 6, 9))
	if n := len(dataFiles(t, s)); n != 0 {
		t.Errorf("%d files are left after an error", n)
	}

	bare := arrow.NewSchema([]arrow.Field{{Name: "x", Type: arrow.PrimitiveTypes.Int64}}, nil)
	rec, _, err := array.RecordFromJSON(mem, bare, strings.NewReader(`[{"x":1}]`))
	if err != nil {
		t.Fatal(err)
	}
	try("no coordinates", "is missing", processor.Batch{Source: source0, Span: kfs.Span{Base: 0, Next: 1}, Records: rec})
	if _, err := s.committer.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestCommitRefuses(t *testing.T) {
	s, mem := openSink(t, openSQLite(t), processors.Table{Name: "default.events"}, nil)
	stage(t, s, events(mem, source0, 0, 10))
	a := seal(t, s)
	stage(t, s, events(mem, source0, 10, 20))
	b := seal(t, s)
	at := func(n int64) processor.Positions { return processor.Positions{source0: n} }
	for name, c := range map[string]struct {
		from, to processor.Positions
		staged   []processor.Staged
	}{
		"a hole":              {at(0), at(30), []processor.Staged{a, b}},
		"a missing beginning": {at(0), at(20), []processor.Staged{b}},
		"twice the same":      {at(0), at(20), []processor.Staged{a, a}},
		"backwards":           {at(10), at(0), nil},
		"no from":             {nil, at(10), []processor.Staged{a}},
		"no to":               {at(0), nil, []processor.Staged{a}},
		"garbage":             {at(0), at(10), []processor.Staged{{Data: []byte("{}")}}},
	} {
		if err := s.Commit(t.Context(), c.from, c.to, c.staged); err == nil {
			t.Errorf("%s was committed", name)
		}
	}
	wantOffsets(t, s, nil)
	if err := s.Commit(t.Context(), at(0), at(20), []processor.Staged{b, a}); err != nil {
		t.Fatal(err)
	}
	wantOffsets(t, s, map[int64]int64{0: 20})
}

// TestRegressionTopicRecreatedMeanwhile has no table take rows of a topic and of one that was created again under its name, whoever comes first.
func TestRegressionTopicRecreatedMeanwhile(t *testing.T) {
	recreated := source0
	recreated.ID = kfs.TopicID{2}
	for name, first := range map[string]bool{"after it was seen": true, "before it was there": false} {
		t.Run(name, func(t *testing.T) {
			c := openSQLite(t)
			s, mem := openSink(t, c, processors.Table{Name: "default.events"}, nil)
			again, mem2 := openSink(t, c, processors.Table{Name: "default.events"}, nil)
			look := func() {
				if _, err := again.Committed(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if !first {
				look()
			}
			stage(t, s, events(mem, source0, 0, 10))
			if err := s.Commit(t.Context(), processor.Positions{source0: 0}, processor.Positions{source0: 10}, []processor.Staged{seal(t, s)}); err != nil {
				t.Fatal(err)
			}
			if first {
				look()
			}
			stage(t, again, events(mem2, recreated, 0, 10))
			var halt *processor.HaltError
			err := again.Commit(t.Context(), processor.Positions{recreated: 0}, processor.Positions{recreated: 10}, []processor.Staged{seal(t, again)})
			if !errors.As(err, &halt) {
				t.Errorf("%v, want a halt", err)
			}
			wantOffsets(t, s, map[int64]int64{0: 10})
		})
	}
	t.Run("at once", func(t *testing.T) {
		s, mem := openSink(t, openSQLite(t), processors.Table{Name: "default.events"}, nil)
		stage(t, s, events(mem, source0, 0, 10))
		stage(t, s, events(mem, recreated, 0, 10))
		var halt *processor.HaltError
		err := s.Commit(t.Context(), processor.Positions{source0: 0, recreated: 0}, processor.Positions{source0: 10, recreated: 10}, []processor.Staged{seal(t, s)})
		if !errors.As(err, &halt) {
			t.Errorf("%v, want a halt", err)
		}
		wantOffsets(t, s, nil)
	})
}

func TestSecondJobHalts(t *testing.T) {
	c := openSQLite(t)
	s, mem := openSink(t, c, processors.Table{Name: "default.events"}, nil)
	stage(t, s, events(mem, source0, 0, 10))
	if err := s.Commit(t.Context(), processor.Positions{source0: 0}, processor.Positions{source0: 10}, []processor.Staged{seal(t, s)}); err != nil {
		t.Fatal(err)
	}
	other, mem := openSink(t, c, processors.Table{Name: "default.events"}, func(c *Config) { c.Options.Job = "other" })
	stage(t, other, events(mem, source0, 0, 10))
	var halt *processor.HaltError
	err := other.Commit(t.Context(), processor.Positions{source0: 0}, processor.Positions{source0: 10}, []processor.Staged{seal(t, other)})
	if !errors.As(err, &halt) {
		t.Errorf("%v, want a halt", err)
	}
	wantOffsets(t, s, map[int64]int64{0: 10})
}

// A table that somebody else has made takes rows if it has the coordinates, and nothing else of ours is assumed.
func TestForeignTable(t *testing.T) {
	c := openSQLite(t)
	committer, err := c.Committer("default.foreign", catalog.Options{Job: "x"})
	if err != nil {
		t.Fatal(err)
	}
	schema := iceberg.NewSchema(0,
		iceberg.NestedField{ID: 1, Name: "extra", Type: iceberg.PrimitiveTypes.Date},
		iceberg.NestedField{ID: 2, Name: "kafka_offset", Type: iceberg.PrimitiveTypes.Int64, Required: true},
		iceberg.NestedField{ID: 3, Name: "kafka_partition", Type: iceberg.PrimitiveTypes.Int64},
	)
	if _, err := committer.Create(t.Context(), schema, nil, nil); err != nil {
		t.Fatal(err)
	}
	s, mem := openSink(t, c, processors.Table{Name: "default.foreign"}, nil)
	b := events(mem, source0, 0, 10)
	if err := s.Stage(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	b.Records.Release()
	if err := s.Commit(t.Context(), processor.Positions{source0: 0}, processor.Positions{source0: 10}, []processor.Staged{seal(t, s)}); err != nil {
		t.Fatal(err)
	}
	loaded, err := s.committer.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := count(t, loaded, iceberg.EqualTo(iceberg.Reference("kafka_partition"), int64(0))); n != 10 {
		t.Errorf("%d rows, want 10", n)
	}
}

// A committer that comes back after the receipts have expired finds its place by the offsets in the files.
func TestExpiredReceipts(t *testing.T) {
	c := openSQLite(t)
	s, mem := openSink(t, c, processors.Table{Name: "default.events"}, nil)
	for base := int64(0); base < 30; base += 10 {
		stage(t, s, events(mem, source0, base, base+10))
		if err := s.Commit(t.Context(), processor.Positions{source0: base}, processor.Positions{source0: base + 10}, []processor.Staged{seal(t, s)}); err != nil {
			t.Fatal(err)
		}
	}
	// Another engine rewrites the manifests and expires what is older.
	loaded, err := s.committer.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tx := loaded.NewTransaction()
	if _, err := tx.RewriteManifests(t.Context()); err != nil {
		t.Fatal(err)
	}
	if loaded, err = tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	tx = loaded.NewTransaction()
	if err := tx.ExpireSnapshots(table.WithRetainLast(1), table.WithOlderThan(0)); err != nil {
		t.Fatal(err)
	}
	if loaded, err = tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(loaded.Metadata().Snapshots()); n != 1 {
		t.Fatalf("%d snapshots are left, want the rewrite's", n)
	}
	again, mem := openSink(t, c, processors.Table{Name: "default.events"}, nil)
	at, err := again.Committed(t.Context())
	if err != nil || at[source0] != 30 {
		t.Fatalf("the table stands at %v, %v", at, err)
	}
	stage(t, again, events(mem, source0, 30, 40))
	if err := again.Commit(t.Context(), processor.Positions{source0: 30}, processor.Positions{source0: 40}, []processor.Staged{seal(t, again)}); err != nil {
		t.Fatal(err)
	}
	wantOffsets(t, s, map[int64]int64{0: 40})

	// Somebody deletes the newest rows as well: now nothing speaks for the property.
	if loaded, err = again.committer.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	tx = loaded.NewTransaction()
	if err := tx.Delete(t.Context(), iceberg.GreaterThanEqual(iceberg.Reference("kafka_offset"), int64(35)), nil); err != nil {
		t.Fatal(err)
	}
	if loaded, err = tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if at, err := again.Committed(t.Context()); err != nil || at[source0] != 40 {
		t.Errorf("with the receipt still there the table stands at %v, %v", at, err)
	}
	tx = loaded.NewTransaction()
	if err := tx.ExpireSnapshots(table.WithRetainLast(1), table.WithOlderThan(0)); err != nil {
		t.Fatal(err)
	}
	if _, err = tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	var halt *processor.HaltError
	if at, err := again.Committed(t.Context()); !errors.As(err, &halt) {
		t.Errorf("the table stands at %v, %v; want a halt", at, err)
	}
}

// A commit that fails leaves what was staged after it as it is: it can be sealed, and committed when its turn comes.
func TestSealAfterFailedCommit(t *testing.T) {
	s, mem := openSink(t, openSQLite(t), processors.Table{Name: "default.events"}, nil)
	stage(t, s, events(mem, source0, 0, 10))
	first := seal(t, s)
	stage(t, s, events(mem, source0, 10, 20))
	if err := s.Commit(t.Context(), processor.Positions{source0: 0}, processor.Positions{source0: 99}, []processor.Staged{first}); err == nil {
		t.Fatal("a commit of spans that do not reach was accepted")
	}
	second := seal(t, s)
	if err := s.Commit(t.Context(), processor.Positions{source0: 0}, processor.Positions{source0: 20}, []processor.Staged{first, second}); err != nil {
		t.Fatal(err)
	}
	wantOffsets(t, s, map[int64]int64{0: 20})
}

func TestSchemaFollows(t *testing.T) {
	s, mem := openSink(t, openSQLite(t), processors.Table{Name: "default.events"}, nil)
	columns := func() int {
		t.Helper()
		schema, err := s.Schema(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if schema == nil {
			return 0
		}
		return schema.NumFields()
	}
	if _, err := s.Committed(t.Context()); err != nil || columns() != 0 || s.Identity() != "" {
		t.Errorf("%d columns before there is a table, identity %s, %v", columns(), s.Identity(), err)
	}
	stage(t, s, events(mem, source0, 0, 2))
	if n := columns(); n != 5 {
		t.Errorf("%d columns, want 5", n)
	}
	stage(t, s, quakes(t, mem, arrow.PrimitiveTypes.Int64, 2, "1"))
	if n := columns(); n != 7 {
		t.Errorf("%d columns, want 7", n)
	}
	made := s.Identity()
	if len(made) != 36 {
		t.Errorf("identity %s before the first commit", made)
	}
	if err := s.Commit(t.Context(), processor.Positions{source0: 0}, processor.Positions{source0: 3}, []processor.Staged{seal(t, s)}); err != nil {
		t.Fatal(err)
	}
	if s.Identity() != made {
		t.Errorf("identity %s, and was %s", s.Identity(), made)
	}
}

// Files outlive the call that opened them.
func TestContextsEnd(t *testing.T) {
	s, mem := openSink(t, catalog.New(catalogtest.NewFake()), processors.Table{Name: "default.events"}, nil)
	for base := int64(0); base < 30; base += 10 {
		ctx, cancel := context.WithCancel(t.Context())
		b := events(mem, source0, base, base+10)
		err := s.Stage(ctx, b)
		b.Records.Release()
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(t.Context(), processor.Positions{source0: base}, processor.Positions{source0: base + 10}, []processor.Staged{seal(t, s)}); err != nil {
			t.Fatal(err)
		}
	}
	wantOffsets(t, s, map[int64]int64{0: 30})
}
