package catalogtest

import (
	"database/sql"
	"testing"

	"github.com/apache/iceberg-go"
	icebergsql "github.com/apache/iceberg-go/catalog/sql"
	_ "modernc.org/sqlite" // the database/sql driver "sqlite"

	"github.com/firn-io/firn/catalog"
)

// NewSQLite makes a SQLite catalog without tables, its file and its tables' files in a folder of the test: a client that a test may wrap. It
// does not wait for the disk.
func NewSQLite(t testing.TB) catalog.Client {
	t.Helper()
	dir := t.TempDir()
	db, err := sql.Open("sqlite", "file:"+dir+"/catalog.db?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	client, err := icebergsql.NewCatalog("default", db, icebergsql.SQLite, iceberg.Properties{"warehouse": "file://" + dir + "/warehouse"})
	if err != nil {
		t.Fatal(err)
	}
	return client
}
