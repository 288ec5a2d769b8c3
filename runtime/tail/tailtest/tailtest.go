// Package tailtest writes journals for tests of what reads them. It is a broker without a broker: every object goes through kfs.Seal, so it
// is what a broker could have written, unless a test damages it on purpose.
package tailtest

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/record"
)

// Topic is a topic for tests: its id is made of its name and life.
func Topic(name string, life byte, journals ...uint32) kfs.Topic {
	t := kfs.Topic{Name: name, State: kfs.TopicLive, Journals: journals, Created: 1}
	copy(t.ID[1:], name)
	t.ID[0] = life
	return t
}

// Journal writes one journal. It is not for concurrent use.
type Journal struct {
	Store  blob.Store
	Number uint32
	Epoch  int32
	Now    func() time.Time // stamps objects and records; nil: time.Now

	next     uint64
	crc      uint32
	offsets  map[kfs.PartitionID]int64
	names    map[kfs.TopicID]string
	starts   map[kfs.PartitionID]int64
	ended    map[kfs.TopicID]bool
	settled  map[kfs.PartitionID][]kfs.SettledSegment
	entries  []kfs.Entry // of metadata
	live     []kfs.Object
	pages    []kfs.PageRef
	released []kfs.Run
}

// Records is what one partition gets in an object: one batch of values; nil is null.
type Records struct {
	Topic     kfs.Topic
	Partition int32
	Values    [][]byte
	Codec     record.Codec
}

// Values makes records of text.
func Values(topic kfs.Topic, partition int32, values ...string) Records {
	r := Records{Topic: topic, Partition: partition}
	for _, v := range values {
		r.Values = append(r.Values, []byte(v))
	}
	return r
}

// Clone is a journal that goes on by itself from where this one is. What is in the store is the caller's to copy.
func (j *Journal) Clone() *Journal {
	c := *j
	c.offsets, c.names, c.starts, c.ended = maps.Clone(j.offsets), maps.Clone(j.names), maps.Clone(j.starts), maps.Clone(j.ended)
	c.settled = map[kfs.PartitionID][]kfs.SettledSegment{}
	for id, segments := range j.settled {
		c.settled[id] = slices.Clone(segments)
	}
	c.entries, c.live, c.pages, c.released = slices.Clone(j.entries), slices.Clone(j.live), slices.Clone(j.pages), slices.Clone(j.released)
	return &c
}

// Identify makes it a journal of another cluster, as a restore does: the next checkpoint says so, and objects from before it do not.
func (j *Journal) Identify(id kfs.ClusterID, lineage kfs.TopicID) {
	for i, e := range j.entries {
		if c, ok := e.(kfs.Cluster); ok {
			c.ID, c.Lineage = id, lineage
			j.entries[i] = c
		}
	}
}

func (j *Journal) now() time.Time {
	if j.Now != nil {
		return j.Now()
	}
	return time.Now()
}

// Append puts the next object, with records and entries.
func (j *Journal) Append(t testing.TB, entries []kfs.Entry, records ...Records) *kfs.Manifest {
	t.Helper()
	m, object := j.Seal(t, entries, records...)
	j.Put(t, m, object)
	return m
}

// Seal makes the next object without putting it.
func (j *Journal) Seal(t testing.TB, entries []kfs.Entry, records ...Records) (*kfs.Manifest, []byte) {
	t.Helper()
	if j.offsets == nil {
		j.offsets, j.names, j.starts = map[kfs.PartitionID]int64{}, map[kfs.TopicID]string{}, map[kfs.PartitionID]int64{}
		j.settled, j.ended = map[kfs.PartitionID][]kfs.SettledSegment{}, map[kfs.TopicID]bool{}
	}
	now := j.now().UnixMilli()
	m := &kfs.Manifest{Journal: j.Number, Sequence: j.next, Created: now, Epoch: j.Epoch, Writer: kfs.WriterID{1}, Previous: j.crc, Entries: entries}
	var bodies [][]byte
	for _, r := range records {
		id := kfs.PartitionID{Topic: r.Topic.ID, Partition: r.Partition}
		base := j.offsets[id]
		bodies = append(bodies, Batch(t, base, now, r.Codec, r.Values...))
		m.Segments = append(m.Segments, kfs.Segment{Topic: id.Topic, Name: r.Topic.Name, Partition: id.Partition,
			Span: kfs.Span{Base: base, Next: base + int64(len(r.Values))}, Records: int32(len(r.Values)), FirstTimestamp: now, MaxTimestamp: now})
	}
	object, _, err := kfs.Seal(m, bodies)
	if err != nil {
		t.Fatal(err)
	}
	return m, object
}

// Put puts a sealed object and goes on behind it.
func (j *Journal) Put(t testing.TB, m *kfs.Manifest, object []byte) {
	t.Helper()
	if _, err := j.Store.Put(t.Context(), kfs.ObjectKey(j.Number, m.Sequence), object, true); err != nil {
		t.Fatal(err)
	}
	j.Skip(t, m, object)
}

// Skip goes on behind a sealed object as if it had been put.
func (j *Journal) Skip(t testing.TB, m *kfs.Manifest, object []byte) {
	t.Helper()
	_, crc, _, err := kfs.OpenTail(object, int64(len(object)))
	if err != nil {
		t.Fatal(err)
	}
	j.crc, j.next = crc, m.Sequence+1
	for i := range m.Segments {
		s := &m.Segments[i]
		j.offsets[s.ID()], j.names[s.Topic] = s.Span.Next, s.Name
	}
	for _, e := range m.Entries {
		switch e := e.(type) {
		case kfs.Topic, kfs.Cluster:
			j.entries = append(j.entries, e)
		case kfs.Trim:
			j.starts[kfs.PartitionID{Topic: e.Topic, Partition: e.Partition}] = e.LogStart
		case kfs.Ended:
			j.ended[e.Topic] = true
		}
	}
	j.live = append(j.live, kfs.Object{Sequence: m.Sequence, CRC: crc, Size: int64(len(object)), Created: m.Created, Segments: slices.Clone(m.Segments)})
}

// Jump makes the next records of a partition begin at an offset.
func (j *Journal) Jump(topic kfs.Topic, partition int32, offset int64) {
	j.offsets[kfs.PartitionID{Topic: topic.ID, Partition: partition}] = offset
}

// Page moves all live objects into an index page, which the next checkpoint names.
func (j *Journal) Page(t testing.TB) {
	t.Helper()
	first, last := j.live[0].Sequence, j.live[len(j.live)-1].Sequence
	object, err := kfs.EncodePage(&kfs.Page{Journal: j.Number, First: first, Last: last, Objects: j.live})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.Store.Put(t.Context(), kfs.PageKey(j.Number, first, last), object, true); err != nil {
		t.Fatal(err)
	}
	j.pages = append(j.pages, kfs.PageRef{First: first, Last: last, Length: int64(len(object)), CRC: kfs.MetaChecksum(object)})
	j.live = nil
}

// Settle puts a segment of one partition with these values, which must be what the journal holds from its settled point on.
func (j *Journal) Settle(t testing.TB, topic kfs.Topic, partition int32, values ...string) {
	t.Helper()
	id := kfs.PartitionID{Topic: topic.ID, Partition: partition}
	base := int64(0)
	if n := len(j.settled[id]); n > 0 {
		base = j.settled[id][n-1].Span.Next
	}
	now := j.now().UnixMilli()
	object, _, err := kfs.SealSegment(now, [][]byte{Batch(t, base, now, 0, Values(topic, partition, values...).Values...)})
	if err != nil {
		t.Fatal(err)
	}
	s := kfs.SettledSegment{Key: kfs.SegmentKey(topic.ID, topic.Name, partition, base), Span: kfs.Span{Base: base, Next: base + int64(len(values))},
		Length: int64(len(object)), CRC: kfs.Checksum(object[:len(object)-kfs.SegmentFooterSize]), MaxTimestamp: now}
	if _, err := j.Store.Put(t.Context(), s.Key, object, true); err != nil {
		t.Fatal(err)
	}
	j.settled[id] = append(j.settled[id], s)
}

// Release names the live objects below sequence released, and deletes them if deleted.
func (j *Journal) Release(t testing.TB, below uint64, deleted bool) {
	t.Helper()
	first := uint64(0)
	if n := len(j.released); n > 0 {
		first = j.released[n-1].Last + 1
	}
	j.live = slices.DeleteFunc(j.live, func(o kfs.Object) bool { return o.Sequence < below })
	j.released = append(j.released, kfs.Run{First: first, Last: below - 1})
	for s := first; deleted && s < below; s++ {
		if err := j.Store.Delete(t.Context(), kfs.ObjectKey(j.Number, s)); err != nil {
			t.Fatal(err)
		}
	}
}

// Checkpoint puts a checkpoint of all that was appended.
func (j *Journal) Checkpoint(t testing.TB) {
	t.Helper()
	c := &kfs.Checkpoint{Journal: j.Number, Sequence: j.next - 1, ObjectCRC: j.crc, Created: j.now().UnixMilli(), Epoch: j.Epoch, Writer: kfs.WriterID{1},
		Metadata: j.entries, Pages: j.pages, Objects: j.live, Released: j.released}
	for id, next := range j.offsets {
		c.Partitions = append(c.Partitions, kfs.PartitionState{Topic: id.Topic, Name: j.names[id.Topic], Partition: id.Partition,
			LogStart: j.starts[id], Next: next, MaxTimestamp: -1, Ended: j.ended[id.Topic], Settled: j.settled[id]})
	}
	slices.SortFunc(c.Partitions, func(a, b kfs.PartitionState) int {
		if n := slices.Compare(a.Topic[:], b.Topic[:]); n != 0 {
			return n
		}
		return int(a.Partition - b.Partition)
	})
	object, err := kfs.EncodeCheckpoint(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.Store.Put(t.Context(), kfs.CheckpointKey(j.Number, c.Sequence), object, true); err != nil {
		t.Fatal(err)
	}
}

// Batch makes one record batch; the key of each record is its offset as text.
func Batch(t testing.TB, base, timestamp int64, codec record.Codec, values ...[]byte) []byte {
	t.Helper()
	b := record.Builder{BaseOffset: base, Codec: codec}
	for i, v := range values {
		b.Add(timestamp, fmt.Append(nil, base+int64(i)), v)
	}
	batch, err := b.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	return batch
}
