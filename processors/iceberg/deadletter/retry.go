package deadletter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/runtime/pipeline"
	"github.com/firn-io/firn/runtime/processor"
)

// Retry takes dead letters through decoding and transforms again, as a job does now. Records that have become good are committed as rows,
// each once, whoever else does the same and wherever it is interrupted; then their letters are marked as resolved. The job may run.
type Retry struct {
	Catalog *catalog.Catalog
	Store   blob.Store // of the source; see catalog.Options
	Job     string
	Writer  string // who commits; shown in receipts
	Letters string // the dead-letter table, namespace.table
	Prefix  string // of the coordinate columns; "kafka_" if empty

	Select   Selection
	Resolved bool // letters that are resolved too: their rows come back if somebody, or a rollback, has taken them away
	DryRun   bool // say what would become of the letters, and write nothing

	Table  func(topic string) processors.Table          // the table of a topic
	Remake func(table string) (*pipeline.Remake, error) // how the job makes rows of a table; asked once for each
	Now    func() time.Time                             // time.Now if nil
	Sleep  func(context.Context, time.Duration) error   // see catalog.Options
	Told   func(table string, done, total int)          // is told how many letters have been looked at; may be nil
	Bytes  int                                          // see Passes
}

// Retried is what became of the letters of one table.
type Retried struct {
	Table      string   `json:"table"`
	Letters    int64    `json:"letters"`    // that were tried
	Repaired   int64    `json:"repaired"`   // are rows now, or would be
	Superseded int64    `json:"superseded"` // were rows already
	LeftOut    int64    `json:"left_out"`   // the job's transforms leave them out
	Ahead      int64    `json:"ahead"`      // the job has not committed their offsets to the table yet: later
	Former     int64    `json:"former"`     // are of a topic that was deleted; the table is filled from the one that was created again
	Dead       int64    `json:"dead"`       // are still no rows
	Reasons    []Reason `json:"reasons,omitempty"`
}

// Reason is why letters are still no rows.
type Reason struct {
	Class   string `json:"class"`
	Letters int64  `json:"letters"`
	Example string `json:"example"` // where the first of them is, and why
}

// Inexact is the class of letters that do not hold their record exactly: a header's key was not UTF-8, or the time was out of bounds. A row
// made of them would say what the record did not.
const Inexact = "inexact_letter"

// The bounds of a retry.
const (
	chunkLetters = 1000     // in one commit, see Chunks
	chunkBytes   = 64 << 20 // likewise
	maxRounds    = 8        // in which a chunk is begun anew, because others have changed the table
	maxPins      = 64       // columns of a table that refuse to be widened
)

// Run tries the letters. It gives what became of those that it came to, also beside an error.
func (r *Retry) Run(ctx context.Context) (all []Retried, err error) {
	account, t, err := r.Catalog.Account(ctx, r.Letters, r.Store)
	if errors.Is(err, catalog.ErrNoTable) || err == nil && account.Head == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	letters, err := r.open(ctx, processors.Table{Name: r.Letters, DeadLetters: true}, r.Job)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, letters.Close()) }()
	if !r.DryRun {
		if err := letters.Resolvable(ctx); err != nil {
			return nil, err
		}
	}
	want := r.Select
	want.Prefix, want.Offsets, want.Dead = r.Prefix, true, !r.Resolved
	wanted := map[processor.Source][]int64{}
	for l, err := range Read(ctx, t, want) {
		if err != nil {
			return nil, err
		}
		at := processor.Source{Topic: l.Topic, ID: l.TopicID, Partition: l.Partition}
		wanted[at] = append(wanted[at], l.Offset)
	}
	for at := range wanted {
		slices.Sort(wanted[at])
		wanted[at] = slices.Compact(wanted[at])
	}
	all, resolved, err := r.tryAll(ctx, t, want, wanted)
	if r.DryRun || len(resolved) == 0 {
		return all, err
	}
	for at := range resolved {
		slices.Sort(resolved[at])
	}
	if _, markErr := letters.Resolve(ctx, resolved, r.now()); markErr != nil {
		err = errors.Join(err, fmt.Errorf("the rows are committed, but letters could not all be marked as resolved (the next retry does it): %w", markErr))
	}
	return all, err
}

// tryAll tries letters table by table, as they are read, and gives those that are to be marked.
func (r *Retry) tryAll(ctx context.Context, letters *table.Table, want Selection, wanted map[processor.Source][]int64) (all []Retried, resolved map[processor.Source][]int64, err error) {
	resolved = map[processor.Source][]int64{}
	byTable := map[string][]processor.Source{}
	for _, at := range slices.SortedFunc(maps.Keys(wanted), func(a, b processor.Source) int { return a.Compare(b) }) {
		name := r.Table(at.Topic).Name
		byTable[name] = append(byTable[name], at)
	}
	var tables []*retrying
	var places []processor.Source // that can be tried
	of := map[processor.Source]*retrying{}
	for _, name := range slices.Sorted(maps.Keys(byTable)) {
		one := &retrying{Retry: r, spec: r.Table(byTable[name][0].Topic), resolved: resolved, out: Retried{Table: name}}
		tables = append(tables, one)
		if one.failed = one.begin(ctx, byTable[name], wanted); one.failed != nil {
			continue
		}
		for _, at := range byTable[name] {
			if of[at] = one; len(one.owners[at]) > 0 {
				places = append(places, at)
			}
		}
	}
	want.Offsets = false
	passes := &Passes{Table: letters, Select: want, Wanted: wanted, Bytes: r.Bytes}
	err = passes.Each(ctx, places, func(place processor.Source, letters []Letter) error {
		of[place].try(ctx, place, letters)
		return ctx.Err()
	})
	for _, one := range tables {
		all, err = append(all, one.report()), errors.Join(err, one.close())
	}
	return all, resolved, err
}

func (r *Retry) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}

func (r *Retry) open(ctx context.Context, t processors.Table, job string) (*iceberg.Sink, error) {
	cfg := iceberg.Config{Catalog: r.Catalog, Prefix: r.Prefix, Options: catalog.Options{Job: job, Writer: r.Writer, Store: r.Store, Now: r.Now, Sleep: r.Sleep}}
	s, err := iceberg.New(cfg).Open(ctx, t)
	if err != nil {
		return nil, err
	}
	return s.(*iceberg.Sink), nil
}

// report sorts the reasons.
func (t *retrying) report() Retried {
	for _, reason := range t.reasons {
		t.out.Reasons = append(t.out.Reasons, *reason)
	}
	slices.SortFunc(t.out.Reasons, func(a, b Reason) int {
		return cmp.Or(cmp.Compare(b.Letters, a.Letters), strings.Compare(a.Class, b.Class))
	})
	return t.out
}
