package rebuild_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"testing"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/catalogtest"
	"github.com/firn-io/firn/processors/iceberg/rebuild"
)

// TestTwo runs a second process of the same rebuild before operations of the first, wholly, and killed half-way, and one that gives it up: rows and dead letters of a rebuild stay
// together, whoever has made them, and whoever takes them away. Every operation is among the slow tests.
func TestTwo(t *testing.T) {
	for _, to := range []rebuild.Place{rebuild.OnBranch, rebuild.InTable} {
		t.Run(string(to), func(t *testing.T) { walkTwo(t, to, 20*oneOf) })
	}
}

func walkTwo(t *testing.T, to rebuild.Place, every int) {
	for n, more := 0, true; more; n += every {
		needs := 0
		t.Run(fmt.Sprintf("%03d beside a whole one", n), func(t *testing.T) {
			more, needs = two(t, &bench{t: t, client: catalogtest.NewFake(), to: to}, n, math.MaxInt, (*bench).command)
		})
		t.Run(fmt.Sprintf("%03d beside one that is killed", n), func(t *testing.T) {
			two(t, &bench{t: t, client: catalogtest.NewFake(), to: to}, n, needs/2, (*bench).command)
		})
		t.Run(fmt.Sprintf("%03d beside one that gives it up", n), func(t *testing.T) {
			two(t, &bench{t: t, client: catalogtest.NewFake(), to: to}, n, math.MaxInt, (*bench).abandon)
		})
	}
}

// command does what the command does: what has been begun and has not come to its first commit it takes away.
func (b *bench) command(ctx context.Context, r *rebuild.Rebuild) error {
	begun, err := r.Begun(ctx)
	if err != nil {
		return err
	}
	s, err := r.Standing(ctx)
	switch {
	case errors.Is(err, rebuild.ErrSwapped):
		return r.Finish(ctx)
	case err != nil:
		return err
	case begun != "" && !s.Begun:
		if err := r.Abandon(ctx); err != nil {
			return err
		}
	}
	_, err = r.CatchUp(ctx)
	switch {
	case errors.Is(err, rebuild.ErrSwapped):
		return r.Finish(ctx)
	case err != nil:
		return err
	}
	return r.Swap(ctx)
}

// abandon gives a rebuild up, if that can be.
func (b *bench) abandon(ctx context.Context, r *rebuild.Rebuild) error {
	if err := r.Abandon(ctx); !errors.Is(err, rebuild.ErrSwapped) {
		return err
	}
	return nil
}

// two has a second process do something before the n-th operation of the first, and kills it after some of its own. It reports whether there was such an operation
// of the first, and how many the second has tried.
func two(t *testing.T, b *bench, n, lives int, do func(*bench, context.Context, *rebuild.Rebuild) error) (bool, int) {
	var done atomic.Bool
	var tried atomic.Int64 // files are read by several goroutines
	ctx, lake := t.Context(), catalog.New(b.client)
	for _, next := range []int64{20, 40} {
		if err := b.commit(ctx, lake, before, next); err != nil {
			t.Fatal(err)
		}
	}
	first := b.rebuild(catalogtest.NewFaulty(b.client, func(op catalogtest.Op) catalogtest.Fault {
		if op.N != n {
			return catalogtest.None
		}
		done.Store(true)
		second := b.rebuild(catalogtest.NewFaulty(b.client, func(op catalogtest.Op) catalogtest.Fault {
			if tried.Add(1); op.N >= lives {
				return catalogtest.FailBefore
			}
			return catalogtest.None
		}), after)
		if err := do(b, ctx, second); (err == nil) != (lives == math.MaxInt) {
			t.Errorf("the second, killed after %d operations: %v", lives, err)
		}
		return catalogtest.None
	}), after)
	err := b.command(ctx, first)
	b.readable()
	last := b.rebuild(b.client, after)
	begun, failed := last.Begun(ctx)
	if err != nil || begun != "" { // the second may have begun when the first had finished
		t.Logf("the first: %v", err)
		failed = errors.Join(failed, b.command(ctx, last))
	}
	if failed != nil {
		t.Fatal(failed)
	}
	b.want(after, 0, after, 40)
	if begun, err := b.rebuild(b.client, after).Begun(ctx); err != nil || begun != "" {
		t.Errorf("a rebuild is left in %q, %v", begun, err)
	}
	return done.Load(), int(tried.Load())
}
