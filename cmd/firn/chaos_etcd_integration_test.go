//go:build integration

package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/firn-io/firn/cmd/firn/chaos"
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

// TestChaosEtcdPartly takes etcd from one broker at a time, in the three ways of networks. The others take its journals over; the broker
// itself says that it is not ready, and comes back.
func TestChaosEtcdPartly(t *testing.T) {
	f := startFleet(t)
	a := f.audit()
	a.goesOn("at first")
	for i, how := range []struct {
		name  string
		begin func(*chaos.Link)
	}{{"refuses connections", (*chaos.Link).Cut}, {"is silent", (*chaos.Link).Freeze}, {"hears, and is not heard", (*chaos.Link).LoseAnswers}} {
		what := fmt.Sprintf("while etcd of broker %d %s", i+1, how.name)
		how.begin(f.links[i])
		p := f.all[i]
		f.says(i, "/readyz", "the lease service does not answer")
		f.all[i] = nil
		f.spread(what, fleetSize-1)
		f.all[i] = p
		a.goesOn(what)
		f.links[i].Mend()
		f.spread(fmt.Sprintf("when broker %d has etcd again", i+1), fleetSize)
		a.goesOn(fmt.Sprintf("when broker %d has etcd again", i+1))
	}
	a.finish()
}
