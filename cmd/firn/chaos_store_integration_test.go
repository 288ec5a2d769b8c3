//go:build integration

package main

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

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

// TestChaosStoreAwayFromOne breaks one broker's way to the store, which answers the others. That broker's journals go to them, and come back
// when it has been well for a while.
func TestChaosStoreAwayFromOne(t *testing.T) {
	f := startFleet(t)
	a := f.audit()
	a.goesOn("at first")
	trap := f.stores[0].On(chaos.Any, chaos.Silent)
	f.says(0, "/readyz", "the object store does not answer")
	begun := time.Now()
	first := f.all[0]
	f.all[0] = nil
	f.spread("while broker 1 does not reach the store", fleetSize-1)
	t.Logf("broker 1 is replaced %v after it has said that the store is unavailable", time.Since(begun))
	a.goesOn("while broker 1 does not reach the store")
	trap.Remove()
	f.all[0] = first
	f.spread("when broker 1 reaches the store again", fleetSize)
	a.goesOn("when broker 1 reaches the store again")
	a.finish()
}

// TestIntegrationSlowLink gives a broker a link of 1 MiB a second, and produces more at once than passes in the time in which silence means that
// the store is away. It is slow, and not unavailable.
func TestIntegrationSlowLink(t *testing.T) {
	t.Parallel()
	_, endpoint := versitygw(t, "firn")
	store, err := chaos.NewStore(endpoint, "firn/lake/")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	broker := start(t, "broker", "--store", storeAt(store.URL()), "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0")
	client := newClient(t, broker, kgo.DefaultProduceTopic("slow"), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(100*time.Millisecond))
	if err := client.ProduceSync(t.Context(), kgo.StringRecord("the topic is there")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	store.On(chaos.Key(http.MethodPut, "journal/"), chaos.Slow(1<<20))
	const large = 8
	answered := make(chan error, large)
	for i := range large {
		client.Produce(t.Context(), &kgo.Record{Partition: int32(i % 4), Value: make([]byte, 900_000)}, func(_ *kgo.Record, err error) { answered <- err })
	}
	begun := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for left := large; left > 0; {
		select {
		case err := <-answered:
			if err != nil {
				t.Error(err)
			}
			left--
		case <-tick.C:
			page, err := status(t, broker, "/readyz")
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(page, "does not answer") {
				t.Fatalf("after %v:\n%s", time.Since(begun), page)
			}
		}
	}
	took := time.Since(begun)
	t.Logf("%d records of 900,000 bytes took %v", large, took)
	if took < 5*time.Second {
		t.Error("the link was not slow enough to show anything")
	}
}
