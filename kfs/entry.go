package kfs

// Entry is a state change that a journal carries beside records. The concrete types are the ones in this file.
type Entry interface{ entry() }

// Trim moves the start of a partition's log. A trim below the present start changes nothing.
type Trim struct {
	Topic     TopicID
	Partition int32
	LogStart  int64
	Metadata  uint64 // the journal 0 sequence that the decision rests on
}

// Settled says that ranges of a partition now lie in segments; from this entry on readers go there.
type Settled struct {
	Topic     TopicID
	Partition int32
	Segments  []SettledSegment
}

// SettledSegment is one settled segment object.
type SettledSegment struct {
	Key          string // SegmentKey of the partition and Span.Base
	Span         Span
	Length       int64
	CRC          uint32 // CRC-32C of all bytes before its footer: the footer's own CRC would hide half of a plain one
	MaxTimestamp int64  // the largest of its records, Unix milliseconds
}

// Ended says that a journal takes no more records of a topic: it is being deleted. Its ranges count as trimmed.
type Ended struct{ Topic TopicID }

// GroupOffset is one committed offset of a consumer group.
type GroupOffset struct {
	Group       string
	Topic       string
	TopicID     TopicID // zero if not known
	Partition   int32
	Offset      int64 // -1 deletes the committed offset
	LeaderEpoch int32 // -1 if unknown
	Metadata    string
	Committed   int64 // Unix milliseconds
}

// GroupOffsets are committed offsets of one or more groups.
type GroupOffsets struct{ Offsets []GroupOffset }

// Cluster is what a cluster is. Journal 0 begins with it.
type Cluster struct {
	ID       ClusterID
	Lineage  TopicID // changes when a cluster is restored from a restore point, so that receipts can tell
	Journals uint32  // how many journals there are
}

// TopicState is where a topic is in its life.
type TopicState uint8

// The states of a topic.
const (
	TopicLive     TopicState = 1 // created or altered
	TopicDeleting TopicState = 2 // appends are refused; each journal that holds it appends Ended
	TopicDeleted  TopicState = 3 // the name is free again
)

// Topic creates, alters or deletes a topic (journal 0 only). It carries the whole description each time.
type Topic struct {
	ID       TopicID
	Name     string
	State    TopicState
	Journals []uint32 // the journal of each partition; its length is the number of partitions
	Configs  []Config // what differs from the defaults, sorted by key
	Created  int64    // Unix milliseconds
}

// Config is one topic setting.
type Config struct{ Key, Value string }

// GroupSlot places one of the 64 slots of consumer groups on a journal, whose owner coordinates its groups (journal 0 only).
type GroupSlot struct {
	Slot    uint8
	Journal uint32
}

// ProducerIDs gives out a block of producer ids [First, First+Count) (journal 0 only).
type ProducerIDs struct {
	First int64
	Count int64
}

func (Trim) entry()         {}
func (Settled) entry()      {}
func (Ended) entry()        {}
func (GroupOffsets) entry() {}
func (Cluster) entry()      {}
func (Topic) entry()        {}
func (GroupSlot) entry()    {}
func (ProducerIDs) entry()  {}
