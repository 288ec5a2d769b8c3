//go:build integration

package main

import (
	"fmt"
	"testing"
	"time"
)

// TestChaosEtcdLost takes etcd away, for less and for more than a lease, and puts an empty one in its place.
func TestChaosEtcdLost(t *testing.T) {
	f := startFleet(t)
	a := f.audit()
	a.goesOn("at first")
	for _, away := range []time.Duration{0, leaseTTL / 2, 2 * leaseTTL} {
		f.etcd.Close()
		after(t, away)
		etcd, err := startEtcdAt(t.Context(), t.TempDir(), f.addr)
		if err != nil {
			t.Fatal(err)
		}
		f.etcd = etcd
		t.Cleanup(etcd.Close)
		f.spread(fmt.Sprintf("with an empty etcd after %v", away), fleetSize)
		a.goesOn(fmt.Sprintf("with an empty etcd after %v", away))
	}
	a.finish()
}
