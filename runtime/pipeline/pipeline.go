// Package pipeline runs a job: it follows topics in a namespace, decodes and transforms their records, and commits the rows to tables.
//
// Each journal has one reader, each table one worker that owns the table's sink and decoders. A worker commits when the oldest record
// that it holds would otherwise be visible too late, or when it holds enough. Reading and decoding go on while a commit runs.
//
// The package promises: a table's sink gets the offsets of each source partition in order and without holes, from the position that the
// sink itself reports, and a span that failed is given again. Dead letters of a span are committed before its rows. What cannot be
// read or decided stops the partition or the table that it touches and nothing else, and is never skipped. Everything that is held in
// memory is counted against one budget. An idle source causes no commits, and no timers but the tail's poll.
//
// It keeps no position of its own: what a job has committed is what its tables say.
package pipeline

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/decode"
	"github.com/firn-io/firn/runtime/processor"
)

// Policy is what becomes of records that cannot be decoded.
type Policy uint8

// The policies.
const (
	DeadLetter Policy = iota // they go to the dead-letter table
	Skip                     // they are counted and left out
	Halt                     // their partition halts
)

// Start is where a partition begins that its table has no position of; at most one field is set. The zero value is the earliest record.
type Start struct {
	Latest  bool      // behind the last record that was there when the job started
	At      time.Time // at the first record of that time or later
	Offsets Offsets   // at these offsets, which must not lie before the log start; partitions that it does not name begin at the earliest record
}

// Config says what a job does.
type Config struct {
	Name  string     // of the job; kfs.ValidateTopicName holds for it
	Store blob.Store // at the namespace's root
	// ID tells this process from others that run a job of this name; random if empty. Process names it to people.
	ID, Process string
	// KafScale says that the store is a bucket of KafScale: segments by topic and partition, and no journals. Its topics have no ids of their own,
	// see tail.SegmentTopic, and nobody there heeds retention holds.
	KafScale bool

	Topics  []string // the topics that are read; or
	Pattern string   // a regular expression that the whole name of a topic matches. Topics that begin with __ never match
	From    Start

	Decode decode.Config
	// OpenTransforms makes the transforms that the rows of a table go through; nil if there are none. One that is an io.Closer is closed.
	OpenTransforms func(table string) ([]Step, error)
	// Route names the table of a topic. Two topics on one table are an error.
	Route func(topic string) string
	// Fills tells which tables, beside that one, a topic's records may go to; nil if there are none. Then OpenSink opens a processor.Several.
	Fills func(topic, table string) bool
	// OpenSink opens the sink of a table that is filled from a source of that lineage; the zero value is a source without one. A sink
	// that is an io.Closer is closed.
	OpenSink func(ctx context.Context, table string, lineage kfs.TopicID) (processor.Sink, error)
	// OpenDeadLetters opens the sink of the job's dead letters, likewise. Only the policy DeadLetter needs it.
	OpenDeadLetters func(ctx context.Context, lineage kfs.TopicID) (processor.Sink, error)
	Errors          Policy

	// Hash tells apart what records become: configurations with the same one have the same Form, and sinks store it with positions. Kept is
	// put under it into the store, and Former makes the Form of it again: where a part of a job's tables is behind another, the rest of
	// what lies between comes to be as the one that is ahead has it. The hash comes from the tables and kept from the store, where others may
	// write: Former refuses what does not fit. Without Hash nothing is kept; without Former the present one decides.
	Hash       string
	Kept       []byte
	Former     func(hash string, kept []byte) (*Form, error)
	DecideAnew bool // the present Form decides also where a former one cannot be had

	// Assignment says which partitions are this process's to read, where several work on the job; nil: all.
	Assignment Assignment

	Freshness   time.Duration // from a record's acknowledgement to its visibility; default 2 s
	FileSize    int64         // bytes of source data that end a commit early; default 128 MiB
	MemoryBytes int64         // bound of all buffers; default 512 MiB, at least 16 MiB
	Until       Until         // where Run ends
	Grace       time.Duration // how long a last commit may take after ctx has ended; default 10 s

	Logger     *slog.Logger          // default: silent; the caller adds which job it is
	Registerer prometheus.Registerer // default: none; that of several jobs must tell them apart by a label
	Now        func() time.Time      // default time.Now
	Jitter     func() float64        // in [0, 1); default 0.5
	Allocator  memory.Allocator      // of Arrow buffers; default memory.DefaultAllocator
}

const (
	leastMemory  = 16 << 20
	objectsShare = 4 // one part in so many of the memory is for objects that were read and not decoded yet
)

// Validate reports everything that is wrong.
func (c *Config) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if err := kfs.ValidateTopicName(c.Name); err != nil {
		wrong("job name: %w", err)
	}
	if c.Store == nil || c.Route == nil || c.OpenSink == nil {
		wrong("a job needs Store, Route and OpenSink")
	}
	if c.Errors == DeadLetter && c.OpenDeadLetters == nil {
		wrong("policy dead_letter needs OpenDeadLetters")
	}
	if (len(c.Topics) == 0) == (c.Pattern == "") {
		wrong("a job reads topics by name or by one pattern")
	}
	if c.Freshness < 0 || c.FileSize < 0 || c.Grace < 0 {
		wrong("freshness, file size and grace must not be negative")
	}
	return errors.Join(append(errs, c.ValidateSettings(), c.Decode.Validate())...)
}

func (c *Config) setDefaults() {
	setDefault(&c.Freshness, 2*time.Second)
	setDefault(&c.FileSize, 128<<20)
	setDefault(&c.MemoryBytes, 512<<20)
	setDefault(&c.Grace, 10*time.Second)
	if c.ID == "" {
		c.ID = rand.Text()
	}
	setDefault(&c.Process, c.ID)
	if c.Assignment == nil {
		c.Assignment = everything{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Jitter == nil {
		c.Jitter = func() float64 { return 0.5 }
	}
	if c.Allocator == nil {
		c.Allocator = memory.DefaultAllocator
	}
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}
