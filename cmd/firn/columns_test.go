package main

import (
	"strings"
	"testing"

	iceberglib "github.com/apache/iceberg-go"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// TestColumnsOfOtherEngines gives a table columns of types that records do not have, as another engine does for values of its own. The job goes on
// without them.
func TestColumnsOfOtherEngines(t *testing.T) {
	w := newWorkbench(t)
	const inferred = `
name: shop
source: {topics: [events]}
table: {name: "lake.{topic}"}
`
	events := tailtest.Topic("events", 1, 0)
	w.journal.Append(t, []kfs.Entry{events}, tailtest.Values(events, 0, `{"id":1,"geo":{"lat":1.5}}`))
	if err := w.run(inferred); err != nil {
		t.Fatal(err)
	}
	lake, _, err := openCatalog(t.Context(), nil, w.dir)
	if err != nil {
		t.Fatal(err)
	}
	tbl, err := lake.Client().LoadTable(t.Context(), []string{"lake", "events"})
	if err != nil {
		t.Fatal(err)
	}
	tx := tbl.NewTransaction()
	changes := tx.UpdateSchema(true, false).
		AddColumn([]string{"scores"}, &iceberglib.MapType{KeyType: iceberglib.PrimitiveTypes.String, ValueType: iceberglib.PrimitiveTypes.Int32}, "", false, nil).
		AddColumn([]string{"geo", "cell"}, iceberglib.PrimitiveTypes.UUID, "", false, nil)
	if err := changes.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := lake.Close(); err != nil {
		t.Fatal(err)
	}
	w.journal.Append(t, nil, tailtest.Values(events, 0, `{"id":2,"geo":{"lat":2.5,"lon":1}}`, `{"id":3,"scores":{"a":1}}`, `{"id":4,"new":true}`))
	if err := w.run(inferred); err != nil {
		t.Fatal(err)
	}
	w.want("lake.events", map[int64]string{0: `{"geo":{"cell":null,"lat":1.5,"lon":null},"id":1}`, 1: `{"geo":{"cell":null,"lat":2.5,"lon":1},"id":2}`, 3: `{"id":4,"new":true}`})
	if letters := w.rows("lake.shop_dead_letter"); len(letters) != 1 || !strings.Contains(letters[2], "column scores: the table has it of a type") {
		t.Errorf("dead letters %v", letters)
	}
	// Also where a column is replaced by a wider one, and all files are written anew.
	w.journal.Append(t, nil, tailtest.Values(events, 0, `{"id":5.5}`))
	if err := w.run(inferred); err != nil {
		t.Fatal(err)
	}
	w.want("lake.events", map[int64]string{0: `{"geo":{"cell":null,"lat":1.5,"lon":null},"id":1}`, 1: `{"geo":{"cell":null,"lat":2.5,"lon":1},"id":2}`, 3: `{"id":4,"new":true}`, 4: `{"id":5.5}`})
	if out, err := w.verified(inferred, "--deep"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
