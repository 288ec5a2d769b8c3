package pipeline

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// lifeLog is a log of a topic that is deleted and made again under its name. It lies in two journals, of which the first has the metadata.
type lifeLog struct {
	t        *testing.T
	journals [2]tailtest.Journal
	lives    []kfs.Topic
	next     map[kfs.PartitionID]int64
}

func newLifeLog(t *testing.T, c *crew) *lifeLog {
	l := &lifeLog{t: t, next: map[kfs.PartitionID]int64{}}
	for k := range l.journals {
		l.journals[k] = tailtest.Journal{Store: c.store, Number: uint32(k)}
	}
	l.journals[0].Append(t, []kfs.Entry{kfs.Cluster{ID: cluster.ID, Lineage: cluster.Lineage, Journals: 2}})
	l.journals[1].Append(t, nil)
	l.create()
	return l
}

// create makes the topic, with an id of its own.
func (l *lifeLog) create() {
	topic := tailtest.Topic("events", byte(1+len(l.lives)), 0, 1, 1, 1, 0, 1)
	l.lives = append(l.lives, topic)
	l.journals[0].Append(l.t, []kfs.Entry{topic})
}

// add appends to the partitions of a journal.
func (l *lifeLog) add(journal uint32, n int) {
	topic := l.lives[len(l.lives)-1]
	var records []tailtest.Records
	for p, of := range topic.Journals {
		if id := (kfs.PartitionID{Topic: topic.ID, Partition: int32(p)}); of == journal && n > 0 {
			records = append(records, jsons(topic, int32(p), int(l.next[id]), n))
			l.next[id] += int64(n)
		}
	}
	l.journals[journal].Append(l.t, nil, records...)
}

// remove deletes the topic as brokers do, step by step; between is called between the steps.
func (l *lifeLog) remove(between func()) {
	topic := l.lives[len(l.lives)-1]
	topic.State = kfs.TopicDeleting
	l.journals[0].Append(l.t, []kfs.Entry{topic})
	for k := range l.journals {
		between()
		l.journals[k].Append(l.t, []kfs.Entry{kfs.Ended{Topic: topic.ID}})
	}
	between()
	topic.State = kfs.TopicDeleted
	l.journals[0].Append(l.t, []kfs.Entry{topic})
	between()
}

// want checks that the table has each offset of each life once, in order.
func (l *lifeLog) want(table *fakeTable) {
	l.t.Helper()
	table.mu.Lock()
	defer table.mu.Unlock()
	for life, topic := range l.lives {
		for p := range topic.Journals {
			source := processor.Source{Topic: topic.Name, ID: topic.ID, Partition: int32(p)}
			rows, next := table.rows[source], l.next[id(source)]
			for i, r := range rows {
				if r.offset != int64(i) {
					l.t.Errorf("life %d, partition %d: offset %d where %d belongs", life, p, r.offset, i)
					break
				}
			}
			if int64(len(rows)) != next {
				l.t.Errorf("life %d, partition %d has %d rows of %d", life, p, len(rows), next)
			}
		}
	}
}

// TestRecreatedBeforeWorkers has workers begin on a log in which the topic was deleted and made again: its metadata is read long before the
// records of its first life.
func TestRecreatedBeforeWorkers(t *testing.T) {
	for _, workers := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			c := newCrew(t)
			l := newLifeLog(t, c)
			for range 3 {
				for range 50 {
					l.add(1, 3)
				}
				l.add(0, 5)
				l.remove(func() {})
				l.create()
			}
			l.add(0, 1)
			l.add(1, 1)
			for range workers {
				c.start(workers == 1)
			}
			time.Sleep(time.Minute)
			for _, p := range c.all {
				for _, topic := range l.lives[:len(l.lives)-1] {
					if p.member != nil && p.reads(topic) != 0 {
						t.Errorf("a worker still reads %d partitions of a topic that is gone", p.reads(topic))
					}
				}
			}
			for _, p := range c.all {
				p.stop()
			}
			l.want(c.lake.table("db.events"))
		})
	}
}

// TestRecreatedWorkers deletes a topic and makes it again while workers come and end, leases are lost, and records come: every offset of every
// life is in the table once. Workers do not die here: what a topic that is deleted has left when its reader dies, nobody needs to read.
func TestRecreatedWorkers(t *testing.T) {
	randomly(t, 30, func(t *testing.T, _ int, r *rand.Rand) {
		c := newCrew(t)
		c.slow = time.Duration(r.IntN(3)) * 100 * time.Millisecond
		l := newLifeLog(t, c)
		pause := func() { time.Sleep(time.Duration(r.Int64N(int64(3*time.Second))) * time.Duration(r.IntN(2))) }
		var live []*crewProcess
		for range 2 {
			live = append(live, c.start(false))
		}
		for range 30 {
			for range r.IntN(8) {
				l.add(uint32(r.IntN(2)), r.IntN(10))
			}
			switch r.IntN(8) {
			case 0:
				n := r.IntN(len(live))
				live[n].stop()
				live = append(live[:n], live[n+1:]...)
			case 1:
				c.leases.SetAway(true)
			case 2:
				c.leases.Wipe()
			case 3, 4:
				l.remove(pause)
				l.create()
			case 5:
				l.journals[r.IntN(2)].Append(t, nil)
			}
			if len(live) < 2 {
				live = append(live, c.start(false))
			}
			pause()
			if r.IntN(3) == 0 {
				c.leases.SetAway(false)
			}
		}
		c.leases.SetAway(false)
		time.Sleep(2 * time.Minute)
		for _, p := range live {
			p.stop()
		}
		l.want(c.lake.table("db.events"))
	})
}

// TestRegressionEndedTopicInSharedObjects begins again when the checkpoint says that a topic has ended, of which records lie in objects that are
// read for those of another: what follows on from the table's position still comes, and what does not is not missed.
func TestRegressionEndedTopicInSharedObjects(t *testing.T) {
	for name, at := range map[string]struct {
		before int  // records that the table has
		apart  bool // what follows lies in an object of its own
		want   int
	}{
		"goes on":         {before: 3, want: 5},
		"behind a gap":    {before: 3, apart: true, want: 3},
		"had not begun":   {want: 0},
		"gap, none begun": {apart: true, want: 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCrew(t)
				journal := tailtest.Journal{Store: c.store}
				gone, topic := tailtest.Topic("events", 1, 0), tailtest.Topic("orders", 2, 0)
				journal.Append(t, []kfs.Entry{cluster, gone})
				if at.before > 0 {
					journal.Append(t, nil, jsons(gone, 0, 0, at.before))
					p := c.start(true)
					time.Sleep(time.Minute)
					p.stop()
				}
				if at.apart {
					journal.Append(t, nil, jsons(gone, 0, at.before, 1))
				}
				journal.Append(t, []kfs.Entry{topic}, jsons(gone, 0, at.before, 2), jsons(topic, 0, 0, 4))
				gone.State = kfs.TopicDeleted
				journal.Append(t, []kfs.Entry{kfs.Ended{Topic: gone.ID}, gone})
				journal.Checkpoint(t)
				p := c.start(true)
				time.Sleep(time.Minute)
				if status := p.job.Status(); len(status.halts()) > 0 {
					t.Errorf("halts: %v", status.halts())
				}
				p.stop()
				for topic, want := range map[*kfs.Topic]int{&gone: at.want, &topic: 4} {
					table := c.lake.table("db." + topic.Name)
					if got := len(table.rows[processor.Source{Topic: topic.Name, ID: topic.ID}]); got != want {
						t.Errorf("%s: %d rows, want %d", topic.Name, got, want)
					}
				}
			})
		})
	}
}
