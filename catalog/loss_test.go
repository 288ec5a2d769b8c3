package catalog

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/firn-io/firn/kfs"
)

// loss is the receipt of offsets of a/0 that were given up.
func loss(commit string, base, next int64) Receipt {
	return Receipt{Job: "job", Kind: KindLoss, Commit: commit, Ranges: map[string]Advance{"a/0": {Span: kfs.Span{Base: base, Next: next}, High: -1}}}
}

// TestLostPosition reads what was given up from the property and from the receipts, as far as the branch has them.
func TestLostPosition(t *testing.T) {
	span := func(base, next int64) kfs.Span { return kfs.Span{Base: base, Next: next} }
	given := func(p *Progress, spans ...kfs.Span) *Progress {
		p.Lost = map[string][]kfs.Span{"a/0": spans}
		return p
	}
	for _, c := range []struct {
		name   string
		branch branch
		want   []kfs.Span
	}{
		{"nothing", branch{commits: []Receipt{data("c1", 0, 5)}, property: progress("c1", 0, 5)}, nil},
		{"by the property", branch{commits: []Receipt{data("c1", 0, 5), loss("c2", 5, 9)}, property: given(progress("c2", 0, 9), span(5, 9))}, []kfs.Span{span(5, 9)}},
		{"by the property alone", branch{commits: []Receipt{loss("c1", 5, 9), foreign}, cut: 1, property: given(progress("c1", 0, 9), span(5, 9))}, []kfs.Span{span(5, 9)}},
		{"by the receipts, in any order, joined", branch{commits: []Receipt{loss("c1", 0, 5), data("c2", 5, 6), loss("c3", 6, 8), loss("c4", 8, 9)}}, []kfs.Span{span(0, 5), span(6, 9)}},
		{"rolled back behind it", branch{commits: []Receipt{data("c1", 0, 5)}, property: given(progress("c3", 0, 12), span(5, 9))}, nil},
		{"rolled back to behind one of two", branch{commits: []Receipt{loss("c1", 0, 5), data("c2", 5, 7)}, property: given(progress("c4", 0, 12), span(0, 5), span(7, 9))}, []kfs.Span{span(0, 5)}},
		{"rolled back, and the older receipts have expired", branch{commits: []Receipt{loss("c1", 0, 5), data("c2", 5, 7)}, cut: 1, property: given(progress("c4", 0, 12), span(0, 5), span(7, 9))}, []kfs.Span{span(0, 5)}},
	} {
		pos, err := c.branch.view(t).position("job")
		if err != nil {
			t.Fatal(c.name, err)
		}
		if got := pos.lost["a/0"]; !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestLose follows what was given up through commits, and through the property.
func TestLose(t *testing.T) {
	var lost map[string][]kfs.Span
	for _, r := range []Receipt{data("c1", 0, 5), loss("c2", 5, 7), loss("c3", 7, 9), data("c4", 9, 10), loss("c5", 10, 11)} {
		before, err := json.Marshal(lost)
		if err != nil {
			t.Fatal(err)
		}
		next := lose(lost, &r)
		if after, err := json.Marshal(lost); err != nil || string(after) != string(before) {
			t.Errorf("what was lost before changed from %s to %s", before, after)
		}
		lost = next
	}
	want := map[string][]kfs.Span{"a/0": {{Base: 5, Next: 9}, {Base: 10, Next: 11}}}
	if !reflect.DeepEqual(lost, want) {
		t.Errorf("%v, want %v", lost, want)
	}
	p := progress("c5", 0, 11)
	p.Lost = lost
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	back, err := decodeProgress(t.Context(), nil, string(b))
	if err != nil || !reflect.DeepEqual(back.Lost, want) {
		t.Errorf("%s is read as %+v, %v", b, back, err)
	}
}
