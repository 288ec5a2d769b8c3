package snapshot

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/inspect"
	"github.com/firn-io/firn/kfs/record"
)

// randomness is a deterministic Rand.
type randomness struct{ r *rand.ChaCha8 }

func seeded(seed byte) randomness { return randomness{rand.NewChaCha8([32]byte{seed})} }

func (r randomness) Read(p []byte) (int, error) { return r.r.Read(p) }

// cluster is the owners of three journals.
type cluster struct {
	t        testing.TB
	store    blob.Store
	journals []*journal.Journal
	stop     []func()
}

const journals = 3

// start takes all journals over.
func start(t testing.TB, store blob.Store, seed byte) *cluster {
	t.Helper()
	c := &cluster{t: t, store: store}
	for number := range uint32(journals) {
		j, err := journal.Open(t.Context(), journal.Config{
			Store: store, Journal: number, Journals: journals, Rand: seeded(seed + byte(number)), Now: time.Now, SettleAge: time.Minute, CheckpointEvery: 5, FlushInterval: time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- j.Run(ctx) }()
		c.journals = append(c.journals, j)
		c.stop = append(c.stop, func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	return c
}

func (c *cluster) close() {
	for _, stop := range c.stop {
		stop()
	}
}

func (c *cluster) must(p *journal.Pending) {
	c.t.Helper()
	results, err := p.Wait(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			c.t.Fatal(r.Err)
		}
	}
}

func topicID(n byte) kfs.TopicID { return kfs.TopicID{0: 0xf1, 15: n} }

func id(n byte, partition int32) kfs.PartitionID {
	return kfs.PartitionID{Topic: topicID(n), Partition: partition}
}

// create creates a topic with a partition on each journal, in order.
func (c *cluster) create(n byte, name string) {
	c.t.Helper()
	e, err := c.journals[0].State().CreateTopic(metadata.NewTopic{ID: topicID(n), Name: name, Partitions: journals, Created: 1, Configs: []kfs.Config{{Key: "retention.ms", Value: "86400000"}}})
	if err != nil {
		c.t.Fatal(err)
	}
	e.Journals = []uint32{0, 1, 2}
	c.must(c.journals[0].AppendEntries([]kfs.Entry{e}))
}

// write appends records to a partition, as an idempotent producer.
func (c *cluster) write(n byte, name string, partition int32, sequence int32, values ...string) {
	c.t.Helper()
	b := record.Builder{Producer: &record.Producer{ID: int64(n), Epoch: 1, Sequence: sequence}}
	for _, v := range values {
		b.Add(1000, nil, []byte(v))
	}
	records, err := b.AppendTo(nil)
	if err != nil {
		c.t.Fatal(err)
	}
	c.must(c.journals[partition].Append([]journal.Batch{{Topic: topicID(n), Name: name, Partition: partition, Records: records}}))
}

// commit commits an offset of a group that lies on journal 2.
func (c *cluster) commit(group string, n byte, name string, partition int32, offset int64) {
	c.t.Helper()
	c.must(c.journals[2].AppendEntries([]kfs.Entry{kfs.GroupOffsets{Offsets: []kfs.GroupOffset{
		{Group: group, Topic: name, TopicID: topicID(n), Partition: partition, Offset: offset, LeaderEpoch: 1, Metadata: "m", Committed: 1},
	}}}))
}

// values are the records of a partition from its log start on.
func (c *cluster) values(id kfs.PartitionID) []string {
	c.t.Helper()
	j := c.journals[id.Partition]
	at, next := j.Offsets(id)
	all := []string{}
	for at < next {
		b, err := j.Read(c.t.Context(), id, at, 1<<20)
		if err != nil {
			c.t.Fatal(err)
		}
		for part, err := range record.Batches(b) {
			var r record.Reader
			if err == nil {
				err = r.Reset(part, 1<<20)
			}
			if err != nil {
				c.t.Fatal(err)
			}
			var rec record.Record
			for {
				ok, err := r.Next(&rec)
				if err != nil {
					c.t.Fatal(err)
				}
				if !ok {
					break
				}
				if rec.Offset == at {
					all = append(all, fmt.Sprintf("%d:%s", at, bytes.Clone(rec.Value)))
					at++
				}
			}
		}
	}
	return all
}

// look is everything that clients can see of a cluster.
func (c *cluster) look() string {
	c.t.Helper()
	var b bytes.Buffer
	for _, topic := range c.journals[0].State().Topics() {
		fmt.Fprintf(&b, "topic %s %s state %d on %d configs %v\n", topic.Name, topic.ID, topic.State, topic.Journals, topic.Configs)
		for p := range topic.Partitions() {
			id := kfs.PartitionID{Topic: topic.ID, Partition: p}
			start, next := c.journals[p].Offsets(id)
			fmt.Fprintf(&b, "  %d [%d, %d) %q\n", p, start, next, c.values(id))
		}
	}
	for _, j := range c.journals {
		for _, g := range j.Groups() {
			fmt.Fprintf(&b, "journal %d group %s %+v\n", j.Number(), g, j.GroupOffsets(g))
		}
	}
	fmt.Fprintf(&b, "producer ids from %d on\n", c.journals[0].State().NextProducerID())
	return b.String()
}

// keys lists what a store holds below a prefix.
func keys(t testing.TB, store blob.Store, prefix string) []string {
	t.Helper()
	var all []string
	for page, err := range store.List(t.Context(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Objects {
			all = append(all, o.Key)
		}
	}
	return all
}

// dump is all that a store holds.
func dump(t testing.TB, store blob.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, key := range keys(t, store, "") {
		body, _, err := blob.ReadAll(t.Context(), store, key, blob.All, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		all[key] = string(body)
	}
	return all
}

// verify holds a namespace against the format.
func verify(t testing.TB, store blob.Store) {
	t.Helper()
	v := inspect.Verifier{Store: store, Report: func(f inspect.Finding) { t.Errorf("finding: %s", f) }}
	if _, err := v.Namespace(t.Context()); err != nil {
		t.Error(err)
	}
}

// restore restores.
func restore(t testing.TB, from blob.Store, name string, into blob.Store) (*Plan, error) {
	t.Helper()
	now := func() time.Time { return time.UnixMilli(1_800_000_000_000) } // so that all runs come to the same
	r := NewRestore(RestoreConfig{From: from, Name: name, Into: into, Rand: seeded(77), Now: now, Parallel: 1})
	plan, err := r.Plan(t.Context())
	if err != nil {
		return nil, err
	}
	return plan, r.Run(t.Context())
}

// history makes a cluster with everything that a restore point can meet: settled, trimmed and recent records, a topic that is deleted and one
// that is being deleted, groups, producer ids.
func history(t testing.TB, store blob.Store) *cluster {
	t.Helper()
	c := start(t, store, 1)
	c.must(c.journals[0].AppendEntries([]kfs.Entry{c.journals[0].State().ProducerIDs(1000)}))
	c.create(1, "events")
	c.create(2, "gone")
	c.create(3, "going")
	for p := range int32(journals) {
		for i := range int32(4) {
			c.write(1, "events", p, 2*i, fmt.Sprint("old", 2*i), fmt.Sprint("old", 2*i+1))
			c.write(2, "gone", p, i, "gone")
			c.write(3, "going", p, i, "going")
		}
	}
	time.Sleep(2 * time.Minute) // settled
	c.must(c.journals[1].AppendEntries([]kfs.Entry{kfs.Trim{Topic: topicID(1), Partition: 1, LogStart: 3}}))
	c.must(c.journals[2].AppendEntries([]kfs.Entry{kfs.Trim{Topic: topicID(1), Partition: 2, LogStart: 8}}))
	for p := range int32(journals) {
		c.write(1, "events", p, 8, "new8", "new9")
	}
	c.commit("readers", 1, "events", 0, 5)
	c.commit("readers", 1, "events", 1, 10)
	c.commit("old readers", 2, "gone", 0, 4)
	for n := byte(2); n <= 3; n++ {
		topic, _ := c.journals[0].State().TopicByID(topicID(n))
		deleting := topic.Topic
		deleting.State = kfs.TopicDeleting
		c.must(c.journals[0].AppendEntries([]kfs.Entry{deleting}))
	}
	c.must(c.journals[1].End(topicID(3)))
	for number := range journals {
		c.must(c.journals[number].End(topicID(2)))
	}
	topic, _ := c.journals[0].State().TopicByID(topicID(2))
	deleted := topic.Topic
	deleted.State = kfs.TopicDeleted
	c.must(c.journals[0].AppendEntries([]kfs.Entry{deleted}))
	return c
}
