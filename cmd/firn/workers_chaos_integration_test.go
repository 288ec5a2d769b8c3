//go:build integration

package main

import (
	"math/rand/v2"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// blows are what befalls a crew. Each leaves as many workers as there were.
var blows = map[string]func(*crew, *rand.Rand){
	"kill": func(c *crew, random *rand.Rand) {
		i := random.IntN(len(c.workers))
		c.workers[i].kill()
		c.pause(random, 8*time.Second)
		c.begin(i)
	},
	"stop": func(c *crew, random *rand.Rand) {
		i := random.IntN(len(c.workers))
		c.workers[i].stop(c.t)
		c.pause(random, 3*time.Second)
		c.begin(i)
	},
	// A process that stands still for longer than its lease lasts believes in it when it goes on.
	"freeze": func(c *crew, random *rand.Rand) {
		i := random.IntN(len(c.workers))
		c.workers[i].signal(c.t, syscall.SIGSTOP)
		c.pause(random, 2*time.Second)
		time.Sleep(6 * time.Second)
		c.workers[i].signal(c.t, syscall.SIGCONT)
	},
	"blink": func(c *crew, random *rand.Rand) {
		i := random.IntN(len(c.workers))
		c.workers[i].signal(c.t, syscall.SIGSTOP)
		c.pause(random, 3*time.Second)
		c.workers[i].signal(c.t, syscall.SIGCONT)
	},
	// All leases are lost at once, and etcd comes back without memory.
	"etcd": func(c *crew, random *rand.Rand) {
		c.etcd.Close()
		c.pause(random, 9*time.Second)
		etcd, err := startEtcdAt(c.t.Context(), filepath.Join(c.t.TempDir(), "etcd"), c.addr)
		if err != nil {
			c.t.Fatal(err)
		}
		c.etcd = etcd
		c.t.Cleanup(etcd.Close)
	},
	// One more process takes itself for the only one, and dies.
	"split": func(c *crew, random *rand.Rand) {
		alone := start(c.t, "process", "-f", c.job, "--data", c.data)
		time.Sleep(3 * time.Second)
		c.pause(random, 3*time.Second)
		alone.kill()
	},
}

// pause lets some time pass, at most so long.
func (c *crew) pause(random *rand.Rand, most time.Duration) {
	time.Sleep(time.Duration(random.Int64N(int64(most))))
}

// names are those of the blows, in order.
func blowNames() []string {
	var names []string
	for name := range blows {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// TestIntegrationWorkersSurvive deals each blow to two workers once; two processes that know nothing of each other are the last one.
func TestIntegrationWorkersSurvive(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	c := newCrew(t, 2)
	p := startProducer(t, c.broker, "load", 0)
	c.shares(4, 4)
	for _, name := range blowNames() {
		t.Log(name)
		blows[name](c, random)
	}
	c.shares(4, 4)
	c.audit(p.stop(t))
}

// TestIntegrationRoutedWorkersSurvive is the same for a job whose records name their tables.
func TestIntegrationRoutedWorkersSurvive(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	c := newRoutedCrew(t, 2)
	p := startProducer(t, c.broker, "load", 0)
	c.shares(4, 4)
	c.handed(3)
	for _, name := range blowNames() {
		t.Log(name)
		blows[name](c, random)
	}
	c.shares(4, 4)
	c.audit(p.stop(t))
}

// TestIntegrationRoutedWorkersApart runs two copies of such a job, none of which knows of the other.
func TestIntegrationRoutedWorkersApart(t *testing.T) {
	c := newRoutedCrew(t, 0)
	p := startProducer(t, c.broker, "load", 0)
	for range 2 {
		c.workers = append(c.workers, start(t, "process", "-f", c.job, "--data", c.data))
	}
	time.Sleep(12 * time.Second)
	c.audit(p.stop(t))
}

// TestIntegrationWorkersApart runs three copies of a job, none of which knows of the others.
func TestIntegrationWorkersApart(t *testing.T) {
	t.Parallel()
	c := newCrew(t, 0)
	p := startProducer(t, c.broker, "load", 0)
	for range 3 {
		c.workers = append(c.workers, start(t, "process", "-f", c.job, "--data", c.data))
	}
	time.Sleep(12 * time.Second)
	c.audit(p.stop(t))
}

// TestProcessChaos is five minutes of blows to four workers, in an order that is drawn, one soon after the other.
func TestProcessChaos(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	c := newCrew(t, 4)
	p := startProducer(t, c.broker, "load", 0)
	c.shares(2, 2, 2, 2)
	names, dealt := blowNames(), map[string]int{}
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); {
		name := names[random.IntN(len(names))]
		dealt[name]++
		blows[name](c, random)
		c.pause(random, 4*time.Second)
	}
	t.Logf("dealt: %v", dealt)
	c.shares(2, 2, 2, 2)
	c.audit(p.stop(t))
}
