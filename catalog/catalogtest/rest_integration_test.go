//go:build integration

package catalogtest

import (
	"errors"
	"os"
	"testing"

	icebergcat "github.com/apache/iceberg-go/catalog"

	"github.com/firn-io/firn/catalog"
)

// TestREST runs the suite on the REST catalog at FIRN_TEST_REST_URI, whose namespace "default" it empties again and again.
func TestREST(t *testing.T) {
	uri := os.Getenv("FIRN_TEST_REST_URI")
	if uri == "" {
		t.Fatal("FIRN_TEST_REST_URI is not set: make integration-rest starts one and names it there")
	}
	Suite(t, func(t *testing.T) catalog.Client {
		c, err := catalog.Open(t.Context(), catalog.Config{Type: "rest", Properties: map[string]string{"uri": uri}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
		all := c.Client().(icebergcat.Catalog)
		for ident, err := range all.ListTables(t.Context(), []string{"default"}) {
			if errors.Is(err, icebergcat.ErrNoSuchNamespace) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := all.DropTable(t.Context(), ident); err != nil {
				t.Fatal(err)
			}
		}
		return c.Client()
	})
}
