package catalog

import (
	"slices"
	"testing"

	"github.com/firn-io/firn/kfs"
)

// TestRows counts the rows of a job in branches, the oldest snapshot first, of which the property is true or not.
func TestRows(t *testing.T) {
	start := Receipt{Job: "job", Kind: KindStart, Commit: "c0", Ranges: map[string]Advance{"a/0": {High: -1}}}
	repair := Receipt{Job: "job", Kind: KindRepair, Commit: "c3", Repaired: map[string][]kfs.Span{"a/0": {{Base: 1, Next: 2}, {Base: 4, Next: 6}}}}
	other := data("o1", 0, 40)
	other.Job = "other"
	for _, c := range []struct {
		name     string
		branch   []Receipt
		property string // the commit that has set it to 100 rows; "" for none
		want     int64
	}{
		{"an empty table", nil, "", 0},
		{"the property is of the newest receipt", []Receipt{start, data("c1", 0, 5)}, "c1", 100},
		{"all receipts have expired", []Receipt{foreign}, "c1", 100},
		{"rolled back", []Receipt{start, data("c1", 0, 5), data("c2", 5, 9)}, "c9", 9},
		{"rolled back, with others' commits", []Receipt{foreign, start, other, data("c1", 0, 5), foreign, repair}, "c9", 8},
		{"rolled back to the start", []Receipt{start}, "c9", 0},
		{"rolled back, and the oldest receipts have expired", []Receipt{data("c1", 5, 9)}, "c9", UnknownRows},
		{"the property is lost", []Receipt{start, data("c1", 0, 5)}, "", 5},
		{"the property is lost, and the oldest receipts have expired", []Receipt{data("c1", 5, 9)}, "", UnknownRows},
		{"only another job's", []Receipt{other}, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &Account{Progress: map[string]*Progress{}}
			for _, r := range c.branch {
				var e Entry
				if r.Commit != "" {
					e.Receipt = &r
				}
				a.Branch = slices.Insert(a.Branch, 0, e)
			}
			if c.property != "" {
				a.Progress["job"] = &Progress{Commit: c.property, Sources: map[string]SourceProgress{"a/0": {Next: 100, High: 99, Rows: 100}}}
			}
			if got := a.Rows("job", "a/0"); got != c.want {
				t.Errorf("%d rows, want %d", got, c.want)
			}
		})
	}
}
