package catalogtest

import (
	"database/sql"
	"testing"

	"github.com/apache/iceberg-go"
	icebergsql "github.com/apache/iceberg-go/catalog/sql"

	"github.com/firn-io/firn/catalog"
)

func TestFake(t *testing.T) {
	Suite(t, func(*testing.T) catalog.Client { return NewFake() })
}

func TestSQLite(t *testing.T) {
	Suite(t, func(t *testing.T) catalog.Client {
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
	})
}
