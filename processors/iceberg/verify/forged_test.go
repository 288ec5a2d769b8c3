package verify_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	iceberglib "github.com/apache/iceberg-go"
	icebergcat "github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/processors/iceberg/verify"
	"github.com/firn-io/firn/runtime/processor"
)

// receipt is a receipt that no job has written, of one source.
func receipt(job, kind, source string, base, next, rows int64) iceberglib.Properties {
	return iceberglib.Properties{
		"firn.receipt": "1", "firn.job": job, "firn.kind": kind, "firn.commit": fmt.Sprint(kind, base), "firn.ranges": fmt.Sprintf(`{"%s":[%d,%d,%d,%d]}`, source, base, next, next-1, rows),
	}
}

// remove removes rows of the first source, by a snapshot of those properties.
func (l *lake) remove(mode string, base, next int64, props iceberglib.Properties) {
	l.t.Helper()
	l.foreign(func(ctx context.Context, _ *table.Table, tx *table.Transaction) error {
		if err := tx.SetProperties(iceberglib.Properties{"write.delete.mode": mode}); err != nil {
			return err
		}
		offset, partition := iceberglib.Reference("kafka_offset"), iceberglib.Reference("kafka_partition")
		return tx.Delete(ctx, iceberglib.NewAnd(iceberglib.EqualTo(partition, source0.Partition), iceberglib.GreaterThanEqual(offset, base), iceberglib.LessThan(offset, next)), props)
	})
}

// forget leaves a manifest out, by a snapshot that says that it removed nothing.
func (l *lake) forget() {
	l.t.Helper()
	ctx, client, ident := l.t.Context(), l.catalog.Client(), icebergcat.ToIdentifier(events)
	t, err := client.LoadTable(ctx, ident)
	if err != nil {
		l.t.Fatal(err)
	}
	fs, err := t.FS(ctx)
	if err != nil {
		l.t.Fatal(err)
	}
	s := *t.CurrentSnapshot()
	manifests, err := s.Manifests(fs)
	if err != nil {
		l.t.Fatal(err)
	}
	parent := s.SnapshotID
	s.SnapshotID, s.ParentSnapshotID, s.SequenceNumber = parent+1, &parent, s.SequenceNumber+1
	s.ManifestList, s.Summary = t.Location()+"/metadata/forgotten.avro", &table.Summary{Operation: table.OpReplace}
	out, err := os.Create(strings.TrimPrefix(s.ManifestList, "file://"))
	if err != nil {
		l.t.Fatal(err)
	}
	defer out.Close()
	if err := iceberglib.WriteManifestList(t.Metadata().Version(), out, s.SnapshotID, s.ParentSnapshotID, &s.SequenceNumber, 0, manifests[1:]); err != nil {
		l.t.Fatal(err)
	}
	_, _, err = client.CommitTable(ctx, ident, []table.Requirement{table.AssertRefSnapshotID(table.MainBranch, &parent)}, []table.Update{
		table.NewAddSnapshotUpdate(&s), table.NewSetSnapshotRefUpdate(table.MainBranch, s.SnapshotID, table.BranchRef, 0, 0, 0),
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

// property changes what the job says in its property, of one source.
func (l *lake) property(source processor.Source, change func(*catalog.SourceProgress)) {
	l.t.Helper()
	const name = "firn.progress.job"
	l.foreign(func(_ context.Context, t *table.Table, tx *table.Transaction) error {
		var p catalog.Progress
		if err := json.Unmarshal([]byte(t.Properties()[name]), &p); err != nil {
			return err
		}
		key := iceberg.SourceKey(source)
		at := p.Sources[key]
		change(&at)
		p.Sources[key] = at
		value, err := json.Marshal(p)
		if err != nil {
			return err
		}
		return tx.SetProperties(iceberglib.Properties{name: string(value)})
	})
}

// TestForged makes commits that no job makes, and changes what a job has said. Each case names what must be among the findings.
func TestForged(t *testing.T) {
	key, namesake := iceberg.SourceKey(source0), iceberg.SourceKey(processor.Source{Topic: source0.Topic, ID: kfs.TopicID{2}})
	for _, c := range []struct {
		name string
		make func(l *lake)
		deep bool
		want verify.Finding // What is a part of it
	}{
		{"a commit of rows takes files away", func(l *lake) {
			l.remove("copy-on-write", 30, 40, receipt("job", "data", key, 60, 61, 0))
		}, false, verify.Finding{Kind: verify.Damage, What: "added 0 rows and removed 10; its receipt counts 0"}},
		{"a commit of rows adds delete files", func(l *lake) {
			l.remove("merge-on-read", 30, 35, receipt("job", "data", key, 60, 61, 0))
		}, false, verify.Finding{Kind: verify.Damage, What: "added 0 rows and removed 0; its receipt counts 0"}},
		{"a rewriting of the job loses rows", func(l *lake) {
			l.remove("copy-on-write", 30, 40, receipt("job", "replace", key, 60, 60, 0))
		}, false, verify.Finding{Kind: verify.Missing, What: "of job job wrote 0 rows in place of 10"}},
		{"a rewriting of somebody else loses rows", func(l *lake) {
			before := l.files()
			l.remove("copy-on-write", 30, 40, nil)
			files := l.files()
			gone := before[slices.IndexFunc(before, func(f iceberglib.DataFile) bool {
				return !slices.ContainsFunc(files, func(o iceberglib.DataFile) bool { return o.FilePath() == f.FilePath() })
			})]
			l.foreign(func(ctx context.Context, _ *table.Table, tx *table.Transaction) error {
				return tx.NewRewrite(nil).DeleteFile(files[0]).DeleteFile(files[1]).AddDataFile(gone).Commit(ctx)
			})
		}, false, verify.Finding{Kind: verify.Missing, What: "says that it rewrote files, but it removed"}},
		{"a snapshot forgets files", func(l *lake) { l.forget() }, false,
			verify.Finding{Kind: verify.Missing, What: "the table has 20 rows less than"}},
		{"the property counts more rows than receipts", func(l *lake) {
			l.property(source0, func(p *catalog.SourceProgress) { p.First, p.Next, p.Rows = 0, 66, 66 })
		}, false, verify.Finding{Kind: verify.Missing, What: "the table has 6 rows less than"}},
		{"the property counts fewer rows than receipts", func(l *lake) {
			l.property(source0, func(p *catalog.SourceProgress) { p.Rows = 50 })
		}, false, verify.Finding{Kind: verify.Foreign, What: "the table has 10 rows more than"}},
		{"a receipt of a version that is not known", func(l *lake) {
			l.append(iceberglib.Properties{"firn.receipt": "2"}, source0, 60)
		}, false, verify.Finding{Kind: verify.Damage, What: `receipt version "2" is not known`}},
		{"a receipt of a source that is none", func(l *lake) {
			l.append(receipt("job", "data", "events", 60, 61, 1), source0, 60)
		}, false, verify.Finding{Kind: verify.Damage, What: "events"}},
		{"a receipt counts more rows than offsets", func(l *lake) {
			l.append(receipt("job", "data", key, 60, 62, 3), source0, 60, 60, 61)
		}, false, verify.Finding{Kind: verify.Damage, What: "receipt of [60, 62) says that it has 3 rows"}},
		{"two topics of one name", func(l *lake) {
			l.append(receipt("job", "data", namesake, 0, 10, 10), source0, each(0, 10)...)
		}, false, verify.Finding{Kind: verify.Damage, What: "rows of two topics of this name"}},
		{"a backfill within the job's offsets", func(l *lake) {
			l.append(receipt("job/backfill/b", "data", key, 55, 58, 3), source0, each(55, 58)...)
		}, false, verify.Finding{Kind: verify.Overlap, Spans: []kfs.Span{{Base: 55, Next: 58}}, What: "jobs job and job/backfill/b both account for [55, 58)"}},
		{"a backfill across the job's end", func(l *lake) {
			l.append(receipt("job/backfill/b", "data", key, 55, 65, 10), source0, each(55, 65)...)
		}, false, verify.Finding{Kind: verify.Overlap, Spans: []kfs.Span{{Base: 55, Next: 60}}, What: "both account for [55, 60)"}},
		{"the property ends elsewhere", func(l *lake) {
			l.property(source0, func(p *catalog.SourceProgress) { p.Next = 65 })
		}, false, verify.Finding{Kind: verify.Damage, What: "receipts of job job end at 60, its property says 65"}},
		{"the property begins elsewhere", func(l *lake) {
			l.property(source1, func(p *catalog.SourceProgress) { p.First, p.Rows = 7, 18 })
		}, false, verify.Finding{Kind: verify.Damage, What: "receipts of job job begin at 5, its property says that it began at 7"}},
		{"a file with more rows than offsets", func(l *lake) {
			l.append(nil, source0, 70, 71, 71)
		}, false, verify.Finding{Kind: verify.Duplicate, Spans: []kfs.Span{{Base: 70, Next: 72}}, What: "has 3 rows for the 2 offsets of [70, 72)"}},
		{"an offset twice in one file", func(l *lake) {
			l.append(nil, source0, 70, 71, 71, 75)
		}, true, verify.Finding{Kind: verify.Duplicate, Spans: []kfs.Span{{Base: 71, Next: 72}}, What: "1 rows more than offsets"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLake(t)
			l.fill()
			c.make(l)
			r := l.verify(func(cfg *verify.Config) { cfg.Deep = c.deep })
			if !slices.ContainsFunc(r.Findings, func(f verify.Finding) bool {
				return f.Kind == c.want.Kind && (c.want.Spans == nil || slices.Equal(f.Spans, c.want.Spans)) && strings.Contains(f.What, c.want.What)
			}) {
				t.Errorf("findings %v, want one of %s %v %q", r.Findings, c.want.Kind, c.want.Spans, c.want.What)
			}
		})
	}
}

// TestNotes has what is no fault, or cannot be told, and must be said all the same. Each case names a note that must be there, and those that follow
// the count of findings tell nothing more.
func TestNotes(t *testing.T) {
	lettersAhead := func(l *lake) {
		l.commit(letters, source0, 0, 10, each(3, 4))
		l.commit(letters, source0, 10, 20, each(12, 13))
	}
	for _, c := range []struct {
		name   string
		make   func(l *lake)
		change func(*verify.Config)
		note   string // a part of the only one; "" if there must be none
	}{
		{"the property began before the receipts", func(l *lake) {
			l.fill()
			l.property(source1, func(p *catalog.SourceProgress) { p.First = 2 })
		}, func(c *verify.Config) { c.Whole = false }, "no receipt of job job is left below 5: counts speak for [2, 5)"},
		{"nobody counted the rows whose receipts have expired", func(l *lake) {
			l.fill()
			l.property(source0, func(p *catalog.SourceProgress) { p.Rows = catalog.UnknownRows })
			l.expire()
		}, nil, "was not counted"},
		{"a record is a row and a dead letter", func(l *lake) {
			lettersAhead(l)
			l.commit(events, source0, 0, 20, each(0, 20, 12))
		}, nil, "1 records are rows and dead letters too"},
		{"a record is a row and a dead letter, by reading", func(l *lake) {
			lettersAhead(l)
			l.commit(events, source0, 0, 20, each(0, 20, 12))
		}, deep, "1 records are rows and dead letters too"},
		{"dead letters are ahead of the rows", func(l *lake) {
			lettersAhead(l)
			l.commit(events, source0, 0, 10, each(0, 10, 3))
		}, nil, ""},
		{"a dead letter of a record that is lost to the table", func(l *lake) {
			l.commit(letters, source0, 0, 20, each(12, 13))
			l.commit(events, source0, 0, 10, each(0, 10))
			if err := l.forgo(source0, 10, 20); err != nil {
				l.t.Fatal(err)
			}
		}, nil, "some of the dead letters may be of records that were lost"},
		{"the files that somebody replaced are gone", func(l *lake) {
			l.fill()
			path := l.path(30)
			l.remove("copy-on-write", 30, 40, nil)
			if err := os.Remove(path); err != nil {
				l.t.Fatal(err)
			}
		}, func(c *verify.Config) { deep(c); c.Whole = false }, "cannot be read any more"},
		{"another job has filled the table too", func(l *lake) {
			l.fill()
			l.job = "other"
			l.commit(events, processor.Source{Topic: "others", ID: kfs.TopicID{2}}, 0, 40, each(0, 40))
		}, nil, "job other has filled this table too"},
		{"delete files hide rows", func(l *lake) {
			l.fill()
			l.remove("merge-on-read", 30, 35, nil)
		}, nil, "which rows they hide is known only to those who read them"},
		{"manifests do not say whether rows have offsets", func(l *lake) {
			l.adopt()
			l.expire()
		}, nil, "their manifests do not say whether their rows have offsets"},
		{"what the job remembers cannot be read", func(l *lake) { l.fill() }, func(c *verify.Config) {
			c.Store = blob.NewMemory(nil)
			if _, err := c.Store.Put(context.Background(), kfs.JobKey("job"), []byte("no job"), false); err != nil {
				panic(err)
			}
		}, "cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLake(t)
			c.make(l)
			r := l.verify(c.change)
			if c.note == "" && len(r.Notes) > 0 || c.note != "" && (len(r.Notes) != 1 || !strings.Contains(r.Notes[0], c.note)) {
				t.Errorf("notes %q, want one of %q; findings %v", r.Notes, c.note, r.Findings)
			}
		})
	}
}

// TestBackfillJoins has a backfill bring in what was before the job: the two are one span where they touch.
func TestBackfillJoins(t *testing.T) {
	l := newLake(t)
	l.fill()
	l.append(receipt("job/backfill/b", "data", iceberg.SourceKey(source1), 1, 5, 4), source1, each(1, 5)...)
	for _, r := range []*verify.Report{l.verify(nil), l.verify(deep)} {
		want(t, r)
		if got := r.Sources[1].Spans; !slices.Equal(got, []kfs.Span{{Base: 1, Next: 25}}) {
			t.Errorf("%v", got)
		}
	}
}

// TestLeftOut has a filter leave records out of what has expired: of those nobody says that they are missing, also behind later commits.
func TestLeftOut(t *testing.T) {
	l := newLake(t)
	l.commit(events, source0, 0, 10, each(0, 10, 3))
	l.commit(events, source0, 10, 20, each(10, 20))
	l.expire() // the newest stays
	l.commit(events, source0, 20, 30, each(20, 30, 22))
	filters := func(c *verify.Config) { deep(c); c.Whole = false }
	want(t, l.verify(filters))
	l.put(l.path(10), l.path(0))
	r := l.verify(filters)
	want(t, r, verify.Duplicate, verify.Missing)
	if what := r.Findings[len(r.Findings)-1].What; !strings.HasSuffix(what, ": [0, 10); of what was committed before the oldest snapshot that is left, an expired snapshot of somebody else may have removed them") {
		t.Errorf("%s", what)
	}
}

// TestHiddenAndAgain adds rows again that a delete file has hidden: they are not there twice.
func TestHiddenAndAgain(t *testing.T) {
	l := newLake(t)
	l.fill()
	l.remove("merge-on-read", 30, 35, nil)
	l.append(nil, source0, each(30, 35)...)
	l.both()
}

// TestManyRows reads a file of more rows than are held at a time, and lists the first of many ranges.
func TestManyRows(t *testing.T) {
	const n = 300_000
	var but []int64
	for o := int64(1); o < 24; o += 2 {
		but = append(but, o)
	}
	l := newLake(t)
	l.commit(events, source0, 0, n, each(0, n, but...))
	r := l.verify(deep)
	want(t, r, verify.Missing)
	if r.Sources[0].Found != n-12 || len(r.Findings[0].Spans) != 12 {
		t.Errorf("%d rows were read, findings %v", r.Sources[0].Found, r.Findings)
	}
	if text := r.Findings[0].String(); text != "missing: "+iceberg.SourceKey(source0)+": 12 rows are missing: 1, 3, 5, 7, 9, 11, 13, 15, 17, 19 and 2 more ranges" {
		t.Error(text)
	}
}
