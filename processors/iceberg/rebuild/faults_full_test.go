//go:build integration

package rebuild_test

import (
	"testing"

	"github.com/firn-io/firn/processors/iceberg/rebuild"
)

// Each operation of a rebuild with each obstacle: some minutes, so not among the quick tests.

func TestAllFaultsOfRebuildOnBranch(t *testing.T) { walk(t, rebuild.OnBranch, false, true, 0) }

func TestAllFaultsOfRebuildInTable(t *testing.T) { walk(t, rebuild.InTable, false, true, 0) }

func TestAllFaultsOfRebuildOnBranchBesideABusyJob(t *testing.T) {
	walk(t, rebuild.OnBranch, true, true, 0)
}

func TestAllFaultsOfRebuildInTableBesideABusyJob(t *testing.T) {
	walk(t, rebuild.InTable, true, true, 0)
}

func TestAllFaultsOfRebuildFromBefore(t *testing.T) { walk(t, rebuild.OnBranch, false, true, 13) }
