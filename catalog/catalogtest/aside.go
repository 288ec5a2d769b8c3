package catalogtest

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
)

// testAside fills a branch beside main, with commits to main in between, and puts it in the place of main.
func testAside(t *testing.T, client catalog.Client) {
	const name, branch, tag = "default.aside", "anew", "before"
	ctx, lake := t.Context(), catalog.New(client)
	main := NewCommitter(t, client, name, catalog.Options{})
	create(t, main)
	must(t, main.Commit(ctx, Group("a/0", 0, 10)))
	must(t, NewCommitter(t, client, name, catalog.Options{Job: catalog.Backfill("job", "1")}).Commit(ctx, Group("b/0", 0, 5)))

	// A commit to main takes the sequence number that the branch's has.
	racing := beforeCommit(client, func() { must(t, main.Commit(ctx, Group("a/0", 10, 20))) })
	for _, rebuild := range []string{"a rebuild", "another"} {
		if now, err := lake.Begin(ctx, name, rebuild, catalog.Options{Job: "job"}); err != nil || now != "a rebuild" {
			t.Errorf("under way is %q, %v", now, err)
		}
	}
	places := map[string]catalog.Aside{name: {Branch: branch, Rebuild: "a rebuild"}}
	// Two commits to main before the first one to the branch, which has no parent: their sequence numbers are above the one that it was made with.
	late := beforeCommit(client, func() {
		for _, base := range []int64{5, 10} {
			must(t, NewCommitter(t, client, name, catalog.Options{Job: catalog.Backfill("job", "1")}).Commit(ctx, Group("b/0", base, base+5)))
		}
	})
	aside := NewCommitter(t, catalog.New(late).Aside(places).Client(), name, catalog.Options{Config: "new"})
	must(t, aside.Commit(ctx, Group("a/0", 0, 5)))
	aside = NewCommitter(t, catalog.New(racing).Aside(places).Client(), name, catalog.Options{Config: "new"})
	must(t, aside.Commit(ctx, Group("a/0", 5, 20)))
	wantPosition(t, main, map[string]int64{"a/0": 20})
	wantPosition(t, aside, map[string]int64{"a/0": 20})
	wantFiles(t, aside, Group("a/0", 0, 5), Group("a/0", 5, 20))
	var halt *catalog.HaltError
	if _, err := aside.Evolve(ctx, iceberg.NewSchema(0, iceberg.NestedField{ID: 1, Name: "more", Type: iceberg.PrimitiveTypes.Int64})); !errors.As(err, &halt) {
		t.Errorf("another schema for a branch: %v", err)
	}

	other := NewCommitter(t, lake.Aside(map[string]catalog.Aside{name: {Branch: branch, Rebuild: "another"}}).Client(), name, catalog.Options{Config: "new"})
	if err := other.Commit(ctx, Group("a/0", 20, 25)); !errors.As(err, &halt) {
		t.Errorf("a commit to what another rebuild has made: %v", err)
	}

	account := func(c *catalog.Catalog) *catalog.Account {
		a, _, err := c.Account(ctx, name, nil)
		must(t, err)
		return a
	}
	anew, live := account(lake.Aside(places)), account(lake)
	if len(anew.Progress) != 1 || len(live.Progress) != 2 {
		t.Errorf("the branch has progress of %d jobs, main of %d, want 1 and 2", len(anew.Progress), len(live.Progress))
	}
	swap := catalog.Swap{Table: name, Job: "job", Branch: branch, BranchHead: anew.Head, Head: anew.Head,
		Rebuilt: catalog.Rebuilt{Commit: anew.Branch[0].Receipt.Commit, Config: "new", Replaced: tag}}
	if err := lake.Swap(ctx, swap, catalog.Options{Job: "job"}); !errors.Is(err, catalog.ErrMoved) {
		t.Errorf("a swap for another head: %v", err)
	}
	swap.Head = live.Head
	if err := lake.Swap(ctx, swap, catalog.Options{Job: "job"}); !errors.Is(err, catalog.ErrMoved) {
		t.Errorf("a swap of a rebuild that is not under way: %v", err)
	}
	swap.Rebuilt.Rebuild = live.UnderWay
	for range 2 {
		must(t, lake.Swap(ctx, swap, catalog.Options{Job: "job"}))
	}
	wantFiles(t, main, Group("a/0", 0, 5), Group("a/0", 5, 20))
	if err := main.Commit(ctx, Group("a/0", 20, 25)); err != nil {
		t.Errorf("a job that tells no configuration: %v", err)
	}
	old := NewCommitter(t, client, name, catalog.Options{Config: "old"})
	if err := old.Commit(ctx, Group("a/0", 25, 30)); err != nil {
		t.Errorf("a job after one has gone on: %v", err)
	}
	wantPosition(t, main, map[string]int64{"a/0": 30})
	if got := account(lake); len(got.Progress) != 1 || got.Rebuilt["job"] == nil || !got.Rebuilt["job"].Unfinished {
		t.Errorf("the table says %+v", got)
	}
	if _, err := lake.Begin(ctx, name, "another", catalog.Options{Job: "job"}); !errors.Is(err, catalog.ErrReplaced) {
		t.Errorf("a rebuild begins while one is not finished: %v", err)
	}
	must(t, lake.Finished(ctx, name, "job", account(lake).Rebuilt["job"], catalog.Options{Job: "job"}))
	for range 2 {
		must(t, lake.DropRef(ctx, name, tag, swap.Head, catalog.Options{Job: "job"}))
		must(t, lake.DropRef(ctx, name, tag, 1, catalog.Options{Job: "job"}))
	}
	wantMainAlone(t, main, 5) // the rebuild's three and two of the job
	wantFiles(t, main, Group("a/0", 0, 5), Group("a/0", 5, 20), Group("a/0", 20, 25), Group("a/0", 25, 30))
}

// beforeCommit is a client that does something once, before its first commit.
func beforeCommit(client catalog.Client, do func()) *Faulty {
	var once sync.Once
	return NewFaulty(client, func(op Op) Fault {
		if op.Name == "commit" {
			once.Do(do)
		}
		return None
	})
}

// wantMainAlone checks that a table has no ref but main, and so many snapshots.
func wantMainAlone(t *testing.T, c *catalog.Committer, snapshots int) {
	t.Helper()
	loaded, err := c.Load(t.Context())
	must(t, err)
	refs := 0
	for name := range loaded.Metadata().Refs() {
		if refs++; name != table.MainBranch {
			t.Errorf("ref %s is left", name)
		}
	}
	if n := len(loaded.Metadata().Snapshots()); n != snapshots || refs != 1 {
		t.Errorf("%d snapshots and %d refs are left, want %d, and main", n, refs, snapshots)
	}
}

// testPauses pauses a table: its job waits until that is over, or ended; its position can be read, and branches go on.
func testPauses(t *testing.T, client catalog.Client) {
	const name = "default.paused"
	ctx, lake := t.Context(), catalog.New(client)
	now := time.Now()
	opts := catalog.Options{Job: "job", Now: func() time.Time { return now }}
	main := NewCommitter(t, client, name, opts)
	create(t, main)
	must(t, main.Commit(ctx, Group("a/0", 0, 10)))
	pause := catalog.Pause{By: "rebuild", Since: now.UnixMilli(), Until: now.Add(catalog.MaxPause).UnixMilli()}
	for range 2 {
		must(t, lake.Pause(ctx, name, pause, opts))
	}
	if err := main.Commit(ctx, Group("a/0", 10, 20)); !errors.Is(err, catalog.ErrPaused) || !strings.Contains(err.Error(), pause.String()) {
		t.Errorf("a commit to a table that is paused: %v", err)
	}
	wantPosition(t, main, map[string]int64{"a/0": 10})
	aside := NewCommitter(t, lake.Aside(map[string]catalog.Aside{name: {Branch: "anew"}}).Client(), name, opts)
	must(t, aside.Commit(ctx, Group("a/0", 0, 20)))
	for range 2 {
		must(t, lake.Resume(ctx, name, opts))
	}
	must(t, main.Commit(ctx, Group("a/0", 10, 20)))

	must(t, lake.Pause(ctx, name, pause, opts))
	now = now.Add(catalog.MaxPause)
	must(t, main.Commit(ctx, Group("a/0", 20, 30))) // it is over
	pause.Until = now.Add(catalog.MaxPause + time.Millisecond).UnixMilli()
	must(t, lake.Pause(ctx, name, pause, opts))
	must(t, main.Commit(ctx, Group("a/0", 30, 40))) // so long is none
	wantFiles(t, main, Group("a/0", 0, 10), Group("a/0", 10, 20), Group("a/0", 20, 30), Group("a/0", 30, 40))
}

// testProbes tries what a rebuild asks of a catalog, and leaves nothing behind.
func testProbes(t *testing.T, client catalog.Client) {
	ctx, lake := t.Context(), catalog.New(client)
	must(t, lake.ProbeBranches(ctx, "default", catalog.Options{}))
	must(t, lake.ProbeRename(ctx, "default", catalog.Options{}))
	left, err := lake.List(ctx, "default")
	must(t, err)
	if len(left) > 0 {
		t.Errorf("tables are left: %v", left)
	}
}
