//go:build integration

package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firn-io/firn/cmd/firn/chaos"
)

// catch holds the next request of broker i that matches.
func (f *fleet) catch(i int, match chaos.Match) *chaos.Exchange {
	f.t.Helper()
	return f.caught(f.stores[i].Catch(match))
}

// caught waits for what a trap catches.
func (f *fleet) caught(c *chaos.Caught) *chaos.Exchange {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), waitLimit)
	defer cancel()
	x, err := c.Wait(ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	return x
}

// land has the server carry a request out, and wants it to answer with a status.
func (f *fleet) land(x *chaos.Exchange, status int) {
	f.t.Helper()
	if err := x.Land(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	if x.Status() != status {
		f.t.Errorf("%s %s: the store answers %d, want %d", x.Verb, x.Key, x.Status(), status)
	}
}

// journalPut matches what brokers write to journals.
var journalPut = chaos.Key(http.MethodPut, "journal/", ".kfs")

// TestChaosLeaseComesBack has a broker lose its journal to another and get it back while a PUT of its first time is still on its way. That
// may arrive at any moment: before the other has read the end, or when the broker has its journal again.
func TestChaosLeaseComesBack(t *testing.T) {
	for _, early := range []bool{true, false} {
		name := map[bool]string{true: "lands before the takeover", false: "lands when the lease is back"}[early]
		t.Run(name, func(t *testing.T) {
			f := startFleet(t)
			a := f.audit()
			a.goesOn("at first")
			x := f.catch(0, journalPut)
			f.links[0].Cut()
			if early {
				f.land(x, http.StatusOK)
			}
			first := f.all[0]
			f.all[0] = nil
			f.spread("without broker 1", fleetSize-1)
			a.goesOn("without broker 1")
			f.all[0] = first
			f.links[0].Mend()
			f.spread("with broker 1 again", fleetSize)
			if !early {
				f.land(x, http.StatusPreconditionFailed)
			}
			x.Reply()
			a.goesOn("with broker 1 again")
			a.finish()
		})
	}
}

// TestChaosPausedInPut stops a broker's process while its PUT is on its way, and lets it go on when another one owns the journal. The PUT lands
// before the takeover, or arrives when the broker is awake.
func TestChaosPausedInPut(t *testing.T) {
	for _, early := range []bool{true, false} {
		name := map[bool]string{true: "lands before the takeover", false: "arrives late"}[early]
		t.Run(name, func(t *testing.T) {
			f := startFleet(t)
			a := f.audit()
			a.goesOn("at first")
			x := f.catch(0, journalPut)
			sleeper := f.all[0]
			sleeper.signal(t, syscall.SIGSTOP)
			if early {
				f.land(x, http.StatusOK)
			}
			f.all[0] = nil
			f.spread("while broker 1 sleeps", fleetSize-1)
			a.goesOn("while broker 1 sleeps")
			if !early {
				f.land(x, http.StatusPreconditionFailed)
			}
			x.Reply()
			sleeper.signal(t, syscall.SIGCONT)
			f.all[0] = sleeper
			f.spread("when broker 1 is awake", fleetSize)
			a.goesOn("when broker 1 is awake")
			a.finish()
		})
	}
}

// TestChaosTwoOwners gives the store to a broker whose etcd is another one, so that it believes that it owns every journal. It and the three take
// the journals from each other again and again; producers on both sides are acknowledged, and the store alone decides.
func TestChaosTwoOwners(t *testing.T) {
	f := startFleet(t)
	a := f.audit()
	a.goesOn("at first")
	f.create(byRogue)
	other := newEtcd(t)
	rogue := start(t, "broker", "--store", f.direct, "--etcd", other.Addr(), "--id", "9", "--kafka", "127.0.0.1:0")
	// Who has the journals changes faster than clients ask by default.
	client := newClient(t, rogue, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(250*time.Millisecond))
	sending, quit := context.WithCancel(t.Context())
	defer quit()
	a.sending.Go(func() { a.produce(sending, client, byRogue) })
	turns := func() int { return strings.Count(rogue.log.String(), "journal taken over") }
	eventually(t, func() error {
		if turns() < 12 || a.ledger.Acknowledged(byRogue) < 500 {
			return fmt.Errorf("the other broker has taken journals over %d times, and acknowledged %d records", turns(), a.ledger.Acknowledged(byRogue))
		}
		return nil
	})
	a.goesOn("while two own each journal")
	quit()
	client.Close() // nobody is told what becomes of the rest
	t.Logf("the other broker has taken journals over %d times, and acknowledged %d records", turns(), a.ledger.Acknowledged(byRogue))
	rogue.stop(t)
	a.goesOn("alone again")
	a.finish(byRogue)
}
