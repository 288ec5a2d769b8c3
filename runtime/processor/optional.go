package processor

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firn-io/firn/kfs"
)

// What follows are optional powers, found by assertion. Like the methods of Sink and Transform they are never called concurrently with others.

// Typed is a transform that knows what columns it makes. A job file is checked by it before there is data.
type Typed interface {
	// Columns gives the columns of the result where those of the batch are in. A column that is not there may still come with the records,
	// unless complete. The error says which setting names what is not there, or does not fit a column's type.
	Columns(in *arrow.Schema, complete bool) (*arrow.Schema, error)
}

// Tracing is a transform that lets columns through. Where the schema is inferred, records are decoded into the columns that the table has
// of them, also after a restart; what is inferred anew may come out differently.
type Tracing interface {
	// Origin gives, for the columns of a table that the results are written to, the columns of the batch whose values they have unchanged,
	// with the same type. Columns that the transform makes, changes or never lets through are not among them.
	Origin(table *arrow.Schema) *arrow.Schema
}

// Needing is a transform that needs something of the machine that it runs on, such as a program.
type Needing interface {
	// Missing says what is not there. It starts and changes nothing.
	Missing() error
}

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

// Recalling is a sink of dead letters that can tell which ones it holds. A replay obeys it: what is there stays a dead letter, whatever
// decoding would say now. What is not there was to be a row, and may still become a dead letter as long as no table shows the row: another
// partition may have changed the table's columns meanwhile.
type Recalling interface {
	// DeadOffsets gives the offsets of a source in span that the table holds, ascending.
	DeadOffsets(ctx context.Context, src Source, span kfs.Span) ([]int64, error)
	// Amend takes the place of Commit for letters of offsets that the position has passed without them: those of the staged rows, in order,
	// one batch for each source. The position stays where it is. After an error DeadOffsets tells what is there; where some were there
	// already, nothing was committed.
	Amend(ctx context.Context, staged Staged, offsets map[Source][]int64) error
	// Lost gives the offsets of a source whose letters the table has held and does not hold any more, because somebody has rolled it back. It is
	// asked after Committed and reads what that has read.
	Lost(src Source) kfs.Span
	// Mark names the newest commit that has brought letters of a source's offsets from one on, "" if there is none or the sink cannot tell. It is
	// asked after Committed and reads what that has read.
	Mark(src Source, from int64) string
	// Gone reports whether a commit that Mark has named is not there any more, because somebody has rolled the table back. It must not say so of
	// what it cannot tell. It is asked after Committed and reads what that has read.
	Gone(mark string) bool
}

// Citing is a sink whose commits can name those of the dead-letter table beside which their rows stand (Recalling.Mark). Where another process, under
// another configuration, has put letters of its own in the place of some that a rollback has taken, nothing else would tell that those are gone.
type Citing interface {
	// Cite gives staged output without rows: a Commit that it is part of stands beside these commits of the dead-letter table, for these of
	// its sources. ok is false if this sink cannot.
	Cite(marks map[Source]string) (staged Staged, ok bool, err error)
	// Bereft names a source, and offsets of it, that were committed beside a commit of which gone says that it is gone; ok is false if there is
	// none. It is asked after Committed and reads what that has read.
	Bereft(gone func(mark string) bool) (src Source, span kfs.Span, ok bool, err error)
}

// Deciding is a sink that stores with its position which configuration the job had (plugin.SinkEnv.Config). What a span becomes is decided
// once: where another table of the job is behind, it gets the rest of the span under the same configuration.
type Deciding interface {
	// Decided tells how far the records of a source have become rows here, and under which configuration: "" if that is not known. It is
	// asked after Committed and reads what that has read; ok is false if nothing of the source is here.
	Decided(src Source) (next int64, config string, ok bool)
}

// Portable is a sink whose sealed output can be committed by another process's sink of the same table, in one Commit with what others have
// staged. Where several processes work on a job, one of them then commits for all; sinks without this power commit for themselves.
type Portable interface {
	// Portable reports whether Staged says all that a Commit needs, wherever it is called.
	Portable() bool
}

// Identified is a sink whose table has an identity that a table of the same name made later would not have.
type Identified interface {
	// Identity is the table's UUID, "" if there is no table yet.
	Identity() string
}

// Propertied is a sink whose table has properties that were set when it was made (plugin.Table.Properties).
type Propertied interface {
	// Property is asked after Committed and reads what that has read.
	Property(key string) (value string, ok bool)
}

// Several is a sink that writes to several tables. What it reports as committed is what all of them have that count for a source, as far as
// it has rows for them.
type Several interface {
	// Tables tells of the tables that there are, as they were last seen or committed to.
	Tables() []TableState
	// CatchUp moves tables, for which the last spans had nothing, to where the others are: all of them before the sink is left, else those
	// that have waited for a while. It is called when nothing is staged. behind says that some are left to wait.
	CatchUp(ctx context.Context, all bool) (behind bool, err error)
}

// TableState is one table of several.
type TableState struct {
	Name      string
	Identity  string // as Identified has it
	Positions Positions
	Shown     Positions // as far as a load has shown that they are there, or a commit that began at them; the last commit's own answer has not
}

// Unfit is an error of Stage, Seal or Commit: the values of a column do not fit the table, and the table was not changed for them. The
// span is decoded again by the table's columns, so that those records become dead letters.
type Unfit interface {
	error
	UnfitColumn() string // the column, its parts joined by dots
}

// Spilling is a sink that may put staged rows out of memory before they are sealed. Where memory is short it is asked to, before what is
// staged is committed early for want of it.
type Spilling interface {
	// Spills reports whether it can, as it was opened.
	Spills() bool
	// Spill frees what Buffered counts, as far as it can. An error gives up what was staged since the last Seal.
	Spill(ctx context.Context) error
}
