package catalog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/catalogtest"
	"github.com/firn-io/firn/kfs"
)

const name = "default.events"

// committers makes a table and so many committers of one job to it.
func committers(t *testing.T, client catalog.Client, opts ...catalog.Options) []*catalog.Committer {
	t.Helper()
	var all []*catalog.Committer
	for _, o := range opts {
		all = append(all, catalogtest.NewCommitter(t, client, name, o))
	}
	if _, err := all[0].Create(t.Context(), catalogtest.Schema, nil, nil); err != nil {
		t.Fatal(err)
	}
	return all
}

func commit(t *testing.T, c *catalog.Committer, source string, base, next int64) {
	t.Helper()
	if err := c.Commit(t.Context(), catalogtest.Group(source, base, next)); err != nil {
		t.Fatal(err)
	}
}

// head is the newest snapshot of the branch.
func head(t *testing.T, c *catalog.Committer) int64 {
	t.Helper()
	loaded, err := c.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return loaded.CurrentSnapshot().SnapshotID
}

// rollBack moves the branch to a snapshot, as another engine does it.
func rollBack(t *testing.T, client catalog.Client, to int64) {
	t.Helper()
	ident, err := catalog.ParseIdentifier(name)
	if err != nil {
		t.Fatal(err)
	}
	update := table.NewSetSnapshotRefUpdate(table.MainBranch, to, table.BranchRef, 0, 0, 0)
	if _, _, err := client.CommitTable(t.Context(), ident, nil, []table.Update{update}); err != nil {
		t.Fatal(err)
	}
}

// orphaning is a catalog in which the oldest snapshot of a table is always a root, as the expiry of some engines leaves it.
type orphaning struct{ catalog.Client }

func (o orphaning) LoadTable(ctx context.Context, ident table.Identifier) (*table.Table, error) {
	t, err := o.Client.LoadTable(ctx, ident)
	if err != nil {
		return nil, err
	}
	var meta map[string]any
	b, err := json.Marshal(t.Metadata())
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&meta); err != nil {
		return nil, err
	}
	snapshots, _ := meta["snapshots"].([]any)
	there := map[any]bool{}
	for _, s := range snapshots {
		there[s.(map[string]any)["snapshot-id"]] = true
	}
	for _, s := range snapshots {
		if s := s.(map[string]any); !there[s["parent-snapshot-id"]] {
			delete(s, "parent-snapshot-id")
		}
	}
	if b, err = json.Marshal(meta); err != nil {
		return nil, err
	}
	parsed, err := table.ParseMetadataBytes(b)
	if err != nil {
		return nil, err
	}
	return table.New(ident, parsed, t.MetadataLocation(), t.FS, nil), nil
}

// expire removes all snapshots but the newest, as another engine does it.
func expire(t *testing.T, client catalog.Client) {
	t.Helper()
	ident, err := catalog.ParseIdentifier(name)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := client.LoadTable(t.Context(), ident)
	if err != nil {
		t.Fatal(err)
	}
	var old []int64
	for _, s := range loaded.Metadata().Snapshots() {
		if s.SnapshotID != loaded.CurrentSnapshot().SnapshotID {
			old = append(old, s.SnapshotID)
		}
	}
	if _, _, err := client.CommitTable(t.Context(), ident, nil, []table.Update{table.NewRemoveSnapshotsUpdate(old, false)}); err != nil {
		t.Fatal(err)
	}
}

// TestRolledBackAfterExpiry has another engine expire all snapshots but one, making that a root, and later roll the table back. The receipts
// of a source are gone, but the branch looks as if it were whole: the property speaks for the source, if the files agree with it. Otherwise
// its offsets would be brought in from the beginning once more.
func TestRolledBackAfterExpiry(t *testing.T) {
	fake := orphaning{catalogtest.NewFake()}
	var asked []string
	highs := func(_ context.Context, _ *table.Table, sources []string) (map[string]int64, error) {
		asked = sources
		return map[string]int64{"a/1": 6}, nil
	}
	c := committers(t, fake, catalog.Options{}, catalog.Options{Highs: highs})
	commit(t, c[0], "a/1", 0, 7)
	commit(t, c[0], "a/0", 0, 5)
	expire(t, fake)
	before := head(t, c[0])
	commit(t, c[0], "a/0", 5, 9)
	rollBack(t, fake, before)
	at, _, err := c[1].Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]int64{"a/0": 5, "a/1": 7}; !maps.Equal(at, want) {
		t.Errorf("the table stands at %v, want %v", at, want)
	}
	if len(asked) != 1 || asked[0] != "a/1" {
		t.Errorf("the greatest offsets of %v were read, want those of a/1", asked)
	}
}

// TestRolledBackBeforeUpkeep rolls the table back and then lets upkeep remove what is old: the receipts that alone say where a source stands since
// then are not among it, until another commit has put that into the property.
func TestRolledBackBeforeUpkeep(t *testing.T) {
	fake, now := catalogtest.NewFake(), time.Now()
	c := committers(t, fake, catalog.Options{Upkeep: catalog.Upkeep{Snapshots: 1, Age: time.Minute}, Now: func() time.Time { return now }})[0]
	commit(t, c, "a/0", 0, 5)
	commit(t, c, "a/1", 0, 7)
	before := head(t, c)
	commit(t, c, "a/0", 5, 9)
	rollBack(t, fake, before)
	again := catalogtest.NewCommitter(t, fake, name, catalog.Options{Upkeep: catalog.Upkeep{Snapshots: 1, Age: time.Minute}, Now: func() time.Time { return now }})
	now = now.Add(time.Hour)
	for range 2 {
		if err := again.Upkeep(t.Context()); err != nil {
			t.Fatal(err)
		}
		at, _, err := again.Position(t.Context())
		if want := map[string]int64{"a/0": 5, "a/1": 7}; err != nil || !maps.Equal(at, want) {
			t.Errorf("the table stands at %v, %v, want %v", at, err, want)
		}
	}
	commit(t, again, "a/1", 7, 8)
	if err := again.Upkeep(t.Context()); err != nil {
		t.Fatal(err)
	}
	loaded, err := again.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	left, _ := table.AncestorsOfChecked(loaded.CurrentSnapshot().SnapshotID, loaded.Metadata().SnapshotByID)
	if len(left) != 1 {
		t.Errorf("%d snapshots are left in the branch, want one", len(left))
	}
	at, _, err := again.Position(t.Context())
	if want := map[string]int64{"a/0": 5, "a/1": 8}; err != nil || !maps.Equal(at, want) {
		t.Errorf("the table stands at %v, %v, want %v", at, err, want)
	}
}

// TestRolledBackAfterItMoved has a committer find another one ahead, and then the table rolled back to where its own group begins.
func TestRolledBackAfterItMoved(t *testing.T) {
	fake := catalogtest.NewFake()
	c := committers(t, fake, catalog.Options{}, catalog.Options{})
	commit(t, c[0], "a/0", 0, 5)
	before := head(t, c[0])
	if _, _, err := c[1].Position(t.Context()); err != nil {
		t.Fatal(err)
	}
	commit(t, c[0], "a/0", 5, 9)
	late := catalogtest.Group("a/0", 5, 7)
	if err := c[1].Commit(t.Context(), late); !errors.Is(err, catalog.ErrMoved) {
		t.Fatalf("commit: %v, want %v", err, catalog.ErrMoved)
	}
	rollBack(t, fake, before)
	var halt *catalog.HaltError
	if err := c[1].Commit(t.Context(), late); !errors.As(err, &halt) {
		t.Errorf("commit after the rollback: %v, want a halt", err)
	}
	if _, _, err := c[1].Position(t.Context()); !errors.As(err, &halt) {
		t.Errorf("position after the rollback: %v, want a halt", err)
	}
}

// TestRegressionRolledBackAndGoneOn has the table rolled back, and then a committer that knows nothing of it commit for another source: of the
// one that was moved back it stays known how far it had come, until it has come there again.
func TestRegressionRolledBackAndGoneOn(t *testing.T) {
	for name, c := range map[string]struct {
		before int64 // where the source stood before
		want   kfs.Span
	}{
		"to its middle":           {4, kfs.Span{Base: 4, Next: 9}},
		"to before its first one": {0, kfs.Span{Base: 2, Next: 9}},
	} {
		t.Run(name, func(t *testing.T) {
			fake := catalogtest.NewFake()
			all := committers(t, fake, catalog.Options{}, catalog.Options{}, catalog.Options{})
			commit(t, all[0], "b/0", 0, 1)
			if c.before > 0 {
				commit(t, all[0], "a/0", 2, c.before)
			}
			before := head(t, all[0])
			if _, _, err := all[1].Position(t.Context()); err != nil {
				t.Fatal(err)
			}
			commit(t, all[0], "a/0", max(2, c.before), 9)
			rollBack(t, fake, before)
			commit(t, all[1], "b/0", 1, 3)
			if _, _, err := all[2].Position(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := all[2].Lost("a/0"); got != c.want {
				t.Errorf("lost are %s, want %s", got, c.want)
			}
			if err := all[2].Commit(t.Context(), catalogtest.Group("a/0", 9, 12)); !errors.Is(err, catalog.ErrMoved) {
				t.Errorf("a commit behind what is lost: %v, want %v", err, catalog.ErrMoved)
			}
			commit(t, all[2], "a/0", c.want.Base, 6)
			if _, _, err := all[2].Position(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got, want := all[2].Lost("a/0"), (kfs.Span{Base: 6, Next: 9}); got != want {
				t.Errorf("lost are %s, want %s", got, want)
			}
			commit(t, all[2], "a/0", 6, 10)
			if _, _, err := all[2].Position(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := all[2].Lost("a/0"); !got.Empty() {
				t.Errorf("lost are %s, want none", got)
			}
		})
	}
}
