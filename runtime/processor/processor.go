// Package processor is the contract between Firn's runtime and what users plug into it: transforms that change Arrow batches and
// sinks that own a table.
//
// The runtime promises: batches of a source partition arrive in order of offset, without holes; calls on one value are never
// concurrent; a span that failed is given again. A sink that stores its position together with its data, in one atomic step, gets
// every offset exactly once. A sink that cannot do so gets every offset at least once.
//
// A panic ends neither the process nor what other tables do, see PanicError. That of Transform.Apply halts the source partition whose batch
// it was given, for it would come again; other partitions go on. That of a sink is an error of which nobody knows what the call has done:
// Committed tells. Either value is closed and not called again, and another one is opened in its place; so whatever Close needs must be
// free by then: give up locks, and release Arrow buffers, by defer. A panic on a goroutine that a plug-in has started ends the process.
package processor

import (
	"cmp"
	"context"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firn-io/firn/kfs"
)

// Source is one source partition: one partition of one incarnation of a topic.
type Source struct {
	Topic     string // the topic's name
	ID        kfs.TopicID
	Partition int32
}

// Compare orders sources by topic, then by incarnation and partition.
func (s Source) Compare(other Source) int {
	return cmp.Or(cmp.Compare(s.Topic, other.Topic), slices.Compare(s.ID[:], other.ID[:]), cmp.Compare(s.Partition, other.Partition))
}

// Batch is the rows that a span of one source partition became.
type Batch struct {
	Source Source
	// Span is the offsets that the batch accounts for. It begins where the partition's previous batch ended. It may hold more offsets
	// than there are rows: dead letters, filtered rows, holes of a compacted source.
	Span kfs.Span
	// Records are the rows in order of offset, or nil if there are none. Borrowed: valid until the call returns, unless retained. The first
	// columns are the coordinates of the record that a row was:
	//
	//	kafka_topic      string
	//	kafka_partition  int32
	//	kafka_offset     int64
	//	kafka_timestamp  timestamp[us, UTC]
	//	kafka_key        binary, or string where the job says so; null if the record has none
	//	kafka_headers    list<struct<key: string, value: binary>>
	//
	// Behind them are the columns of the record's value as the job decodes it, and as the transforms before have left them.
	Records arrow.RecordBatch
	// Rejected are the records that a transform has found to be no rows. They become what the job's error policy says. Sinks see none.
	Rejected []Rejection
}

// Coordinates is the number of columns that say where a row came from. They are the first of every batch.
const Coordinates = 6

// Rejection is why a record is no row.
type Rejection struct {
	Offset  int64
	Class   string // a word for statistics, in lower case with underscores
	Message string // where and why, for a person
}

// Positions are the next offsets to be read, per source partition.
type Positions map[Source]int64

// Transform changes batches. Every table has its own value, and calls on one are never concurrent. A transform that holds resources implements
// io.Closer.
//
// Apply takes ownership of b.Records, which is not nil, and gives the result's to the caller, nil if no row is left. It must be deterministic:
// the same batch may be given again. The Source, the Span and the coordinates stay as they are; rows may be left out, never added, repeated or
// put in another order. A row that it cannot transform it leaves out and appends to b.Rejected. An error is for everything else: the span is
// given again, later; a HaltError ends the table's work until a person has decided.
type Transform interface {
	Apply(ctx context.Context, b Batch) (Batch, error)
}

// Staged is sealed output that no reader sees yet. That of a sink that is Portable may travel to another process.
type Staged struct {
	Spans map[Source]kfs.Span // what it covers
	Data  []byte              // the sink's own description, opaque
}

// Sink owns one table. Calls on one value are never concurrent. A sink that holds resources implements io.Closer.
type Sink interface {
	// Committed reads the table's own record of progress. The sink owns its position; the runtime keeps none.
	// A source that is not in the map was never committed.
	Committed(ctx context.Context) (Positions, error)
	// Stage takes the rows of a batch, invisible until Commit. After an error the span is staged again from the last Seal.
	Stage(ctx context.Context, b Batch) error
	// Seal ends what was staged since the last Seal and describes it.
	Seal(ctx context.Context) (Staged, error)
	// Commit makes the staged output visible and moves the position from from to to, all or nothing. ErrMoved says that the position was
	// not from: another writer is ahead, the staged output was not committed, and the caller starts again from Committed.
	// from and to name the same sources, those that this commit advances; from of a source that was never committed is where the job begins to read
	// it, and no ErrMoved. Any other error says nothing of what became of the commit: Committed tells, and the same call may be made again.
	Commit(ctx context.Context, from, to Positions, staged []Staged) error
	// Discard gives up staged output that was never part of a Commit call.
	Discard(ctx context.Context, staged []Staged) error
}
