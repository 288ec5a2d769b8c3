// Package plan says what a job would make of the records that are there, before it makes anything: what `firn plan` does. A sample of
// the log goes through the job's own decoding, transforms and sink, into tables of a catalog in memory. So the schema, the rejects and the
// file sizes are not guessed but made; what a day would bring is reckoned from them.
package plan

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	iceberglib "github.com/apache/iceberg-go"
	icebergcat "github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/memory"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/inspect"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/runtime/decode"
	"github.com/firn-io/firn/runtime/pipeline"
	"github.com/firn-io/firn/runtime/processor"
)

// Config says what is planned.
type Config struct {
	Job       string
	Freshness time.Duration
	Table     func(topic string) processors.Table
	Remake    func(table string) (*pipeline.Remake, error) // how the job makes rows of a table; asked once for each
}

// Report is what a job would make of one table.
type Report struct {
	Table      string   `json:"table"`
	Topics     []string `json:"topics"` // more than one: the job gives the table to one of them and halts the others
	DDL        string   `json:"ddl"`    // for Spark
	Sampled    int64    `json:"sampled_records"`
	Rows       int64    `json:"sampled_rows"`
	LeftOut    int64    `json:"left_out"` // by transforms
	Fields     []Field  `json:"fields"`
	Rejects    []Reject `json:"rejects"`
	Refused    string   `json:"refused,omitempty"` // why no table could be made
	Partitions int      `json:"partitions"`        // that the sample's rows lie in
	RowBytes   float64  `json:"row_bytes"`         // in data files, at most: large files compress better than a sample
	Records    int64    `json:"records"`           // in the log now
	Day        Day      `json:"day"`

	Made *table.Table `json:"-"` // the table that the sample was brought into; nil if it was refused
}

// Day is what a day would bring, about, at the pace of the last one.
type Day struct {
	Over      float64 `json:"over_s"` // seconds of the log that it is reckoned from, at most a day's; less than inspect.PaceLeast is taken for that
	Rows      float64 `json:"rows"`
	Bytes     float64 `json:"bytes"`
	Commits   float64 `json:"commits"`
	Files     float64 `json:"files"`
	FileBytes float64 `json:"file_bytes"`
}

// Reject is why records would be no rows.
type Reject struct {
	Class    string   `json:"class"`
	Records  int64    `json:"records"`
	Examples []string `json:"examples"`
}

const (
	maxExamples = 3
	maxPins     = 64
)

// Tables plans the tables of a job from a sample.
func Tables(ctx context.Context, cfg Config, sample *inspect.Sample) ([]*Report, error) {
	byTable := map[string][]inspect.Piece{}
	var names []string
	for _, p := range sample.Pieces {
		name := cfg.Table(p.Name).Name
		if i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, name) }); i >= 0 {
			name = names[i] // the job takes the two for one
		} else {
			names = append(names, name)
		}
		byTable[name] = append(byTable[name], p)
	}
	slices.Sort(names)
	reports := []*Report{}
	for _, name := range names {
		p := &planner{Config: cfg, spec: cfg.Table(byTable[name][0].Name), client: memory.New(), last: map[processor.Source]int64{}, kinds: newKinds(),
			report: &Report{Table: name, Fields: []Field{}, Rejects: []Reject{}}}
		if err := p.run(ctx, byTable[name]); err != nil {
			return nil, fmt.Errorf("table %s: %w", name, err)
		}
		for _, pace := range sample.Paces {
			if strings.EqualFold(cfg.Table(pace.Name).Name, name) {
				p.report.Records += pace.Records
				p.report.Day.Rows += pace.Day
				p.report.Day.Over = max(p.report.Day.Over, pace.Over.Seconds())
			}
		}
		p.reckon()
		reports = append(reports, p.report)
	}
	return reports, nil
}

// planner makes one table in memory.
type planner struct {
	Config
	spec   processors.Table
	client *memory.Catalog
	sink   *iceberg.Sink
	remake *pipeline.Remake
	last   map[processor.Source]int64 // where the staged batches of a source end
	from   processor.Positions
	kinds  *kinds
	shares []float64 // of rows by partition, but for the parts of the partition that go by time
	report *Report
}

func (p *planner) run(ctx context.Context, pieces []inspect.Piece) (err error) {
	opened, err := iceberg.New(iceberg.Config{Catalog: catalog.New(p.client), Options: catalog.Options{Job: p.Job}}).Open(ctx, p.spec)
	if err != nil {
		return err
	}
	p.sink, p.from = opened.(*iceberg.Sink), processor.Positions{}
	if p.remake, err = p.Remake(p.spec.Name); err != nil {
		return errors.Join(err, p.sink.Close())
	}
	defer func() { err = errors.Join(err, p.sink.Close(), pipeline.CloseSteps(p.remake.Transforms)) }()
	for _, piece := range pieces {
		if !slices.Contains(p.report.Topics, piece.Name) {
			p.report.Topics = append(p.report.Topics, piece.Name)
		}
		if err := p.piece(ctx, piece); err != nil {
			return err
		}
	}
	staged, err := p.sink.Seal(ctx)
	if err != nil {
		return err
	}
	to := processor.Positions{}
	for source, next := range p.last {
		to[source] = next
	}
	if err := p.sink.Commit(ctx, p.from, to, []processor.Staged{staged}); err != nil {
		return err
	}
	return p.look(ctx)
}

// piece stages what the job would make of a piece. A column that the table cannot widen is kept as it is, as the job does it.
func (p *planner) piece(ctx context.Context, piece inspect.Piece) error {
	src := processor.Source{Topic: piece.Name, ID: piece.PartitionID.Topic, Partition: piece.PartitionID.Partition}
	base, ok := p.last[src]
	if !ok {
		base, p.from[src] = piece.Span.Base, piece.Span.Base
	}
	if piece.Span.Base < base {
		return nil // a segment that is there twice: settled, and in its journal still
	}
	if p.remake.Decode.Value == decode.JSON {
		if err := p.kinds.see(piece.Batches); err != nil {
			return err
		}
	}
	for {
		b, err := p.rows(ctx, src, piece)
		if err != nil {
			return err
		}
		b.Span = kfs.Span{Base: base, Next: piece.Span.Next}
		rejected := b.Rejected
		b.Rejected = nil
		rows := int64(0)
		if b.Records != nil {
			rows = b.Records.NumRows()
		}
		err = p.sink.Stage(ctx, b)
		if b.Records != nil {
			b.Records.Release()
		}
		var unfit processor.Unfit
		if errors.As(err, &unfit) && !slices.Contains(p.remake.Pins, unfit.UnfitColumn()) && len(p.remake.Pins) < maxPins {
			p.remake.Pins = append(p.remake.Pins, unfit.UnfitColumn())
			base = piece.Span.Base
			p.from[src] = base // what was staged before is given up; the table has its columns still
			clear(p.last)
			for other := range p.from {
				if other != src {
					delete(p.from, other)
				}
			}
			continue
		}
		if err != nil {
			return err
		}
		p.last[src] = piece.Span.Next
		p.report.Sampled += piece.Span.Len()
		p.report.Rows += rows
		p.report.LeftOut += piece.Span.Len() - rows - int64(len(rejected))
		p.reject(src, rejected)
		return nil
	}
}

func (p *planner) rows(ctx context.Context, src processor.Source, piece inspect.Piece) (b processor.Batch, err error) {
	if _, err := p.sink.Committed(ctx); err != nil {
		return b, err
	}
	if p.remake.Table, err = p.sink.Schema(ctx); err != nil {
		return b, err
	}
	return p.remake.Rows(ctx, src, piece.Batches, piece.Span)
}

func (p *planner) reject(src processor.Source, rejected []processor.Rejection) {
	for _, r := range rejected {
		i := slices.IndexFunc(p.report.Rejects, func(known Reject) bool { return known.Class == r.Class })
		if i < 0 {
			i = len(p.report.Rejects)
			p.report.Rejects = append(p.report.Rejects, Reject{Class: r.Class})
		}
		one := &p.report.Rejects[i]
		if one.Records++; len(one.Examples) < maxExamples {
			one.Examples = append(one.Examples, fmt.Sprintf("%s/%d offset %d: %s", src.Topic, src.Partition, r.Offset, r.Message))
		}
	}
}

// look reads the table that was made.
func (p *planner) look(ctx context.Context) error {
	t, err := p.client.LoadTable(ctx, icebergcat.ToIdentifier(p.spec.Name))
	if errors.Is(err, icebergcat.ErrNoSuchTable) {
		p.report.Refused = "none of the records is a row"
		return nil
	}
	if err != nil {
		return err
	}
	p.report.Made, p.report.DDL = t, ddl(p.spec.Name, t)
	p.report.Fields = p.kinds.fields(t.Schema())
	fs, err := t.FS(ctx)
	if err != nil {
		return err
	}
	head := t.CurrentSnapshot()
	if head == nil {
		return nil
	}
	manifests, err := head.Manifests(fs)
	if err != nil {
		return err
	}
	var bytes, rows int64
	all, untimed := map[string]bool{}, map[string]int64{}
	for _, m := range manifests {
		for e, err := range m.Entries(fs, true) {
			if err != nil {
				return err
			}
			f := e.DataFile()
			bytes, rows = bytes+f.FileSizeBytes(), rows+f.Count()
			whole, rest := partitionOf(t, f)
			all[whole] = true
			untimed[rest] += f.Count()
		}
	}
	p.report.Partitions = len(all)
	if rows > 0 {
		p.report.RowBytes = float64(bytes) / float64(rows)
	}
	for _, n := range untimed {
		p.shares = append(p.shares, float64(n)/float64(max(1, rows)))
	}
	return nil
}

// partitionOf names a file's partition, whole and without what goes by time: records come about in order of time.
func partitionOf(t *table.Table, f iceberglib.DataFile) (whole, untimed string) {
	var all, rest []string
	spec := t.Spec()
	for _, field := range spec.Fields() {
		value := fmt.Sprintf("%s=%v", field.Name, f.Partition()[field.FieldID])
		all = append(all, value)
		switch field.Transform.(type) {
		case iceberglib.YearTransform, iceberglib.MonthTransform, iceberglib.DayTransform, iceberglib.HourTransform:
		default:
			rest = append(rest, value)
		}
	}
	return strings.Join(all, "/"), strings.Join(rest, "/")
}

// reckon says what a day would bring. Every commit has a file for each partition that its rows lie in.
func (p *planner) reckon() {
	d := &p.report.Day
	if p.report.Sampled > 0 {
		d.Rows *= float64(p.report.Rows) / float64(p.report.Sampled)
	}
	d.Bytes = d.Rows * p.report.RowBytes
	if d.Rows == 0 {
		return
	}
	d.Commits = min(d.Rows, (24*time.Hour).Seconds()/max(0.001, p.Freshness.Seconds()))
	perCommit, touched := d.Rows/d.Commits, 0.0
	for _, share := range p.shares {
		touched += 1 - math.Pow(1-share, perCommit)
	}
	d.Files = d.Commits * max(1, touched)
	d.FileBytes = d.Bytes / d.Files
}
