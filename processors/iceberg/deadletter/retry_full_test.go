//go:build integration

package deadletter_test

import (
	"database/sql"
	"testing"

	iceberglib "github.com/apache/iceberg-go"
	icebergsql "github.com/apache/iceberg-go/catalog/sql"
	_ "modernc.org/sqlite"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/catalogtest"
)

// Each operation of a retry failing in each way, and others committing before each: some minutes, so not among the quick tests.

func TestAllFaultsOfRetryOnFake(t *testing.T) {
	walk(t, func(*testing.T) catalog.Client { return catalogtest.NewFake() }, nil, true)
}

func TestAllFaultsOfRetryOnSQLite(t *testing.T) { walk(t, newSQLite, nil, true) }

func TestAllFaultsOfRetryBesideOthers(t *testing.T) {
	for name, other := range others {
		t.Run(name, func(t *testing.T) {
			walk(t, func(*testing.T) catalog.Client { return catalogtest.NewFake() }, other, true)
		})
	}
}

func newSQLite(t *testing.T) catalog.Client {
	t.Helper()
	dir := t.TempDir()
	db, err := sql.Open("sqlite", "file:"+dir+"/catalog.db?_pragma=busy_timeout(5000)&_pragma=synchronous(OFF)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	client, err := icebergsql.NewCatalog("default", db, icebergsql.SQLite, iceberglib.Properties{"warehouse": "file://" + dir + "/warehouse"})
	if err != nil {
		t.Fatal(err)
	}
	return client
}
