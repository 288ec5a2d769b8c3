package rebuild_test

import (
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	iceberglib "github.com/apache/iceberg-go"
	icebergcat "github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/catalogtest"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors/iceberg/rebuild"
)

// TestDiffTellsOfOthers has somebody else delete rows and add some: those who are asked to swap are told that the rebuild knows nothing of that.
func TestDiffTellsOfOthers(t *testing.T) {
	b := &bench{t: t, client: catalogtest.NewSQLite(t), to: rebuild.OnBranch}
	ctx, lake := t.Context(), catalog.New(b.client)
	if err := b.commit(ctx, lake, before, 40); err != nil {
		t.Fatal(err)
	}
	notes := func() string {
		r := b.rebuild(b.client, after)
		s, err := r.CatchUp(ctx)
		if err != nil {
			t.Fatal(err)
		}
		d, err := r.Diff(ctx, s)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(d.Notes, "\n")
	}
	if told := notes(); told != "" {
		t.Errorf("nobody else has done anything: %s", told)
	}
	foreign := func(change func(*table.Transaction) error) {
		_, tbl, err := lake.Account(ctx, events, nil)
		if err != nil {
			t.Fatal(err)
		}
		tx := tbl.NewTransaction()
		if err := change(tx); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Commit(ctx); err != nil {
			t.Fatal(err)
		}
	}
	foreign(func(tx *table.Transaction) error {
		return tx.Delete(ctx, iceberglib.EqualTo(iceberglib.Reference("n"), int64(17)), nil)
	})
	foreign(func(tx *table.Transaction) error {
		batch := before.rows(kfs.Span{Base: 1000, Next: 1003})
		defer batch.Release()
		reader, err := array.NewRecordReader(batch.Schema(), []arrow.RecordBatch{batch})
		if err != nil {
			return err
		}
		return tx.Append(ctx, reader, nil)
	})
	told := notes()
	for _, want := range []string{"deleted or changed rows of the table, in 1 snapshots", "added rows to the table, in 1 snapshots"} {
		if !strings.Contains(told, want) {
			t.Errorf("it is not told that somebody else has %s: %q", want, told)
		}
	}
}

// TestOldAmongOthers keeps the table that was before as long as another one has files in its folder, however that is spelt: a catalog may take the whole folder.
func TestOldAmongOthers(t *testing.T) {
	b := &bench{t: t, client: catalogtest.NewSQLite(t), to: rebuild.InTable}
	ctx, lake := t.Context(), catalog.New(b.client)
	if err := b.commit(ctx, lake, before, 40); err != nil {
		t.Fatal(err)
	}
	r := b.rebuild(b.client, after)
	if err := r.Swap(ctx); err != nil {
		t.Fatal(err)
	}
	old, err := r.Old(ctx)
	if err != nil || len(old) != 1 {
		t.Fatalf("what was before: %+v, %v", old, err)
	}
	_, was, err := lake.Account(ctx, old[0].Name, nil)
	if err != nil {
		t.Fatal(err)
	}
	inside := strings.Replace(was.Location(), "file://", "file:", 1) + "/data/neighbour"
	neighbour := icebergcat.ToIdentifier("db.neighbour")
	if _, err := b.client.CreateTable(ctx, neighbour, iceberglib.NewSchema(0), icebergcat.WithProperties(iceberglib.Properties{table.WriteDataPathKey: inside})); err != nil {
		t.Fatal(err)
	}
	if err := r.DropOld(ctx, old[0]); err == nil || !strings.Contains(err.Error(), "db.neighbour") {
		t.Errorf("a table with another one's files was dropped: %v", err)
	}
	if err := b.client.(icebergcat.Catalog).DropTable(ctx, neighbour); err != nil {
		t.Fatal(err)
	}
	if err := r.DropOld(ctx, old[0]); err != nil {
		t.Error(err)
	}
	b.want(after, 0, after, 40)
}
