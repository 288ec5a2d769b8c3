package journal_test

import (
	"bytes"
	"fmt"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
)

// truth is what clients were told and have seen, against which everything else is held.
type truth struct {
	w       *world
	cluster kfs.ClusterID
	epochs  map[uint32]map[int32]*process // who has opened a journal with an epoch

	acked            map[kfs.PartitionID]map[int64]string
	seen             map[kfs.PartitionID]map[int64]string
	sent             map[string]map[kfs.TopicID]bool // to which topics a broker has appended a value
	marks            map[kfs.PartitionID]*marks
	committedOffsets map[kfs.PartitionID][]*commit
	admin            *admin
	ids              map[int64]bool      // of producers
	freed            map[kfs.TopicID]int // at which step it was known that a topic is gone
	doomed           map[kfs.TopicID]bool
}

// marks are what was told of the ends of a partition.
type marks struct {
	high, start     int64
	highAt, startAt int   // steps
	trimmed, asked  int64 // by DeleteRecords
}

func newTruth(w *world) *truth {
	return &truth{
		w: w, epochs: map[uint32]map[int32]*process{}, acked: map[kfs.PartitionID]map[int64]string{}, seen: map[kfs.PartitionID]map[int64]string{},
		sent: map[string]map[kfs.TopicID]bool{}, marks: map[kfs.PartitionID]*marks{}, ids: map[int64]bool{}, committedOffsets: map[kfs.PartitionID][]*commit{}, freed: map[kfs.TopicID]int{}, doomed: map[kfs.TopicID]bool{},
	}
}

func (t *truth) of(id kfs.PartitionID) *marks {
	m, ok := t.marks[id]
	if !ok {
		m = new(marks)
		t.marks[id] = m
		t.acked[id], t.seen[id] = map[int64]string{}, map[int64]string{}
	}
	return m
}

// opened: a broker has taken a journal over.
func (t *truth) opened(of *tenure) {
	epochs := t.epochs[of.number]
	if epochs == nil {
		epochs = map[int32]*process{}
		t.epochs[of.number] = epochs
	}
	if other := epochs[of.s.Epoch()]; other != nil {
		t.w.wrong("brokers %d and %d have journal %d with epoch %d", other.id, of.p.id, of.number, of.s.Epoch())
	}
	epochs[of.s.Epoch()] = of.p
}

// committed: a broker takes an object for committed. Mistakes have to be noticed by what is told and what is there, without this look from above.
func (t *truth) committed(p *process, c journal.Committed) {
	if t.w.mistake.name == "" && !bytes.Equal(t.w.store.first[c.Key], c.Body) {
		t.w.wrong("broker %d takes %s for committed, but it is a stray", p.id, c.Key)
	}
}

// followed: a broker has read journal 0 along; what it has read last must be what was there first.
func (t *truth) followed(p *process, f *follower) {
	sequence, crc, begun := f.Head()
	if !begun {
		return
	}
	key := kfs.ObjectKey(0, sequence)
	if _, there, err := kfs.Open(t.w.store.first[key]); err != nil || there != crc {
		t.w.wrong("broker %d follows journal 0 to %s, but has read a stray (%v)", p.id, key, err)
	}
}

// stateAt: what a broker knows of the metadata.
func (t *truth) stateAt(p *process, s *metadata.State, _ uint64) {
	if t.cluster.IsZero() {
		t.cluster = s.Cluster().ID
	}
	if s.Cluster().ID != t.cluster {
		t.w.wrong("broker %d knows cluster %s, which was %s", p.id, s.Cluster().ID, t.cluster)
	}
}

// appended: a broker has handed batches to a journal.
func (t *truth) appended(batches []journal.Batch) {
	for _, b := range batches {
		t.w.running.topic = b.Topic
		for _, rec := range t.w.records(b.Records) {
			if t.sent[rec.value] == nil {
				t.sent[rec.value] = map[kfs.TopicID]bool{}
			}
			t.sent[rec.value][b.Topic] = true
		}
	}
}

// ack: a client was told that values are at an offset and behind.
func (t *truth) ack(c *call, id kfs.PartitionID, base int64, values []string) {
	t.of(id)
	if at, gone := t.freed[id.Topic]; gone && c.sent > at {
		t.w.wrong("%q is acknowledged in %s, of a topic that was gone when it was sent", values[0], id)
	}
	for i, v := range values {
		offset := base + int64(i)
		if other, ok := t.acked[id][offset]; ok && other != v {
			t.w.wrong("offset %d of %s is acknowledged for %q and for %q", offset, id, other, v)
		}
		if other, ok := t.seen[id][offset]; ok && other != v {
			t.w.wrong("offset %d of %s is acknowledged for %q, and has been read as %q", offset, id, v, other)
		}
		t.acked[id][offset] = v
	}
}

// read: a client has read a value.
func (t *truth) read(id kfs.PartitionID, offset int64, value string) {
	t.of(id)
	if other, ok := t.seen[id][offset]; ok && other != value {
		t.w.wrong("offset %d of %s was read as %q, and is read as %q", offset, id, other, value)
	}
	if other, ok := t.acked[id][offset]; ok && other != value {
		t.w.wrong("offset %d of %s was acknowledged for %q, and is read as %q", offset, id, other, value)
	}
	if !t.sent[value][id.Topic] {
		t.w.wrong("offset %d of %s is read as %q, which nobody has sent there", offset, id, value)
	}
	t.seen[id][offset] = value
}

// told: a client was told the ends of a partition. They do not go back.
func (t *truth) told(c *call, id kfs.PartitionID, start, high int64) {
	m := t.of(id)
	if c.unsure {
		return
	}
	if high < m.high && c.sent > m.highAt {
		t.w.wrong("broker %d says that %s ends at %d, it was %d", c.process.id, id, high, m.high)
	}
	if start < m.start && c.sent > m.startAt {
		t.w.wrong("broker %d says that %s begins at %d, it was %d", c.process.id, id, start, m.start)
	}
	if high > m.high {
		m.high, m.highAt = high, t.w.steps
	}
	if start > m.start {
		m.start, m.startAt = start, t.w.steps
	}
}

// valued is a record with its value as text.
type valued struct {
	offset int64
	value  string
}

// records decodes batches.
func (w *world) records(b []byte) (all []valued) {
	for part, err := range record.Batches(b) {
		if err == nil {
			err = record.Verify(part)
		}
		var r record.Reader
		if err == nil {
			err = r.Reset(part, 1<<20)
		}
		for err == nil {
			var rec record.Record
			var ok bool
			if ok, err = r.Next(&rec); !ok {
				break
			}
			all = append(all, valued{rec.Offset, string(rec.Value)})
		}
		if err != nil {
			w.wrong("records: %v", err)
			return all
		}
	}
	return all
}

// batch makes a batch of values; p may be nil.
func (w *world) batch(p *record.Producer, values []string) []byte {
	b := record.Builder{Producer: p}
	for _, v := range values {
		b.Add(w.clock.UnixMilli(), nil, []byte(v))
	}
	records, err := b.AppendTo(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return records
}

// numbered splits a value into who has made it and its number.
func numbered(value string) (who string, n int, err error) {
	_, err = fmt.Sscanf(value, "%s #%d", &who, &n)
	return who, n, err
}
