package pipeline

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/guard"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// TestTransformPanics: a record that a transform panics over halts its partition, under any policy. Other partitions and tables go on, and
// when the transform is mended, the partition does where it was.
func TestTransformPanics(t *testing.T) {
	for _, policy := range []Policy{DeadLetter, Skip, Halt} {
		store, l := blob.NewMemory(nil), newLake(t)
		j := tailtest.Journal{Store: store}
		j.Append(t, []kfs.Entry{cluster, events, orders})
		j.Append(t, nil, jsons(events, 0, 0, 10), jsons(events, 1, 0, 10), jsons(orders, 0, 0, 10))
		opened, mended := 0, false
		poisoned := applied(func(b processor.Batch) (processor.Batch, error) {
			done := false
			defer func() {
				if !done {
					b.Records.Release()
				}
			}()
			if !mended && b.Source.Topic == "events" && b.Source.Partition == 1 && slices.Contains(b.Records.Column(2).(*array.Int64).Int64Values(), 17) {
				panic("poison")
			}
			done = true
			return b, nil
		})
		cfg := testConfig(t, store, l)
		cfg.Errors = policy
		cfg.OpenTransforms = func(string) ([]Step, error) {
			again := func() (processor.Transform, error) { opened++; return poisoned, nil }
			return []Step{{"1 (mine)", guard.Transform(poisoned, "mine", again, cfg.Logger)}}, nil
		}
		if err := run(t, cfg); err != nil { // what comes before the poison is committed, however records come together
			t.Fatal(err)
		}
		j.Append(t, nil, jsons(events, 0, 10, 20), jsons(events, 1, 10, 20), jsons(orders, 0, 10, 20))
		err := run(t, cfg)
		if err == nil || !strings.Contains(err.Error(), "transform 1 (mine): mine.Apply of events/1 [10, 30) panicked: poison: mend the transform") {
			t.Errorf("policy %d: %v", policy, err)
		}
		wantOffsets(t, l.table("db.events"), 0, 0, 30)
		wantOffsets(t, l.table("db.events"), 1, 0, 10)
		wantOffsets(t, l.table("db.orders"), 0, 0, 30)
		if opened > 1 {
			t.Errorf("policy %d: %d transforms in the place of one that has panicked once", policy, opened)
		}
		mended = true
		if err := run(t, cfg); err != nil {
			t.Fatalf("policy %d: mended: %v", policy, err)
		}
		wantOffsets(t, l.table("db.events"), 1, 0, 30)
		if dead := l.table(deadLetterTable).offsets(1); len(dead) > 0 {
			t.Errorf("policy %d: dead letters %v", policy, dead)
		}
	}
}

// panicking is a sink that panics before or after what it does, where it is told to.
type panicking struct {
	*fakeSink
	when func(after bool) bool
}

func (p panicking) around(do func()) {
	if p.when(false) {
		panic("before")
	}
	do()
	if p.when(true) {
		panic("after")
	}
}

func (p panicking) Committed(ctx context.Context) (at processor.Positions, err error) {
	p.around(func() { at, err = p.fakeSink.Committed(ctx) })
	return at, err
}

func (p panicking) Stage(ctx context.Context, b processor.Batch) (err error) {
	p.around(func() { err = p.fakeSink.Stage(ctx, b) })
	return err
}

func (p panicking) Seal(ctx context.Context) (staged processor.Staged, err error) {
	p.around(func() { staged, err = p.fakeSink.Seal(ctx) })
	return staged, err
}

func (p panicking) Commit(ctx context.Context, from, to processor.Positions, staged []processor.Staged) (err error) {
	p.around(func() { err = p.fakeSink.Commit(ctx, from, to, staged) })
	return err
}

// TestSinkPanics panics before and after each operation of the sinks once: every offset is there once, in one of the tables.
func TestSinkPanics(t *testing.T) {
	for n := 0; ; n++ {
		l := newLake(t)
		cfg := sieved(t, l)
		count := 0 // of the one table's worker
		when := func(after bool) bool {
			if after == (n%2 == 1) {
				count++
			}
			return after == (n%2 == 1) && count == n/2+1
		}
		guarded := func(ctx context.Context, table string) (processor.Sink, error) {
			return guard.Sink(ctx, "mine", func(context.Context) (processor.Sink, error) { return panicking{l.table(table).open(), when}, nil }, cfg.Logger)
		}
		cfg.OpenSink = func(ctx context.Context, table string, _ kfs.TopicID) (processor.Sink, error) {
			return guarded(ctx, table)
		}
		cfg.OpenDeadLetters = func(ctx context.Context, _ kfs.TopicID) (processor.Sink, error) { return guarded(ctx, deadLetterTable) }
		if err := run(t, cfg); err != nil {
			t.Fatalf("panic %d: %v", n, err)
		}
		for p := range int32(2) {
			rows, dead := l.table("db.events").offsets(p), l.table(deadLetterTable).offsets(p)
			if len(rows) != 24 || len(dead) != 8 || len(slices.Compact(slices.Sorted(slices.Values(append(rows, dead...))))) != 32 {
				t.Errorf("panic %d: partition %d has rows %v and dead letters %v", n, p, rows, dead)
			}
		}
		if count < n/2+1 {
			if n < 20 {
				t.Fatal(fmt.Sprint("only ", n, " operations"))
			}
			return // n lies behind the last operation
		}
	}
}
