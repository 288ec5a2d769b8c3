//go:build integration

package deadletter_test

import (
	"testing"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/catalogtest"
)

// Each operation of a retry failing in each way, and others committing before each: some minutes, so not among the quick tests.

func TestAllFaultsOfRetryOnFake(t *testing.T) {
	walk(t, func(*testing.T) catalog.Client { return catalogtest.NewFake() }, nil, true)
}

func TestAllFaultsOfRetryOnSQLite(t *testing.T) {
	walk(t, func(t *testing.T) catalog.Client { return catalogtest.NewSQLite(t) }, nil, true)
}

func TestAllFaultsOfRetryBesideOthers(t *testing.T) {
	for name, other := range others {
		t.Run(name, func(t *testing.T) {
			walk(t, func(*testing.T) catalog.Client { return catalogtest.NewFake() }, other, true)
		})
	}
}
