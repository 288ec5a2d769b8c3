package journal

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/record"
)

// randomness is a deterministic Rand.
type randomness struct{ r *rand.ChaCha8 }

func seeded(seed uint64) randomness {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return randomness{rand.NewChaCha8(key)}
}

func (r randomness) Read(p []byte) (int, error) { return r.r.Read(p) }

// owner is a journal with its Run under way.
type owner struct {
	*Journal
	t      testing.TB
	cancel context.CancelFunc
	ended  chan error
}

// start opens a journal and runs it until the test ends.
func start(t testing.TB, cfg Config) *owner {
	t.Helper()
	j, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	o := &owner{j, t, cancel, make(chan error, 1)}
	go func() { o.ended <- j.Run(ctx) }()
	t.Cleanup(func() { cancel() })
	return o
}

// stop ends Run and waits for it.
func (o *owner) stop() error {
	o.cancel()
	return <-o.ended
}

// topicID names a topic of the tests.
func topicID(n byte) kfs.TopicID { return kfs.TopicID{0: 0xf1, 15: n} }

func newTopic(n byte, name string, partitions int32) metadata.NewTopic {
	return metadata.NewTopic{ID: topicID(n), Name: name, Partitions: partitions, Created: 1}
}

// create creates a topic through the journal.
func (o *owner) create(n byte, name string, partitions int32) {
	o.t.Helper()
	e, err := o.State().CreateTopic(newTopic(n, name, partitions))
	if err != nil {
		o.t.Fatal(err)
	}
	o.must(o.AppendEntries([]kfs.Entry{e}))
}

// must waits for an append of which every part has to succeed.
func (o *owner) must(p *Pending) []Result {
	o.t.Helper()
	results, err := p.Wait(o.t.Context())
	if err != nil {
		o.t.Fatal(err)
	}
	for i, r := range results {
		if r.Err != nil {
			o.t.Fatalf("append %d: %v", i, r.Err)
		}
	}
	return results
}

// batch makes a batch of records with the given values, one millisecond apart.
func batch(t testing.TB, n byte, name string, partition int32, p *record.Producer, first int64, values ...string) Batch {
	t.Helper()
	b := record.Builder{Producer: p}
	for i, v := range values {
		b.Add(first+int64(i), nil, []byte(v))
	}
	records, err := b.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	return Batch{Topic: topicID(n), Name: name, Partition: partition, Records: records}
}

// values reads a partition to its end.
func values(t testing.TB, j *Journal, id kfs.PartitionID) []string {
	t.Helper()
	start, next := j.Offsets(id)
	var all []string
	for at := start; at < next; {
		b, err := j.Read(t.Context(), id, at, 1<<20)
		if err != nil {
			t.Fatalf("read at %d: %v", at, err)
		}
		if len(b) == 0 {
			t.Fatalf("read at %d of %d: nothing", at, next)
		}
		for _, r := range records(t, b) {
			if r.Offset < at {
				continue
			}
			if r.Offset != at {
				t.Fatalf("offset %d where %d was expected", r.Offset, at)
			}
			all = append(all, string(r.Value))
			at++
		}
	}
	return all
}

// records decodes batches.
func records(t testing.TB, b []byte) []record.Record {
	t.Helper()
	var all []record.Record
	for part, err := range record.Batches(b) {
		if err == nil {
			err = record.Verify(part)
		}
		if err != nil {
			t.Fatal(err)
		}
		var r record.Reader
		if err := r.Reset(part, 1<<20); err != nil {
			t.Fatal(err)
		}
		for {
			var rec record.Record
			ok, err := r.Next(&rec)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			rec.Value = bytes.Clone(rec.Value)
			all = append(all, rec)
		}
	}
	return all
}

// never is longer than any test lasts.
const never = 100_000 * time.Hour

// config is a journal's on a store, without settling.
func config(store blob.Store, seed uint64) Config {
	return Config{Store: store, Rand: seeded(seed), Now: time.Now, SettleAge: never}
}

func id(n byte, partition int32) kfs.PartitionID {
	return kfs.PartitionID{Topic: topicID(n), Partition: partition}
}

func names(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint(prefix, i)
	}
	return all
}
