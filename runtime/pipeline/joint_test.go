package pipeline

import (
	"context"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// spread is a topic in three journals, the first of which has nothing else.
var spread = tailtest.Topic("events", 1, 1, 2, 1, 2, 1, 2)

// spreadLog is a log of it.
type spreadLog struct {
	journals [3]tailtest.Journal

	mu   sync.Mutex // guards next
	next []int64    // offsets of the partitions
}

func newSpreadLog(t *testing.T, c *crew) *spreadLog {
	l := &spreadLog{next: make([]int64, len(spread.Journals))}
	for k := range l.journals {
		l.journals[k] = tailtest.Journal{Store: c.store, Number: uint32(k), Now: time.Now}
	}
	l.journals[0].Append(t, []kfs.Entry{kfs.Cluster{ID: cluster.ID, Lineage: cluster.Lineage, Journals: 3}, spread})
	return l
}

// add appends records to the partitions of a journal.
func (l *spreadLog) add(t *testing.T, journal uint32, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var records []tailtest.Records
	for p, of := range spread.Journals {
		if of == journal && n > 0 {
			records = append(records, jsons(spread, int32(p), int(l.next[p]), n))
			l.next[p] += int64(n)
		}
	}
	l.journals[journal].Append(t, nil, records...)
}

// ends is where the partitions end now.
func (l *spreadLog) ends() []int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]int64(nil), l.next...)
}

// stands is where a table stands in the partitions of spread.
func stands(f *fakeTable) []int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []int64
	for p := range spread.Journals {
		all = append(all, f.next[processor.Source{Topic: spread.Name, ID: spread.ID, Partition: int32(p)}])
	}
	return all
}

// finish waits for the processes that are not dead.
func (c *crew) finish(patience time.Duration) {
	c.t.Helper()
	late := time.After(patience)
	for i, p := range c.all {
		if p.dead.Load() {
			continue
		}
		select {
		case <-p.done:
		case <-late:
			c.t.Fatalf("process %d has not ended after %v", i, patience)
		}
	}
}

// slowStore answers a process that has begun to work one GET at a time, and takes its time: the work is shared out long before it is done.
type slowStore struct {
	mortalStore
	turn chan struct{} // holds one
}

func (s slowStore) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Info, error) {
	if s.p.running.Load() {
		s.turn <- struct{}{}
		defer func() { <-s.turn }()
		time.Sleep(100 * time.Millisecond)
	}
	return s.mortalStore.Get(ctx, key, r)
}

// TestJointRun has three processes do a bounded run together: each reads its share, and all end when everything is committed.
func TestJointRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t)
		l := newSpreadLog(t, c)
		for range 200 {
			l.add(t, 1, 50)
			l.add(t, 2, 50)
		}
		c.until = Until{Latest: true}
		c.config = func(cfg Config, _ openLabelled) Config {
			cfg.FileSize, cfg.Store = 20_000, slowStore{cfg.Store.(mortalStore), make(chan struct{}, 1)}
			return cfg
		}
		for range 3 {
			c.start(false)
		}
		c.finish(5 * time.Minute)
		total := int64(0)
		for i, p := range c.all {
			if p.err != nil {
				t.Errorf("process %d: %v", i, p.err)
			}
			records := p.job.Status().Tables[0].Records
			if records < 10_000 {
				t.Errorf("process %d has committed %d records: the work is not shared", i, records)
			}
			total += records
		}
		if total != 60_000 {
			t.Errorf("%d records were committed", total)
		}
		for p, next := range l.ends() {
			wantOffsets(t, c.lake.table("db.events"), int32(p), 0, next)
		}
		began := time.Now()
		c.config = nil
		c.start(false) // one that is late finds nothing to do
		c.finish(5 * time.Minute)
		if p := c.all[3]; p.err != nil || p.job.Status().Tables[0].Commits != 0 || time.Since(began) > 10*time.Second {
			t.Errorf("a process that was late: %v after %v", p.err, time.Since(began))
		}
	})
}

// TestJointRuns has processes do bounded runs together while records come, and processes come and die, and leases are lost. Whoever ends
// by itself must find everything committed that was there when it began.
func TestJointRuns(t *testing.T) {
	randomly(t, 30, func(t *testing.T, i int, r *rand.Rand) { jointRuns(t, r, i%3 == 2) })
}

func jointRuns(t *testing.T, r *rand.Rand, timed bool) {
	c := newCrew(t)
	c.config = func(cfg Config, _ openLabelled) Config {
		cfg.FileSize = 400 // many commits
		return cfg
	}
	c.slow = 500 * time.Millisecond
	l := newSpreadLog(t, c)
	table := c.lake.table("db.events")
	add := func() {
		journal := uint32(1 + r.IntN(2))
		l.add(t, journal, r.IntN(20))
		if r.IntN(20) == 0 {
			l.journals[journal].Checkpoint(t)
		}
	}
	l.add(t, 1, 1)
	l.add(t, 2, 1)
	fill := func() {
		for range 20 {
			add()
			time.Sleep(time.Second)
		}
	}
	fill()
	cut, before := time.Now(), l.ends()
	if fill(); timed {
		c.until = Until{At: cut}
	} else {
		c.until = Until{Latest: true}
	}
	begun := map[*crewProcess][]int64{} // where at least the processes end
	start := func() {
		ends := before
		if !timed {
			ends = l.ends()
		}
		begun[c.start(r.IntN(10) == 0)] = ends
	}
	var mu sync.Mutex
	ended := map[*crewProcess][]int64{} // where the table stood when they had ended
	c.ended = func(p *crewProcess) {
		mu.Lock()
		defer mu.Unlock()
		ended[p] = stands(table)
	}
	for range 3 {
		start()
	}
	for range 15 {
		add()
		time.Sleep(time.Duration(r.Int64N(int64(2 * time.Second))))
		switch p := c.all[r.IntN(len(c.all))]; r.IntN(6) {
		case 0:
			p.kill()
		case 1:
			c.leases.SetAway(true)
		case 2:
			c.leases.Wipe()
		case 3, 4:
			start()
		}
		if r.IntN(3) == 0 {
			c.leases.SetAway(false)
		}
	}
	c.leases.SetAway(false)
	start()
	c.finish(10 * time.Minute)
	for p, ends := range begun {
		at, ok := ended[p]
		if !ok {
			continue // killed
		}
		if p.err != nil {
			t.Errorf("a process has ended with %v", p.err)
		}
		for partition := range ends {
			if at[partition] < ends[partition] || timed && at[partition] > ends[partition] {
				t.Errorf("partition %d stood at %d when a process had ended that began with %d", partition, at[partition], ends[partition])
			}
		}
	}
	for p, next := range stands(table) {
		wantOffsets(t, table, int32(p), 0, next)
	}
}

// TestJointRunHalts has a partition halt in one of the processes: all end with that, and everything else is committed.
func TestJointRunHalts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t)
		l := newSpreadLog(t, c)
		for range 100 {
			l.add(t, 1, 5)
			l.add(t, 2, 5)
		}
		l.journals[1].Append(t, nil, tailtest.Values(spread, 2, "-"))
		l.add(t, 1, 5)
		c.until = Until{Latest: true}
		c.config = func(cfg Config, _ openLabelled) Config {
			cfg.FileSize, cfg.Errors, cfg.OpenDeadLetters = 2000, Halt, nil
			return cfg
		}
		for range 3 {
			c.start(false)
		}
		c.finish(10 * time.Minute)
		elsewhere := 0
		for i, p := range c.all {
			switch {
			case p.err == nil:
				t.Errorf("process %d has ended well", i)
			case strings.Contains(p.err.Error(), "halted in another process of this run, which says why: events/2"):
				elsewhere++
			case !strings.Contains(p.err.Error(), "is no row"):
				t.Errorf("process %d: %v", i, p.err)
			}
		}
		if elsewhere == 0 {
			t.Error("nobody has heard of it")
		}
		for p, next := range l.ends() {
			if p == 2 {
				next = stands(c.lake.table("db.events"))[p] // what was not staged when it halted is not committed
			}
			wantOffsets(t, c.lake.table("db.events"), int32(p), 0, next)
		}
	})
}
