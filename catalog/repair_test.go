package catalog

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/firn-io/firn/kfs"
)

// repair is the receipt of a repair of offsets of a/0.
func repair(commit string, spans ...kfs.Span) Receipt {
	return Receipt{Job: "job", Kind: KindRepair, Commit: commit, Ranges: map[string]Advance{}, Repaired: map[string][]kfs.Span{"a/0": spans}}
}

func TestRepairReceipt(t *testing.T) {
	r := repair("c", kfs.Span{Base: 3, Next: 5}, kfs.Span{Base: 9, Next: 10})
	summary, err := r.summary()
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseReceipt(summary)
	if err != nil || !reflect.DeepEqual(*got, r) {
		t.Fatalf("%+v, %v, want %+v", got, err, r)
	}
	if r.Rows() != 3 {
		t.Errorf("%d rows, want 3", r.Rows())
	}
	for _, bad := range []string{"", `{"a/0": [[5, 3]]}`, `{"a/0": [[3, 5], [4, 6]]}`, `{"a/0": [[-1, 2]]}`, `{"a/0": [[2, 2]]}`} {
		summary[keyRepaired] = bad
		if _, err := parseReceipt(summary); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestRepairedProgress(t *testing.T) {
	before := map[string]SourceProgress{"a/0": {First: 2, Next: 10, High: 7, Rows: 5}}
	r := repair("c", kfs.Span{Base: 3, Next: 4}, kfs.Span{Base: 8, Next: 10})
	got := advance(before, &r, "T", 1).Sources["a/0"]
	if want := (SourceProgress{First: 2, Next: 10, High: 9, Rows: 8, Repaired: 3}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	for _, p := range []SourceProgress{got, before["a/0"]} {
		b, err := json.Marshal(p)
		var back SourceProgress
		if err == nil {
			err = json.Unmarshal(b, &back)
		}
		if err != nil || back != p {
			t.Errorf("%s is read as %+v, %v", b, back, err)
		}
	}
	// Without the property the receipts say the same.
	pos, err := branch{commits: []Receipt{data("c1", 2, 8), r}}.view(t).position("job")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := pos.passed(r.Repaired); ok {
		t.Error("offset 9 is not passed by a position of 8")
	}
	pos, err = branch{commits: []Receipt{data("c1", 2, 10), r}}.view(t).position("job")
	if want := (SourceProgress{First: 2, Next: 10, High: 9, Rows: 11, Repaired: 3}); err != nil || pos.sources["a/0"] != want {
		t.Errorf("%+v, %v, want %+v", pos.sources["a/0"], err, want)
	}
}

// TestRepairProtocol: a repair of what is not accounted for is refused, and one whose files must not be added to the head is not sent.
func TestRepairProtocol(t *testing.T) {
	for name, c := range map[string]struct {
		branch branch
		want   Kind
	}{
		"accounted for":      {branch{commits: []Receipt{data("c1", 0, 10)}, property: progress("c1", 0, 10)}, KindRepair},
		"ahead":              {branch{commits: []Receipt{data("c1", 0, 4)}, property: progress("c1", 0, 4)}, ""},
		"an empty table":     {branch{}, ""},
		"rolled back behind": {branch{commits: []Receipt{data("c1", 0, 4)}, property: progress("c2", 0, 10)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := &attempt{job: "job", commit: "r", repair: map[string][]kfs.Span{"a/0": {{Base: 3, Next: 5}}}, maxSends: 2, maxLoads: 4}
			if eff := a.step(event{}); eff.do != doLoad {
				t.Fatalf("%+v", eff)
			}
			eff := a.step(event{loaded: c.branch.view(t)})
			if c.want == "" {
				if eff.do != doStop || !errors.Is(eff.err, ErrMoved) {
					t.Fatalf("%+v, want %v", eff, ErrMoved)
				}
				return
			}
			if eff.do != doSend || eff.kind != c.want {
				t.Fatalf("%+v, want to send a %s", eff, c.want)
			}
			if r := a.receipt(eff.kind); len(r.Ranges) > 0 || r.Rows() != 2 {
				t.Errorf("receipt %+v", r)
			}
			if eff := a.step(event{refused: ErrRowsThere}); eff.do != doStop || !errors.Is(eff.err, ErrRowsThere) {
				t.Errorf("%+v, want %v", eff, ErrRowsThere)
			}
		})
	}
}
