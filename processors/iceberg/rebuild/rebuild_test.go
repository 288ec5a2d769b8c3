package rebuild_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/catalogtest"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/processors/iceberg/deadletter"
	"github.com/firn-io/firn/processors/iceberg/rebuild"
	"github.com/firn-io/firn/processors/iceberg/verify"
	"github.com/firn-io/firn/runtime/decode"
	"github.com/firn-io/firn/runtime/processor"
)

var source = processor.Source{Topic: "events", ID: kfs.TopicID{1}, Partition: 3}

const (
	events  = "db.events"
	letters = "db.job_dead_letter"
)

// form is what a job file makes of a record: a row with the value n, or a dead letter.
type form struct {
	config string
	dead   func(offset int64) bool
	value  func(offset int64) int64
}

var (
	before = form{"before", func(at int64) bool { return at%5 == 0 }, func(at int64) int64 { return at }}
	after  = form{"after", func(at int64) bool { return at%7 == 0 }, func(at int64) int64 { return at * 10 }}
)

// bench is a job on a log without end.
type bench struct {
	t      *testing.T
	client catalog.Client
	to     rebuild.Place

	filled func()           // called behind each Fill of a rebuild, if set
	either kfs.Span         // offsets that may be by the form before or by the one after
	from   int64            // where a job begins that has no position
	as     *catalog.Options // in place of the job's own, if set
}

func awake(ctx context.Context, _ time.Duration) error { return ctx.Err() }

func (b *bench) options(f form) catalog.Options {
	if b.as != nil {
		return *b.as
	}
	return catalog.Options{Job: "job", Config: f.config, Sleep: awake, Lineage: "lineage"}
}

func (b *bench) sink(ctx context.Context, lake *catalog.Catalog, name string, f form) (processor.Sink, error) {
	return iceberg.New(iceberg.Config{Catalog: lake, Options: b.options(f)}).Open(ctx, processors.Table{Name: name, Properties: map[string]string{
		"write.parquet.compression-codec": "snappy", // zstd's encoders are shared beyond a test's bubble
	}})
}

// commit brings offsets up to next into a table, from where it stands, and its letters before.
func (b *bench) commit(ctx context.Context, lake *catalog.Catalog, f form, next int64) error {
	rows, err := b.sink(ctx, lake, events, f)
	if err != nil {
		return err
	}
	at, err := rows.Committed(ctx)
	if err != nil {
		return err
	}
	span := kfs.Span{Base: b.from, Next: next}
	if begun, ok := at[source]; ok {
		span.Base = begun
	}
	if span.Empty() {
		return nil
	}
	forms, err := b.decide(ctx, lake, f, span)
	if err != nil {
		return err
	}
	return send(ctx, rows, span, forms.rows(span))
}

// decide brings the letters of a span into the dead-letter table, and tells the forms that its rows are to have: what other forms have decided they
// decide.
func (b *bench) decide(ctx context.Context, lake *catalog.Catalog, f form, span kfs.Span) (forms, error) {
	box, err := b.sink(ctx, lake, letters, f)
	if err != nil {
		return nil, err
	}
	decided, err := box.Committed(ctx)
	if err != nil {
		return nil, err
	}
	former := f
	if _, config, ok := box.(processor.Deciding).Decided(source); ok && config == before.config {
		former = before
	}
	var dead []decode.DeadLetter
	for offset := max(span.Base, decided[source]); offset < span.Next; offset++ {
		if f.dead(offset) {
			dead = append(dead, decode.DeadLetter{Source: source, Offset: offset, Timestamp: 1_700_000_000_000 + offset, Key: []byte{0xff}, Value: fmt.Appendf(nil, "value %d", offset),
				Headers: []decode.Header{{Key: "a"}}, Class: decode.InvalidJSON, Message: f.config})
		}
	}
	base, ok := decided[source]
	if !ok {
		base = span.Base
	}
	if len(dead) > 0 {
		err = send(ctx, box, kfs.Span{Base: base, Next: span.Next}, decode.DeadLetterBatch("", "job", dead, memory.DefaultAllocator))
	}
	return func(offset int64) form {
		if offset < decided[source] {
			return former
		}
		return f
	}, err
}

func send(ctx context.Context, s processor.Sink, span kfs.Span, batch arrow.RecordBatch) error {
	defer batch.Release()
	if err := s.Stage(ctx, processor.Batch{Source: source, Span: span, Records: batch}); err != nil {
		return err
	}
	staged, err := s.Seal(ctx)
	if err != nil {
		return err
	}
	return s.Commit(ctx, processor.Positions{source: span.Base}, processor.Positions{source: span.Next}, []processor.Staged{staged})
}

// forms are those of offsets.
type forms func(offset int64) form

func (f form) rows(span kfs.Span) arrow.RecordBatch {
	return forms(func(int64) form { return f }).rows(span)
}

func (all forms) rows(span kfs.Span) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{
		{Name: "kafka_topic", Type: arrow.BinaryTypes.String},
		{Name: "kafka_partition", Type: arrow.PrimitiveTypes.Int32},
		{Name: "kafka_offset", Type: arrow.PrimitiveTypes.Int64},
		{Name: "kafka_timestamp", Type: arrow.FixedWidthTypes.Timestamp_us},
		{Name: "n", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	}, nil))
	defer b.Release()
	for offset := span.Base; offset < span.Next; offset++ {
		f := all(offset)
		if f.dead(offset) {
			continue
		}
		b.Field(0).(*array.StringBuilder).Append(source.Topic)
		b.Field(1).(*array.Int32Builder).Append(source.Partition)
		b.Field(2).(*array.Int64Builder).Append(offset)
		b.Field(3).(*array.TimestampBuilder).Append(arrow.Timestamp(offset))
		b.Field(4).(*array.Int64Builder).Append(f.value(offset))
	}
	return b.NewRecordBatch()
}

// rebuild is a rebuild under a form, whose requests go to client.
func (b *bench) rebuild(client catalog.Client, f form) *rebuild.Rebuild {
	return &rebuild.Rebuild{
		Catalog: catalog.New(client), Job: "job", Config: f.config, Table: events, Letters: letters, To: b.to, Sleep: awake,
		Starts: map[processor.Source]int64{source: 0},
		Fill: func(ctx context.Context, lake *catalog.Catalog, to map[processor.Source]int64) error {
			err := b.commit(ctx, lake, f, to[source])
			if err == nil && b.filled != nil {
				b.filled()
			}
			return err
		},
	}
}

// want checks that offsets up to next are in the tables once: rows up to split by the second form, from there by the first.
func (b *bench) want(first form, split int64, second form, next int64) {
	b.t.Helper()
	ctx, lake := b.t.Context(), catalog.New(b.client)
	report, err := verify.Table(ctx, verify.Config{Catalog: lake, Table: events, Job: "job", DeadLetters: letters, Whole: true, Deep: true})
	if err != nil {
		b.t.Fatal(err)
	}
	shallow, err := verify.Table(ctx, verify.Config{Catalog: lake, Table: events, Job: "job", DeadLetters: letters, Whole: true})
	if err != nil {
		b.t.Fatal(err)
	}
	if all := append(report.Findings, shallow.Findings...); len(all) > 0 {
		b.t.Fatalf("verify: %v", all)
	}
	if notes := append(report.Notes, shallow.Notes...); len(notes) > 0 {
		b.t.Errorf("verify notes: %q", notes)
	}
	formOf := func(offset int64) form {
		if offset < split {
			return second
		}
		return first
	}
	got := map[int64]int64{}
	account, t, err := lake.Account(ctx, events, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	if at, _ := account.Position("job", iceberg.SourceKey(source)); at != next {
		b.t.Errorf("the table stands at %d, want %d", at, next)
	}
	for rec, err := range iceberg.Rows(ctx, t, nil, "kafka_offset", "n") {
		if err != nil {
			b.t.Fatal(err)
		}
		for i := range int(rec.NumRows()) {
			got[rec.Column(0).(*array.Int64).Value(i)] = rec.Column(1).(*array.Int64).Value(i)
		}
	}
	_, t, err = lake.Account(ctx, letters, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	dead := map[int64]int{}
	for l, err := range deadletter.Read(ctx, t, deadletter.Selection{Dead: true}) {
		if err != nil {
			b.t.Fatal(err)
		}
		if dead[l.Offset]++; string(l.Value) != fmt.Sprintf("value %d", l.Offset) || !slices.Equal(l.Key, []byte{0xff}) || len(l.Headers) != 1 || l.Headers[0].Value != nil {
			b.t.Errorf("letter %+v is not the record", l)
		}
	}
	for offset := range next {
		n, row := got[offset]
		is := func(f form) bool {
			if f.dead(offset) {
				return !row && dead[offset] == 1
			}
			return row && n == f.value(offset) && dead[offset] == 0
		}
		if f := formOf(offset); !is(f) && !(b.either.Contains(offset) && is(before)) {
			b.t.Errorf("offset %d: row %v %d, %d letters; %s", offset, row, n, dead[offset], f.config)
		}
	}
}

// TestRebuild makes a table anew: some dead letters become rows, some rows become dead letters, and the job goes on, but not under its
// former file.
func TestRebuild(t *testing.T) {
	for _, to := range []rebuild.Place{rebuild.OnBranch, rebuild.InTable} {
		for name, client := range map[string]catalog.Client{"fake": catalogtest.NewFake(), "sqlite": catalogtest.NewSQLite(t)} {
			t.Run(fmt.Sprintf("%s on %s", to, name), func(t *testing.T) { testRebuild(t, &bench{t: t, client: client, to: to}) })
		}
	}
}

func testRebuild(t *testing.T, b *bench) {
	ctx, lake := t.Context(), catalog.New(b.client)
	for _, next := range []int64{20, 30, 40} {
		if err := b.commit(ctx, lake, before, next); err != nil {
			t.Fatal(err)
		}
	}
	r := b.rebuild(b.client, after)
	if _, err := r.CatchUp(ctx); err != nil {
		t.Fatal(err)
	}
	b.want(before, 0, after, 40)
	if err := b.commit(ctx, lake, before, 50); err != nil {
		t.Fatal(err)
	}
	running, err := b.sink(ctx, lake, events, before) // a job that stays
	if err != nil {
		t.Fatal(err)
	}
	if _, err := running.Committed(ctx); err != nil {
		t.Fatal(err)
	}
	if err := r.Swap(ctx); err != nil {
		t.Fatal(err)
	}
	b.want(before, 50, after, 50)
	var halt *processor.HaltError
	if err := send(ctx, running, kfs.Span{Base: 50, Next: 60}, before.rows(kfs.Span{Base: 50, Next: 60})); !errors.As(err, &halt) || !strings.Contains(halt.Reason, "rebuil") {
		t.Errorf("the job that was at work goes on with its former file: %v", err)
	}
	if err := b.commit(ctx, lake, before, 60); !errors.As(err, &halt) {
		t.Errorf("a job with the former file begins: %v", err)
	}
	if err := b.commit(ctx, lake, after, 60); err != nil {
		t.Fatal(err)
	}
	if err := b.commit(ctx, lake, before, 70); err != nil {
		t.Fatal(err) // it has been changed once more
	}
	b.want(before, 60, after, 70)

	// And back.
	if err := b.rebuild(b.client, before).Swap(ctx); err != nil {
		t.Fatal(err)
	}
	b.want(before, 0, before, 70)
}

// TestRebuildFromBefore makes a table anew from before the job began, with backfills that have brought in some of it: nobody accounts for the dead letters of
// the rest. One job has begun with a dead letter, the other has none of its own.
func TestRebuildFromBefore(t *testing.T) {
	for _, first := range []form{before, {"before", func(int64) bool { return false }, before.value}} {
		b := &bench{t: t, client: catalogtest.NewFake(), to: rebuild.OnBranch, from: 20}
		ctx, lake := t.Context(), catalog.New(b.client)
		if err := b.commit(ctx, lake, first, 40); err != nil {
			t.Fatal(err)
		}
		for _, span := range []kfs.Span{{Base: 3, Next: 6}, {Base: 8, Next: 16}} {
			options := b.options(before)
			options.Job = catalog.Backfill("job", fmt.Sprint(span.Base))
			backfill := &bench{t: t, client: b.client, from: span.Base, as: &options}
			if err := backfill.commit(ctx, lake, before, span.Next); err != nil {
				t.Fatal(err)
			}
		}
		b.from = 0
		if err := b.rebuild(b.client, after).Swap(ctx); err != nil {
			t.Fatal(err)
		}
		b.want(before, 40, after, 40)
		if err := b.commit(ctx, lake, after, 60); err != nil {
			t.Fatal(err)
		}
		all := form{"all", func(at int64) bool { return at%2 == 0 }, after.value} // more letters in the same places
		if err := b.rebuild(b.client, all).Swap(ctx); err != nil {
			t.Fatal(err)
		}
		b.want(before, 60, all, 60)
	}
}

// TestPauseEnds has a job that is never still, and a rebuild that does not come to the end of what is left: the job waits for a minute, no longer.
// Then it has the rebuild fail, and be interrupted, while the table is paused: the job goes on at once.
func TestPauseEnds(t *testing.T) {
	stopped := errors.New("stopped")
	for name, c := range map[string]struct {
		stop func(ctx context.Context, interrupt func()) error // what becomes of a fill while the table is paused
		want error
		took time.Duration
	}{
		"too slow":       {func(ctx context.Context, _ func()) error { <-ctx.Done(); return context.Cause(ctx) }, rebuild.ErrBusy, catalog.MaxPause},
		"it fails":       {func(context.Context, func()) error { return stopped }, stopped, 0},
		"is interrupted": {func(ctx context.Context, interrupt func()) error { interrupt(); return context.Cause(ctx) }, context.Canceled, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &bench{t: t, client: catalogtest.NewFake(), to: rebuild.OnBranch}
				ctx, lake, next := t.Context(), catalog.New(b.client), int64(40)
				if err := b.commit(ctx, lake, before, next); err != nil {
					t.Fatal(err)
				}
				r := b.rebuild(b.client, after)
				fill := r.Fill
				running, interrupt := context.WithCancel(ctx)
				defer interrupt()
				r.Fill = func(ctx context.Context, aside *catalog.Catalog, to map[processor.Source]int64) error {
					err := b.commit(t.Context(), lake, before, next+10)
					if errors.Is(err, catalog.ErrPaused) {
						return c.stop(ctx, interrupt)
					}
					next += 10
					return errors.Join(err, fill(ctx, aside, to))
				}
				began := time.Now()
				if err := r.Swap(running); !errors.Is(err, c.want) {
					t.Errorf("the rebuild: %v, want %v", err, c.want)
				}
				if took := time.Since(began); took != c.took {
					t.Errorf("the job has waited for %s, want %s", took, c.took)
				}
				if err := b.commit(ctx, lake, before, next+10); err != nil {
					t.Errorf("the job: %v", err)
				}
				if err := b.rebuild(b.client, after).Swap(ctx); err != nil {
					t.Fatal(err)
				}
				b.want(before, next+10, after, next+10)
			})
		})
	}
}

// TestAbandon leaves everything as it was.
func TestAbandon(t *testing.T) {
	for _, to := range []rebuild.Place{rebuild.OnBranch, rebuild.InTable} {
		t.Run(string(to), func(t *testing.T) { testAbandon(t, &bench{t: t, client: catalogtest.NewFake(), to: to}) })
	}
}

func testAbandon(t *testing.T, b *bench) {
	ctx, lake := t.Context(), catalog.New(b.client)
	if err := b.commit(ctx, lake, before, 40); err != nil {
		t.Fatal(err)
	}
	if _, err := b.rebuild(b.client, after).CatchUp(ctx); err != nil {
		t.Fatal(err)
	}
	other := after
	other.config = "other"
	if _, err := b.rebuild(b.client, other).CatchUp(ctx); !errors.Is(err, rebuild.ErrOther) {
		t.Errorf("a rebuild with another file: %v", err)
	}
	now := time.Now() // and a rebuild was killed in the middle of its swap
	pause := catalog.Pause{By: "a rebuild", Since: now.UnixMilli(), Until: now.Add(catalog.MaxPause).UnixMilli()}
	if err := lake.Pause(ctx, events, pause, catalog.Options{Job: "job"}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.rebuild(b.client, after).Abandon(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{events, letters} {
		_, t, err := lake.Account(ctx, name, nil)
		if err != nil {
			b.t.Fatal(err)
		}
		refs := 0
		for range t.Metadata().Refs() {
			refs++
		}
		for key := range t.Properties() {
			if strings.Contains(key, "aside") {
				b.t.Errorf("table %s has property %s", name, key)
			}
		}
		want := 2
		if name == events {
			want++ // that says that the rebuild is begun
		}
		if name == events && b.to == rebuild.InTable {
			want++ // that says that the other table never comes in its place
		}
		if refs != 1 || len(t.Metadata().Snapshots()) != want {
			b.t.Errorf("table %s has %d refs and %d snapshots", name, refs, len(t.Metadata().Snapshots()))
		}
	}
	if err := b.commit(ctx, lake, before, 60); err != nil {
		t.Fatal(err)
	}
	b.want(before, 0, after, 60)
	if err := b.rebuild(b.client, other).Swap(ctx); err != nil {
		t.Fatal(err)
	}
	b.want(before, 60, after, 60)
}

// TestSealed breaks the seal of a table whose successor is gone.
func TestSealed(t *testing.T) {
	b := &bench{t: t, client: catalogtest.NewFake(), to: rebuild.InTable}
	ctx, lake := t.Context(), catalog.New(b.client)
	if err := b.commit(ctx, lake, before, 40); err != nil {
		t.Fatal(err)
	}
	var halt *processor.HaltError
	r := b.rebuild(catalogtest.NewFaulty(b.client, func(op catalogtest.Op) catalogtest.Fault {
		if op.Name == "rename table" {
			return catalogtest.FailBefore
		}
		return catalogtest.None
	}), after)
	if err := r.Swap(ctx); err == nil {
		t.Fatal("it was swapped in without renaming")
	}
	if err := b.commit(ctx, lake, before, 50); !errors.As(err, &halt) || !strings.Contains(halt.Reason, "being replaced by db.events__rebuild") {
		t.Errorf("a job commits to a table that is sealed: %v", err)
	}
	if err := b.rebuild(b.client, after).Abandon(ctx); !errors.Is(err, rebuild.ErrSwapped) {
		t.Errorf("a rebuild is given up whose seal is set: %v", err)
	}
	_, anew, err := lake.Account(ctx, r.Anew(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := lake.Purge(ctx, r.Anew(), anew.Metadata().TableUUID().String(), catalog.Options{Job: "job", Sleep: awake}); err != nil {
		t.Fatal(err)
	}
	if err := b.rebuild(b.client, after).Swap(ctx); err == nil || !strings.Contains(err.Error(), "is gone") {
		t.Errorf("without the table that takes its place: %v", err)
	}
	if err := b.rebuild(b.client, after).Abandon(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.commit(ctx, lake, before, 50); err != nil {
		t.Fatal(err)
	}
	// Letters of the rebuild are there beside rows, until a retry or another rebuild sees to them.
	b.readable()
	if err := b.rebuild(b.client, after).Swap(ctx); err != nil {
		t.Fatal(err)
	}
	b.want(before, 50, after, 50)
}
