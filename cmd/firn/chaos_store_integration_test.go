//go:build integration

package main

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/firn-io/firn/cmd/firn/chaos"
)

// TestChaosStoreSilent has the store answer nobody for 10 s, twice. What was on its way when that began may land when it is over.
func TestChaosStoreSilent(t *testing.T) {
	f := startFleet(t)
	a := f.audit()
	a.goesOn("at first")
	for range 2 {
		if err := f.server.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		after(t, 10*time.Second)
		if err := f.server.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		a.goesOn("when the store is back")
	}
	a.finish()
}

// TestChaosStoreFails has all requests of all brokers fail for 10 s, twice, in each way in which that happens.
func TestChaosStoreFails(t *testing.T) {
	for name, fault := range map[string]chaos.Fault{"503": chaos.Unavailable, "500": chaos.Broken, "cut": chaos.LoseRequest} {
		t.Run(name, func(t *testing.T) {
			f := startFleet(t)
			a := f.audit()
			a.goesOn("at first")
			for range 2 {
				met, end := f.befalls(chaos.Any, fault)
				after(t, 10*time.Second)
				end()
				if met() == 0 {
					t.Error("no request has failed")
				}
				t.Logf("%d requests have failed", met())
				a.goesOn("when the store is back")
			}
			a.finish()
		})
	}
}

// TestChaosReplyLost loses the answers to PUTs that have landed: of every third, and of all of them for a while.
func TestChaosReplyLost(t *testing.T) {
	f := startFleet(t)
	a := f.audit()
	a.goesOn("at first")
	for n, times := range map[int]int{3: 60, 1: 30} {
		met, end := f.befalls(chaos.Key("PUT", "journal/", ".kfs"), chaos.Every(n, chaos.LoseReply))
		eventually(t, func() error {
			if met() < n*times {
				return fmt.Errorf("%d PUTs so far", met())
			}
			return nil
		})
		a.goesOn(fmt.Sprintf("while the answer of each PUT of %d is lost", n))
		end()
		t.Logf("the answers of %d PUTs were lost", met()/n)
	}
	a.finish()
}

// TestChaosStoreCuts breaks connections in the middle of PUTs and GETs, and answers reads and writes wrongly now and then, all at once.
func TestChaosStoreCuts(t *testing.T) {
	f := startFleet(t)
	a := f.audit()
	a.goesOn("at first")
	ways := map[string]struct {
		match chaos.Match
		fault chaos.Fault
	}{
		"cut in an upload":  {chaos.Key("PUT", "journal/"), chaos.Every(5, chaos.CutUpload)},
		"cut in a download": {chaos.Verb("GET"), chaos.Every(3, chaos.CutDownload)},
		"failed lists":      {chaos.Verb("LIST"), chaos.Every(2, chaos.Unavailable)},
	}
	var ends []func()
	for _, w := range ways {
		_, end := f.befalls(w.match, w.fault)
		ends = append(ends, end)
	}
	a.goesOn("while connections break")
	f.all[0].kill() // others take over under such conditions
	f.all[0] = nil
	f.spread("without broker 1", fleetSize-1)
	a.goesOn("while connections break, with another owner")
	f.start(0)
	f.spread("with broker 1 again", fleetSize)
	for _, end := range ends {
		end()
	}
	a.finish()
}
