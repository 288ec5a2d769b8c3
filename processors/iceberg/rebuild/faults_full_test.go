//go:build integration

package rebuild_test

import (
	"testing"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/catalogtest"
	"github.com/firn-io/firn/processors/iceberg/rebuild"
)

// Each operation of a rebuild with each obstacle: some minutes, so not among the quick tests.

func TestAllFaultsOfRebuildOnBranch(t *testing.T) {
	walk(t, rebuild.OnBranch, func(*testing.T) catalog.Client { return catalogtest.NewFake() }, true)
}

func TestAllFaultsOfRebuildInTable(t *testing.T) {
	walk(t, rebuild.InTable, func(*testing.T) catalog.Client { return catalogtest.NewFake() }, true)
}
