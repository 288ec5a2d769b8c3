//go:build integration

package main

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// TestIntegrationRollingRestart stops and starts each of three brokers under load. No produce fails, the group goes on, nobody is lost or twice.
func TestIntegrationRollingRestart(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	a := f.audit()
	a.goesOn("at first")
	for i := range f.all {
		begun := time.Now()
		f.all[i].stop(t)
		took := time.Since(begun)
		t.Logf("broker %d stopped after %v", i+1, took)
		f.all[i] = nil
		a.goesOn(fmt.Sprintf("without broker %d", i+1))
		f.start(i)
		f.spread(fmt.Sprintf("with broker %d again", i+1), fleetSize)
	}
	a.goesOn("at last")
	a.finish()
}

// TestChaosBrokerKilled kills each broker as a crash does. Its journals have other owners within the lease's TTL and two seconds.
func TestChaosBrokerKilled(t *testing.T) {
	f := startFleet(t)
	a := f.audit()
	a.goesOn("at first")
	for i := range f.all {
		begun := time.Now()
		f.all[i].kill()
		f.all[i] = nil
		f.spread(fmt.Sprintf("without broker %d", i+1), fleetSize-1)
		took := time.Since(begun)
		t.Logf("broker %d is replaced after %v", i+1, took)
		if took > leaseTTL+2*time.Second {
			t.Errorf("broker %d is replaced after %v only", i+1, took)
		}
		a.goesOn(fmt.Sprintf("without broker %d", i+1))
		f.start(i)
		f.spread(fmt.Sprintf("with broker %d again", i+1), fleetSize)
	}
	a.goesOn("at last")
	a.finish()
}

// TestChaosBrokerPaused stops each broker's process for longer than its lease, and lets it go on: it finds that others write its journals.
func TestChaosBrokerPaused(t *testing.T) {
	f := startFleet(t)
	a := f.audit()
	a.goesOn("at first")
	for i, p := range f.all {
		p.signal(t, syscall.SIGSTOP)
		f.all[i] = nil
		f.spread(fmt.Sprintf("while broker %d sleeps", i+1), fleetSize-1)
		a.goesOn(fmt.Sprintf("while broker %d sleeps", i+1))
		p.signal(t, syscall.SIGCONT)
		f.all[i] = p
		f.spread(fmt.Sprintf("when broker %d is awake", i+1), fleetSize)
		a.goesOn(fmt.Sprintf("when broker %d is awake", i+1))
	}
	a.finish()
}
