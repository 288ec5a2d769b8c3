package verify_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/processors/iceberg/verify"
	"github.com/firn-io/firn/runtime/processor"
)

// forgo gives offsets of the first source up.
func (l *lake) forgo(source processor.Source, base, next int64) error {
	sink := l.sink(events).(*iceberg.Sink)
	if _, err := sink.Committed(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
	return sink.Forgo(l.t.Context(), map[processor.Source]kfs.Span{source: {Base: base, Next: next}})
}

// TestLost gives up offsets whose records are gone: they are listed, also when the receipt has expired, and nothing else is excused by them.
func TestLost(t *testing.T) {
	l := newLake(t)
	l.fill()
	for _, wrong := range []struct {
		source     processor.Source
		base, next int64
	}{{source0, 59, 70}, {source0, 61, 70}, {processor.Source{Topic: "events", ID: kfs.TopicID{1}, Partition: 7}, 0, 5}} {
		if err := l.forgo(wrong.source, wrong.base, wrong.next); !errors.Is(err, processor.ErrMoved) {
			t.Errorf("giving up [%d, %d) of %v: %v", wrong.base, wrong.next, wrong.source, err)
		}
	}
	if err := l.forgo(source0, 60, 60); err == nil {
		t.Error("nothing was given up")
	}
	l.both()
	lost := func(want ...kfs.Span) {
		t.Helper()
		shallow, read := l.both()
		unlike := l.verify(func(c *verify.Config) { c.Deep, c.Whole = true, false })
		for _, r := range []*verify.Report{shallow, read, unlike} {
			if got := r.Sources[0].Lost; !slices.Equal(got, want) || len(r.Sources[1].Lost) > 0 {
				t.Errorf("%v is lost, want %v; and %v", got, want, r.Sources[1].Lost)
			}
			if len(r.Findings) > 0 {
				t.Errorf("findings %v", r.Findings)
			}
		}
	}
	if err := l.forgo(source0, 60, 70); err != nil {
		t.Fatal(err)
	}
	lost(kfs.Span{Base: 60, Next: 70})
	if err := l.forgo(source0, 70, 75); err != nil {
		t.Fatal(err)
	}
	l.commit(events, source0, 75, 80, each(75, 80))
	if err := l.forgo(source0, 80, 90); err != nil {
		t.Fatal(err)
	}
	all := []kfs.Span{{Base: 60, Next: 75}, {Base: 80, Next: 90}}
	lost(all...)
	expire := func(ctx context.Context, _ *table.Table, tx *table.Transaction) error {
		return tx.ExpireSnapshots(table.WithRetainLast(1), table.WithOlderThan(time.Duration(0)))
	}
	l.foreign(expire)
	lost(all...)
	l.commit(events, source0, 90, 100, each(90, 100))
	l.commit(events, source1, 25, 30, each(25, 30))
	l.foreign(expire)
	lost(all...)
	l.commit(events, source0, 100, 110, each(100, 110, 105))
	_, read := l.both(verify.Missing)
	if i := slices.IndexFunc(read.Findings, func(f verify.Finding) bool { return len(f.Spans) > 0 }); i < 0 || !slices.Equal(read.Findings[i].Spans, []kfs.Span{{Base: 105, Next: 106}}) {
		t.Errorf("%v", read.Findings)
	}
}

// TestLostRolledBack rolls a table back behind offsets that were given up: they are not any more, and come by themselves if the log has them again.
func TestLostRolledBack(t *testing.T) {
	l := newLake(t)
	l.fill()
	head := l.verify(nil).Snapshot
	if err := l.forgo(source0, 60, 70); err != nil {
		t.Fatal(err)
	}
	l.commit(events, source0, 70, 80, each(70, 80))
	l.foreign(func(_ context.Context, _ *table.Table, tx *table.Transaction) error {
		return tx.RollbackToSnapshot(head)
	})
	if r := l.verify(deep); len(r.Sources[0].Lost) > 0 {
		t.Errorf("%v is lost", r.Sources[0].Lost)
	}
	l.restart()
	l.commit(events, source0, 60, 80, each(60, 80))
	r := l.verify(deep)
	if len(r.Sources[0].Lost) > 0 || len(r.Findings) > 0 {
		t.Errorf("%v is lost, findings %v", r.Sources[0].Lost, r.Findings)
	}
}
