package verify_test

import (
	"context"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	iceberglib "github.com/apache/iceberg-go"
	icebergcat "github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors/iceberg/verify"
	"github.com/firn-io/firn/runtime/processor"
)

// adopt makes the table as somebody else has made it, with three rows and without the columns of the job, which come with its first commit.
func (l *lake) adopt() {
	l.t.Helper()
	ctx, ident := l.t.Context(), icebergcat.ToIdentifier(events)
	if err := l.catalog.Client().CreateNamespace(ctx, ident[:1], nil); err != nil {
		l.t.Fatal(err)
	}
	name := iceberglib.NestedField{ID: 1, Name: "name", Type: iceberglib.PrimitiveTypes.String}
	if _, err := l.catalog.Client().CreateTable(ctx, ident, iceberglib.NewSchema(0, name)); err != nil {
		l.t.Fatal(err)
	}
	l.foreign(func(ctx context.Context, _ *table.Table, tx *table.Transaction) error {
		return tx.Append(ctx, l.named(arrow.NewSchema([]arrow.Field{{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true}}, nil), 3), nil)
	})
	l.fill()
}

// named is rows that have a name and nothing else.
func (l *lake) named(schema *arrow.Schema, n int) array.RecordReader {
	l.t.Helper()
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i, f := range b.Fields() {
		for range n {
			if schema.Field(i).Name == "name" {
				f.(*array.StringBuilder).Append("somebody")
			} else {
				f.AppendNull()
			}
		}
	}
	batch := b.NewRecordBatch()
	defer batch.Release()
	r, err := array.NewRecordReader(schema, []arrow.RecordBatch{batch})
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

// optional is the columns of the rows, all of them optional.
func optional() *arrow.Schema {
	fields := slices.Clone(schema.Fields())
	for i := range fields {
		fields[i].Nullable = true
	}
	return arrow.NewSchema(fields, nil)
}

func (l *lake) expire() {
	l.t.Helper()
	l.foreign(func(_ context.Context, _ *table.Table, tx *table.Transaction) error {
		return tx.ExpireSnapshots(table.WithRetainLast(1), table.WithOlderThan(time.Duration(0)))
	})
}

// TestOthersRows verifies a table that had rows, and no offsets, before the job: they are nobody's, before and after all is written again and the
// snapshots have expired.
func TestOthersRows(t *testing.T) {
	l := newLake(t)
	l.adopt()
	shallow, read := l.both()
	for _, r := range []*verify.Report{shallow, read} {
		if r.Rows != 83 || !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, "3 rows without offsets") }) {
			t.Errorf("%d rows, notes %q", r.Rows, r.Notes)
		}
	}
	l.compact()
	l.both()
	l.expire()
	l.both()
}

// TestOthersRowsExpired is the same without the rewriting: no manifest tells that the old files have no offsets, for nobody has counted the column.
func TestOthersRowsExpired(t *testing.T) {
	l := newLake(t)
	l.adopt()
	l.expire()
	l.both()
	l.compact()
	l.both()
	l.commit(events, source0, 60, 70, each(60, 70))
	l.both()
}

// TestOverwritten puts rows of somebody else in the place of ten of the job's: as many, and more. No count tells that rows are gone, reading does.
func TestOverwritten(t *testing.T) {
	for _, n := range []int{10, 20} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			l := newLake(t)
			l.adopt()
			l.foreign(func(ctx context.Context, _ *table.Table, tx *table.Transaction) error {
				offset := iceberglib.Reference("kafka_offset")
				return tx.Overwrite(ctx, l.named(optional(), n), nil, table.WithOverwriteFilter(iceberglib.NewAnd(iceberglib.GreaterThanEqual(offset, int64(30)), iceberglib.LessThan(offset, int64(40)))))
			})
			shallow, read := l.both()
			for _, r := range []*verify.Report{shallow, read} {
				if len(r.Removals) != 1 || r.Removals[0].Rows != 10 {
					t.Errorf("removals %+v, want ten rows", r.Removals)
				}
			}
			want(t, l.verify(func(c *verify.Config) { c.Strict = true }), verify.Removed)
		})
	}
}

// replace puts the offsets [base, base+10) in the place of [30, 40).
func (l *lake) replace(base int64) {
	l.t.Helper()
	l.foreign(func(ctx context.Context, _ *table.Table, tx *table.Transaction) error {
		offset := iceberglib.Reference("kafka_offset")
		batch := rows(source0, each(base, base+10)...)
		defer batch.Release()
		reader, err := array.NewRecordReader(schema, []arrow.RecordBatch{batch})
		if err != nil {
			return err
		}
		return tx.Overwrite(ctx, reader, nil, table.WithOverwriteFilter(iceberglib.NewAnd(iceberglib.GreaterThanEqual(offset, int64(30)), iceberglib.LessThan(offset, int64(40)))))
	})
}

// TestReplacedRows puts rows of the job again in the place of others: counts do not tell, and the rows are there twice, or gone. What is missing beside
// them is no less missing.
func TestReplacedRows(t *testing.T) {
	l := newLake(t)
	l.fill()
	l.replace(0)
	want(t, l.verify(nil), verify.Duplicate) // two files hold the same offsets
	r := l.verify(deep)
	want(t, r, verify.Duplicate)
	if len(r.Removals) != 1 || r.Removals[0].Rows != 10 {
		t.Errorf("removals %+v, want ten rows", r.Removals)
	}
	want(t, l.verify(func(c *verify.Config) { deep(c); c.Strict = true }), verify.Duplicate, verify.Removed)
	l.put(l.path(10), l.path(20))
	r = l.verify(deep)
	want(t, r, verify.Duplicate, verify.Missing)
	for _, f := range r.Findings {
		if f.Kind == verify.Missing && !slices.Equal(f.Spans, []kfs.Span{{Base: 20, Next: 30}}) {
			t.Errorf("missing are %v", f.Spans)
		}
	}
}

// TestReplacedByStrangeRows puts rows of offsets that the table has not come to in the place of others: as many, so that only their offsets tell.
func TestReplacedByStrangeRows(t *testing.T) {
	l := newLake(t)
	l.fill()
	l.replace(100)
	l.both(verify.Foreign)
}

// TestUpdatedInTwoSteps removes ten rows and then adds some in their place, in two snapshots, as pyiceberg's overwrite and upsert do: it is a fault if
// there are more, or a commit of the job between, and reading tells whether they are the same.
func TestUpdatedInTwoSteps(t *testing.T) {
	for _, c := range []struct {
		name          string
		from, to      int64
		between       bool
		shallow, deep []verify.Kind
	}{
		{name: "the same", from: 30, to: 40},
		{name: "fewer", from: 33, to: 36},
		{name: "more", from: 30, to: 41, shallow: []verify.Kind{verify.Foreign, verify.Duplicate}, deep: []verify.Kind{verify.Foreign, verify.Duplicate}},
		{name: "a commit between", from: 30, to: 40, between: true, shallow: []verify.Kind{verify.Foreign}, deep: []verify.Kind{verify.Foreign}},
		{name: "strange ones", from: 100, to: 110, shallow: []verify.Kind{verify.Foreign}, deep: []verify.Kind{verify.Foreign}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLake(t)
			l.fill()
			l.foreign(func(ctx context.Context, _ *table.Table, tx *table.Transaction) error {
				offset := iceberglib.Reference("kafka_offset")
				return tx.Delete(ctx, iceberglib.NewAnd(iceberglib.EqualTo(iceberglib.Reference("kafka_partition"), int32(0)), iceberglib.GreaterThanEqual(offset, int64(30)), iceberglib.LessThan(offset, int64(40))), nil)
			})
			if c.between {
				l.commit(events, source0, 60, 70, each(60, 70))
			}
			l.foreign(func(ctx context.Context, _ *table.Table, tx *table.Transaction) error {
				batch := rows(source0, each(c.from, c.to)...)
				defer batch.Release()
				reader, err := array.NewRecordReader(schema, []arrow.RecordBatch{batch})
				if err != nil {
					return err
				}
				return tx.Append(ctx, reader, nil)
			})
			want(t, l.verify(nil), c.shallow...)
			read := l.verify(deep)
			want(t, read, c.deep...)
			if slices.ContainsFunc(read.Notes, func(n string) bool { return strings.Contains(n, "--deep") }) {
				t.Errorf("who has read the rows is told to read them: %q", read.Notes)
			}
		})
	}
}

func TestEqualityDeletes(t *testing.T) {
	l := newLake(t)
	l.fill()
	l.foreign(func(ctx context.Context, tbl *table.Table, tx *table.Transaction) error {
		f, _ := tbl.Schema().FindFieldByName("name")
		s := arrow.NewSchema([]arrow.Field{{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true}}, nil)
		b := array.NewRecordBuilder(memory.DefaultAllocator, s)
		defer b.Release()
		b.Field(0).(*array.StringBuilder).Append("n17")
		batch := b.NewRecordBatch()
		return tx.CommitEqualityDeletes(ctx, []int{f.ID}, iter.Seq2[arrow.RecordBatch, error](func(yield func(arrow.RecordBatch, error) bool) { yield(batch, nil) }), nil)
	})
	_, r := l.both()
	if len(r.Removals) != 1 || r.Removals[0].Rows != -1 {
		t.Errorf("removals %+v, want one of nobody knows how many rows", r.Removals)
	}
	want(t, l.verify(func(c *verify.Config) { deep(c); c.Strict = true }), verify.Removed)
}

// TestCompactedAfterExpiredDelete applies deletes of a snapshot that has expired to the files: the rows that the rewriting does not have were gone before.
func TestCompactedAfterExpiredDelete(t *testing.T) {
	l := newLake(t)
	l.fill()
	l.foreign(func(ctx context.Context, _ *table.Table, tx *table.Transaction) error {
		if err := tx.SetProperties(iceberglib.Properties{"write.delete.mode": "merge-on-read"}); err != nil {
			return err
		}
		return tx.Delete(ctx, iceberglib.EqualTo(iceberglib.Reference("name"), "n42"), nil)
	})
	l.commit(events, source1, 25, 30, each(25, 30))
	l.expire()
	l.compact()
	want(t, l.verify(nil))
}

// TestTwoJobs verifies a table that two jobs fill from topics of their own, with the same partitions and offsets.
func TestTwoJobs(t *testing.T) {
	l := newLake(t)
	l.fill()
	l.job = "other"
	l.commit(events, processor.Source{Topic: "others", ID: kfs.TopicID{2}}, 0, 40, each(0, 40))
	l.job = "job"
	l.both()
	l.expire()
	l.both()
	l.commit(events, source0, 60, 70, each(60, 70))
	l.both()
	// A row of the other one is not this one's to miss, and a copy of this one's is.
	l.append(nil, source0, each(60, 70)...)
	l.both(verify.Foreign, verify.Duplicate)
}

// TestLostFile takes a data file away, and breaks another: what is there is read all the same.
func TestLostFile(t *testing.T) {
	l := newLake(t)
	l.fill()
	files := l.files()
	path := func(i int) string { return strings.TrimPrefix(files[i].FilePath(), "file://") }
	if err := os.Remove(path(1)); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path(2), 100); err != nil {
		t.Fatal(err)
	}
	r := l.verify(deep)
	want(t, r, verify.Damage, verify.Missing)
	for _, i := range []int{1, 2} {
		if !slices.ContainsFunc(r.Findings, func(f verify.Finding) bool {
			return f.Kind == verify.Damage && strings.Contains(f.What, files[i].FilePath())
		}) {
			t.Errorf("nothing is said of file %d: %v", i, r.Findings)
		}
	}
}

// TestEvolved has somebody else rename a column and partition the table, before and after all files are written again.
func TestEvolved(t *testing.T) {
	l := newLake(t)
	l.fill()
	l.foreign(func(_ context.Context, _ *table.Table, tx *table.Transaction) error {
		if err := tx.UpdateSchema(true, false).RenameColumn([]string{"name"}, "title").Commit(); err != nil {
			return err
		}
		return tx.UpdateSpec(true).AddField("kafka_partition", iceberglib.IdentityTransform{}, "part").Commit()
	})
	l.both()
	l.commit(events, source0, 60, 70, each(60, 70))
	l.both()
	l.foreign(func(_ context.Context, _ *table.Table, tx *table.Transaction) error {
		return tx.UpdateSchema(true, false).RenameColumn([]string{"kafka_offset"}, "position").Commit()
	})
	l.both(verify.Damage)
}
