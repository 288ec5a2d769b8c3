package kfs

// Manifest is the table of contents of a journal object: what it holds, who wrote it, and what it follows.
// A reader that has the manifest needs nothing else to read any part of the object.
type Manifest struct {
	Journal  uint32    // the journal's number
	Sequence uint64    // the object's place in the journal: 0, 1, 2, … without holes
	Created  int64     // when the object was sealed, Unix milliseconds of the writer's clock
	Epoch    int32     // the owner epoch; never lower than the predecessor's
	Writer   WriterID  // who sealed it
	Previous uint32    // the predecessor's Object CRC; 0 for sequence 0
	Segments []Segment // one per partition that has records, contiguous from byte HeaderSize to the manifest, in that order
	Entries  []Entry   // state changes without record data, in order; applied after the segments
}

// Segment describes the record batches of one partition inside a journal object.
type Segment struct {
	Topic          TopicID
	Name           string // the topic's name
	Partition      int32
	Span           Span  // the offsets, half-open; batches are contiguous in it
	Records        int32 // number of records
	Position       int64 // first byte in the object
	Length         int64 // bytes
	CRC            uint32
	FirstTimestamp int64           // of the first record, Unix milliseconds
	MaxTimestamp   int64           // the largest of all records, Unix milliseconds
	Producers      []ProducerBatch // of idempotent producers, in order of offset
}

// ID names the segment's partition.
func (s *Segment) ID() PartitionID { return PartitionID{s.Topic, s.Partition} }

// ProducerBatch is what idempotent producing must remember of a batch.
type ProducerBatch struct {
	ProducerID    int64
	ProducerEpoch int16
	FirstSequence int32
	LastSequence  int32
	BaseOffset    int64
	LastOffset    int64
	MaxTimestamp  int64 // Unix milliseconds
}

// Ref is where a run of bytes lies: a segment is a range of an object.
type Ref struct {
	Key string
	Off int64
	Len int64
}
