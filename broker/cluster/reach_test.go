package cluster

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/blobtest"
)

// TestReacher runs steps, one a second: "ok 3" and "gone 3" are so many in which the store answers, or does not, "alone" and "others" say
// whether another broker reaches it, and the rest is what the broker must say of itself.
func TestReacher(t *testing.T) {
	for name, steps := range map[string]string{
		"all is well":               "ok 100; reaching",
		"gone":                      "ok 1; gone 1; lost; gone 14; lost; gone 1; out; gone 1000; out",
		"from the beginning":        "gone 1; lost; gone 15; out",
		"gone for all":              "alone; gone 1000; lost; others; gone 1; out",
		"back in time":              "gone 10; ok 1; lost; ok 29; lost; ok 1; reaching",
		"back":                      "gone 16; out; ok 30; out; ok 1; reaching",
		"back for a moment":         "gone 16; ok 29; gone 1; out; ok 30; out; ok 1; reaching",
		"a moment does not add up":  "gone 14; ok 1; gone 15; lost; gone 1; out",
		"one who is back stays in":  "alone; gone 20; ok 1; others; ok 10; lost; ok 20; reaching",
		"out when others go, stays": "gone 16; alone; gone 10; out; ok 31; reaching",
	} {
		t.Run(name, func(t *testing.T) {
			var r reacher
			now, others := time.Unix(1000, 0), true
			for i, step := range strings.Split(steps, "; ") {
				word, count, _ := strings.Cut(step, " ")
				switch word {
				case "ok", "gone":
					for range atoi(t, count) {
						r.step(now, word == "ok", others)
						now = now.Add(time.Second)
					}
				case "alone", "others":
					others = word == "others"
				default:
					want := map[string]reach{"reaching": reaching, "lost": lost, "out": out}[word]
					if r.says != want {
						t.Errorf("step %d of %q: it says %q", i+1, steps, r.says)
					}
				}
			}
		})
	}
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n := 0
	for _, d := range s {
		if d < '0' || d > '9' {
			t.Fatalf("%q is no number", s)
		}
		n = 10*n + int(d-'0')
	}
	return n
}

// path is one broker's way to the store, which may be broken, and a monitor that says so once a second.
type path struct {
	blob.Store
	broken atomic.Bool
}

func newPath(store blob.Store) *path {
	p := &path{}
	p.Store = blobtest.NewFault(store, func(blobtest.Op) blobtest.Action {
		if p.broken.Load() {
			return blobtest.FailBefore
		}
		return blobtest.Pass
	})
	return p
}

// watchOver tells a broker what its path does.
func (p *path) watchOver(ctx context.Context, b *broker) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		broken := p.broken.Load()
		for _, number := range b.Owns() {
			if j, err := b.Journal(number); err == nil {
				j.SetReachable(!broken)
			}
		}
		b.SetReachable(!broken)
	}
}

// withPaths runs a test on three brokers, each with its own way to the store, that own "3 1 2".
func withPaths(t *testing.T, test func(t *testing.T, c *cast, paths map[int32]*path)) {
	synctest.Test(t, func(t *testing.T) {
		c, paths := newCast(t), map[int32]*path{}
		ctx, cancel := context.WithCancel(t.Context())
		for id := int32(1); id <= 3; id++ {
			paths[id] = newPath(c.store)
			c.all[id] = beginWith(t, paths[id], Config{Leases: c.leases.Service("firn/", 0), Self: Broker{ID: id, Host: "host", Port: 9092}})
			go paths[id].watchOver(ctx, c.all[id])
		}
		c.after(gatherBrokers+handOverAfter+time.Second, "3 1 2")
		test(t, c, paths)
		cancel()
		c.leaveAll()
	})
}

// TestBrokenPathGivesUp: a broker that alone does not reach the store gives its journals up, does not compete, and comes back when it has been well for
// a while.
func TestBrokenPathGivesUp(t *testing.T) {
	withPaths(t, func(t *testing.T, c *cast, paths map[int32]*path) {
		j, err := c.all[1].Journal(1)
		if err != nil {
			t.Fatal(err)
		}
		paths[1].broken.Store(true)
		pending := j.End(kfs.TopicID{1})
		c.after(stepOutAfter, "3 1 2")
		if results, err := pending.Wait(t.Context()); err != nil || !errors.Is(results[0].Err, journal.ErrUnavailable) {
			t.Errorf("an append that waited: %v, %v", results, err)
		}
		c.after(2*time.Second, "3 3 2")
		c.after(time.Hour, "3 3 2")
		paths[1].broken.Store(false)
		c.after(comeBackAfter-2*time.Second, "3 3 2")
		c.after(2*time.Second+handOverAfter+time.Second, "3 1 2")
	})
}

// TestBrokenPathWhileTakingOver: a broker that cannot reach the store does not keep the lease of a journal that it was to take over.
func TestBrokenPathWhileTakingOver(t *testing.T) {
	withPaths(t, func(t *testing.T, c *cast, paths map[int32]*path) {
		paths[3].broken.Store(true)
		c.leave(1) // journal 1 is broker 3's now
		time.Sleep(stepOutAfter / 2)
		synctest.Wait()
		if got := c.owners(); got != "3 ? 2" {
			t.Errorf("while broker 3 takes over, the owners are %s", got)
		}
		c.after(stepOutAfter+handOverAfter, "2 2 2")
	})
}

// TestStoreIsAwayForAll: where nobody reaches the store nothing moves, though brokers find out, and find that it is back, at different times.
func TestStoreIsAwayForAll(t *testing.T) {
	withPaths(t, func(t *testing.T, c *cast, paths map[int32]*path) {
		epochs := c.epochs()
		for range 3 {
			for _, id := range []int32{1, 2, 3} {
				paths[id].broken.Store(true)
				c.after(5*time.Second, "3 1 2")
			}
			c.after(time.Minute, "3 1 2")
			for _, id := range []int32{2, 3, 1} {
				paths[id].broken.Store(false)
				c.after(5*time.Second, "3 1 2")
			}
			c.after(time.Minute, "3 1 2")
		}
		if again := c.epochs(); again != epochs {
			t.Errorf("epochs %s have become %s", epochs, again)
		}
	})
}

// TestNobodyIsLeft: when the last broker that reached the store dies, those that had stepped out own the journals again: waiting for the store is
// better than waiting for nobody.
func TestNobodyIsLeft(t *testing.T) {
	withPaths(t, func(t *testing.T, c *cast, paths map[int32]*path) {
		paths[1].broken.Store(true)
		paths[2].broken.Store(true)
		c.after(stepOutAfter+2*time.Second, "3 3 3")
		c.leave(3)
		paths[1].broken.Store(false)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := c.owners(); !strings.Contains(got, "1") {
			t.Errorf("broker 1 reaches the store, and the owners are %s", got)
		}
	})
}
