package catalog_test

import (
	"testing"

	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/catalogtest"
	"github.com/firn-io/firn/kfs"
)

// seeing reads the table's position, which the answers about marks go by.
func seeing(t *testing.T, c *catalog.Committer) *catalog.Committer {
	t.Helper()
	if _, _, err := c.Position(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestMark marks commits of a table and has others change its branch: a mark is gone where a rollback has taken its commit, and only there.
func TestMark(t *testing.T) {
	ident, err := catalog.ParseIdentifier(name)
	if err != nil {
		t.Fatal(err)
	}
	giveUp := func(t *testing.T, client catalog.Client) {
		update := table.NewRemovePropertiesUpdate([]string{"firn.progress.job"})
		if _, _, err := client.CommitTable(t.Context(), ident, nil, []table.Update{update}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		what string
		do   func(t *testing.T, client catalog.Client, c *catalog.Committer, before int64)
		gone bool
	}{
		{"nothing", func(*testing.T, catalog.Client, *catalog.Committer, int64) {}, false},
		{"other commits", func(t *testing.T, _ catalog.Client, c *catalog.Committer, _ int64) { commit(t, c, "b/0", 0, 3) }, false},
		{"a rollback", func(t *testing.T, client catalog.Client, _ *catalog.Committer, before int64) {
			rollBack(t, client, before)
		}, true},
		{"a rollback, and other commits in its place", func(t *testing.T, client catalog.Client, c *catalog.Committer, before int64) {
			rollBack(t, client, before)
			commit(t, c, "a/0", 5, 12)
		}, true},
		{"expiry", func(t *testing.T, client catalog.Client, c *catalog.Committer, _ int64) {
			commit(t, c, "b/0", 0, 3)
			expire(t, client)
		}, false},
		{"a rollback, and expiry before it", func(t *testing.T, client catalog.Client, c *catalog.Committer, before int64) {
			rollBack(t, client, before)
			expire(t, client)
		}, true}, // the branch reaches back to before the mark
		{"a rollback, and expiry since", func(t *testing.T, client catalog.Client, c *catalog.Committer, before int64) {
			rollBack(t, client, before)
			commit(t, c, "a/0", 5, 12)
			expire(t, client)
		}, false}, // it cannot be told any more
		{"a rollback that is given up", func(t *testing.T, client catalog.Client, _ *catalog.Committer, before int64) {
			rollBack(t, client, before)
			giveUp(t, client)
		}, false},
		{"a rollback that was given up, and other commits in its place", func(t *testing.T, client catalog.Client, c *catalog.Committer, before int64) {
			rollBack(t, client, before)
			giveUp(t, client)
			commit(t, c, "a/0", 5, 12)
			commit(t, c, "a/0", 12, 13)
		}, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			fake := catalogtest.NewFake()
			all := committers(t, fake, catalog.Options{}, catalog.Options{}, catalog.Options{})
			if _, ok := seeing(t, all[0]).Mark("a/0", 0); ok {
				t.Error("an empty table has a mark")
			}
			commit(t, all[0], "a/0", 0, 5)
			before := head(t, all[0])
			first, ok1 := seeing(t, all[0]).Mark("a/0", 4)
			_, ok2 := all[0].Mark("a/0", 5)
			_, ok3 := all[0].Mark("b/0", 0)
			if !ok1 || ok2 || ok3 {
				t.Errorf("marks are there: %t of what was committed, %t behind it, %t of another source", ok1, ok2, ok3)
			}
			commit(t, all[0], "a/0", 5, 9)
			mark, ok := seeing(t, all[0]).Mark("a/0", 4)
			if !ok || mark == first || mark.Sequence <= first.Sequence {
				t.Errorf("the mark is %v (%t), before %v", mark, ok, first)
			}
			c.do(t, fake, all[1], before)
			seen := seeing(t, all[2])
			if got := seen.Gone(mark); got != c.gone {
				t.Errorf("it is gone: %t", got)
			}
			if seen.Gone(first) {
				t.Error("the one before is gone")
			}
			other := mark
			other.Table = "another"
			if seen.Gone(other) {
				t.Error("one of another table is gone")
			}
		})
	}
}

// TestMarkAside: of a table that is made anew beside itself there are no marks, for its commits get another place.
func TestMarkAside(t *testing.T) {
	fake := catalogtest.NewFake()
	all := committers(t, fake, catalog.Options{})
	commit(t, all[0], "a/0", 0, 5)
	aside := catalogtest.NewCommitter(t, catalog.New(fake).Aside(map[string]catalog.Aside{name: {Branch: "new"}}).Client(), name, catalog.Options{})
	commit(t, aside, "a/0", 0, 7)
	if mark, ok := seeing(t, aside).Mark("a/0", 0); ok {
		t.Errorf("the mark is %v", mark)
	}
}

// TestBereft: rows tell beside which commits of another table they stand.
func TestBereft(t *testing.T) {
	fake := catalogtest.NewFake()
	all := committers(t, fake, catalog.Options{}, catalog.Options{}, catalog.Options{Job: "another"})
	here, gone := catalog.Mark{Table: "t", Commit: "c/start", Sequence: 3}, catalog.Mark{Table: "t", Commit: "d", Sequence: 4}
	for _, m := range []catalog.Mark{here, gone} {
		if parsed, err := catalog.ParseMark(m.String()); err != nil || parsed != m {
			t.Errorf("%s is %v, %v", m, parsed, err)
		}
	}
	for _, text := range []string{"", "3", "3/t", "3/t/", "3//c", "x/t/c", "-1/t/c"} {
		if m, err := catalog.ParseMark(text); err == nil {
			t.Errorf("%q is %v", text, m)
		}
	}
	isGone := func(m catalog.Mark) bool { return m == gone }
	for i, letters := range []map[string]catalog.Mark{nil, {"a/0": gone}, {"a/0": here}} {
		g := catalogtest.Group("a/0", int64(i), int64(i+1))
		g.Letters = letters
		if err := all[0].Commit(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	source, span, ok, err := seeing(t, all[1]).Bereft(isGone)
	if want := (kfs.Span{Base: 1, Next: 2}); source != "a/0" || span != want || !ok || err != nil {
		t.Errorf("%s %s, %t, %v", source, span, ok, err)
	}
	if source, span, ok, err = all[1].Bereft(func(catalog.Mark) bool { return false }); ok || err != nil {
		t.Errorf("when nothing is gone: %s %s, %v", source, span, err)
	}
	if source, span, ok, err = seeing(t, all[2]).Bereft(isGone); ok || err != nil {
		t.Errorf("to another job: %s %s, %v", source, span, err)
	}
}
