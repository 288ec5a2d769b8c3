package rebuild_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/catalogtest"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors/iceberg/rebuild"
	"github.com/firn-io/firn/processors/iceberg/verify"
	"github.com/firn-io/firn/runtime/processor"
)

// obstacle is something in the way of an operation of a rebuild.
type obstacle string

// Beside the faults of an operation: the process dies before it, or after it.
const (
	diesBefore obstacle = "dies before"
	diesAfter  obstacle = "dies after"
	commits    obstacle = "the job commits before" // with its former file
	restarts   obstacle = "the job starts before"  // with the new one
	decides    obstacle = "the job decides before" // with its former file: it commits dead letters, and dies
)

func obstacles() []obstacle {
	all := []obstacle{diesBefore, diesAfter, commits, restarts, decides}
	for _, f := range catalogtest.Faults {
		all = append(all, obstacle(f))
	}
	return all
}

func (o obstacle) fault(n, at int) catalogtest.Fault {
	switch {
	case o == diesBefore && at >= n, o == diesAfter && at > n:
		return catalogtest.FailBefore
	case o == diesAfter && at == n:
		return catalogtest.LoseReply
	case at != n || o == diesBefore || o == commits || o == restarts || o == decides:
		return catalogtest.None
	}
	return catalogtest.Fault(o)
}

// TestFaults rebuilds with something in the way of each operation in turn: whatever it is, each offset is in the tables once, before the
// next try as well as after it. Some operations have one obstacle each; all of both are among the slow tests.
func TestFaults(t *testing.T) {
	for _, to := range []rebuild.Place{rebuild.OnBranch, rebuild.InTable} {
		t.Run(string(to), func(t *testing.T) {
			walk(t, to, false, false, 6*oneOf, 0)
		})
		t.Run(string(to)+" beside a busy job", func(t *testing.T) {
			walk(t, to, true, false, 10*oneOf, 0)
		})
	}
	t.Run("of a job that has begun later", func(t *testing.T) { walk(t, rebuild.OnBranch, false, false, 6*oneOf, 13) })
}

// walk puts obstacles before every so many operations: all of them, or one each.
func walk(t *testing.T, to rebuild.Place, busy, all bool, every int, from int64) {
	open := func(t *testing.T) *bench { return &bench{t: t, client: catalogtest.NewFake(), to: to, from: from} }
	trace := rebuildAmid(t, open(t), busy, -1, "")
	t.Logf("%d operations", len(trace))
	for n, op := range trace {
		name, _, _ := strings.Cut(op, " assert")
		for i, o := range obstacles() {
			if n%every != 0 || !all && i != n/every%len(obstacles()) {
				continue
			}
			t.Run(fmt.Sprintf("%03d %s %s", n, o, name), func(t *testing.T) {
				rebuildAmid(t, open(t), busy, n, o)
			})
		}
	}
}

// rebuildAmid rebuilds with an obstacle before its n-th operation, and the job goes on. A job that is busy commits whenever the rebuild has caught up
// with it. It gives the operations of the first try.
func rebuildAmid(t *testing.T, b *bench, busy bool, n int, o obstacle) []string {
	ctx, lake := t.Context(), catalog.New(b.client)
	for _, next := range []int64{20, 30} {
		if err := b.commit(ctx, lake, before, next); err != nil {
			t.Fatal(err)
		}
	}
	b.from = 0 // the rebuild has what was before
	next, waited := int64(30), 0
	if busy {
		b.filled = func() {
			err := b.commit(ctx, lake, before, next+3)
			switch {
			case err == nil:
				next += 3
			case errors.Is(err, catalog.ErrPaused):
				waited++
			default:
				t.Errorf("the job: %v", err)
			}
		}
	}
	r := b.rebuild(nil, after)
	faulty := catalogtest.NewFaulty(b.client, func(op catalogtest.Op) catalogtest.Fault {
		if op.N == n && o == decides {
			b.either = kfs.Span{Base: next, Next: next + 5}
			if _, err := b.decide(ctx, lake, before, b.either); err != nil {
				t.Errorf("the job: %v", err)
			}
		}
		if op.N == n && (o == commits || o == restarts) {
			f := map[obstacle]form{commits: before, restarts: after}[o]
			// Between two renames a job that starts finds no table of the name; its object in the store says that there was one, and it halts.
			_, _, err := lake.Account(ctx, events, nil)
			if err == nil {
				err = b.commit(ctx, lake, f, next+5)
			}
			var halt *processor.HaltError
			switch {
			case err == nil:
				next += 5
			case errors.Is(err, catalog.ErrPaused):
				b.either = kfs.Span{Base: next, Next: next + 5} // it has committed dead letters
			case errors.Is(err, catalog.ErrNoTable), errors.As(err, &halt): // it is being swapped, or was
			default:
				t.Errorf("the job: %v", err)
			}
		}
		return o.fault(n, op.N)
	})
	r.Catalog = catalog.New(faulty)
	err := r.Swap(ctx)
	faulty.Settle()
	b.filled = nil
	if busy && n < 0 && waited == 0 {
		t.Error("the job was not asked to wait")
	}
	if _, _, missing := lake.Account(ctx, events, nil); missing == nil { // else it is between two renames
		b.readable()
	}
	for try := 0; err != nil; try++ {
		if try == 3 {
			t.Fatal(err)
		}
		again := b.rebuild(b.client, after)
		if begun, err := again.Begun(ctx); err != nil {
			t.Fatal(err)
		} else if begun != "" && begun != b.to {
			t.Fatalf("it has begun on %s", begun)
		}
		err = again.Swap(ctx)
	}
	if err := b.commit(ctx, lake, after, next+5); err != nil {
		t.Fatal(err)
	}
	b.want(after, 0, after, next+5)
	if begun, err := r.Begun(ctx); err != nil && n < 0 || n < 0 && begun != "" {
		t.Errorf("a rebuild that is finished has begun on %q, %v", begun, err)
	}
	return faulty.Trace()
}

// TestAbandonedAmid gives a rebuild up, in another process, before each request of its swap to the catalog: it is swapped in or given up, and never is
// there no table.
func TestAbandonedAmid(t *testing.T) {
	for _, to := range []rebuild.Place{rebuild.OnBranch, rebuild.InTable} {
		t.Run(string(to), func(t *testing.T) {
			outcomes := map[string]int{}
			for n, more := 0, true; more; n++ {
				t.Run(fmt.Sprint(n), func(t *testing.T) {
					more = abandonAmid(t, &bench{t: t, client: catalogtest.NewFake(), to: to}, n, outcomes)
				})
			}
			if outcomes["given up"] == 0 || outcomes["swapped in"] == 0 {
				t.Errorf("it was %v", outcomes)
			}
		})
	}
}

// abandonAmid gives a rebuild up before the n-th request of its swap, and reports whether there was one.
func abandonAmid(t *testing.T, b *bench, n int, outcomes map[string]int) bool {
	ctx, lake := t.Context(), catalog.New(b.client)
	done, err := b.swapWith(n, func(other *rebuild.Rebuild) {
		switch err := other.Abandon(ctx); {
		case err == nil:
			outcomes["given up"]++
		case errors.Is(err, rebuild.ErrSwapped):
			outcomes["swapped in"]++
		default:
			t.Errorf("it is given up: %v", err)
		}
	})
	if _, _, err := lake.Account(ctx, events, nil); err != nil {
		t.Fatal(err)
	}
	b.readable()
	if err != nil {
		if err := b.commit(ctx, lake, before, 50); err != nil {
			t.Errorf("the job goes on as if there had been no rebuild: %v", err)
		}
		if err := b.rebuild(b.client, after).Swap(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.commit(ctx, lake, after, 60); err != nil {
		t.Fatal(err)
	}
	b.want(after, 0, after, 60)
	return done
}

// swapWith fills the table, rebuilds it, and swaps, with another process that does something before the n-th request of the swap. It reports whether
// there was one, and the swap's error.
func (b *bench) swapWith(n int, meanwhile func(other *rebuild.Rebuild)) (done bool, err error) {
	b.t.Helper()
	ctx := b.t.Context()
	if err := b.commit(ctx, catalog.New(b.client), before, 40); err != nil {
		b.t.Fatal(err)
	}
	r := b.rebuild(b.client, after)
	if _, err := r.CatchUp(ctx); err != nil {
		b.t.Fatal(err)
	}
	requests := 0
	r.Catalog = catalog.New(catalogtest.NewFaulty(b.client, func(op catalogtest.Op) catalogtest.Fault {
		if strings.HasSuffix(op.Name, " file") {
			return catalogtest.None
		}
		if requests++; requests == n+1 {
			done = true
			meanwhile(b.rebuild(b.client, after))
		}
		return catalogtest.None
	}))
	err = r.Swap(ctx)
	return done, err
}

// readable checks that readers find no fault with the table, wherever a rebuild has been left.
func (b *bench) readable() {
	b.t.Helper()
	for _, deep := range []bool{true, false} {
		r, err := verify.Table(b.t.Context(), verify.Config{Catalog: catalog.New(b.client), Table: events, Job: "job", DeadLetters: letters, Whole: true, Deep: deep})
		if err != nil {
			b.t.Fatal(err)
		}
		if len(r.Findings) > 0 {
			b.t.Errorf("amid it, deep %t: %v", deep, r.Findings)
		}
	}
}

// TestFinishedAmid has another process finish a rebuild before each request of its swap to the catalog. Who comes second finds that nothing is left to do,
// and never that the rebuild had no dead letters because the first has taken them away.
func TestFinishedAmid(t *testing.T) {
	for _, to := range []rebuild.Place{rebuild.OnBranch, rebuild.InTable} {
		t.Run(string(to), func(t *testing.T) {
			for n, more := 0, true; more; n++ {
				t.Run(fmt.Sprint(n), func(t *testing.T) {
					more = finishAmid(t, &bench{t: t, client: catalogtest.NewFake(), to: to}, n)
				})
			}
		})
	}
}

// finishAmid finishes a rebuild in another process before the n-th request of its swap, and reports whether there was one.
func finishAmid(t *testing.T, b *bench, n int) bool {
	ctx := t.Context()
	done, err := b.swapWith(n, func(other *rebuild.Rebuild) {
		if err := other.Finish(ctx); err != nil {
			t.Errorf("the other process: %v", err)
		}
	})
	if err != nil {
		t.Errorf("the swap: %v", err)
		if err := b.rebuild(b.client, after).Swap(ctx); err != nil {
			t.Fatal(err)
		}
	}
	b.want(after, 0, after, 40)
	return done
}
