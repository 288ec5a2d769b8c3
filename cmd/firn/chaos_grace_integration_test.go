//go:build integration

package main

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/firn-io/firn/cmd/firn/chaos"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/s3"
)

// shortHistory are the flags of brokers whose records are settled after a second, and deleted when they have not been needed for a grace that is as
// short as a program allows that was built with the tag firn_short_limit.
var shortHistory = fleetConfig{short: true, args: []string{"--settle-age", "1s", "--grace", "12s"}}

// untilGone waits until an object has been deleted.
func (f *fleet) untilGone(key string) {
	f.t.Helper()
	store, err := s3.Open(f.t.Context(), f.direct)
	if err != nil {
		f.t.Fatal(err)
	}
	eventually(f.t, func() error {
		body, _, err := store.Get(f.t.Context(), key, blob.Last(1))
		if err == nil {
			body.Close()
			return fmt.Errorf("%s is still there", key)
		}
		if errors.Is(err, blob.ErrNotFound) {
			return nil
		}
		return err
	})
}

// TestChaosPausedBeyondGrace stops a broker in the middle of a PUT, and a job that asks for the very object, until others have written that key, settled
// what it held, and deleted it. Then the old PUT lands where nothing is any more, and both wake up: the broker must not believe that it has
// written, nor the job what it reads.
func TestChaosPausedBeyondGrace(t *testing.T) {
	f := startFleetWith(t, shortHistory)
	a := f.audit()
	job, way := startTable(t, f)
	records := startProducer(t, f.all[1], "table", 0)
	a.goesOn("at first")

	put := f.catch(0, journalPut)
	get := f.caught(way.Catch(chaos.Key(http.MethodGet, put.Key)))
	sleeper := f.all[0]
	sleeper.signal(t, syscall.SIGSTOP)
	job.process.signal(t, syscall.SIGSTOP)
	begun := time.Now()
	f.all[0] = nil
	f.spread("while broker 1 sleeps", fleetSize-1)
	f.untilGone(put.Key)
	t.Logf("%s was written by another, settled and deleted after %v", put.Key, time.Since(begun))
	f.land(put, http.StatusOK) // a stray
	f.land(get, http.StatusOK)
	put.Reply()
	get.Reply()
	sleeper.signal(t, syscall.SIGCONT)
	job.process.signal(t, syscall.SIGCONT)
	f.all[0] = sleeper
	f.spread("when broker 1 is awake", fleetSize)
	a.goesOn("when broker 1 is awake")
	job.finish(t, records.stop(t))
	a.finish()
}

// TestChaosPausedBeforePut stops a broker when its PUT has landed, before it learns that, until what lies behind it was deleted. It wakes up with the
// news that it has written, and with records that waited for that.
func TestChaosPausedBeforePut(t *testing.T) {
	f := startFleetWith(t, shortHistory)
	a := f.audit()
	a.goesOn("at first")
	put := f.catch(0, journalPut)
	f.land(put, http.StatusOK)
	sleeper := f.all[0]
	sleeper.signal(t, syscall.SIGSTOP)
	put.Reply()
	f.all[0] = nil
	f.spread("while broker 1 sleeps", fleetSize-1)
	f.untilGone(put.Key)
	sleeper.signal(t, syscall.SIGCONT)
	f.all[0] = sleeper
	f.spread("when broker 1 is awake", fleetSize)
	a.goesOn("when broker 1 is awake")
	a.finish()
}

// witness is a job that makes a table of the topic of that name, in a process of its own that reaches the store on a way of its own.
type witness struct {
	*setup
	process *process
}

func startTable(t *testing.T, f *fleet) (*witness, *chaos.Store) {
	t.Helper()
	f.create("table")
	way, err := chaos.NewStore(f.endpoint, "firn/lake/")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(way.Close)
	s := &setup{data: t.TempDir(), store: storeAt(way.URL())}
	s.job = filepath.Join(s.data, "chaos.yaml")
	s.write(t, []string{"table"}, 300*time.Millisecond)
	return &witness{s, startProgram(t, "FIRN_SHORT_BIN", s.args()...)}, way
}

// finish waits until every acknowledged record is in the table, once.
func (j *witness) finish(t *testing.T, acknowledged []int) {
	t.Helper()
	eventually(t, func() error { return eachOnce(t, j.data, "default.table", acknowledged) })
	j.process.stop(t)
	j.prove(t)
}
