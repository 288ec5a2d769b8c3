package inspect

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/record"
)

func topicID(n byte) (id kfs.TopicID) {
	id[0] = n
	return id
}

// namespace writes journals into a store in memory.
type namespace struct {
	t        testing.TB
	store    *blob.Memory
	journals map[uint32]*journal
}

// journal is the end of one.
type journal struct {
	number  uint32
	next    uint64
	crc     uint32
	epoch   int32
	offsets map[kfs.PartitionID]int64
	objects []kfs.Object
}

func newNamespace(t testing.TB) *namespace {
	return &namespace{t: t, store: blob.NewMemory(nil), journals: map[uint32]*journal{}}
}

func (n *namespace) journal(number uint32) *journal {
	j := n.journals[number]
	if j == nil {
		j = &journal{number: number, epoch: 1, offsets: map[kfs.PartitionID]int64{}}
		n.journals[number] = j
	}
	return j
}

// batch is a record batch with n records "NAME/PARTITION@OFFSET".
func (n *namespace) batch(codec record.Codec, name string, partition int32, base int64, count int) []byte {
	n.t.Helper()
	b := record.Builder{Codec: codec, BaseOffset: base, LeaderEpoch: 1}
	for i := range count {
		offset := base + int64(i)
		b.Add(1_700_000_000_000+offset, []byte("k"), fmt.Appendf(nil, "%s/%d@%d", name, partition, offset), record.HeaderField{Key: "h", Value: []byte("v")})
	}
	body, err := b.AppendTo(nil)
	if err != nil {
		n.t.Fatal(err)
	}
	return body
}

// part is records for one partition of one object.
type part struct {
	topic     byte
	name      string
	partition int32
	records   int
}

// object makes the next object of a journal; it is put by write.
func (n *namespace) object(j *journal, parts ...part) (*kfs.Manifest, [][]byte) {
	n.t.Helper()
	m := &kfs.Manifest{Journal: j.number, Sequence: j.next, Created: 1_700_000_000_000 + int64(j.next), Epoch: j.epoch, Writer: kfs.WriterID{1}, Previous: j.crc}
	var bodies [][]byte
	for i, p := range parts {
		id := kfs.PartitionID{Topic: topicID(p.topic), Partition: p.partition}
		base := j.offsets[id]
		first := n.batch(record.Codec(i%5), p.name, p.partition, base, p.records)
		second := n.batch(record.None, p.name, p.partition, base+int64(p.records), 1)
		m.Segments = append(m.Segments, kfs.Segment{
			Topic: id.Topic, Name: p.name, Partition: p.partition, Span: kfs.Span{Base: base, Next: base + int64(p.records) + 1}, Records: int32(p.records) + 1,
			FirstTimestamp: 1_700_000_000_000 + base, MaxTimestamp: 1_700_000_000_000 + base + int64(p.records),
		})
		bodies = append(bodies, append(first, second...))
	}
	return m, bodies
}

// write seals and puts an object.
func (n *namespace) write(j *journal, m *kfs.Manifest, bodies [][]byte) {
	n.t.Helper()
	object, crc, err := kfs.Seal(m, bodies)
	if err != nil {
		n.t.Fatal(err)
	}
	n.put(kfs.ObjectKey(j.number, m.Sequence), object)
	j.next, j.crc = m.Sequence+1, crc
	index := kfs.Object{Sequence: m.Sequence, CRC: crc, Size: int64(len(object)), Created: m.Created}
	for _, s := range m.Segments {
		j.offsets[s.ID()] = s.Span.Next
		s.Producers = nil
		index.Segments = append(index.Segments, s)
	}
	j.objects = append(j.objects, index)
}

func (n *namespace) append(number uint32, parts ...part) {
	n.t.Helper()
	j := n.journal(number)
	m, bodies := n.object(j, parts...)
	n.write(j, m, bodies)
}

func (n *namespace) put(key string, body []byte) {
	n.t.Helper()
	if _, err := n.store.Put(context.Background(), key, body, false); err != nil {
		n.t.Fatal(err)
	}
}

func (n *namespace) get(key string) []byte {
	n.t.Helper()
	body, _, err := blob.ReadAll(context.Background(), n.store, key, blob.All, 1<<20)
	if err != nil {
		n.t.Fatal(err)
	}
	return body
}

func (n *namespace) remove(key string) {
	n.t.Helper()
	if err := n.store.Delete(context.Background(), key); err != nil {
		n.t.Fatal(err)
	}
}

// flip changes one byte of an object.
func (n *namespace) flip(key string, at int) {
	n.t.Helper()
	body := bytes.Clone(n.get(key))
	if at < 0 {
		at += len(body)
	}
	body[at] ^= 0x40
	n.put(key, body)
}

// checkpoint is the state of a journal, of which the first paged objects are on an index page.
func (n *namespace) checkpoint(number uint32, paged int) *kfs.Checkpoint {
	n.t.Helper()
	j := n.journal(number)
	c := &kfs.Checkpoint{Journal: number, Sequence: j.next - 1, ObjectCRC: j.crc, Epoch: j.epoch, Writer: kfs.WriterID{1}, Objects: j.objects[paged:]}
	for _, p := range []part{{topic: 1, name: "events"}, {topic: 1, name: "events", partition: 1}, {topic: 2, name: "orders"}} {
		id := kfs.PartitionID{Topic: topicID(p.topic), Partition: p.partition}
		if next, ok := j.offsets[id]; ok {
			c.Partitions = append(c.Partitions, kfs.PartitionState{Topic: id.Topic, Name: p.name, Partition: p.partition, Next: next})
		}
	}
	if paged > 0 {
		p := &kfs.Page{Journal: number, First: 0, Last: j.objects[paged-1].Sequence, Objects: j.objects[:paged]}
		body := n.putPage(p)
		c.Pages = []kfs.PageRef{{First: p.First, Last: p.Last, Length: int64(len(body)), CRC: kfs.MetaChecksum(body)}}
	}
	return c
}

func (n *namespace) putPage(p *kfs.Page) []byte {
	n.t.Helper()
	body, err := kfs.EncodePage(p)
	if err != nil {
		n.t.Fatal(err)
	}
	n.put(kfs.PageKey(p.Journal, p.First, p.Last), body)
	return body
}

func (n *namespace) putCheckpoint(c *kfs.Checkpoint) {
	n.t.Helper()
	body, err := kfs.EncodeCheckpoint(c)
	if err != nil {
		n.t.Fatal(err)
	}
	n.put(kfs.CheckpointKey(c.Journal, c.Sequence), body)
}

// sample is a namespace of two journals with checkpoints, pages, and settled segments of another topic.
func sample(t testing.TB) *namespace {
	n := newNamespace(t)
	n.append(0)
	n.append(0, part{1, "events", 0, 3}, part{1, "events", 1, 200}, part{2, "orders", 0, 1})
	n.putCheckpoint(n.checkpoint(0, 0))
	n.append(0, part{2, "orders", 0, 4})
	n.append(0, part{1, "events", 0, 1})
	n.putCheckpoint(n.checkpoint(0, 3))
	n.append(0, part{1, "events", 0, 2}, part{2, "orders", 0, 9})
	n.append(2, part{1, "events", 5, 2})
	n.append(2, part{1, "events", 5, 7})
	for _, base := range []int64{0, 60} {
		object, index, err := kfs.SealSegment(1_700_000_000_000, [][]byte{n.batch(record.Zstd, "old", 3, base, 60)})
		if err != nil {
			t.Fatal(err)
		}
		n.put(kfs.SegmentKey(topicID(9), "old", 3, base), object)
		n.put(kfs.IndexKey(topicID(9), "old", 3, base), index)
	}
	n.put(kfs.HeadKey(0), []byte("{}"))
	return n
}
