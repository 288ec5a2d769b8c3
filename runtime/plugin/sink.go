package plugin

import (
	"context"
	"errors"
	"log/slog"
	"reflect"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/processor"
)

// SinkEnv is what a job gives to the sinks of its tables.
type SinkEnv struct {
	Job         string
	Config      string     // tells apart what records become: two jobs with the same value decode, transform and route alike
	Data        string     // the folder of the program, for sinks that keep files where the job file says nothing
	Store       blob.Store // the source's
	FileBytes   int64      // how large the job wants its files
	MemoryBytes int64      // bound of what the job's sinks hold
	Spill       Spill      // where rows of many partitions may wait for others of theirs
	Logger      *slog.Logger
	Allocator   memory.Allocator // of Arrow buffers
}

// Spill is room on a local disk for rows that nobody waits for, so that they become few large files. The zero value is none.
type Spill struct {
	Folder string // of a temporary file for each table
	Bytes  int64  // bound of each
}

// Table is one table of a job: what the job file says of it, and the source that it is filled from.
type Table struct {
	Name       string            // namespace.table
	Lineage    string            // of the source that it is filled from; empty if the source has none
	Partition  []string          // expressions such as day(kafka_timestamp); used when the table is made
	Properties map[string]string // of the table; used when the table is made
	// DeadLetters says that these are the job's dead letters, of all its topics. A topic that was deleted and created again goes on in the
	// same table: the column topic_id tells the letters of the two apart. In other tables nothing does, so a sink must refuse.
	DeadLetters bool
}

// Tables opens the sinks of one job. It is closed when the job has ended, if it is an io.Closer.
type Tables interface {
	// Open opens the sink of one table, which need not exist. It may be called again, also for a table that is open, and concurrently. A
	// sink that holds resources is an io.Closer.
	Open(ctx context.Context, t Table) (processor.Sink, error)
}

// Listing is an optional power of Tables: they know which tables there are. Records can name their tables only where that is known: else
// nobody could tell, after a crash, which of them lack what others have.
type Listing interface {
	// List names the tables of a namespace, each as namespace.table.
	List(ctx context.Context, namespace string) ([]string, error)
}

// ErrNoListing is what a job file that lets records name their tables is told where Tables are no Listing.
var ErrNoListing = errors.New("records cannot name their tables with this sink, which does not tell which tables there are; use {topic} and {match:1} only")

// Placed is an optional power of Tables: they tell people where they are.
type Placed interface {
	Place() string
}

// Sink is a kind of sink.
type Sink struct {
	Settings reflect.Type // what Open decodes
	Tables   reflect.Type // what Open gives, so that its powers are known before; nil or an interface: they show when it is open
	// Open connects to where the tables of a job are.
	Open func(ctx context.Context, settings Decode, env SinkEnv) (Tables, error)
	// Check says what is wrong with settings, without connecting to anything. It may be nil.
	Check func(settings Decode) error
	// CheckTable says what is wrong with a table that a job file describes, likewise. columns are those that the table would have, nil if
	// they are not known before there are records.
	CheckTable func(t Table, columns *arrow.Schema) error
	// Reserved is the names that no column can have in a table that is partitioned so. It may be nil.
	Reserved func(partition []string) []string
}

// Sinks are kinds of sinks by the key that names them in a job file.
type Sinks map[string]Sink

// NewSink is a kind whose settings are a value of type S and whose tables are a T.
func NewSink[S any, T Tables](open func(ctx context.Context, settings S, env SinkEnv) (T, error)) Sink {
	return Sink{
		Settings: reflect.TypeFor[S](),
		Tables:   reflect.TypeFor[T](),
		Open: func(ctx context.Context, settings Decode, env SinkEnv) (Tables, error) {
			var s S
			if err := settings(&s); err != nil {
				return nil, err
			}
			tables, err := open(ctx, s, env)
			if err != nil {
				return nil, err
			}
			return tables, nil
		},
	}
}

// Lists reports whether the tables are a Listing, as far as that is known before they are open.
func (s Sink) Lists() bool {
	return s.Tables == nil || s.Tables.Kind() == reflect.Interface || s.Tables.Implements(reflect.TypeFor[Listing]())
}
