package deadletter_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	icebergcat "github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/catalogtest"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/processors/iceberg/deadletter"
	"github.com/firn-io/firn/processors/iceberg/verify"
	"github.com/firn-io/firn/runtime/decode"
	"github.com/firn-io/firn/runtime/pipeline"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/schema"
)

var source = processor.Source{Topic: "events", ID: kfs.TopicID{1}, Partition: 3}

const (
	events  = "db.events"
	letters = "db.job_dead_letter"
)

func awake(ctx context.Context, _ time.Duration) error { return ctx.Err() }

// lake is a catalog with the tables of a job that reads one source: it took the column n as a long, and takes m as a string instead now.
type lake struct {
	t      *testing.T
	client catalog.Client
	at     time.Time
}

func (l *lake) sink(client catalog.Client, name string) *iceberg.Sink {
	l.t.Helper()
	s, err := iceberg.New(iceberg.Config{Catalog: catalog.New(client), Options: catalog.Options{Job: "job", Sleep: awake, Replay: true}}).Open(l.t.Context(), processors.Table{Name: name, DeadLetters: name == letters})
	if err != nil {
		l.t.Fatal(err)
	}
	return s.(*iceberg.Sink)
}

// rows makes rows of the offsets of [base, next) but some.
func rows(base, next int64, but ...int64) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{
		{Name: "kafka_topic", Type: arrow.BinaryTypes.String},
		{Name: "kafka_partition", Type: arrow.PrimitiveTypes.Int32},
		{Name: "kafka_offset", Type: arrow.PrimitiveTypes.Int64},
		{Name: "kafka_timestamp", Type: arrow.FixedWidthTypes.Timestamp_us},
		{Name: "n", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	}, nil))
	defer b.Release()
	for offset := base; offset < next; offset++ {
		if slices.Contains(but, offset) {
			continue
		}
		b.Field(0).(*array.StringBuilder).Append(source.Topic)
		b.Field(1).(*array.Int32Builder).Append(source.Partition)
		b.Field(2).(*array.Int64Builder).Append(offset)
		b.Field(3).(*array.TimestampBuilder).Append(arrow.Timestamp(offset))
		b.Field(4).(*array.Int64Builder).Append(offset)
	}
	return b.NewRecordBatch()
}

// dead makes letters of offsets. Odd ones are good once the job is changed; even ones never will be.
func dead(offsets ...int64) arrow.RecordBatch { return deadOf(source, offsets...) }

func deadOf(source processor.Source, offsets ...int64) arrow.RecordBatch {
	var all []decode.DeadLetter
	for _, at := range offsets {
		value := "nonsense"
		if at%2 == 1 {
			value = fmt.Sprintf(`{"n": "no number", "m": "%d"}`, at)
		}
		all = append(all, decode.DeadLetter{Source: source, Offset: at, Timestamp: 1_700_000_000_000 + at, Value: []byte(value), Class: decode.TypeConflict, Message: "no"})
	}
	return decode.DeadLetterBatch("", "job", all, memory.DefaultAllocator)
}

// commit brings a span of the source into a table.
func (l *lake) commit(name string, base, next int64, batch arrow.RecordBatch) {
	l.t.Helper()
	l.commitOf(source, name, base, next, batch)
}

func (l *lake) commitOf(source processor.Source, name string, base, next int64, batch arrow.RecordBatch) {
	l.t.Helper()
	s, ctx := l.sink(l.client, name), l.t.Context()
	defer s.Close()
	defer batch.Release()
	if _, err := s.Committed(ctx); err != nil {
		l.t.Fatal(err)
	}
	if err := s.Stage(ctx, processor.Batch{Source: source, Span: kfs.Span{Base: base, Next: next}, Records: batch}); err != nil {
		l.t.Fatal(err)
	}
	staged, err := s.Seal(ctx)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := s.Commit(ctx, processor.Positions{source: base}, processor.Positions{source: next}, []processor.Staged{staged}); err != nil {
		l.t.Fatal(err)
	}
}

// fill brings [0, 40) into the tables: 5, 6 and 7 are dead, and 31, which the table of rows has not reached.
func (l *lake) fill() {
	l.t.Helper()
	l.commit(letters, 0, 20, dead(5, 6))
	l.commit(events, 0, 20, rows(0, 20, 5, 6))
	l.commit(letters, 20, 40, dead(27, 31))
	l.commit(events, 20, 30, rows(20, 30, 27))
}

// retry is a retry under the changed job.
func (l *lake) retry(client catalog.Client) *deadletter.Retry {
	return &deadletter.Retry{
		Catalog: catalog.New(client), Job: "job", Letters: letters, Sleep: awake, Now: func() time.Time { return l.at },
		Table: func(topic string) processors.Table { return processors.Table{Name: "db." + topic} },
		Remake: func(string) (*pipeline.Remake, error) {
			declared := &schema.Schema{Fields: []schema.Field{{Name: "m", Type: schema.Type{Kind: schema.String}}}}
			return &pipeline.Remake{Decode: decode.Config{Declared: declared}, Allocator: memory.DefaultAllocator}, nil
		},
	}
}

func newLake(t *testing.T, client catalog.Client) *lake {
	return &lake{t: t, client: client, at: time.UnixMilli(1_800_000_000_000).UTC()}
}

func (l *lake) load(name string) *table.Table {
	l.t.Helper()
	t, err := l.client.LoadTable(l.t.Context(), icebergcat.ToIdentifier(name))
	if err != nil {
		l.t.Fatal(err)
	}
	return t
}

// offsets is how often each offset is a row of the table.
func (l *lake) offsets() map[int64]int {
	l.t.Helper()
	out := map[int64]int{}
	for rec, err := range iceberg.Rows(l.t.Context(), l.load(events), nil, "kafka_offset") {
		if err != nil {
			l.t.Fatal(err)
		}
		for _, at := range rec.Column(0).(*array.Int64).Int64Values() {
			out[at]++
		}
	}
	return out
}

// resolved is which letters there are, and whether they are resolved.
func (l *lake) resolved() map[int64]bool {
	l.t.Helper()
	out := map[int64]bool{}
	for letter, err := range deadletter.Read(l.t.Context(), l.load(letters), deadletter.Selection{}) {
		if err != nil {
			l.t.Fatal(err)
		}
		if _, twice := out[letter.Offset]; twice {
			l.t.Errorf("letter %d is there twice", letter.Offset)
		}
		out[letter.Offset] = !letter.Resolved.IsZero()
	}
	return out
}

// want checks that offsets [0, next) but some are rows, each once.
func (l *lake) want(next int64, but ...int64) {
	l.t.Helper()
	got := l.offsets()
	for at := range next {
		if n := got[at]; n != 1 && !slices.Contains(but, at) || n != 0 && slices.Contains(but, at) {
			l.t.Errorf("offset %d is in the table %d times", at, n)
		}
		delete(got, at)
	}
	if len(got) > 0 {
		l.t.Errorf("there are rows beyond: %v", got)
	}
}

// verified checks that verify finds nothing wrong, by metadata and by every row, and gives its notes.
func (l *lake) verified() string {
	l.t.Helper()
	var notes []string
	for _, deep := range []bool{false, true} {
		for name, dead := range map[string]string{events: letters, letters: ""} {
			r, err := verify.Table(l.t.Context(), verify.Config{Catalog: catalog.New(l.client), Table: name, Job: "job", DeadLetters: dead, Letters: name == letters, Whole: dead != "", Deep: deep})
			if err != nil {
				l.t.Fatal(err)
			}
			for _, f := range r.Findings {
				l.t.Errorf("%s, deep %t: %s", name, deep, f)
			}
			notes = append(notes, r.Notes...)
		}
	}
	return strings.Join(notes, "\n")
}

// TestRetryOfATopicCreatedAgain leaves letters alone that are of a topic which had the name before, or has it since.
func TestRetryOfATopicCreatedAgain(t *testing.T) {
	l := newLake(t, catalogtest.NewFake())
	other := source
	other.ID = kfs.TopicID{7}
	l.commitOf(other, letters, 0, 10, deadOf(other, 1, 5, 9))
	l.fill()
	got, err := l.retry(l.client).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Letters != 7 || got[0].Former != 3 || got[0].Repaired != 2 || got[0].Dead != 1 || got[0].Ahead != 1 {
		t.Errorf("retried: %+v", got)
	}
	resolved := map[string]bool{}
	for letter, err := range deadletter.Read(t.Context(), l.load(letters), deadletter.Selection{}) {
		if err != nil {
			t.Fatal(err)
		}
		resolved[fmt.Sprint(letter.TopicID[0], " ", letter.Offset)] = !letter.Resolved.IsZero()
	}
	if want := map[string]bool{"7 1": false, "7 5": false, "7 9": false, "1 5": true, "1 6": false, "1 27": true, "1 31": false}; !maps.Equal(resolved, want) {
		t.Errorf("resolved %v, want %v", resolved, want)
	}
	l.want(30, 6)
	l.verified()
}

// TestRetry brings in what has become good, once, and marks it; a second retry finds nothing to do.
func TestRetry(t *testing.T) {
	l := newLake(t, catalogtest.NewFake())
	l.fill()
	run := func(change func(*deadletter.Retry)) deadletter.Retried {
		t.Helper()
		r := l.retry(l.client)
		if change != nil {
			change(r)
		}
		all, err := r.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(all) == 0 {
			return deadletter.Retried{}
		}
		got := all[0]
		got.Reasons = nil
		return got
	}
	check := func(what string, got, want deadletter.Retried) {
		t.Helper()
		if want.Table = events; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	first := deadletter.Retried{Letters: 4, Repaired: 2, Ahead: 1, Dead: 1}
	check("a dry run", run(func(r *deadletter.Retry) { r.DryRun = true }), first)
	l.want(30, 5, 6, 27)
	check("the first", run(nil), first)
	l.want(30, 6)
	if got, want := l.resolved(), map[int64]bool{5: true, 6: false, 27: true, 31: false}; !maps.Equal(got, want) {
		t.Errorf("resolved letters are %v, want %v", got, want)
	}
	check("the second", run(nil), deadletter.Retried{Letters: 2, Ahead: 1, Dead: 1})
	check("of resolved ones too", run(func(r *deadletter.Retry) { r.Resolved = true }), deadletter.Retried{Letters: 4, Superseded: 2, Ahead: 1, Dead: 1})
	l.commit(events, 30, 40, rows(30, 40, 31)) // the job goes on
	check("what was ahead", run(nil), deadletter.Retried{Letters: 2, Repaired: 1, Dead: 1})
	l.want(40, 6)
	if notes := l.verified(); strings.Contains(notes, "dead letters too") {
		t.Errorf("verify says %s", notes)
	}
	if _, err := (&deadletter.Retry{Catalog: catalog.New(l.client), Job: "job", Letters: "db.other_dead_letter"}).Run(t.Context()); err != nil {
		t.Errorf("without letters: %v", err)
	}
}

// TestDryRunOfWhatTheTableCannotTake: a dry run says what the retry itself would, where the job's columns are none that the table can have.
func TestDryRunOfWhatTheTableCannotTake(t *testing.T) {
	l := newLake(t, catalogtest.NewFake())
	l.fill()
	tell := func(dry bool) string {
		t.Helper()
		r := l.retry(l.client)
		r.DryRun = dry
		r.Remake = func(string) (*pipeline.Remake, error) {
			declared := &schema.Schema{Fields: []schema.Field{{Name: "n", Type: schema.Type{Kind: schema.String}}}}
			return &pipeline.Remake{Decode: decode.Config{Declared: declared}, Allocator: memory.DefaultAllocator}, nil
		}
		all, err := r.Run(t.Context())
		return fmt.Sprintf("%+v, %v", all, err)
	}
	dry, wet := tell(true), strings.Replace(tell(false), fmt.Sprintf("stage %s [5, 28): ", iceberg.SourceKey(source)), "", 1)
	if dry != wet || !strings.Contains(wet, "column n of the table is long and cannot hold string") {
		t.Errorf("a dry run says %s\nthe retry says %s", dry, wet)
	}
	l.want(30, 5, 6, 27)
}

// TestRetrySuperseded: a row that has a letter too, as two workers without a lease make them, stays as it is.
func TestRetrySuperseded(t *testing.T) {
	l := newLake(t, catalogtest.NewFake())
	l.commit(letters, 0, 10, dead(5))
	l.commit(events, 0, 10, rows(0, 10))
	if notes := l.verified(); strings.Count(notes, "1 records are rows and dead letters too") != 2 {
		t.Errorf("verify says %q", notes)
	}
	all, err := l.retry(l.client).Run(t.Context())
	if err != nil || all[0].Superseded != 1 || all[0].Repaired != 0 {
		t.Fatalf("%+v, %v", all, err)
	}
	l.want(10)
	if !l.resolved()[5] {
		t.Error("the letter is not marked")
	}
}

// TestRetryRollback: a rollback takes the repaired row away, and the letter says that it is resolved. A replay then makes the row again;
// where the position did not move back, verify misses the row and a retry of resolved letters brings it.
func TestRetryRollback(t *testing.T) {
	for name, c := range map[string]struct {
		keep   int // snapshots of the table of rows that stay: its start receipt and the first, or both data commits
		replay bool
	}{
		"to before the position": {2, true},
		"of the repair alone":    {3, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLake(t, catalogtest.NewFake())
			l.fill()
			if _, err := l.retry(l.client).Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			l.want(30, 6)
			l.rollback(c.keep)
			if c.replay {
				// What a worker does: it stands at the table's position and obeys the letters of the span that are not resolved.
				s := l.sink(l.client, letters)
				defer s.Close()
				obeyed, err := s.DeadOffsets(t.Context(), source, kfs.Span{Base: 20, Next: 40})
				if err != nil || !slices.Equal(obeyed, []int64{31}) {
					t.Fatalf("letters to obey: %v, %v, want 31 alone", obeyed, err)
				}
				l.commit(events, 20, 30, rows(20, 30))
				l.want(30, 5, 6)
			} else {
				l.want(30, 5, 6, 27)
			}
			r := l.retry(l.client)
			r.Resolved = true
			if _, err := r.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			l.want(30, 6)
		})
	}
}

// rollback moves the branch of the table of rows to its n-th snapshot.
func (l *lake) rollback(n int) {
	l.t.Helper()
	tbl := l.load(events)
	snapshots := table.AncestorsOf(tbl.CurrentSnapshot().SnapshotID, tbl.Metadata().SnapshotByID)
	slices.Reverse(snapshots)
	_, _, err := l.client.CommitTable(l.t.Context(), icebergcat.ToIdentifier(events), nil,
		[]table.Update{table.NewSetSnapshotRefUpdate(table.MainBranch, snapshots[n-1].SnapshotID, table.BranchRef, 0, 0, 0)})
	if err != nil {
		l.t.Fatal(err)
	}
}

// TestRetryFaults lets every operation of a retry fail, in one way or another. Whatever happened, retrying brings each row once.
func TestRetryFaults(t *testing.T) {
	walk(t, func(*testing.T) catalog.Client { return catalogtest.NewFake() }, nil, false)
}

// others are who commits beside a retry.
var others = map[string]func(*lake){
	"the job":       func(l *lake) { l.commit(events, 30, 40, rows(30, 40, 31)) },
	"the letters":   func(l *lake) { l.commit(letters, 40, 50, dead(42)) },
	"another retry": func(l *lake) { _, _ = l.retry(l.client).Run(l.t.Context()) },
	"a foreigner":   func(l *lake) { l.foreign() },
}

// TestRetryBesideTheJob lets others commit before a retry's operations on the catalog.
func TestRetryBesideTheJob(t *testing.T) {
	for name, other := range others {
		t.Run(name, func(t *testing.T) {
			walk(t, func(*testing.T) catalog.Client { return catalogtest.NewFake() }, other, false)
		})
	}
}

// foreign makes a snapshot without a receipt.
func (l *lake) foreign() {
	l.t.Helper()
	tx := l.load(events).NewTransaction()
	if _, err := tx.RewriteManifests(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
	commit, err := tx.TableCommit()
	if err != nil {
		l.t.Fatal(err)
	}
	if _, _, err := l.client.CommitTable(l.t.Context(), icebergcat.ToIdentifier(events), commit.Requirements, commit.Updates); err != nil {
		l.t.Fatal(err)
	}
}

// walk retries with something in the way of each operation in turn, or of one of oneOf: a fault, or what somebody else does. Unless all, each operation has one
// fault only, and others come before operations on the catalog only.
func walk(t *testing.T, open func(*testing.T) catalog.Client, other func(*lake), all bool) {
	run := func(t *testing.T, inject func(*lake, catalogtest.Op) catalogtest.Fault) *catalogtest.Faulty {
		l := newLake(t, open(t))
		l.fill()
		faulty := catalogtest.NewFaulty(l.client, func(op catalogtest.Op) catalogtest.Fault {
			if inject == nil {
				return catalogtest.None
			}
			return inject(l, op)
		})
		for try := 0; ; try++ {
			_, err := l.retry(faulty).Run(t.Context())
			if err == nil {
				break
			}
			if try > 5 {
				t.Fatal(err)
			}
		}
		faulty.Settle()
		if _, err := l.retry(l.client).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		next, but := int64(30), []int64{6}
		if l.offsets()[39] > 0 {
			next = 40
		}
		l.want(next, but...)
		for at, done := range l.resolved() {
			if want := at%2 == 1 && (at < next); done != want {
				t.Errorf("letter %d resolved: %t, want %t", at, done, want)
			}
		}
		l.verified()
		return faulty
	}
	for n, op := range run(t, nil).Trace() {
		if n%oneOf != 0 {
			continue
		}
		name, _, _ := strings.Cut(op, " assert")
		if other != nil {
			if !all && !strings.HasPrefix(name, "load") && !strings.HasPrefix(name, "commit") {
				continue
			}
			t.Run(fmt.Sprintf("%03d %s", n, name), func(t *testing.T) {
				run(t, func(l *lake, op catalogtest.Op) catalogtest.Fault {
					if op.N == n {
						other(l)
					}
					return catalogtest.None
				})
			})
			continue
		}
		for i, fault := range catalogtest.Faults {
			if !all && i != n%len(catalogtest.Faults) {
				continue
			}
			t.Run(fmt.Sprintf("%03d %s %s", n, name, fault), func(t *testing.T) {
				run(t, func(_ *lake, op catalogtest.Op) catalogtest.Fault {
					if op.N == n {
						return fault
					}
					return catalogtest.None
				})
			})
		}
	}
}
