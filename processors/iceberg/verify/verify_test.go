package verify_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	iceberglib "github.com/apache/iceberg-go"
	icebergcat "github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"
	"github.com/apache/iceberg-go/table/compaction"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/processors/iceberg/verify"
	"github.com/firn-io/firn/runtime/processor"
)

var (
	source0 = processor.Source{Topic: "events", ID: kfs.TopicID{1}, Partition: 0}
	source1 = processor.Source{Topic: "events", ID: kfs.TopicID{1}, Partition: 1}
)

var schema = arrow.NewSchema([]arrow.Field{
	{Name: "kafka_topic", Type: arrow.BinaryTypes.String},
	{Name: "kafka_partition", Type: arrow.PrimitiveTypes.Int32},
	{Name: "kafka_offset", Type: arrow.PrimitiveTypes.Int64},
	{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
}, nil)

// rows makes rows of some offsets.
func rows(source processor.Source, offsets ...int64) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for _, offset := range offsets {
		b.Field(0).(*array.StringBuilder).Append(source.Topic)
		b.Field(1).(*array.Int32Builder).Append(source.Partition)
		b.Field(2).(*array.Int64Builder).Append(offset)
		b.Field(3).(*array.StringBuilder).Append(fmt.Sprint("n", offset))
	}
	return b.NewRecordBatch()
}

// each lists the offsets of [base, next) but some.
func each(base, next int64, but ...int64) []int64 {
	var out []int64
	for o := base; o < next; o++ {
		if !slices.Contains(but, o) {
			out = append(out, o)
		}
	}
	return out
}

// lake is a catalog with a job's table default.events, into which sinks commit.
type lake struct {
	t       *testing.T
	catalog *catalog.Catalog
	job     string                    // that commits
	sinks   map[string]processor.Sink // by job and table
}

func newLake(t *testing.T) *lake {
	dir := t.TempDir()
	c, err := catalog.Open(t.Context(), catalog.Config{Type: "sqlite", Properties: map[string]string{
		"uri": "sqlite:///" + dir + "/catalog.db", "warehouse": "file://" + dir + "/warehouse",
	}})
	if err != nil {
		t.Fatal(err)
	}
	l := &lake{t: t, catalog: c, job: "job", sinks: map[string]processor.Sink{}}
	t.Cleanup(func() {
		l.restart()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

const events, letters = "default.events", "default.job_dead_letter"

func (l *lake) sink(name string) processor.Sink {
	of := l.job + " " + name
	if s, ok := l.sinks[of]; ok {
		return s
	}
	s, err := iceberg.New(iceberg.Config{Catalog: l.catalog, Options: catalog.Options{Job: l.job, Writer: "test"}}).Open(l.t.Context(), processors.Table{Name: name})
	if err != nil {
		l.t.Fatal(err)
	}
	l.sinks[of] = s
	return s
}

// restart has all sinks look at their tables anew.
func (l *lake) restart() {
	l.t.Helper()
	for _, s := range l.sinks {
		if err := s.(io.Closer).Close(); err != nil {
			l.t.Error(err)
		}
	}
	clear(l.sinks)
}

// commit brings a span into a table as those rows.
func (l *lake) commit(name string, source processor.Source, base, next int64, offsets []int64) {
	l.t.Helper()
	s := l.sink(name)
	if _, err := s.Committed(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
	batch := rows(source, offsets...)
	defer batch.Release()
	err := s.Stage(l.t.Context(), processor.Batch{Source: source, Span: kfs.Span{Base: base, Next: next}, Records: batch})
	if err != nil {
		l.t.Fatal(err)
	}
	staged, err := s.Seal(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	if err := s.Commit(l.t.Context(), processor.Positions{source: base}, processor.Positions{source: next}, []processor.Staged{staged}); err != nil {
		l.t.Fatal(err)
	}
}

// fill commits 60 offsets of one source in six spans, and 20 of another.
func (l *lake) fill() {
	for base := int64(0); base < 60; base += 10 {
		l.commit(events, source0, base, base+10, each(base, base+10))
	}
	l.commit(events, source1, 5, 25, each(5, 25))
}

// foreign changes the table as another engine would.
func (l *lake) foreign(change func(ctx context.Context, t *table.Table, tx *table.Transaction) error) {
	l.t.Helper()
	ctx := l.t.Context()
	t, err := l.catalog.Client().LoadTable(ctx, icebergcat.ToIdentifier(events))
	if err != nil {
		l.t.Fatal(err)
	}
	tx := t.NewTransaction()
	if err := change(ctx, t, tx); err != nil {
		l.t.Fatal(err)
	}
	if _, err := tx.Commit(ctx); err != nil {
		l.t.Fatal(err)
	}
}

// append adds rows of a source as another engine would, by a snapshot of those properties.
func (l *lake) append(props iceberglib.Properties, source processor.Source, offsets ...int64) {
	l.t.Helper()
	l.foreign(func(ctx context.Context, _ *table.Table, tx *table.Transaction) error {
		batch := rows(source, offsets...)
		defer batch.Release()
		reader, err := array.NewRecordReader(schema, []arrow.RecordBatch{batch})
		if err != nil {
			return err
		}
		defer reader.Release()
		return tx.Append(ctx, reader, props)
	})
}

func (l *lake) files() []iceberglib.DataFile {
	l.t.Helper()
	t, err := l.catalog.Client().LoadTable(l.t.Context(), icebergcat.ToIdentifier(events))
	if err != nil {
		l.t.Fatal(err)
	}
	tasks, err := t.Scan().PlanFiles(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	var files []iceberglib.DataFile
	for _, task := range tasks {
		files = append(files, task.File)
	}
	slices.SortFunc(files, func(a, b iceberglib.DataFile) int { return strings.Compare(a.FilePath(), b.FilePath()) })
	return files
}

func (l *lake) verify(change func(*verify.Config)) *verify.Report {
	l.t.Helper()
	cfg := verify.Config{Catalog: l.catalog, Table: events, Job: "job", DeadLetters: letters, Whole: true}
	if change != nil {
		change(&cfg)
	}
	r, err := verify.Table(l.t.Context(), cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

func deep(c *verify.Config) { c.Deep = true }

// want checks the kinds of the findings: each must be there, and no others.
func want(t *testing.T, r *verify.Report, kinds ...verify.Kind) {
	t.Helper()
	var got []verify.Kind
	for _, f := range r.Findings {
		if !slices.Contains(got, f.Kind) {
			got = append(got, f.Kind)
		}
	}
	slices.Sort(got)
	slices.Sort(kinds)
	if !slices.Equal(got, kinds) {
		t.Errorf("findings %v, want kinds %v; notes %q", r.Findings, kinds, r.Notes)
	}
}

// both verifies by metadata and by reading, and wants the same of both.
func (l *lake) both(kinds ...verify.Kind) (shallow, read *verify.Report) {
	l.t.Helper()
	shallow, read = l.verify(nil), l.verify(deep)
	want(l.t, shallow, kinds...)
	want(l.t, read, kinds...)
	return shallow, read
}

func TestSound(t *testing.T) {
	l := newLake(t)
	l.fill()
	_, r := l.both()
	if len(r.Sources) != 2 || r.Sources[0].Found != 60 || r.Sources[1].Found != 20 || r.Sources[1].Spans[0] != (kfs.Span{Base: 5, Next: 25}) || r.Rows != 80 {
		t.Errorf("%+v", r)
	}
}

func TestDeadLetters(t *testing.T) {
	l := newLake(t)
	l.commit(letters, source0, 0, 10, each(3, 4))
	l.commit(events, source0, 0, 10, each(0, 10, 3))
	l.both()
	// A record that is neither a row nor a dead letter.
	l.commit(events, source0, 10, 20, each(10, 20, 12))
	shallow, read := l.both(verify.Missing)
	if len(read.Findings) != 1 || !slices.Equal(read.Findings[0].Spans, []kfs.Span{{Base: 12, Next: 13}}) {
		t.Errorf("%v; %v", read.Findings, shallow.Findings)
	}
	// A job that filters leaves it out on purpose.
	filters := func(c *verify.Config) { c.Whole = false }
	want(t, l.verify(filters))
	want(t, l.verify(func(c *verify.Config) { filters(c); deep(c) }))
}

func TestForeignDeleteIsListed(t *testing.T) {
	for _, mode := range []string{"copy-on-write", "merge-on-read", "deletion vector"} {
		t.Run(mode, func(t *testing.T) {
			l := newLake(t)
			l.fill()
			if mode == "deletion vector" {
				mode = "merge-on-read"
				l.foreign(func(_ context.Context, _ *table.Table, tx *table.Transaction) error {
					return tx.UpgradeFormatVersion(3)
				})
				l.restart()
			}
			l.foreign(func(ctx context.Context, _ *table.Table, tx *table.Transaction) error {
				if err := tx.SetProperties(iceberglib.Properties{"write.delete.mode": mode}); err != nil {
					return err
				}
				return tx.Delete(ctx, iceberglib.EqualTo(iceberglib.Reference("name"), "n17"), nil)
			})
			_, r := l.both()
			if len(r.Removals) != 1 || r.Removals[0].Rows != 2 {
				t.Errorf("removals %+v, want one of the rows 17 of both partitions", r.Removals)
			}
			if r.Rows != 78 {
				t.Errorf("%d rows are left of 80", r.Rows)
			}
			want(t, l.verify(func(c *verify.Config) { c.Strict = true }), verify.Removed)
			// The job goes on behind the deletes.
			l.commit(events, source0, 60, 70, each(60, 70))
			l.both()
		})
	}
}

// path is where the data file of the first source lies that begins with an offset.
func (l *lake) path(base int64) string {
	l.t.Helper()
	t, err := l.catalog.Client().LoadTable(l.t.Context(), icebergcat.ToIdentifier(events))
	if err != nil {
		l.t.Fatal(err)
	}
	offset, _ := t.Schema().FindFieldByName("kafka_offset")
	for _, f := range l.files() {
		if low := f.LowerBoundValues()[offset.ID]; len(low) == 8 && int64(binary.LittleEndian.Uint64(low)) == base {
			return strings.TrimPrefix(f.FilePath(), "file://")
		}
	}
	l.t.Fatalf("no file begins with offset %d", base)
	return ""
}

// put puts a file in the place of another, which manifests do not tell.
func (l *lake) put(from, to string) {
	l.t.Helper()
	body, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, body, 0o600)
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

// TestDuplicatedFile names a file twice, also one that has not every offset between its first and its last, so that its bounds tell nothing.
func TestDuplicatedFile(t *testing.T) {
	for _, base := range []int64{20, 60} {
		t.Run(fmt.Sprint(base), func(t *testing.T) {
			l := newLake(t)
			l.fill()
			l.commit(letters, source0, 60, 70, each(65, 66))
			l.commit(events, source0, 60, 70, each(60, 70, 65))
			path := l.path(base)
			file := l.files()[slices.IndexFunc(l.files(), func(f iceberglib.DataFile) bool { return strings.HasSuffix(f.FilePath(), path) })]
			l.foreign(func(ctx context.Context, _ *table.Table, tx *table.Transaction) error {
				return tx.NewRowDelta(nil).AddRows(file).Commit(ctx)
			})
			l.both(verify.Foreign, verify.Duplicate)
		})
	}
}

func TestCopiedFile(t *testing.T) {
	l := newLake(t)
	l.fill()
	l.append(nil, source0, each(20, 30)...)
	_, r := l.both(verify.Foreign, verify.Duplicate)
	for _, f := range r.Findings {
		if f.Kind == verify.Duplicate && !slices.Equal(f.Spans, []kfs.Span{{Base: 20, Next: 30}}) {
			t.Errorf("%v", f)
		}
		for _, file := range l.files() {
			if strings.Contains(f.What, "both hold") && strings.Count(f.What, file.FilePath()) > 1 {
				t.Errorf("one file is named twice: %v", f)
			}
		}
	}
}

func TestLostRowInAFile(t *testing.T) {
	l := newLake(t)
	l.fill()
	// The file of one span takes the place of another's: the manifests do not tell.
	l.put(l.path(10), l.path(20))
	want(t, l.verify(nil))
	want(t, l.verify(deep), verify.Missing, verify.Duplicate)
	want(t, l.verify(func(c *verify.Config) { deep(c); c.Whole = false }), verify.Missing, verify.Duplicate)
}

// TestStrangeRowsInAFile puts a file in the place of another whose rows no receipt accounts for: of offsets that the table has not come to, of a partition that it has not.
func TestStrangeRowsInAFile(t *testing.T) {
	for _, source := range []processor.Source{source0, {Topic: "events", ID: source0.ID, Partition: 7}} {
		t.Run(fmt.Sprint("partition ", source.Partition), func(t *testing.T) {
			l, strange := newLake(t), newLake(t)
			l.fill()
			strange.commit(events, source, 100, 110, each(100, 110))
			l.put(strange.path(100), l.path(20))
			want(t, l.verify(nil))
			want(t, l.verify(deep), verify.Missing, verify.Foreign)
		})
	}
}

func TestRollback(t *testing.T) {
	l := newLake(t)
	l.fill()
	tbl, err := l.catalog.Client().LoadTable(t.Context(), icebergcat.ToIdentifier(events))
	if err != nil {
		t.Fatal(err)
	}
	older := *tbl.CurrentSnapshot().ParentSnapshotID
	l.foreign(func(_ context.Context, _ *table.Table, tx *table.Transaction) error {
		return tx.RollbackToSnapshot(older)
	})
	_, r := l.both(verify.Rollback)
	if what := r.Findings[0].What; !strings.Contains(what, "1 snapshots of the job are outside the branch") {
		t.Errorf("%s", what)
	}
}

func TestHoleAndOverlap(t *testing.T) {
	l := newLake(t)
	l.fill()
	key := iceberg.SourceKey(source0)
	l.append(receipt("job", "data", key, 62, 64, 2), source0, each(62, 64)...)
	r := l.verify(deep)
	if !slices.ContainsFunc(r.Findings, func(f verify.Finding) bool {
		return f.Kind == verify.Hole && slices.Equal(f.Spans, []kfs.Span{{Base: 60, Next: 62}})
	}) {
		t.Errorf("%v", r.Findings)
	}
	l.append(receipt("job", "data", key, 64, 67, 3), source0, each(64, 66)...)
	r = l.verify(nil)
	if !slices.ContainsFunc(r.Findings, func(f verify.Finding) bool {
		return f.Kind == verify.Damage && strings.HasSuffix(f.What, "added 2 rows and removed 0; its receipt counts 3")
	}) {
		t.Errorf("%v", r.Findings)
	}
	l.append(receipt("job", "data", key, 66, 69, 3), source0, each(66, 69)...)
	r = l.verify(nil)
	if !slices.ContainsFunc(r.Findings, func(f verify.Finding) bool {
		return f.Kind == verify.Overlap && slices.Equal(f.Spans, []kfs.Span{{Base: 66, Next: 67}})
	}) {
		t.Errorf("%v", r.Findings)
	}
}

// compact writes all data files again as one.
func (l *lake) compact() {
	l.t.Helper()
	l.foreign(func(ctx context.Context, tbl *table.Table, tx *table.Transaction) error {
		tasks, err := tbl.Scan().PlanFiles(ctx)
		if err != nil {
			return err
		}
		plan, err := compaction.Config{TargetFileSizeBytes: 1 << 20, MinFileSizeBytes: 1 << 19, MaxFileSizeBytes: 2 << 20, MinInputFiles: 2, DeleteFileThreshold: 5, PackingLookback: 64}.PlanCompaction(tasks)
		if err != nil {
			return err
		}
		var groups []table.CompactionTaskGroup
		for _, g := range plan.Groups {
			groups = append(groups, table.CompactionTaskGroup{PartitionKey: g.PartitionKey, Tasks: g.Tasks, TotalSizeBytes: g.TotalSizeBytes})
		}
		_, err = tx.RewriteDataFiles(ctx, groups, table.RewriteDataFilesOptions{})
		return err
	})
	if n := len(l.files()); n != 1 {
		l.t.Fatalf("%d files after compaction", n)
	}
}

func TestCompacted(t *testing.T) {
	l := newLake(t)
	l.fill()
	l.compact()
	l.both()
	l.commit(events, source0, 60, 70, each(60, 70))
	l.both()
}

func TestExpired(t *testing.T) {
	l := newLake(t)
	l.fill()
	l.expire()
	r, _ := l.both()
	if r.Snapshots != 1 {
		t.Fatalf("%d snapshots are left", r.Snapshots)
	}
	l.commit(events, source1, 25, 30, each(25, 30))
	l.both()
	// Somebody removes a row, and the snapshot that would tell expires.
	l.foreign(func(ctx context.Context, _ *table.Table, tx *table.Transaction) error {
		return tx.Delete(ctx, iceberglib.EqualTo(iceberglib.Reference("name"), "n42"), nil)
	})
	l.both()
	l.commit(events, source1, 30, 35, each(30, 35))
	l.expire()
	_, read := l.both(verify.Missing)
	i := slices.IndexFunc(read.Findings, func(f verify.Finding) bool { return len(f.Spans) > 0 })
	if i < 0 || !slices.Equal(read.Findings[i].Spans, []kfs.Span{{Base: 42, Next: 43}}) {
		t.Errorf("%v", read.Findings)
	}
}

// TestExpiredDelete removes a row by a delete file, and the snapshot that tells of it expires: that the row is hidden shows that it was removed.
func TestExpiredDelete(t *testing.T) {
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
	_, read := l.both()
	if len(read.Removals) != 0 || !slices.ContainsFunc(read.Notes, func(n string) bool {
		return strings.Contains(n, "1 rows are hidden by delete files of snapshots that have expired") && strings.HasSuffix(n, ": 42")
	}) {
		t.Errorf("notes %v", read.Notes)
	}
	want(t, l.verify(func(c *verify.Config) { deep(c); c.Strict = true }), verify.Removed)
}

func TestJobRemembersMore(t *testing.T) {
	l := newLake(t)
	l.fill()
	store := blob.NewMemory(nil)
	put := func(uuid string, next int64) {
		body, err := kfs.EncodeJob(&kfs.Job{Version: kfs.JobVersion, Name: "job", Tables: []kfs.JobTable{{Table: events, UUID: uuid, Sources: []kfs.JobSource{
			{Topic: "events", ID: source0.ID, Next: 50, Committed: next},
		}}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Put(t.Context(), kfs.JobKey("job"), body, false); err != nil {
			t.Fatal(err)
		}
	}
	put("", 60)
	want(t, l.verify(func(c *verify.Config) { c.Store = store }))
	put("", 70)
	want(t, l.verify(func(c *verify.Config) { c.Store = store }), verify.Rollback)
	put("of another table", 60)
	want(t, l.verify(func(c *verify.Config) { c.Store = store }), verify.Rollback)
}

func TestNoTable(t *testing.T) {
	l := newLake(t)
	if _, err := verify.Table(t.Context(), verify.Config{Catalog: l.catalog, Table: events, Job: "job"}); err == nil {
		t.Error("a table that is not there was verified")
	}
}
