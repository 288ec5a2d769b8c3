package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/inspect"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/runtime/host"
	"github.com/firn-io/firn/runtime/pipeline"
	"github.com/firn-io/firn/runtime/processor"
)

// backfillBound is one end of a backfill; the zero value is the natural one.
type backfillBound struct {
	at      time.Time
	found   map[kfs.PartitionID]int64 // the first offset of that time or later, of partitions that have one
	offsets pipeline.Offsets
}

// find looks up the offsets of a bound that is a time.
func (b *backfillBound) find(ctx context.Context, ends *inspect.Ends, of []kfs.PartitionID) (err error) {
	if !b.at.IsZero() {
		b.found, err = ends.OffsetsAt(ctx, b.at, of)
	}
	return err
}

// of is the bound of a partition.
func (b *backfillBound) of(p inspect.Partition, natural int64) int64 {
	switch {
	case b.offsets != nil:
		return b.offsets[p.Name][p.Partition]
	case b.at.IsZero():
		return natural
	}
	if at, ok := b.found[p.PartitionID]; ok {
		return at
	}
	return p.Next
}

type backfillBounds struct{ from, until backfillBound }

// backfillSpan is what a backfill brings in of one partition.
type backfillSpan struct {
	Table     string      `json:"table"`
	Topic     string      `json:"topic"`
	ID        kfs.TopicID `json:"topic_id"`
	Partition int32       `json:"partition"`
	From      int64       `json:"from"`
	Until     int64       `json:"until"`
	At        int64       `json:"at"` // where it stood when this run began
}

// backfill is a backfill of a job.
type backfill struct {
	tables *jobTables
	id     string
	bounds backfillBounds
	spans  []backfillSpan
}

// insteadOfBackfill is what brings older records in where backfills cannot.
const insteadOfBackfill = "bring older records into a table of their own, by a job of another name with source.from earliest, and firn process --until the offsets at which this job began"

// plan finds the spans, and refuses what is accounted for.
func (b *backfill) plan(ctx context.Context) error {
	j := b.tables.job
	if j.Source.Format == "kafscale" {
		return fmt.Errorf("backfills do not read buckets of KafScale: %s", insteadOfBackfill)
	}
	match, err := kfs.MatchTopics(j.Source.Topics, j.Source.Pattern)
	if err != nil {
		return err
	}
	route, err := j.Route()
	if err != nil {
		return fmt.Errorf("%w: %s", err, insteadOfBackfill)
	}
	ends, err := inspect.ReadEnds(ctx, b.tables.store)
	if err != nil {
		return err
	}
	there := slices.DeleteFunc(ends.All(), func(p inspect.Partition) bool { return p.Ended || !match(p.Name) })
	if err := b.known(there); err != nil {
		return err
	}
	wanted := slices.DeleteFunc(there, func(p inspect.Partition) bool { return !b.names(p) })
	ids := make([]kfs.PartitionID, len(wanted))
	for i, p := range wanted {
		ids[i] = p.PartitionID
	}
	if err := errors.Join(b.bounds.from.find(ctx, ends, ids), b.bounds.until.find(ctx, ends, ids)); err != nil {
		return err
	}
	claims, err := b.claims(ctx)
	if err != nil {
		return err
	}
	accounts := map[string]*catalog.Account{}
	var refused []error
	for _, p := range wanted {
		table := route(p.Name)
		if accounts[table] == nil {
			if accounts[table], _, err = b.tables.catalog.Account(ctx, table, b.tables.store); errors.Is(err, catalog.ErrNoTable) {
				return fmt.Errorf("there is no table %s: the job has not begun; start it first, so that it is known where", table)
			} else if err != nil {
				return err
			}
		}
		span, err := b.span(accounts[table], table, p, claims)
		if err != nil {
			refused = append(refused, fmt.Errorf("%s/%d: %w", p.Name, p.Partition, err))
			continue
		}
		if span.From < span.Until {
			b.spans = append(b.spans, span)
		}
	}
	return errors.Join(refused...)
}

// known refuses offsets of partitions that are not there.
func (b *backfill) known(there []inspect.Partition) error {
	var errs []error
	for _, offsets := range []pipeline.Offsets{b.bounds.from.offsets, b.bounds.until.offsets} {
		for topic, partitions := range offsets {
			for partition := range partitions {
				if !slices.ContainsFunc(there, func(p inspect.Partition) bool { return p.Name == topic && p.Partition == partition }) {
					errs = append(errs, fmt.Errorf("%s/%d has no records, or the job does not read it", topic, partition))
				}
			}
		}
	}
	return errors.Join(errs...)
}

// names reports whether the backfill takes anything of a partition: of those that offsets name, if there are any.
func (b *backfill) names(p inspect.Partition) bool {
	for _, offsets := range []pipeline.Offsets{b.bounds.from.offsets, b.bounds.until.offsets} {
		if _, ok := offsets[p.Name][p.Partition]; offsets != nil && !ok {
			return false
		}
	}
	return true
}

// span is what is brought in of one partition into a table. It is refused where it meets claims, or what is accounted for.
func (b *backfill) span(account *catalog.Account, table string, p inspect.Partition, claims backfillClaims) (backfillSpan, error) {
	s := backfillSpan{Table: table, Topic: p.Name, ID: p.Topic, Partition: p.Partition, From: p.Start}
	key := iceberg.SourceKey(processor.Source{Topic: p.Name, ID: p.Topic, Partition: p.Partition})
	name := b.tables.job.Name
	var began catalog.SourceProgress
	ok := false
	if progress := account.Progress[name]; progress != nil {
		began, ok = progress.Sources[key]
	}
	if !ok {
		return s, errors.New("the job has not begun on it: start the job first, so that it is known where")
	}
	s.From, s.Until = b.bounds.from.of(p, p.Start), b.bounds.until.of(p, began.First)
	if !b.bounds.until.at.IsZero() {
		s.Until = min(s.Until, began.First)
	}
	s.At = s.From
	own := catalog.Backfill(name, b.id)
	if progress := account.Progress[own]; progress != nil {
		if at, ok := progress.Sources[key]; ok {
			if b.bounds.from.offsets != nil && at.First != s.From {
				return s, fmt.Errorf("backfill %s began at %d, not at %d: choose another --id", b.id, at.First, s.From)
			}
			s.From, s.At = at.First, at.Next
		}
	}
	if s.Until > began.First {
		return s, fmt.Errorf("the job began at %d and accounts for what comes from there: --until must not lie behind it", began.First)
	}
	if err := claims.apart(s); err != nil {
		return s, err
	}
	for other, span := range account.Accounted(name, key) {
		if other != own && span.Overlaps(kfs.Span{Base: s.From, Next: s.Until}) {
			return s, fmt.Errorf("%s has accounted for %s already", other, span)
		}
	}
	if s.At < s.Until && s.At < p.Start {
		return s, fmt.Errorf("the log begins at %d, what was before was trimmed: begin there or behind", p.Start)
	}
	return s, nil
}

// offsets are where the pipeline begins and ends, of the partitions in which something is left.
func (b *backfill) offsets() (from, to pipeline.Offsets) {
	from, to = pipeline.Offsets{}, pipeline.Offsets{}
	for _, s := range b.spans {
		if s.At >= s.Until {
			continue
		}
		if to[s.Topic] == nil {
			from[s.Topic], to[s.Topic] = map[int32]int64{}, map[int32]int64{}
		}
		from[s.Topic][s.Partition], to[s.Topic][s.Partition] = s.From, s.Until
	}
	return from, to
}

func (b *backfill) result() *backfillResult {
	r := &backfillResult{Job: b.tables.job.Name, ID: b.id, Spans: append([]backfillSpan{}, b.spans...)}
	for _, s := range b.spans {
		r.Offsets += max(0, s.Until-s.At)
	}
	return r
}

// reportSpans tells how far what runs beside a job is until it has finished: with a bar on a terminal, else in the log.
func reportSpans(name string, spans []backfillSpan, running *host.Job, out io.Writer, terminal bool, logger *slog.Logger, finished <-chan struct{}) {
	every := 10 * time.Second
	if terminal {
		every = 500 * time.Millisecond
		defer fmt.Fprint(out, "\r\x1b[K")
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	began := time.Now()
	for {
		select {
		case <-finished:
			return
		case <-tick.C:
		}
		p := progressOf(spans, running.Pipeline.Status())
		if terminal {
			fmt.Fprintf(out, "\r\x1b[K%s", p.line(time.Since(began)))
		} else {
			logger.Info("progress", "of", name, "offsets", p.done, "of", p.total, "records", p.records, "bytes", p.bytes, "left", p.left(time.Since(began)))
		}
	}
}

// backfillProgress is how far a run beside a job is.
type backfillProgress struct{ done, read, total, records, bytes int64 }

func progressOf(spans []backfillSpan, status pipeline.Status) backfillProgress {
	var p backfillProgress
	at := map[processor.Source]pipeline.SourceStatus{}
	for _, t := range status.Tables {
		p.records, p.bytes = p.records+t.Records, p.bytes+t.Bytes
		for _, s := range t.Sources {
			at[s.Source] = s
		}
	}
	for _, s := range spans {
		is := at[processor.Source{Topic: s.Topic, ID: s.ID, Partition: s.Partition}]
		p.total += max(0, s.Until-s.At)
		p.done += max(0, min(is.Committed, s.Until)-s.At)
		p.read += max(0, min(is.Read, s.Until)-s.At)
	}
	return p
}

// left is about how long the rest takes; 0 if nothing tells.
func (p backfillProgress) left(took time.Duration) time.Duration {
	if p.read == 0 {
		return 0
	}
	return time.Duration(float64(took) * float64(p.total-p.read) / float64(p.read)).Round(time.Second)
}

func (p backfillProgress) line(took time.Duration) string {
	const width = 30
	full := int(width * p.read / max(1, p.total))
	eta := cmp.Or(p.left(took).String(), "?")
	return fmt.Sprintf("[%s%s] %d of %d offsets committed, %d records, %s read from the log, %s left", strings.Repeat("#", full), strings.Repeat(".", width-full),
		p.done, p.total, p.records, byteSize(p.bytes), eta)
}
