package sweep_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	iceberglib "github.com/apache/iceberg-go"
	icebergcat "github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/processors/iceberg/sweep"
	"github.com/firn-io/firn/processors/iceberg/verify"
	"github.com/firn-io/firn/runtime/processor"
)

var source = processor.Source{Topic: "events", ID: kfs.TopicID{1}}

// lake is a SQLite catalog with a table db.events in a folder.
type lake struct {
	t       *testing.T
	dir     string // of the table
	catalog *catalog.Catalog
	sink    *iceberg.Sink
	next    int64
}

func newLake(t *testing.T) *lake {
	t.Helper()
	dir := t.TempDir()
	c, err := catalog.Open(t.Context(), catalog.Config{Type: "sqlite", Properties: map[string]string{
		"uri": "sqlite:///" + dir + "/catalog.db", "warehouse": "file://" + dir + "/warehouse",
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	s, err := iceberg.New(iceberg.Config{Catalog: c, Options: catalog.Options{Job: "job"}}).Open(t.Context(), processors.Table{Name: "db.events"})
	if err != nil {
		t.Fatal(err)
	}
	l := &lake{t: t, catalog: c, sink: s.(*iceberg.Sink)}
	t.Cleanup(func() {
		if err := l.sink.Close(); err != nil {
			t.Error(err)
		}
	})
	l.commit()
	l.dir = strings.TrimPrefix(l.load().Location(), "file://")
	return l
}

func (l *lake) load() *table.Table {
	l.t.Helper()
	t, err := l.catalog.Client().LoadTable(l.t.Context(), icebergcat.ToIdentifier("db.events"))
	if err != nil {
		l.t.Fatal(err)
	}
	return t
}

// staged makes files of ten rows that no commit has named.
func (l *lake) staged() processor.Staged {
	l.t.Helper()
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{
		{Name: "kafka_topic", Type: arrow.BinaryTypes.String},
		{Name: "kafka_partition", Type: arrow.PrimitiveTypes.Int32},
		{Name: "kafka_offset", Type: arrow.PrimitiveTypes.Int64},
	}, nil))
	defer b.Release()
	for offset := l.next; offset < l.next+10; offset++ {
		b.Field(0).(*array.StringBuilder).Append(source.Topic)
		b.Field(1).(*array.Int32Builder).Append(source.Partition)
		b.Field(2).(*array.Int64Builder).Append(offset)
	}
	rows := b.NewRecordBatch()
	defer rows.Release()
	if err := l.sink.Stage(l.t.Context(), processor.Batch{Source: source, Span: kfs.Span{Base: l.next, Next: l.next + 10}, Records: rows}); err != nil {
		l.t.Fatal(err)
	}
	staged, err := l.sink.Seal(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	return staged
}

func (l *lake) commit() {
	l.t.Helper()
	staged := l.staged()
	if err := l.sink.Commit(l.t.Context(), processor.Positions{source: l.next}, processor.Positions{source: l.next + 10}, []processor.Staged{staged}); err != nil {
		l.t.Fatal(err)
	}
	l.next += 10
}

// update changes the table's metadata.
func (l *lake) update(updates ...table.Update) {
	l.t.Helper()
	if _, _, err := l.catalog.Client().CommitTable(l.t.Context(), icebergcat.ToIdentifier("db.events"), nil, updates); err != nil {
		l.t.Fatal(err)
	}
}

// files are the files below the table's folder, by their paths in it.
func (l *lake) files() []string {
	l.t.Helper()
	var all []string
	err := filepath.WalkDir(l.dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(l.dir, name)
			all = append(all, rel)
		}
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return all
}

// put writes a file.
func (l *lake) put(name string) {
	l.t.Helper()
	path := filepath.Join(l.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("somebody's"), 0o600)); err != nil {
		l.t.Fatal(err)
	}
}

// age makes all files old.
func (l *lake) age(by time.Duration) {
	l.t.Helper()
	at := time.Now().Add(-by)
	for _, name := range l.files() {
		if err := os.Chtimes(filepath.Join(l.dir, name), at, at); err != nil {
			l.t.Fatal(err)
		}
	}
}

func (l *lake) sweep(change func(*sweep.Config)) *sweep.Report {
	l.t.Helper()
	cfg := sweep.Config{Catalog: l.catalog, Table: "db.events"}
	if change != nil {
		change(&cfg)
	}
	r, err := sweep.Table(l.t.Context(), cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

// gone are the files that a sweep has taken away.
func (l *lake) gone(do func()) []string {
	before := l.files()
	do()
	after := l.files()
	return slices.DeleteFunc(before, func(name string) bool { return slices.Contains(after, name) })
}

// TestTable: what nothing refers to goes, and nothing else.
func TestTable(t *testing.T) {
	for name, batch := range map[string]int{"at once": 0, "in small batches": 3} {
		t.Run(name, func(t *testing.T) {
			l := newLake(t)
			l.commit()
			tagged := l.load().CurrentSnapshot().SnapshotID
			l.update(table.NewSetSnapshotRefUpdate("kept", tagged, table.TagRef, 0, 0, 0))
			l.commit()
			l.commit()
			expired := l.load().CurrentSnapshot()
			l.commit()
			l.update(table.NewRemoveSnapshotsUpdate([]int64{expired.SnapshotID}, false))
			before := l.files()
			_ = l.staged() // and the process was killed
			orphans := slices.DeleteFunc(l.files(), func(name string) bool { return slices.Contains(before, name) })
			for _, name := range []string{"metadata/lost-m0.avro", "metadata/00099-lost.metadata.json", "metadata/firn-clock-of-a-killed-sweep/now"} {
				l.put(name)
				orphans = append(orphans, name)
			}
			orphans = append(orphans, strings.TrimPrefix(expired.ManifestList, "file://"+l.dir+"/"))
			l.put("data/notes.txt")
			for name, with := range map[string][]icebergcat.CreateTableOpt{ // other tables, with files below this one's location
				"inner":   {icebergcat.WithLocation("file://" + l.dir + "/data/inner")},
				"written": {icebergcat.WithProperties(iceberglib.Properties{table.WriteDataPathKey: "file://" + l.dir + "/data/written/"})},
				"moved":   {icebergcat.WithLocation("file://" + l.dir + "/data/moved")},
			} {
				if _, err := l.catalog.Client().CreateTable(t.Context(), icebergcat.ToIdentifier("db."+name), iceberglib.NewSchema(0), with...); err != nil {
					t.Fatal(err)
				}
				l.put("data/" + name + "/data/another-tables.parquet")
			}
			away := table.NewSetLocationUpdate("file://" + t.TempDir())
			if _, _, err := l.catalog.Client().CommitTable(t.Context(), icebergcat.ToIdentifier("db.moved"), nil, []table.Update{away}); err != nil {
				t.Fatal(err)
			}
			l.age(73 * time.Hour)
			l.put("data/young.parquet")
			slices.Sort(orphans)

			if gone := l.gone(func() { l.sweep(func(c *sweep.Config) { c.DryRun = true }) }); len(gone) > 0 {
				t.Errorf("a dry run has deleted %v", gone)
			}
			if gone := l.gone(func() { l.sweep(func(c *sweep.Config) { c.Older = 74 * time.Hour }) }); len(gone) > 0 {
				t.Errorf("files too young were deleted: %v", gone)
			}
			var report *sweep.Report
			gone := l.gone(func() { report = l.sweep(func(c *sweep.Config) { c.Batch = batch }) })
			slices.Sort(gone)
			if !slices.Equal(gone, orphans) {
				t.Errorf("gone are\n%s\nwant\n%s", strings.Join(gone, "\n"), strings.Join(orphans, "\n"))
			}
			if swept := report.Swept; swept[sweep.Data].Files != 1 || swept[sweep.Manifest].Files != 2 || swept[sweep.Metadata].Files != 2 || len(report.Skipped) != 3 {
				t.Errorf("%+v", report)
			}
			r, err := verify.Table(t.Context(), verify.Config{Catalog: l.catalog, Table: "db.events", Job: "job", Whole: true, Deep: true})
			if err != nil || len(r.Findings) > 0 {
				t.Errorf("afterwards: %+v, %v", r, err)
			}
			_, batches, err := l.load().Scan(table.WithSnapshotID(tagged)).ToArrowRecords(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			rows := int64(0)
			for rec, err := range batches {
				if err != nil {
					t.Fatal(err)
				}
				rows += rec.NumRows()
				rec.Release()
			}
			if rows != 20 {
				t.Errorf("the snapshot that a tag keeps has %d rows, want 20", rows)
			}
		})
	}
}

// TestRefusals: what a person must not ask for, and what nobody can decide.
func TestRefusals(t *testing.T) {
	l := newLake(t)
	_ = l.staged()
	l.age(time.Hour)
	if _, err := sweep.Table(t.Context(), sweep.Config{Catalog: l.catalog, Table: "db.events", Older: time.Minute}); err == nil {
		t.Error("files younger than three days were swept without a word")
	}
	young := func(c *sweep.Config) { c.Older, c.Young = time.Minute, true }
	if gone := l.gone(func() { l.sweep(func(c *sweep.Config) { young(c); c.Waiting = true }) }); len(gone) > 0 {
		t.Errorf("while groups wait for a commit %v were deleted", gone)
	}
	if gone := l.gone(func() { l.sweep(young) }); len(gone) != 1 {
		t.Errorf("gone are %v, want the orphan", gone)
	}
	if _, err := sweep.Table(t.Context(), sweep.Config{Catalog: l.catalog, Table: "db.nothing"}); !errors.Is(err, catalog.ErrNoTable) {
		t.Errorf("%v, want %v", err, catalog.ErrNoTable)
	}
	for name, location := range map[string]string{"outer": filepath.Dir(l.dir), "same": l.dir} {
		if _, err := l.catalog.Client().CreateTable(t.Context(), icebergcat.ToIdentifier("db."+name), iceberglib.NewSchema(0), icebergcat.WithLocation("file://"+location)); err != nil {
			t.Fatal(err)
		}
		if _, err := sweep.Table(t.Context(), sweep.Config{Catalog: l.catalog, Table: "db.events"}); !errors.Is(err, sweep.ErrShared) {
			t.Errorf("%s: %v, want %v", name, err, sweep.ErrShared)
		}
		if err := l.catalog.Client().(icebergcat.Catalog).DropTable(t.Context(), icebergcat.ToIdentifier("db."+name)); err != nil {
			t.Fatal(err)
		}
	}
}
