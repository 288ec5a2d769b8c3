package rebuild_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/catalogtest"
	"github.com/firn-io/firn/processors/iceberg/rebuild"
)

// TestSecondIsKilled runs a second process of the same rebuild before requests of the first, which is killed amid its work. What the first has
// committed it must not have taken away: dead letters that no rows stand beside yet.
func TestSecondIsKilled(t *testing.T) {
	for _, to := range []rebuild.Place{rebuild.OnBranch, rebuild.InTable} {
		t.Run(string(to), func(t *testing.T) {
			for n, more := 0, true; more; n += 12 {
				t.Run(fmt.Sprint(n), func(t *testing.T) {
					more = twice(t, &bench{t: t, client: catalogtest.NewFake(), to: to}, n)
				})
			}
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
	if _, err := r.CatchUp(ctx); err != nil {
		return err
	}
	return r.Swap(ctx)
}

// twice begins a second process before the n-th operation of the first, and kills it after 30 of its own. It reports whether there was such an operation
// of the first.
func twice(t *testing.T, b *bench, n int) (done bool) {
	ctx, lake := t.Context(), catalog.New(b.client)
	for _, next := range []int64{20, 40} {
		if err := b.commit(ctx, lake, before, next); err != nil {
			t.Fatal(err)
		}
	}
	first := b.rebuild(catalogtest.NewFaulty(b.client, func(op catalogtest.Op) catalogtest.Fault {
		if op.N == n {
			done = true
			second := b.rebuild(catalogtest.NewFaulty(b.client, func(op catalogtest.Op) catalogtest.Fault {
				if op.N >= 30 {
					return catalogtest.FailBefore
				}
				return catalogtest.None
			}), after)
			_ = b.command(ctx, second) // near the end there is less left to do
		}
		return catalogtest.None
	}), after)
	if err := b.command(ctx, first); err != nil {
		t.Logf("the first: %v", err)
		if err := b.command(ctx, b.rebuild(b.client, after)); err != nil {
			t.Fatal(err)
		}
	}
	b.want(after, 0, after, 40)
	return done
}
