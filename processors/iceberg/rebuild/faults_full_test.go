//go:build integration

package rebuild_test

import (
	"testing"

	"github.com/firn-io/firn/processors/iceberg/rebuild"
)

// Each operation of a rebuild with each obstacle: some minutes, so not among the quick tests.

func TestAllFaultsOfRebuildOnBranch(t *testing.T) { walk(t, rebuild.OnBranch, false, true) }

func TestAllFaultsOfRebuildInTable(t *testing.T) { walk(t, rebuild.InTable, false, true) }

func TestAllFaultsOfRebuildOnBranchBesideABusyJob(t *testing.T) {
	walk(t, rebuild.OnBranch, true, true)
}

func TestAllFaultsOfRebuildInTableBesideABusyJob(t *testing.T) { walk(t, rebuild.InTable, true, true) }
