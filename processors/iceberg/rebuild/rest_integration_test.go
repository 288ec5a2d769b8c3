//go:build integration

package rebuild_test

import (
	"errors"
	"os"
	"testing"

	icebergcat "github.com/apache/iceberg-go/catalog"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/processors/iceberg/rebuild"
)

// TestRebuildOnREST rebuilds on the REST catalog at FIRN_TEST_REST_URI, whose namespace "db" it empties.
func TestRebuildOnREST(t *testing.T) {
	uri := os.Getenv("FIRN_TEST_REST_URI")
	if uri == "" {
		t.Fatal("FIRN_TEST_REST_URI is not set: make integration-rest starts one and names it there")
	}
	for _, to := range []rebuild.Place{rebuild.OnBranch, rebuild.InTable} {
		t.Run(string(to), func(t *testing.T) {
			c, err := catalog.Open(t.Context(), catalog.Config{Type: "rest", Properties: map[string]string{"uri": uri}})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			all := c.Client().(icebergcat.Catalog)
			for ident, err := range all.ListTables(t.Context(), []string{"db"}) {
				if errors.Is(err, icebergcat.ErrNoSuchNamespace) {
					break
				}
				if err == nil {
					err = all.DropTable(t.Context(), ident)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			testRebuild(t, &bench{t: t, client: c.Client(), to: to})
		})
	}
}
