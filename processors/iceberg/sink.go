// Package iceberg is the sink that writes Iceberg tables: Arrow batches become Parquet files that no snapshot refers to, and a commit
// with a receipt makes them visible and moves the position, all or nothing (see package catalog).
//
// It promises that every offset of a span is in the table once, however often Stage, Seal and Commit are tried and whoever else
// writes to the table. It widens the table's schema as the batches ask for, and never narrows it. It never deletes a file that a
// Commit was called with, and writes nothing below the table's location but new files under random names.
package iceberg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	iceberglib "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
)

// Config is what the sinks of one job have in common.
type Config struct {
	Catalog *catalog.Catalog // required; stays open
	// Options are what the job tells of itself in receipts. Highs, Sound and Lineage are the sink's own.
	Options catalog.Options
	// Prefix begins the names of the coordinate columns; "kafka_" if empty.
	Prefix string
	// FileBytes is the size at which a data file ends; 128 MiB if 0.
	FileBytes int64
	// MemoryBytes bounds what the open row groups of one sink hold, as Arrow bytes; 256 MiB if 0. The largest file ends when it is reached.
	MemoryBytes int64
	// OpenFiles bounds the files that one sink has open; 64 if 0. The one that was not written to for longest ends when it is reached.
	OpenFiles int
	// ReplaceBytes bounds the files that are written again when a long column must become double; 256 MiB if 0. Where more would be, the
	// values that do not fit are refused.
	ReplaceBytes int64
	// Spill is where rows of partitioned tables wait for others of their partition; if it is zero, rows are written as they come.
	Spill     plugin.Spill
	Allocator memory.Allocator // memory.DefaultAllocator if nil
}

// Factory opens sinks that write to the tables of one catalog.
type Factory struct{ cfg Config }

var _ processors.Opener = (*Factory)(nil)

// New makes a factory. It does no I/O.
func New(cfg Config) *Factory {
	if cfg.Prefix == "" {
		cfg.Prefix = "kafka_"
	}
	if cfg.FileBytes == 0 {
		cfg.FileBytes = 128 << 20
	}
	if cfg.MemoryBytes == 0 {
		cfg.MemoryBytes = 256 << 20
	}
	if cfg.OpenFiles == 0 {
		cfg.OpenFiles = 64
	}
	if cfg.ReplaceBytes == 0 {
		cfg.ReplaceBytes = 256 << 20
	}
	if cfg.Allocator == nil {
		cfg.Allocator = memory.DefaultAllocator
	}
	return &Factory{cfg: cfg}
}

// Open makes the sink of one table, which need not exist: its first batch gives it its schema.
func (f *Factory) Open(_ context.Context, t processors.Table) (processor.Sink, error) {
	s := &Sink{cfg: f.cfg, spec: t}
	for _, expression := range t.Partition {
		if _, err := parsePartition(expression); err != nil {
			return nil, fmt.Errorf("table %s: %w", t.Name, err)
		}
	}
	opts := f.cfg.Options
	opts.Highs, opts.Sound, opts.Lineage = s.highs, s.sound, t.Lineage
	committer, err := f.cfg.Catalog.Committer(t.Name, opts)
	if err != nil {
		return nil, err
	}
	s.committer = committer
	s.now = opts.Now
	if s.now == nil {
		s.now = time.Now
	}
	s.rand = opts.Rand
	if f.cfg.Spill != (plugin.Spill{}) {
		s.gathered = newGathered(&s.cfg)
	}
	s.reset()
	return s, nil
}

// List names the tables of a namespace.
func (f *Factory) List(ctx context.Context, namespace string) ([]string, error) {
	return f.cfg.Catalog.List(ctx, namespace)
}

// Sink writes one table. Its methods must not be called concurrently.
type Sink struct {
	cfg       Config
	spec      processors.Table
	committer *catalog.Committer
	now       func() time.Time
	rand      io.Reader // nil: crypto/rand

	seen   *table.Table // as last loaded, nil if it was not there
	table  *table.Table // as the writer knows it, nil if there is no writer
	writer *writer      // for batches of the last schema, nil if there was none
	stale  bool         // the next batch looks at the table anew

	// What was staged since the last Seal.
	ranges   map[string]catalog.Advance
	open     map[string]*fileWriter // by writer and partition
	gathered *gathered              // nil: rows are written as they come
	done     []iceberglib.DataFile
	fits     *iceberglib.Schema // that done has been written for, and what is gathered
	schema   int                // the table's schema id that the files were written with, or a later one that holds all of it
	held     int64              // Arrow bytes in open row groups
	began    int64              // when the first file was begun, in Unix milliseconds; 0 if there is none
	clock    int64              // counts writes

	commits int // that have landed since the last upkeep
}

// writer brings batches of one schema into files of one layout.
type writer struct {
	source    *arrow.Schema
	conformer *conformer
	splitter  *splitter
	layout    *layout
	offset    int // the column of the record's offsets
}

var (
	_ processor.Sink       = (*Sink)(nil)
	_ processor.Described  = (*Sink)(nil)
	_ processor.Buffering  = (*Sink)(nil)
	_ processor.Spilling   = (*Sink)(nil)
	_ processor.Recalling  = (*Sink)(nil)
	_ processor.Identified = (*Sink)(nil)
	_ processor.Deciding   = (*Sink)(nil)
	_ processor.Citing     = (*Sink)(nil)
	_ processor.Portable   = (*Sink)(nil)
	_ processor.Propertied = (*Sink)(nil)
	_ io.Closer            = (*Sink)(nil)

	_ processor.Unfit = (*RowError)(nil)
	_ processor.Unfit = (*catalog.TypeError)(nil)
)

// Committed reads the table's own record of progress. A table that does not exist has none.
func (s *Sink) Committed(ctx context.Context) (processor.Positions, error) {
	s.seen = nil
	next, t, err := s.committer.Position(ctx)
	if errors.Is(err, catalog.ErrNoTable) {
		return processor.Positions{}, nil
	}
	if err != nil {
		return nil, asProcessor(err)
	}
	out := make(processor.Positions, len(next))
	for key, at := range next {
		source, err := ParseSource(key)
		if err != nil {
			return nil, fmt.Errorf("position of table %s: %w", s.spec.Name, err)
		}
		out[source] = at
	}
	s.seen = t
	s.follow(t.Metadata())
	return out, nil
}

// Decided implements processor.Deciding.
func (s *Sink) Decided(src processor.Source) (next int64, config string, ok bool) {
	if s.seen == nil {
		return 0, "", false
	}
	key := SourceKey(src)
	next, ok = s.committer.Known().Positions[key]
	return next, s.committer.Config(key), ok
}

// Property implements processor.Propertied.
func (s *Sink) Property(key string) (value string, ok bool) {
	if s.seen == nil {
		return "", false
	}
	value, ok = s.seen.Properties()[key]
	return value, ok
}

// Schema is the table's schema as it was last seen, by Committed or when Stage widened it, without field ids; nil if there was no
// table.
func (s *Sink) Schema(context.Context) (*arrow.Schema, error) {
	if s.seen == nil {
		return nil, nil
	}
	schema, err := table.SchemaToArrowSchema(s.seen.Schema(), nil, false, false)
	if err != nil {
		return nil, fmt.Errorf("schema of table %s: %w", s.spec.Name, err)
	}
	return schema, nil
}

// Identity is the table's UUID as it was last seen, "" if it was not; of one that took another's place after a rebuild, the other's.
func (s *Sink) Identity() string {
	if known := s.committer.Identity(); known != "" || s.seen == nil {
		return known
	}
	return catalog.Identity(s.seen.Metadata()) // it was made or found for rows, and nothing was committed to it
}

// Portable implements processor.Portable: what Seal gives describes the files and their rows in full.
func (s *Sink) Portable() bool { return true }

// Buffered is how many bytes the rows of the open row groups take, at most: they are counted as Arrow.
func (s *Sink) Buffered() int64 {
	if s.gathered == nil {
		return s.held
	}
	return s.held + s.gathered.held
}

// Spills implements processor.Spilling.
func (s *Sink) Spills() bool { return s.gathered != nil }

// Spill implements processor.Spilling.
func (s *Sink) Spill(ctx context.Context) error {
	if s.gathered == nil {
		return nil
	}
	if err := s.putAside(ctx); err != nil {
		return errors.Join(asProcessor(fmt.Errorf("put rows aside: %w", err)), s.drop())
	}
	return nil
}

// Stage writes the rows of a batch to files that no snapshot refers to. Where the table lacks a column, or has it narrower, the
// table's schema is changed first. A *RowError or *catalog.TypeError says that the batch holds what the table cannot take; every
// error gives up what was staged since the last Seal.
func (s *Sink) Stage(ctx context.Context, b processor.Batch) error {
	if err := s.stage(ctx, b); err != nil {
		return errors.Join(asProcessor(fmt.Errorf("stage %s %s: %w", SourceKey(b.Source), b.Span, err)), s.drop())
	}
	return nil
}

func (s *Sink) stage(ctx context.Context, b processor.Batch) error {
	key := SourceKey(b.Source)
	a, ok := s.ranges[key]
	switch {
	case b.Span.Base < 0 || b.Span.Next < b.Span.Base:
		return fmt.Errorf("the span is none")
	case !ok:
		a = catalog.Advance{Span: kfs.Span{Base: b.Span.Base, Next: b.Span.Base}, High: -1}
	case a.Span.Next != b.Span.Base:
		return fmt.Errorf("the batch before ends at %d", a.Span.Next)
	}
	a.Span.Next = b.Span.Next
	if b.Records != nil && b.Records.NumRows() > 0 {
		if err := s.prepare(ctx, b.Records.Schema()); err != nil {
			return err
		}
		high, err := s.write(ctx, b)
		if err != nil {
			return err
		}
		a.High = max(a.High, high)
		a.Rows += b.Records.NumRows()
	}
	s.ranges[key] = a
	return nil
}

// asProcessor says in the contract's words what the catalog package says in its own.
func asProcessor(err error) error {
	var halt *catalog.HaltError
	switch {
	case errors.As(err, &halt):
		return fmt.Errorf("%w", &processor.HaltError{Reason: halt.Reason, Decide: halt.Decide})
	case errors.Is(err, catalog.ErrMoved), errors.Is(err, catalog.ErrRestage):
		return fmt.Errorf("%w: %w", processor.ErrMoved, err)
	}
	return err
}
