package kfs

// Checkpoint is the whole state of a journal after the object with its sequence. It is durable state, for the objects that it
// covers may be gone.
type Checkpoint struct {
	Journal    uint32
	Sequence   uint64 // the last object that the state covers
	ObjectCRC  uint32 // that object's Object CRC: the chain goes on from here
	Created    int64  // Unix milliseconds of the writer's clock
	Epoch      int32  // the owner epoch after that object
	Writer     WriterID
	Metadata   []Entry          // journal 0: the entries that rebuild the metadata state, in order
	Partitions []PartitionState // in order of topic id (bytes) and partition
	Groups     []GroupOffset
	Pages      []PageRef // immutable index pages of live objects, in order of sequence
	Objects    []Object  // live objects that no page covers yet, in order of sequence
	Released   []Run     // objects that may go, in order of sequence
}

// PartitionState is what a journal knows of one partition.
type PartitionState struct {
	Topic        TopicID
	Name         string
	Partition    int32
	LogStart     int64
	Next         int64 // the next offset
	MaxTimestamp int64 // Unix milliseconds; -1 if there was no record
	Ended        bool
	Settled      []SettledSegment // in order of offset, without gaps
	Producers    []ProducerState  // in order of producer id
}

// ID names the partition.
func (p *PartitionState) ID() PartitionID { return PartitionID{p.Topic, p.Partition} }

// ProducerState is what a partition knows of an idempotent producer: its epoch and the last batches, at most five.
type ProducerState struct {
	ProducerID    int64
	ProducerEpoch int16
	Batches       []ProducerBatch // oldest first
}

// Object is a live journal object as the index knows it.
type Object struct {
	Sequence uint64
	CRC      uint32 // Object CRC
	Size     int64
	Created  int64
	Segments []Segment // without Producers
}

// PageRef names an index page.
type PageRef struct {
	First, Last uint64 // sequences, inclusive
	Length      int64
	CRC         uint32 // CRC-32C in the page object's footer; see MetaChecksum
}

// Page is an immutable index page: the live objects of a run of sequences. Put if absent, and read back.
type Page struct {
	Journal     uint32
	First, Last uint64
	Objects     []Object
}

// Run is a run of released objects [First, Last] and the store's time at which the checkpoint that first named them released was
// read back; zero until it was.
type Run struct {
	First, Last uint64
	Since       int64 // Unix milliseconds of the store's clock, 0 if not yet known
}
