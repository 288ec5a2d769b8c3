//go:build integration

package rebuild_test

import (
	"testing"

	"github.com/firn-io/firn/processors/iceberg/rebuild"
)

// Each operation of a rebuild with each obstacle, and with a second process: some minutes, so not among the quick tests.

func TestAllFaultsOfRebuildOnBranch(t *testing.T) { walk(t, rebuild.OnBranch, false, true, 1, 0) }

func TestAllFaultsOfRebuildInTable(t *testing.T) { walk(t, rebuild.InTable, false, true, 1, 0) }

func TestAllFaultsOfRebuildOnBranchBesideABusyJob(t *testing.T) {
	walk(t, rebuild.OnBranch, true, true, 1, 0)
}

func TestAllFaultsOfRebuildInTableBesideABusyJob(t *testing.T) {
	walk(t, rebuild.InTable, true, true, 1, 0)
}

// Of a job that has begun later, the dead letters alone come otherwise: every third operation.
func TestAllFaultsOfRebuildFromBefore(t *testing.T) { walk(t, rebuild.OnBranch, false, true, 3, 13) }

func TestAllFaultsOfTwoRebuildsOnBranch(t *testing.T) { walkTwo(t, rebuild.OnBranch, 1) }

func TestAllFaultsOfTwoRebuildsInTable(t *testing.T) { walkTwo(t, rebuild.InTable, 1) }
