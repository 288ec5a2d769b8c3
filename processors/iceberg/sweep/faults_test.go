package sweep_test

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	iceberglib "github.com/apache/iceberg-go"
	icebergcat "github.com/apache/iceberg-go/catalog"
	icebergio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/processors/iceberg/sweep"
	"github.com/firn-io/firn/processors/iceberg/verify"
)

var errInjected = errors.New("503: injected")

// faulty is a catalog of which one operation goes wrong, be it the catalog's or of a table's files.
type faulty struct {
	icebergcat.Catalog
	at   int  // the operation
	done bool // it is done nevertheless: its reply is lost
	ops  []string
}

// do runs an operation.
func (f *faulty) do(name string, run func() error) error {
	f.ops = append(f.ops, name)
	if len(f.ops)-1 != f.at {
		return run()
	}
	if f.done {
		_ = run()
	}
	return errInjected
}

func (f *faulty) ListNamespaces(ctx context.Context, parent table.Identifier) (all []table.Identifier, err error) {
	err = f.do("list namespaces", func() (err error) {
		all, err = f.Catalog.ListNamespaces(ctx, parent)
		return err
	})
	return all, err
}

func (f *faulty) ListTables(ctx context.Context, namespace table.Identifier) iter.Seq2[table.Identifier, error] {
	return func(yield func(table.Identifier, error) bool) {
		for ident, err := range f.Catalog.ListTables(ctx, namespace) {
			if err == nil {
				err = f.do("list tables", func() error { return nil })
			}
			if !yield(ident, err) || err != nil {
				return
			}
		}
	}
}

func (f *faulty) LoadTable(ctx context.Context, ident table.Identifier) (*table.Table, error) {
	var t *table.Table
	err := f.do("load", func() (err error) {
		t, err = f.Catalog.LoadTable(ctx, ident)
		return err
	})
	if err != nil {
		return nil, err
	}
	return table.New(t.Identifier(), t.Metadata(), t.MetadataLocation(), func(ctx context.Context) (icebergio.IO, error) {
		files, err := t.FS(ctx)
		if err != nil {
			return nil, err
		}
		return &faultyFiles{files.(icebergio.WriteFileIO), f}, nil
	}, nil), nil
}

// faultyFiles are a table's files.
type faultyFiles struct {
	icebergio.WriteFileIO
	faulty *faulty
}

func (f *faultyFiles) Open(name string) (file icebergio.File, err error) {
	err = f.faulty.do("open "+filepath.Base(name), func() (err error) {
		file, err = f.WriteFileIO.Open(name)
		return err
	})
	if err != nil && file != nil {
		_ = file.Close()
	}
	return file, err
}

func (f *faultyFiles) Remove(name string) error {
	return f.faulty.do("remove "+filepath.Base(name), func() error { return f.WriteFileIO.Remove(name) })
}

func (f *faultyFiles) WriteFile(name string, content []byte) error {
	return f.faulty.do("write "+filepath.Base(name), func() error { return f.WriteFileIO.WriteFile(name, content) })
}

// WalkDir fails before it begins or in the midst, at any entry.
func (f *faultyFiles) WalkDir(root string, do fs.WalkDirFunc) error {
	return f.WriteFileIO.(icebergio.ListableIO).WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = f.faulty.do("list "+filepath.Base(name), func() error { return nil })
		}
		return do(name, d, err)
	})
}

// old makes a file older than any that a sweep looks at.
func (l *lake) old(name string) {
	l.t.Helper()
	at := time.Now().Add(-80 * time.Hour)
	if err := os.Chtimes(filepath.Join(l.dir, name), at, at); err != nil {
		l.t.Fatal(err)
	}
}

// TestFaults has each operation of a sweep fail, before it is done and after. A sweep that fails says so, has deleted nothing that a snapshot of
// a branch or tag refers to and nothing young, and the next one deletes the rest.
func TestFaults(t *testing.T) {
	l := newLake(t)
	first := l.load().CurrentSnapshot().SnapshotID
	l.update(table.NewSetSnapshotRefUpdate("tagged", first, table.TagRef, 0, 0, 0))
	l.commit()
	second := l.load().CurrentSnapshot().SnapshotID
	l.update(table.NewSetSnapshotRefUpdate("branch", second, table.BranchRef, 0, 0, 0))
	l.commit()
	expired := l.load().CurrentSnapshot()
	l.commit()
	l.update(table.NewRemoveSnapshotsUpdate([]int64{expired.SnapshotID}, false))
	if _, err := l.catalog.Client().CreateTable(t.Context(), icebergcat.ToIdentifier("db.inner"), iceberglib.NewSchema(0), icebergcat.WithLocation("file://"+l.dir+"/data/inner")); err != nil {
		t.Fatal(err)
	}
	l.put("data/inner/data/another-tables.parquet")
	l.age(80 * time.Hour)
	l.sweep(nil)
	_ = l.staged() // young: somebody may be about to commit it
	kept := l.files()
	orphans := []string{"data/lost.parquet", "metadata/lost-m0.avro", "metadata/00099-lost.metadata.json"}
	client := l.catalog.Client().(icebergcat.Catalog)
	sweepWith := func(at int, done bool) (*faulty, error) {
		for _, name := range orphans {
			l.put(name)
			l.old(name)
		}
		f := &faulty{Catalog: client, at: at, done: done}
		_, err := sweep.Table(t.Context(), sweep.Config{Catalog: catalog.New(f), Table: "db.events"})
		return f, err
	}
	missing := func(names []string) []string {
		there := l.files()
		return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(there, name) })
	}
	sound, err := sweepWith(-1, false)
	if err != nil || len(missing(kept)) > 0 || len(missing(orphans)) != len(orphans) {
		t.Fatalf("without a fault: %v, gone are %v", err, missing(kept))
	}
	for at, name := range sound.ops {
		for _, done := range []bool{false, true} {
			folder := strings.HasPrefix(name, "remove firn-clock-") // of the clock's file: that it is empty and stays harms nobody
			if f, err := sweepWith(at, done); (err == nil) != folder || len(f.ops) <= at {
				t.Errorf("operation %d, %s, failed (done: %t): %v", at, name, done, err)
			}
			if gone := missing(kept); len(gone) > 0 {
				t.Fatalf("operation %d, %s, failed (done: %t): gone are %v", at, name, done, gone)
			}
			// What it has left, the clock's file too, is old one day.
			for _, name := range l.files() {
				if !slices.Contains(kept, name) {
					l.old(name)
				}
			}
			l.sweep(nil)
			after := l.files()
			if slices.Sort(after); !slices.Equal(after, slices.Sorted(slices.Values(kept))) {
				t.Fatalf("operation %d, %s, failed (done: %t): the next sweep leaves\n%v\nwant\n%v", at, name, done, after, kept)
			}
		}
	}
	t.Logf("%d operations", len(sound.ops))
	r, err := verify.Table(t.Context(), verify.Config{Catalog: l.catalog, Table: "db.events", Job: "job", Whole: true, Deep: true})
	if err != nil || len(r.Findings) > 0 {
		t.Errorf("afterwards: %+v, %v", r, err)
	}
	for ref, want := range map[string]int64{"tagged": 10, "branch": 20, "main": 40} {
		scan, err := l.load().Scan().UseRef(ref)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := scan.ToArrowTable(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", ref, err)
		}
		if rows.NumRows() != want {
			t.Errorf("%s has %d rows, want %d", ref, rows.NumRows(), want)
		}
		rows.Release()
	}
}
