package catalog

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

func TestUpkeepOfTable(t *testing.T) {
	defaults := Upkeep{}.withDefaults()
	for _, c := range []struct {
		keep, age string
		want      Upkeep
	}{
		{"", "", Upkeep{Manifests: 100, Snapshots: 500, Age: 15 * time.Minute}},
		{"50", "3600000", Upkeep{Manifests: 100, Snapshots: 50, Age: time.Hour}},
		{"0", "-1", defaults},
		{"many", "long", defaults},
		{"1", "9223372036854775807", Upkeep{Manifests: 100, Snapshots: 1, Age: 9223372036854 * time.Millisecond}},
	} {
		props := iceberg.Properties{}
		if c.keep != "" {
			props["history.expire.min-snapshots-to-keep"] = c.keep
		}
		if c.age != "" {
			props["history.expire.max-snapshot-age-ms"] = c.age
		}
		if got := defaults.of(props); got != c.want {
			t.Errorf("keep %q, age %q: %+v, want %+v", c.keep, c.age, got, c.want)
		}
	}
}

// TestProgressFilesGo commits a progress that does not fit into a property for some hours: the files of the last hour stay, and what any property
// of the table names.
func TestProgressFilesGo(t *testing.T) {
	now := time.UnixMilli(0)
	store := blob.NewMemory(func() time.Time { return now })
	c, err := openTest(t).Committer("default.wide", Options{Job: "job", Store: store})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Create(t.Context(), testSchema, nil, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put(t.Context(), "jobs/job/progress/of-another-table/1.json", []byte("{}"), true); err != nil {
		t.Fatal(err)
	}
	keys := stored(t, store) // in the order in which they were written
	for i := range int64(6) {
		g := Group{Ranges: map[string]Advance{}}
		for p := range 1000 {
			g.Ranges[fmt.Sprintf("events/AQAAAAAAAAAAAAAAAAAAAA/%d", p)] = Advance{Span: kfs.Span{Base: i, Next: i + 1}, High: -1}
		}
		if err := c.Commit(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		for _, key := range stored(t, store) {
			if !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
		if i == 1 { // as a rebuild that was swapped in notes where it stood
			err := c.catalog.change(t.Context(), "default.wide", Options{Job: "job"}, func(loaded *table.Table) (*request, error) {
				if _, done := loaded.Properties()["noted"]; done {
					return nil, nil
				}
				return &request{updates: []table.Update{table.NewSetPropertiesUpdate(iceberg.Properties{"noted": loaded.Properties()[progressPrefix+"job"]})}}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		now = now.Add(40 * time.Minute)
	}
	if err := c.Upkeep(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{keys[0], keys[3], keys[7]} // the first commit has left two, of the start and of itself
	slices.Sort(want)
	if got := stored(t, store); !slices.Equal(got, want) {
		t.Errorf("left are\n%q, want\n%q", got, want)
	}
	if next, _, err := c.Position(t.Context()); err != nil || len(next) != 1000 || next["events/AQAAAAAAAAAAAAAAAAAAAA/7"] != 6 {
		t.Errorf("%d positions, %v", len(next), err)
	}
	now = now.Add(24 * time.Hour)
	if err := c.Upkeep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Position(t.Context()); err != nil {
		t.Errorf("a day after the last commit: %v", err)
	}
}

// stored are the keys below jobs/.
func stored(t *testing.T, store blob.Store) (keys []string) {
	t.Helper()
	for page, err := range store.List(t.Context(), "jobs/", "") {
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Objects {
			keys = append(keys, o.Key)
		}
	}
	return keys
}
