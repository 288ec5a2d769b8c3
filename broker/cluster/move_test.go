package cluster

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/lease"
)

// cast are brokers of one cluster.
type cast struct {
	t      *testing.T
	leases *lease.Memory
	store  blob.Store
	all    map[int32]*broker
}

func newCast(t *testing.T) *cast {
	return &cast{t, lease.NewMemory(), blob.NewMemory(nil), map[int32]*broker{}}
}

// join starts a broker that does not say how many journals there are to be.
func (c *cast) join(id int32) {
	c.all[id] = beginWith(c.t, c.store, Config{Leases: c.leases.Service("firn/", 0), Self: Broker{ID: id, Host: "host", Port: 9092}})
}

func (c *cast) leave(id int32) {
	c.t.Helper()
	c.all[id].stop(c.t)
	delete(c.all, id)
}

func (c *cast) leaveAll() {
	for id := range c.all {
		c.leave(id)
	}
}

// owners are the brokers that own the journals in turn, as each sees itself: "1 3 2". It is "?" where nobody does, or two do.
func (c *cast) owners() string {
	var names []string
	journals := uint32(1)
	for _, b := range c.all {
		journals = max(journals, b.State().Cluster().Journals)
	}
	for number := range journals {
		name := "?"
		for id, b := range c.all {
			if _, err := b.Journal(number); err != nil {
				continue
			}
			if name != "?" {
				c.t.Errorf("brokers %s and %d own journal %d", name, id, number)
			}
			name = fmt.Sprint(id)
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// after lets time pass and compares the owners.
func (c *cast) after(d time.Duration, want string) {
	c.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	if got := c.owners(); got != want {
		c.t.Errorf("the owners are %s, want %s", got, want)
	}
	for id, b := range c.all {
		for number := range uint32(3) {
			if owner, _, ok := b.Owner(number); !ok || fmt.Sprint(owner.ID) != strings.Fields(want)[number] {
				c.t.Errorf("broker %d says that journal %d is broker %d's (%v), want one of %s", id, number, owner.ID, ok, want)
			}
		}
	}
}

// TestJournalsMove: a new cluster has as many journals as brokers; they go where they belong, without being pushed around.
func TestJournalsMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCast(t)
		for id := int32(1); id <= 3; id++ {
			c.join(id)
			time.Sleep(gatherBrokers / 2)
		}
		c.after(gatherBrokers+handOverAfter+time.Second, "3 1 2")
		// One that leaves gives its journal to another at once.
		c.leave(1)
		c.after(time.Millisecond, "3 3 2")
		// One that comes back gets it when it has stayed for a while.
		c.join(1)
		c.after(handOverAfter-time.Millisecond, "3 3 2")
		c.after(time.Second, "3 1 2")
		// One that comes and goes moves nothing.
		epochs := c.epochs()
		for range 5 {
			c.join(4)
			time.Sleep(handOverAfter / 2)
			c.leave(4)
			time.Sleep(time.Second)
		}
		c.after(0, "3 1 2")
		if again := c.epochs(); again != epochs {
			t.Errorf("epochs %s have become %s", epochs, again)
		}
		c.leaveAll()
	})
}

func (c *cast) epochs() string {
	var epochs []int32
	for number := range uint32(3) {
		for _, b := range c.all {
			if _, epoch, ok := b.Owner(number); ok {
				epochs = append(epochs, epoch)
				break
			}
		}
	}
	return fmt.Sprint(epochs)
}

// TestEveryBrokerKnowsTheState: what the owner of journal 0 has made durable, the others know at once, and where they ask, before the answer.
func TestEveryBrokerKnowsTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCast(t)
		for id := int32(1); id <= 3; id++ {
			c.join(id)
		}
		c.after(gatherBrokers+handOverAfter+time.Second, "3 1 2")
		j, err := c.all[3].Journal(0)
		if err != nil {
			t.Fatal(err)
		}
		last := j.State().NextProducerID()
		for range 3 {
			results, err := j.AppendEntries([]kfs.Entry{j.State().ProducerIDs(10)}).Wait(t.Context())
			if err != nil || results[0].Err != nil {
				t.Fatal(results, err)
			}
			last += 10
			if err := c.all[1].Refresh(t.Context()); err != nil || c.all[1].State().NextProducerID() != last {
				t.Errorf("after a refresh broker 1 knows %d of %d, %v", c.all[1].State().NextProducerID(), last, err)
			}
			synctest.Wait() // no time passes
			if got := c.all[2].State().NextProducerID(); got != last {
				t.Errorf("without being asked broker 2 knows %d of %d", got, last)
			}
		}
		// The next owner knows it too, and so do the others when the owner changes.
		c.leave(3)
		time.Sleep(time.Second)
		synctest.Wait()
		for id, b := range c.all {
			if got := b.State().NextProducerID(); got != last {
				t.Errorf("broker %d knows %d of %d", id, got, last)
			}
		}
		c.leaveAll()
	})
}

// TestDamageOfOneJournal: the other journals are served, and so is that one when it is mended.
func TestDamageOfOneJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCast(t)
		for id := int32(1); id <= 3; id++ {
			c.join(id)
		}
		c.after(gatherBrokers+handOverAfter+time.Second, "3 1 2")
		c.leaveAll()
		key := kfs.ObjectKey(1, 100)
		if _, err := c.store.Put(t.Context(), key, []byte("no object of ours"), true); err != nil {
			t.Fatal(err)
		}
		for id := int32(1); id <= 3; id++ {
			c.join(id)
		}
		time.Sleep(handOverAfter + time.Second)
		synctest.Wait()
		if got := c.owners(); got != "3 ? 2" {
			t.Errorf("with journal 1 damaged, the owners are %s", got)
		}
		if err := c.store.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		c.after(damagedPause, "3 1 2")
		c.leaveAll()
	})
}

// TestHandOverWhileLeasesAreAway has the lease service away when a journal is handed over, for longer than a broker waits that stops, but not so long
// that sessions end: the other broker has the journal nevertheless.
func TestHandOverWhileLeasesAreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases, store := lease.NewMemory(), blob.NewMemory(nil)
		var left sync.Once
		one := begin(t, leases, store, 1, func(ctx context.Context, _ *journal.Journal) error {
			<-ctx.Done()
			left.Do(func() {
				leases.SetAway(true)
				time.AfterFunc(releaseTimeout+time.Second, func() { leases.SetAway(false) })
			})
			return ctx.Err()
		})
		one.until(t, "owns both journals", one.has)
		two := begin(t, leases, store, 2, nil)
		two.until(t, "owns a journal", func() bool { return len(two.Owns()) == 1 })
		if !one.Connected() || len(one.Owns()) != 1 {
			t.Errorf("broker 1 owns %v; it is connected: %v", one.Owns(), one.Connected())
		}
		one.stop(t)
		two.stop(t)
	})
}
