package kfs

import (
	"bytes"
	"encoding/binary"
)

// sampleBatch is a Kafka record batch of uncompressed records, one per value.
func sampleBatch(base, timestamp int64, values ...string) []byte {
	var records []byte
	for i, value := range values {
		record := []byte{0, 0} // attributes, timestamp delta
		record = binary.AppendVarint(record, int64(i))
		record = binary.AppendVarint(record, -1) // null key
		record = binary.AppendVarint(record, int64(len(value)))
		record = append(record, value...)
		record = append(record, 0) // headers
		records = binary.AppendVarint(records, int64(len(record)))
		records = append(records, record...)
	}
	var e encoder // what the checksum covers
	e.u16(0)
	e.i32(int32(len(values) - 1))
	e.i64(timestamp)
	e.i64(timestamp)
	e.i64(-1)
	e.u16(0xffff)
	e.i32(-1)
	e.i32(int32(len(values)))
	e.b = append(e.b, records...)
	var batch encoder
	batch.i64(base)
	batch.i32(int32(9 + len(e.b)))
	batch.i32(1)
	batch.u8(2)
	batch.u32(Checksum(e.b))
	return append(batch.b, e.b...)
}

// sampleID is a topic id whose bytes count up from n.
func sampleID(n byte) (id TopicID) {
	for i := range id {
		id[i] = n + byte(i)
	}
	return id
}

// sampleManifest has every field and every kind of entry that a manifest can have.
func sampleManifest() (*Manifest, [][]byte) {
	orders, events := sampleID(0x10), sampleID(0x80)
	m := &Manifest{
		Journal: 0, Sequence: 7, Created: 1_700_000_000_123, Epoch: 3, Writer: WriterID(sampleID(0xa0)), Previous: 0xdeadbeef,
		Segments: []Segment{
			{
				Topic: orders, Name: "orders", Partition: 0, Span: Span{100, 103}, Records: 3,
				FirstTimestamp: 1_700_000_000_000, MaxTimestamp: 1_700_000_000_100,
				Producers: []ProducerBatch{
					{ProducerID: 4000, ProducerEpoch: 1, FirstSequence: 0, LastSequence: 1, BaseOffset: 100, LastOffset: 101, MaxTimestamp: 1_700_000_000_050},
					{ProducerID: 4001, ProducerEpoch: 0, FirstSequence: 2147483647, LastSequence: 0, BaseOffset: 102, LastOffset: 102, MaxTimestamp: 1_700_000_000_100},
				},
			},
			{Topic: orders, Name: "orders", Partition: 1, Span: Span{0, 1}, Records: 1, FirstTimestamp: -1, MaxTimestamp: -1},
			{Topic: events, Name: "events", Partition: 2, Span: Span{5, 50}, Records: 7, FirstTimestamp: 1, MaxTimestamp: 2},
		},
		Entries: []Entry{
			Cluster{ID: sampleID(1), Lineage: sampleID(2), Journals: 2},
			Topic{ID: orders, Name: "orders", State: TopicLive, Journals: []uint32{0, 1, 0}, Created: 1_700_000_000_000,
				Configs: []Config{{"cleanup.policy", "delete"}, {"retention.ms", "1000"}}},
			Topic{ID: events, Name: "events", State: TopicDeleted},
			GroupSlot{Slot: 63, Journal: 1},
			ProducerIDs{First: 4000, Count: 1000},
			Trim{Topic: orders, Partition: 1, LogStart: 17, Metadata: 6},
			Settled{Topic: orders, Partition: 0, Segments: sampleSettled(orders, "orders", 0)},
			Ended{Topic: events},
			GroupOffsets{Offsets: []GroupOffset{sampleOffset("readers", 0), sampleOffset("readers", 1), {
				Group: "leaving", Topic: "events", Partition: 0, Offset: -1, LeaderEpoch: -1,
			}}},
		},
	}
	return m, [][]byte{[]byte("three records"), {0}, bytes.Repeat([]byte("x"), 99)}
}

func sampleSettled(id TopicID, name string, partition int32) []SettledSegment {
	return []SettledSegment{
		{Key: SegmentKey(id, name, partition, 0), Span: Span{0, 60}, Length: 1000, CRC: 1, MaxTimestamp: 5},
		{Key: SegmentKey(id, name, partition, 60), Span: Span{60, 100}, Length: 1001, CRC: 2, MaxTimestamp: 6},
	}
}

func sampleOffset(group string, partition int32) GroupOffset {
	return GroupOffset{Group: group, Topic: "orders", TopicID: sampleID(0x10), Partition: partition, Offset: 12, LeaderEpoch: 3, Metadata: "host-1", Committed: 1_700_000_000_001}
}

// sampleObjects are live objects as an index names them.
func sampleObjects(first uint64) []Object {
	a := Segment{Topic: sampleID(0x10), Name: "orders", Span: Span{100, 103}, Records: 3, Position: HeaderSize, Length: 13, CRC: 9, FirstTimestamp: 1, MaxTimestamp: 2}
	b := Segment{Topic: sampleID(0x80), Name: "events", Partition: 1, Span: Span{0, 2}, Records: 1, Position: HeaderSize + 13, Length: 70, CRC: 8, FirstTimestamp: -1, MaxTimestamp: -1}
	return []Object{
		{Sequence: first, CRC: 77, Size: 400, Created: 1_700_000_000_000, Segments: []Segment{a, b}},
		{Sequence: first + 1, CRC: 78, Size: 130, Created: 1_700_000_000_001},
		{Sequence: first + 3, CRC: 79, Size: 300, Created: 1_700_000_000_002, Segments: []Segment{a}},
	}
}

// sampleCheckpoint has every field that a checkpoint can have.
func sampleCheckpoint() *Checkpoint {
	orders, events := sampleID(0x10), sampleID(0x80)
	return &Checkpoint{
		Journal: 0, Sequence: 500, ObjectCRC: 0xcafe, Created: 1_700_000_000_123, Epoch: 3, Writer: WriterID(sampleID(0xa0)),
		Metadata: []Entry{
			Cluster{ID: sampleID(1), Lineage: sampleID(2), Journals: 2},
			ProducerIDs{First: 0, Count: 5000},
			Topic{ID: orders, Name: "orders", State: TopicLive, Journals: []uint32{0, 1}},
			GroupSlot{Slot: 0, Journal: 0},
		},
		Partitions: []PartitionState{
			{Topic: orders, Name: "orders", Partition: 0, LogStart: 20, Next: 103, MaxTimestamp: 4, Settled: sampleSettled(orders, "orders", 0),
				Producers: []ProducerState{
					{ProducerID: 7, ProducerEpoch: 2},
					{ProducerID: 4000, ProducerEpoch: 1, Batches: []ProducerBatch{
						{ProducerID: 4000, ProducerEpoch: 1, FirstSequence: 0, LastSequence: 1, BaseOffset: 100, LastOffset: 101, MaxTimestamp: 3},
						{ProducerID: 4000, ProducerEpoch: 1, FirstSequence: 2, LastSequence: 2, BaseOffset: 102, LastOffset: 102, MaxTimestamp: 4},
					}},
				}},
			{Topic: orders, Name: "orders", Partition: 1, MaxTimestamp: -1},
			{Topic: events, Name: "events", Partition: 0, LogStart: 9, Next: 9, MaxTimestamp: -1, Ended: true},
		},
		Groups:   []GroupOffset{sampleOffset("readers", 0), sampleOffset("writers", 0)},
		Pages:    []PageRef{{First: 100, Last: 299, Length: 9000, CRC: 11}, {First: 300, Last: 399, Length: 900, CRC: 12}},
		Objects:  sampleObjects(400),
		Released: []Run{{First: 0, Last: 99, Since: 1_700_000_000_000}, {First: 120, Last: 130}},
	}
}

func samplePage() *Page {
	return &Page{Journal: 3, First: 300, Last: 399, Objects: sampleObjects(310)}
}
