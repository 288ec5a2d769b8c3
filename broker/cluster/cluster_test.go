package cluster

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/lease"
)

// broker is a Cluster under way.
type broker struct {
	*Cluster
	cancel context.CancelFunc
	ended  chan error
}

func begin(t *testing.T, leases *lease.Memory, store blob.Store, id int32, serve func(context.Context, *journal.Journal) error) *broker {
	t.Helper()
	return beginWith(t, store, Config{Leases: leases.Service("firn/", 0), Self: Broker{ID: id, Host: "host", Port: 9092}, Journals: 2, Serve: serve})
}

// beginWith sets Open and Follow.
func beginWith(t *testing.T, store blob.Store, cfg Config) *broker {
	t.Helper()
	cfg.Open = func(ctx context.Context, number, journals uint32) (*journal.Journal, error) {
		return journal.Open(ctx, journal.Config{Store: store, Journal: number, Journals: journals})
	}
	cfg.Follow = func(news func(*metadata.State, uint64)) (*journal.Follower, error) {
		return journal.NewFollower(journal.Config{Store: store}, news)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	b := &broker{c, cancel, make(chan error, 1)}
	go func() { b.ended <- c.Run(ctx) }()
	return b
}

func (b *broker) stop(t *testing.T) {
	t.Helper()
	b.cancel()
	if err := <-b.ended; err != nil {
		t.Errorf("broker %d ends with %v", b.Self().ID, err)
	}
}

// until waits for the view to be as wanted.
func (b *broker) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	for {
		changed := b.Changed()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-late.C:
			t.Fatalf("broker %d: not in a minute: %s", b.Self().ID, what)
		}
	}
}

// has tells whether a broker owns both journals.
func (b *broker) has() bool {
	_, err0 := b.Journal(0)
	_, err1 := b.Journal(1)
	return err0 == nil && err1 == nil
}

func (b *broker) says(number uint32, owner int32) bool {
	o, _, ok := b.Owner(number)
	return ok && o.ID == owner
}

func TestOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases, store := lease.NewMemory(), blob.NewMemory(nil)
		one := begin(t, leases, store, 1, nil)
		one.until(t, "owns both journals", one.has)
		two := begin(t, leases, store, 2, nil)
		two.until(t, "knows the owner", func() bool { return two.says(0, 1) && two.says(1, 1) && len(two.Brokers()) == 2 })
		if _, err := two.Journal(0); !errors.Is(err, journal.ErrNotOwner) {
			t.Errorf("broker 2 has journal 0: %v", err)
		}
		j, err := one.Journal(0)
		if err != nil {
			t.Fatal(err)
		}
		epoch := j.Epoch()
		one.stop(t)
		two.until(t, "owns both journals", two.has)
		if j, err = two.Journal(0); err != nil || j.Epoch() != epoch+1 {
			t.Errorf("journal 0 of broker 2: %v", err)
		}
		if two.State().Cluster() != one.State().Cluster() {
			t.Errorf("cluster %v became %v", one.State().Cluster(), two.State().Cluster())
		}
		two.until(t, "is alone", func() bool { return slices.Equal(two.Brokers(), []Broker{two.Self()}) })
		two.stop(t)
	})
}

func TestLeasesGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases, store := lease.NewMemory(), blob.NewMemory(nil)
		var served atomic.Int32
		b := begin(t, leases, store, 1, func(ctx context.Context, j *journal.Journal) error {
			if j.Number() == 0 {
				served.Add(1)
			}
			<-ctx.Done()
			return ctx.Err()
		})
		b.until(t, "owns both journals", b.has)
		j, _ := b.Journal(0)
		synctest.Wait()
		leases.SetAway(true)
		time.Sleep(lease.DefaultTTL)
		if _, err := b.Journal(0); !errors.Is(err, journal.ErrNotOwner) {
			t.Errorf("the lease has passed, and journal 0 is served: %v", err)
		}
		if _, _, ok := b.Owner(0); ok {
			t.Error("the lease has passed, and journal 0 has an owner")
		}
		leases.SetAway(false)
		b.until(t, "owns both journals again", b.has)
		synctest.Wait()
		if again, _ := b.Journal(0); again.Epoch() != j.Epoch()+1 || served.Load() != 2 {
			t.Errorf("epoch %d after %d, served %d times", again.Epoch(), j.Epoch(), served.Load())
		}
		b.stop(t)
	})
}

// TestLeasesAreForgotten has two brokers hold the same leases: the journals are one owner's all the same.
func TestLeasesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases, store := lease.NewMemory(), blob.NewMemory(nil)
		one := begin(t, leases, store, 1, nil)
		one.until(t, "owns both journals", one.has)
		old, _ := one.Journal(0)
		synctest.Wait() // it has told everything, and learns nothing until its next keep-alive
		leases.Wipe()
		two := begin(t, leases, store, 2, nil)
		two.until(t, "owns both journals", two.has)
		results, err := old.AppendEntries([]kfs.Entry{old.State().ProducerIDs(10)}).Wait(t.Context())
		if err != nil || !errors.Is(results[0].Err, journal.ErrNotOwner) {
			t.Errorf("the former owner writes: %+v, %v", results, err)
		}
		two.stop(t)
		one.until(t, "owns both journals again", one.has)
		one.stop(t)
	})
}

func TestDamageEndsTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		if _, err := store.Put(t.Context(), kfs.ObjectKey(0, 0), []byte("no object of ours"), true); err != nil {
			t.Fatal(err)
		}
		b := begin(t, lease.NewMemory(), store, 1, nil)
		if err := <-b.ended; !errors.Is(err, kfs.ErrCorrupt) {
			t.Errorf("ends with %v", err)
		}
	})
}

// TestAloneNoMore runs two brokers on one store, each with leases of its own: the one that comes last stays, and the other ends when it
// meets it, instead of taking the journal back.
func TestAloneNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		alone := func() *broker {
			return beginWith(t, store, Config{Leases: lease.NewMemory().Service("firn/", 0), Self: Broker{Host: "host", Port: 9092}, Alone: true, Journals: 2})
		}
		one := alone()
		one.until(t, "owns both journals", one.has)
		j, err := one.Journal(0)
		if err != nil {
			t.Fatal(err)
		}
		other := alone()
		other.until(t, "owns both journals", other.has)
		results, err := j.AppendEntries([]kfs.Entry{j.State().ProducerIDs(10)}).Wait(t.Context())
		if err != nil || len(results) != 1 || !errors.Is(results[0].Err, journal.ErrNotOwner) {
			t.Errorf("an append behind the other's back: %v, %v", results, err)
		}
		if err := <-one.ended; !errors.Is(err, journal.ErrFenced) {
			t.Errorf("ends with %v", err)
		}
		time.Sleep(time.Minute)
		if !other.has() {
			t.Error("the other has lost a journal")
		}
		other.stop(t)
	})
}

func TestSameID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases, store := lease.NewMemory(), blob.NewMemory(nil)
		one := begin(t, leases, store, 7, nil)
		one.until(t, "owns both journals", one.has)
		other := begin(t, leases, store, 7, nil)
		time.Sleep(time.Minute)
		if !one.has() || other.has() {
			t.Errorf("owns: the first %v, the second %v", one.has(), other.has())
		}
		one.stop(t)
		other.until(t, "owns both journals", other.has)
		other.stop(t)
	})
}

func TestNewRefuses(t *testing.T) {
	open := func(context.Context, uint32, uint32) (*journal.Journal, error) { return nil, nil }
	for _, self := range []Broker{{ID: -1, Host: "h", Port: 1}, {Port: 1}, {Host: "h"}, {Host: "h", Port: 70000}} {
		if _, err := New(Config{Leases: lease.NewMemory().Service("", 0), Self: self, Open: open, Alone: true}); err == nil {
			t.Errorf("%+v was accepted", self)
		}
	}
	if _, err := New(Config{Leases: lease.NewMemory().Service("", 0), Self: Broker{Host: "h", Port: 1}, Open: open}); err == nil {
		t.Error("a broker among others that cannot follow was accepted")
	}
}
