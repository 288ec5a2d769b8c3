//go:build integration

package iceberg

import (
	"testing"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/catalogtest"
)

// Ten commits, each operation failing in each way: some minutes, so not among the quick tests.

func TestAllFaultsOnFake(t *testing.T) {
	walk(t, func(*testing.T) catalog.Client { return catalogtest.NewFake() }, 10)
}

func TestAllFaultsRoutedOnFake(t *testing.T) {
	walkRouted(t, func(*testing.T) catalog.Client { return catalogtest.NewFake() }, 1)
}

func TestAllFaultsRoutedOnSQLite(t *testing.T) { walkRouted(t, newSQLite, 3) }

func TestAllFaultsOnSQLite(t *testing.T) {
	walk(t, newSQLite, 10)
}
