package cluster

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/lease"
)

// until is a lease that is valid until a time.
type until time.Time

func (u until) Valid(now time.Time) bool { return now.Before(time.Time(u)) }

func TestView(t *testing.T) {
	v, now := NewView(Broker{ID: 1, Host: "one", Port: 9092}, slog.New(slog.DiscardHandler)), time.Unix(1000, 0)
	if v.Mine(0) {
		t.Error("journal 0 is to be its own before it knows the others")
	}
	v.SeeBrokers([]lease.Entry{{Key: "brokers/2", Value: `{"id":2,"host":"two","port":9092}`}, {Key: "brokers/3", Value: "no JSON"}})
	v.SeeOwners([]lease.Entry{{Key: JournalKey(0), Value: Ownership(2, 7)}, {Key: JournalKey(1), Value: Ownership(2, -1)}, {Key: JournalKey(2), Value: Ownership(9, 3)}})
	if n := len(v.Brokers()); n != 2 {
		t.Errorf("%d brokers", n)
	}
	if v.Mine(0) == v.Mine(1) {
		t.Error("of two journals and two brokers it is to have one")
	}
	if of, epoch, ok := v.Owner(0, now); !ok || of.ID != 2 || epoch != 7 {
		t.Errorf("journal 0 is of %v, %d, %v", of, epoch, ok)
	}
	for number := uint32(1); number < 4; number++ {
		if of, _, ok := v.Owner(number, now); ok {
			t.Errorf("journal %d is of %v", number, of)
		}
	}
	v.SessionLost()
	if _, _, ok := v.Owner(0, now); ok || v.Mine(0) || v.Mine(1) || len(v.Brokers()) != 2 {
		t.Error("the session is lost, and what the leases said counts, or who lived does not")
	}
}

// TestViewOfMetadata has a broker follow journal 0, own it, and lose it: what it knows does not go back.
func TestViewOfMetadata(t *testing.T) {
	v, now := NewView(Broker{ID: 1, Host: "one", Port: 9092}, slog.New(slog.DiscardHandler)), time.Unix(1000, 0)
	older := new(metadata.State)
	if !v.News(v.Tenures(), older, 3) || v.News(v.Tenures(), older, 3) {
		t.Error("what is read for the first time is news, and then no more")
	}
	j, err := journal.Open(t.Context(), journal.Config{Store: blob.NewMemory(nil)})
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	defer j.Run(ended)
	before := v.Tenures()
	v.Gain(Tenure{j, until(now.Add(time.Second))})
	if got, err := v.Journal(0, now); err != nil || got != j || v.State() != j.State() {
		t.Errorf("journal 0: %v", err)
	}
	if _, err := v.Journal(0, now.Add(time.Second)); !errors.Is(err, journal.ErrNotOwner) {
		t.Errorf("the lease has passed, and journal 0 is served: %v", err)
	}
	v.Lose(0)
	if v.News(before, older, 3) || v.State().Cluster().ID == (kfs.ClusterID{}) {
		t.Error("what was read before it owned journal 0 replaces what it knew then")
	}
	if state, sequence := v.StateAt(); state != j.State() || sequence != j.Sequence() {
		t.Errorf("it forgets what it knew: sequence %d", sequence)
	}
}
