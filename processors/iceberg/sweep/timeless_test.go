package sweep_test

import (
	"context"
	"io/fs"
	"testing"
	"time"

	icebergcat "github.com/apache/iceberg-go/catalog"
	icebergio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/catalogtest"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/processors/iceberg/sweep"
)

// timeless is a catalog whose files have no times.
type timeless struct{ icebergcat.Catalog }

func (c timeless) LoadTable(ctx context.Context, ident table.Identifier) (*table.Table, error) {
	t, err := c.Catalog.LoadTable(ctx, ident)
	if err != nil {
		return nil, err
	}
	return table.New(t.Identifier(), t.Metadata(), t.MetadataLocation(), func(ctx context.Context) (icebergio.IO, error) {
		files, err := t.FS(ctx)
		if err != nil {
			return nil, err
		}
		return timelessFiles{files.(icebergio.WriteFileIO), files.(icebergio.ListableIO)}, nil
	}, nil), nil
}

type timelessFiles struct {
	icebergio.WriteFileIO
	list icebergio.ListableIO
}

func (f timelessFiles) WalkDir(root string, do fs.WalkDirFunc) error {
	return f.list.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if d != nil {
			d = timelessEntry{d}
		}
		return do(name, d, err)
	})
}

type timelessEntry struct{ fs.DirEntry }

func (e timelessEntry) Info() (fs.FileInfo, error) {
	info, err := e.DirEntry.Info()
	return timelessInfo{info}, err
}

type timelessInfo struct{ fs.FileInfo }

func (timelessInfo) ModTime() time.Time { return time.Time{} }

// TestFilesWithoutATime has a store that does not say when a file was written: none of them is known to be old, whatever this machine's clock says.
func TestFilesWithoutATime(t *testing.T) {
	c := catalog.New(timeless{catalogtest.NewSQLite(t).(icebergcat.Catalog)})
	s, err := iceberg.New(iceberg.Config{Catalog: c, Options: catalog.Options{Job: "job"}}).Open(t.Context(), processors.Table{Name: "db.events"})
	if err != nil {
		t.Fatal(err)
	}
	l := &lake{t: t, catalog: c, sink: s.(*iceberg.Sink)}
	defer l.sink.Close()
	l.commit()
	_ = l.staged() // and the process was killed
	now := func() time.Time { return time.Now().AddDate(1, 0, 0) }
	report, err := sweep.Table(t.Context(), sweep.Config{Catalog: c, Table: "db.events", DryRun: true, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Swept) > 0 || report.Young.Files == 0 || report.Kept.Files > 0 {
		t.Errorf("%+v", report)
	}
	if _, err := sweep.Table(t.Context(), sweep.Config{Catalog: c, Table: "db.events", Now: now}); err == nil {
		t.Error("a store without a clock was swept")
	}
}
