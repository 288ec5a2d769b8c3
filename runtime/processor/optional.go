package processor

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firn-io/firn/kfs"
)

// What follows are optional powers of a Sink, found by assertion. Like the Sink's own methods they are never called concurrently with others.

// Described is a sink whose table has columns of its own. Rows are decoded into them.
type Described interface {
	// Schema gives the table's present columns, nil if there is no table yet. It is asked after Committed and reads what that has read.
	Schema(ctx context.Context) (*arrow.Schema, error)
}

// Buffering is a sink that holds staged rows in memory. They count against the job's memory.
type Buffering interface {
	// Buffered is the memory, in bytes, that Stage has taken and Seal would free.
	Buffered() int64
}

// Recalling is a sink of dead letters that can tell which ones it holds. A replay obeys it: what is there stays a dead letter, what is
// not is a row, whatever decoding would say now.
type Recalling interface {
	// DeadOffsets gives the offsets of a source in span that the table holds, ascending.
	DeadOffsets(ctx context.Context, src Source, span kfs.Span) ([]int64, error)
}

// Identified is a sink whose table has an identity that a table of the same name made later would not have.
type Identified interface {
	// Identity is the table's UUID, "" if there is no table yet.
	Identity() string
}

// Unfit is an error of Stage, Seal or Commit: the values of a column do not fit the table, and the table was not changed for them. The
// span is decoded again by the table's columns, so that those records become dead letters.
type Unfit interface {
	error
	UnfitColumn() string // the column, its parts joined by dots
}
