package verify_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/processors/iceberg/verify"
	"github.com/firn-io/firn/runtime/processor"
)

// before is a store in which something happens before an object is read.
type before struct {
	blob.Store
	happens func()
}

func (b *before) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Info, error) {
	b.happens()
	return b.Store.Get(ctx, key, r)
}

// TestBesideTheJob verifies while the job commits and writes down that it has: the table that was looked at is not one that was rolled back.
func TestBesideTheJob(t *testing.T) {
	l := newLake(t)
	l.commit(events, source0, 0, 10, each(0, 10))
	memory, next := blob.NewMemory(nil), int64(10)
	store := &before{memory, func() {
		l.commit(events, source0, next, next+10, each(next, next+10))
		next += 10
		body, err := kfs.EncodeJob(&kfs.Job{Version: kfs.JobVersion, Name: "job", Tables: []kfs.JobTable{{Table: events, Sources: []kfs.JobSource{
			{Topic: "events", ID: source0.ID, Next: next - 10, Committed: next},
		}}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := memory.Put(t.Context(), kfs.JobKey("job"), body, false); err != nil {
			t.Fatal(err)
		}
	}}
	want(t, l.verify(func(c *verify.Config) { c.Store = store }))
	if next == 10 {
		t.Error("nobody has read what the job remembers")
	}
}

// TestBesideARetry has a retry make a row of a dead letter, and mark the letter, while rows are read: it was a letter when the table was looked at.
func TestBesideARetry(t *testing.T) {
	l := newLake(t)
	l.commit(letters, source0, 0, 10, each(3, 4))
	l.commit(events, source0, 0, 10, each(0, 10, 3))
	retried := false
	want(t, l.verify(func(c *verify.Config) {
		deep(c)
		c.Progress = func(int, int) {
			retried = true
			l.repair(source0, 3)
		}
	}))
	if !retried {
		t.Error("nothing was read")
	}
	want(t, l.verify(deep))
}

// repair makes a row of a dead letter that does not say which topic of the name it is of.
func (l *lake) repair(source processor.Source, offset int64) {
	l.t.Helper()
	ctx, s := l.t.Context(), l.sink(events).(*iceberg.Sink)
	if _, err := s.Committed(ctx); err != nil {
		l.t.Fatal(err)
	}
	batch := rows(source, offset)
	defer batch.Release()
	if err := s.Stage(ctx, processor.Batch{Source: source, Span: kfs.Span{Base: offset, Next: offset + 1}, Records: batch}); err != nil {
		l.t.Fatal(err)
	}
	staged, err := s.Seal(ctx)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := s.Repair(ctx, staged, map[processor.Source][]int64{source: {offset}}); err != nil {
		l.t.Fatal(err)
	}
	nameless := processor.Source{Topic: source.Topic, Partition: source.Partition}
	if n, err := l.sink(letters).(*iceberg.Sink).Resolve(ctx, map[processor.Source][]int64{nameless: {offset}}, time.Unix(1, 0)); err != nil || n != 1 {
		l.t.Fatalf("%d letters were marked: %v", n, err)
	}
}

// TestDividedBesideARetry does so while the tables of a division are verified one after the other: the row is in none that was read then.
func TestDividedBesideARetry(t *testing.T) {
	const other = "default.others"
	l := newLake(t)
	l.commit(letters, source0, 0, 10, each(3, 4))
	l.commit(events, source0, 0, 10, []int64{0, 2, 4, 6, 8})
	l.commit(other, source0, 0, 10, []int64{1, 5, 7, 9})
	division := &verify.Division{}
	for _, name := range []string{events, other} {
		want(t, l.verify(func(c *verify.Config) {
			deep(c)
			c.Table, c.Whole, c.WholeTogether, c.Division = name, false, true, division
		}))
		if name == events {
			l.repair(source0, 3)
		}
	}
	want(t, division.Report("default.{}"))
}
