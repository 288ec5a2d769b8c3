package rebuild_test

import (
	"strings"
	"testing"

	iceberglib "github.com/apache/iceberg-go"
	icebergcat "github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/catalogtest"
	"github.com/firn-io/firn/processors/iceberg/rebuild"
)

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
