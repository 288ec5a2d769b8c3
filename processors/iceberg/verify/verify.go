// Package verify proves from a table and its metadata that every offset of its sources is in it once: what `firn verify` does.
//
// It compares what the jobs' receipts say with what the table's snapshots did and with the files that are there. It reads the catalog,
// the table's metadata and manifests and, if asked to, the coordinate columns of every file. It never writes, never asks a broker, and
// believes no summary that it can count itself.
//
//	report, err := verify.Table(ctx, verify.Config{Catalog: lake, Table: "analytics.events", Job: "events", Deep: true})
//
// A record that was a dead letter and is a row since a retry counts as a row. A letter that is not resolved although its record is a row is
// superseded: it is mentioned and is no fault.
//
// Offsets whose records the log had lost, and that a person has given up so that the table goes on behind them, are listed and are no fault.
//
// What foreign writers removed by a delete or an overwrite is listed and is no fault, unless Config.Strict. A row that is missing without
// such a snapshot is one, as is a row that is there twice, a range that no receipt covers, and a branch that was rolled back.
package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
	icebergio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/runtime/processor"
)

// Config says what is verified and how.
type Config struct {
	Catalog *catalog.Catalog
	// Store is the source's namespace, for progress that is too large for a table property and for what the job itself remembers. It may be nil.
	Store       blob.Store
	Table       string // namespace.table
	Job         string // the job whose table it is; its backfills are its own
	DeadLetters string // the job's dead-letter table; "" if it has none
	Letters     bool   // Table is the job's dead-letter table itself
	// Whole says that the job has always made a row or a dead letter of every record: it neither skips nor filters nor routes by content. Then an
	// offset that is neither is missing, whatever the receipts counted.
	Whole bool
	// Division takes what is found of the table, where the job divides records among several; it may be nil. Then Whole is false, and WholeTogether says
	// that every record is a row in one of the tables, or a dead letter.
	Division      *Division
	WholeTogether bool

	Prefix string // of the coordinate columns; "kafka_" if empty
	Deep   bool   // read the coordinates of every row
	Strict bool   // rows that foreign writers removed are faults too
	// Progress is told how many of the files have been read; nil if nobody looks.
	Progress func(done, total int)
}

// Kind is what a finding is about.
type Kind string

// The kinds of findings.
const (
	Hole      Kind = "hole"      // offsets that no receipt accounts for
	Overlap   Kind = "overlap"   // offsets that two receipts account for
	Missing   Kind = "missing"   // rows that should be there
	Duplicate Kind = "duplicate" // rows or files that are there twice
	Foreign   Kind = "foreign"   // rows that no receipt accounts for
	Removed   Kind = "removed"   // rows that a foreign snapshot removed; only if Strict
	Rollback  Kind = "rollback"  // commits that the branch has lost
	Damage    Kind = "damage"    // what cannot be read, or contradicts itself
	Halt      Kind = "halt"      // the job has stopped at a record: what comes behind it is in no table; said by who knows jobs, not by Table
)

// Finding is one thing that is wrong.
type Finding struct {
	Kind     Kind       `json:"kind"`
	Source   string     `json:"source,omitempty"`
	Spans    []kfs.Span `json:"spans,omitempty"` // of offsets, where they are known
	Snapshot int64      `json:"snapshot,omitempty"`
	What     string     `json:"what"`
}

// String is the finding in one line.
func (f Finding) String() string {
	s := string(f.Kind) + ": "
	if f.Source != "" {
		s += f.Source + ": "
	}
	return s + f.What
}

// Source is what was verified of one source partition.
type Source struct {
	Source  string     `json:"source"`       // topic/topic id/partition
	Spans   []kfs.Span `json:"spans"`        // of offsets that the table accounts for
	Rows    int64      `json:"rows"`         // that receipts counted; -1 where expiry has taken the counts
	Letters int64      `json:"dead_letters"` // resolved ones included
	// Repaired is how many of the rows were dead letters before.
	Repaired int64 `json:"repaired,omitempty"`
	// Lost are offsets whose records were gone before the table had them, and that a person has given up: no fault.
	Lost  []kfs.Span `json:"lost,omitempty"`
	Found int64      `json:"found"` // rows that were read; -1 unless Config.Deep
}

// Removal is a snapshot of somebody else that took rows away.
type Removal struct {
	Snapshot  int64  `json:"snapshot"`
	Operation string `json:"operation"`
	Time      int64  `json:"time_ms"` // Unix milliseconds
	Rows      int64  `json:"rows"`    // at most: delete files may name rows that were gone already; -1 of equality deletes, which name none
}

// Report is what was verified of one table.
type Report struct {
	Table     string    `json:"table"`
	UUID      string    `json:"uuid"`
	Snapshot  int64     `json:"snapshot"` // 0 if there is none
	Snapshots int       `json:"snapshots"`
	Expired   bool      `json:"expired"` // older snapshots are gone: counts speak for them
	Files     int       `json:"files"`
	Rows      int64     `json:"rows"` // of the data files, less position deletes
	Deep      bool      `json:"deep"`
	Sources   []Source  `json:"sources"`
	Removals  []Removal `json:"removals,omitempty"`
	Notes     []string  `json:"notes,omitempty"` // what could not be told, and how to find out
	Findings  []Finding `json:"findings,omitempty"`
}

// Table verifies one table. The error says that not everything could be verified; what is wrong with the table is in the report.
// catalog.ErrNoTable if it does not exist.
func Table(ctx context.Context, cfg Config) (*Report, error) {
	if cfg.Prefix == "" {
		cfg.Prefix = "kafka_"
	}
	v := &verifier{Config: cfg, sources: map[string]*source{}, places: map[place]*source{}}
	if err := v.look(ctx); err != nil {
		return nil, err
	}
	v.report = &Report{
		Table: cfg.Table, UUID: v.account.Table, Snapshot: v.account.Head, Snapshots: len(v.account.Branch), Expired: !v.account.Complete, Deep: cfg.Deep,
		Sources: []Source{},
	}
	if err := v.run(ctx); err != nil {
		return nil, fmt.Errorf("table %s: %w", cfg.Table, err)
	}
	return v.report, nil
}

// look loads all that the table is compared with, once. The job and retries go on beside it, so the order counts: what the job says that it has
// committed is there when the table is looked at afterwards. The dead letters of what the table accounts for came before it; and a letter
// that is resolved has become a row before, so that the table must not be looked at long before the letters.
func (v *verifier) look(ctx context.Context) error {
	var err error
	if err = v.recall(ctx); err != nil {
		return err
	}
	if v.account, v.table, err = v.Catalog.Account(ctx, v.Table, v.Store); err != nil {
		return err
	}
	if v.DeadLetters != "" {
		v.letters.account, v.letters.table, err = v.Catalog.Account(ctx, v.DeadLetters, v.Store)
		if err != nil && !errors.Is(err, catalog.ErrNoTable) {
			return fmt.Errorf("dead letters: %w", err)
		}
	}
	if v.fs, err = v.table.FS(ctx); err != nil {
		return fmt.Errorf("files of table %s: %w", v.Table, err)
	}
	return nil
}

type verifier struct {
	Config
	job     *kfs.Job // what it remembers; nil if nothing, or nobody has asked
	damaged error    // why that cannot be read
	account *catalog.Account
	table   *table.Table
	letters struct { // nil where there are none
		account *catalog.Account
		table   *table.Table
	}
	fs      icebergio.IO
	columns columns

	schemaAt map[int64]int      // ids of the schemas that the table had, by sequence number
	sources  map[string]*source // by key
	places   map[place]*source  // likewise; nil where the rows are another job's
	topics   map[string]bool    // of the places
	sole     string             // the only one of them; "" if there are several
	accounts []*account         // of all jobs
	live     *content           // of the head
	removed  []*change          // foreign snapshots that took rows away, or others in their place, the oldest first
	taken    int64              // rows that foreign snapshots took away and did not put back, since the last one with a receipt
	report   *Report

	rows map[place]*offsets          // live ones, if Deep
	dead map[place]*roaring64.Bitmap // offsets of dead letters, if Deep
}

// source is what is known of a source partition.
type source struct {
	key      string
	topic    kfs.TopicID
	place    place
	jobs     []*account // of the job and its backfills
	rows     int64      // by the jobs' counts; catalog.UnknownRows
	repaired int64      // of the rows: those that were dead letters before
	letters  int64      // dead letters in the spans, as counted
	deadline int64      // how far the dead letters have come

	lettersFrom int64 // where they began, if there are any
}

// place is where a source's rows lie, as the coordinate columns say.
type place struct {
	topic     string // its name; where rows are dead letters, topic/topic id
	partition int32
}

func (v *verifier) run(ctx context.Context) error {
	var err error
	if v.columns, err = v.columnsOf(v.table.Schema()); err != nil {
		v.find(Finding{Kind: Damage, What: err.Error()})
		return nil
	}
	v.schemaAt = schemasBySequence(v.table.Metadata())
	v.readReceipts()
	v.readLetters()
	v.remembered()
	if err := v.readContent(ctx); err != nil {
		return err
	}
	if err := v.replay(ctx); err != nil {
		return err
	}
	v.checkFiles()
	found := map[place]int64{}
	if v.Deep {
		if found, err = v.deep(ctx); err != nil {
			return err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(v.sources)) {
		s := v.sources[key]
		one := Source{Source: key, Spans: s.spans(), Rows: s.rows, Letters: s.letters, Repaired: s.repaired, Lost: s.lost(), Found: -1}
		if v.Deep {
			one.Found = found[s.place]
		}
		v.report.Sources = append(v.report.Sources, one)
	}
	if v.Division != nil {
		v.Division.add(v, v.rows, v.dead)
	}
	return nil
}

func (v *verifier) find(f Finding) { v.report.Findings = append(v.report.Findings, f) }

func (v *verifier) note(format string, args ...any) {
	v.report.Notes = append(v.report.Notes, fmt.Sprintf(format, args...))
}

// recall reads the job's own object.
func (v *verifier) recall(ctx context.Context) error {
	if v.Store == nil {
		return nil
	}
	body, _, err := blob.ReadAll(ctx, v.Store, kfs.JobKey(v.Job), blob.All, kfs.MaxJobBytes)
	if errors.Is(err, blob.ErrNotFound) {
		return nil
	}
	if err == nil {
		v.job, v.damaged = kfs.DecodeJob(body)
	}
	return err
}

// remembered compares the table with what the job's own object says.
func (v *verifier) remembered() {
	if v.damaged != nil {
		v.note("%s cannot be read (%v): the table was not compared with it", kfs.JobKey(v.Job), v.damaged)
	}
	if v.job == nil {
		return
	}
	for _, t := range v.job.Tables {
		if t.Table != v.Table {
			continue
		}
		if t.UUID != "" && t.UUID != v.account.Identity {
			v.find(Finding{Kind: Rollback, What: fmt.Sprintf("the job has filled table %s under this name; this is %s", t.UUID, v.account.Identity)})
			return
		}
		for _, s := range t.Sources {
			key := iceberg.SourceKey(processor.Source{Topic: s.Topic, ID: s.ID, Partition: s.Partition})
			var next int64
			if known := v.sources[key]; known != nil {
				next = known.next()
			}
			if was := max(s.Next, s.Committed); next < was {
				v.find(Finding{Kind: Rollback, Source: key, Spans: []kfs.Span{{Base: next, Next: was}},
					What: fmt.Sprintf("the table stands at %d, the job has seen it at %d: it was rolled back, or the catalog lost commits", next, was)})
			}
		}
	}
}

// list writes spans of offsets for people.
func list(spans []kfs.Span) string {
	const most = 10
	var parts []string
	for _, s := range spans[:min(len(spans), most)] {
		if s.Len() == 1 {
			parts = append(parts, fmt.Sprint(s.Base))
		} else {
			parts = append(parts, s.String())
		}
	}
	text := strings.Join(parts, ", ")
	if more := len(spans) - most; more > 0 {
		text += fmt.Sprintf(" and %d more ranges", more)
	}
	return text
}
