package catalog

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/firn-io/firn/kfs"
)

// at is the branch of a test: its snapshots, the oldest first, each the receipt of a commit. "" is a foreign snapshot.
type branch struct {
	commits  []Receipt
	cut      int  // how many of the oldest have expired
	orphaned bool // the survivor's parent was rewritten to none
	property *Progress
	paused   bool
	table    string
	foreign  map[string]string
	family   map[string]map[string]SourceProgress
}

// view is what the protocol sees of the branch.
func (b branch) view(t *testing.T) *view {
	t.Helper()
	v := &view{table: "T", complete: b.cut == 0 || b.orphaned, progress: b.property, foreign: b.foreign, family: b.family}
	if b.paused {
		v.paused = &Pause{}
	}
	if b.table != "" {
		v.table = b.table
	}
	for i, r := range b.commits {
		if i < b.cut {
			continue
		}
		a := ancestor{snapshot: int64(i + 1), summary: map[string]string{}}
		if r.Commit != "" {
			var err error
			if a.summary, err = r.summary(); err != nil {
				t.Fatal(err)
			}
		}
		v.ancestry = append([]ancestor{a}, v.ancestry...)
	}
	if len(v.ancestry) > 0 {
		v.head = v.ancestry[0].snapshot
	}
	return v
}

// data is the receipt of the offsets [base, next) of a/0, all of them rows.
func data(commit string, base, next int64) Receipt {
	return Receipt{Job: "job", Kind: KindData, Commit: commit, Ranges: map[string]Advance{
		"a/0": {Span: kfs.Span{Base: base, Next: next}, High: next - 1, Rows: next - base}}}
}

// progress is the property as commit has set it.
func progress(commit string, first, next int64) *Progress {
	return &Progress{Table: "T", Commit: commit, Sources: map[string]SourceProgress{"a/0": {First: first, Next: next, High: next - 1}}}
}

var foreign = Receipt{}

// backfilled is the progress of a backfill that has brought [base, next) of a/0.
func backfilled(base, next int64) map[string]map[string]SourceProgress {
	return map[string]map[string]SourceProgress{"job/backfill/1": {"a/0": {First: base, Next: next, High: next - 1}}}
}

func TestPosition(t *testing.T) {
	backfill := data("b", 0, 3)
	backfill.Job = "job/backfill/1"
	second := data("c2", 0, 7)
	second.Ranges = map[string]Advance{"a/1": {Span: kfs.Span{Base: 0, Next: 7}, High: 6, Rows: 7}}
	for _, c := range []struct {
		name     string
		branch   branch
		want     map[string]int64
		unproven string
		halt     string
	}{
		{"an empty table", branch{}, map[string]int64{}, "", ""},
		{"only others' snapshots", branch{commits: []Receipt{foreign, foreign}}, map[string]int64{}, "", ""},
		{"others' snapshots of which the oldest have expired", branch{commits: []Receipt{foreign, foreign}, cut: 1}, map[string]int64{}, "", ""},
		{"the newest receipt and its property", branch{commits: []Receipt{data("c1", 0, 5), data("c2", 5, 9)}, property: progress("c2", 0, 9)}, map[string]int64{"a/0": 9}, "", ""},
		{"others' snapshots on top", branch{commits: []Receipt{data("c1", 0, 5), foreign, foreign}, property: progress("c1", 0, 5)}, map[string]int64{"a/0": 5}, "", ""},
		{"another job's receipt on top", branch{commits: []Receipt{data("c1", 0, 5), backfill}, property: progress("c1", 0, 5)}, map[string]int64{"a/0": 5}, "", ""},
		{"older receipts have expired", branch{commits: []Receipt{data("c1", 0, 5), data("c2", 5, 9)}, cut: 1, property: progress("c2", 0, 9)}, map[string]int64{"a/0": 9}, "", ""},
		{"rolled back: the property is ahead", branch{commits: []Receipt{data("c1", 0, 5)}, property: progress("c2", 0, 9)}, map[string]int64{"a/0": 5}, "", ""},
		{"rolled back to before everything", branch{commits: []Receipt{foreign}, property: progress("c2", 0, 9)}, map[string]int64{"a/0": 9}, "a/0", ""},
		{"the property is lost", branch{commits: []Receipt{data("c1", 0, 5), second}}, map[string]int64{"a/0": 5, "a/1": 7}, "", ""},
		{"all receipts have expired", branch{commits: []Receipt{data("c1", 0, 5), foreign}, cut: 1, property: progress("c1", 0, 5)}, map[string]int64{"a/0": 5}, "a/0", ""},
		{"all receipts have expired, and the cut does not show", branch{commits: []Receipt{data("c1", 0, 5), foreign}, cut: 1, orphaned: true, property: progress("c1", 0, 5)}, map[string]int64{"a/0": 5}, "a/0", ""},
		{"rolled back and cut: one source has no receipt left", branch{commits: []Receipt{data("c1", 0, 5), second}, cut: 1, property: progress("c3", 0, 9)}, map[string]int64{"a/0": 9, "a/1": 7}, "a/0", ""},
		{"the property of another table", branch{commits: []Receipt{foreign}, property: progress("c1", 0, 5), table: "U"}, nil, "", "was written for table T, but this is table U"},
		{"the property was changed", branch{commits: []Receipt{data("c1", 0, 5)}, property: progress("c1", 0, 6)}, nil, "", "ends source a/0 at 5, the table property of the same commit at 6"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pos, err := c.branch.view(t).position("job")
			var halt *HaltError
			if c.halt != "" {
				if !errors.As(err, &halt) || !strings.Contains(halt.Reason, c.halt) {
					t.Fatalf("%v, want a halt because it %s", err, c.halt)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := pos.nexts(); !maps.Equal(got, c.want) {
				t.Errorf("position %v, want %v", got, c.want)
			}
			if got := strings.Join(pos.unproven, " "); got != c.unproven {
				t.Errorf("unproven %q, want %q", got, c.unproven)
			}
		})
	}
}

func TestProve(t *testing.T) {
	for _, c := range []struct {
		name string
		high map[string]int64
		ok   bool
	}{
		{"the files end where the property says", map[string]int64{"a/0": 4}, true},
		{"rows are missing", map[string]int64{"a/0": 3}, false},
		{"rows are there that no receipt names", map[string]int64{"a/0": 5}, false},
		{"no rows at all", map[string]int64{}, false},
	} {
		pos := position{sources: progress("c1", 0, 5).Sources, unproven: []string{"a/0"}}
		if err := pos.prove(c.high); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	none := position{sources: map[string]SourceProgress{"a/0": {Next: 5, High: -1}}, unproven: []string{"a/0"}}
	if err := none.prove(map[string]int64{}); err != nil {
		t.Errorf("no rows where none were added: %v", err)
	}
}

// script feeds an attempt and writes down what it wants.
func script(t *testing.T, a *attempt, events ...event) []string {
	t.Helper()
	if a.maxSends == 0 {
		a.maxSends, a.maxLoads = 3, 8
	}
	a.job, a.commit = "job", "C"
	var out []string
	for _, ev := range append([]event{{}}, events...) {
		eff := a.step(ev)
		line := string(eff.do)
		if eff.do == doSend || eff.do == doResend {
			line += fmt.Sprintf(" %s on %d", eff.kind, eff.pin)
		}
		if eff.do == doStop {
			var halt *HaltError
			switch {
			case eff.err == nil:
				line += " done"
			case errors.As(eff.err, &halt):
				line += " halt"
			case errors.Is(eff.err, ErrMoved):
				line += " moved"
			case errors.Is(eff.err, ErrRestage):
				line += " restage"
			case errors.Is(eff.err, ErrPaused):
				line += " paused"
			case errors.Is(eff.err, ErrUnknownOutcome):
				line += " unknown"
			default:
				line += " error"
			}
		}
		out = append(out, line)
	}
	return out
}

func TestProtocol(t *testing.T) {
	ours := func(base, next int64) map[string]Advance { return data("C", base, next).Ranges }
	c1 := branch{commits: []Receipt{data("c1", 0, 5)}, property: progress("c1", 0, 5)}
	c2 := branch{commits: []Receipt{data("c1", 0, 5), foreign}, property: progress("c1", 0, 5)}
	paused, movedOn := c1, c2
	paused.paused, movedOn.paused = true, true
	landed := branch{commits: []Receipt{data("c1", 0, 5), data("C", 5, 9), foreign}, property: progress("C", 0, 9)}
	start := Receipt{Job: "job", Kind: KindStart, Commit: "C/start", Ranges: map[string]Advance{"a/0": {High: -1}}}
	started := branch{commits: []Receipt{start}, property: &Progress{Table: "T", Commit: "C/start", Sources: map[string]SourceProgress{"a/0": {High: -1}}}}
	load := func(b branch) event { return event{loaded: b.view(t)} }
	failed := event{failed: errors.New("x")}
	for _, c := range []struct {
		name    string
		attempt attempt
		events  []event
		want    string
	}{
		{"it lands", attempt{ranges: ours(5, 9)}, []event{load(c1), {replied: true}}, "load, send data on 1, stop done"},
		{"the first commit", attempt{ranges: ours(0, 9)}, []event{load(branch{}), {replied: true}, load(started), {replied: true}}, "load, send start on 0, load, send data on 1, stop done"},
		{"the start's reply is lost", attempt{ranges: ours(0, 9)}, []event{load(branch{}), failed, {}, load(started), {replied: true}}, "load, send start on 0, wait, load, send data on 1, stop done"},
		{"the start does not land", attempt{ranges: ours(0, 9)}, []event{load(branch{}), failed, {}, load(branch{}), {replied: true}}, "load, send start on 0, wait, load, send again start on 0, load"},
		{"the start was not there after all", attempt{ranges: ours(0, 9)}, []event{load(branch{}), {replied: true}, load(branch{})}, "load, send start on 0, load, send again start on 0"},
		{"the reply is lost, it landed", attempt{ranges: ours(5, 9)}, []event{load(c1), failed, {}, load(landed)}, "load, send data on 1, wait, load, stop done"},
		{"the reply is lost, nothing moved", attempt{ranges: ours(5, 9)}, []event{load(c1), failed, {}, load(c1), {replied: true}}, "load, send data on 1, wait, load, send again data on 1, stop done"},
		{"another commit came between", attempt{ranges: ours(5, 9)}, []event{load(c1), failed, {}, load(c2), {replied: true}}, "load, send data on 1, wait, load, send data on 2, stop done"},
		{"it is never accepted", attempt{ranges: ours(5, 9)}, []event{load(c1), failed, {}, load(c1), failed, {}, load(c1), failed, {}, load(c1)}, "load, send data on 1, wait, load, send again data on 1, wait, load, send again data on 1, wait, load, stop unknown"},
		{"the table cannot be loaded any more", attempt{ranges: ours(5, 9), maxSends: 3, maxLoads: 2}, []event{load(c1), failed, {}, failed, {}}, "load, send data on 1, wait, load, wait, stop unknown"},
		{"the table cannot be loaded", attempt{ranges: ours(5, 9), maxSends: 3, maxLoads: 2}, []event{failed, {}, failed, {}}, "load, wait, load, wait, stop error"},
		{"the manifests cannot be written", attempt{ranges: ours(5, 9), maxSends: 3, maxLoads: 2}, []event{load(c1), {unsent: errors.New("x")}, {}, load(c1), {unsent: errors.New("x")}, {}}, "load, send data on 1, wait, load, send data on 1, wait, stop error"},
		{"another writer is ahead", attempt{ranges: ours(4, 9)}, []event{load(c1)}, "load, stop moved"},
		{"there is a hole", attempt{ranges: ours(6, 9)}, []event{load(c1)}, "load, stop moved"},
		{"nothing to do", attempt{ranges: map[string]Advance{"a/0": {Span: kfs.Span{Base: 5, Next: 5}, High: -1}}}, []event{load(c1)}, "load, stop done"},
		{"ranges without rows", attempt{ranges: map[string]Advance{"a/0": {Span: kfs.Span{Base: 5, Next: 6}, High: -1}}}, []event{load(c1), {replied: true}}, "load, send empty on 1, stop done"},
		{"a rollback halts", attempt{ranges: ours(5, 9), known: map[string]int64{"a/0": 9}}, []event{load(c1)}, "load, stop halt"},
		{"a rollback is replayed", attempt{ranges: ours(9, 12), known: map[string]int64{"a/0": 9}, replay: true}, []event{load(c1)}, "load, stop moved"},
		{"another table of that name", attempt{ranges: ours(5, 9), uuid: "U"}, []event{load(c1)}, "load, stop halt"},
		{"another lineage", attempt{ranges: ours(5, 9), lineage: "L2"}, []event{load(branch{commits: []Receipt{{Job: "job", Commit: "c1", Lineage: "L1", Ranges: ours(0, 5)}}})}, "load, stop halt"},
		{"another job's table", attempt{ranges: ours(0, 9)}, []event{load(branch{foreign: map[string]string{"a": "other"}})}, "load, stop halt"},
		{"another job's stream is no matter", attempt{ranges: ours(0, 9)}, []event{load(branch{foreign: map[string]string{"b": "other"}})}, "load, send start on 0"},
		{"its own backfill, beside", attempt{ranges: ours(5, 9)}, []event{load(branch{family: backfilled(0, 5)})}, "load, send start on 0"},
		{"its own backfill, of another source", attempt{ranges: map[string]Advance{"a/1": {Span: kfs.Span{Base: 3, Next: 9}, High: -1}}}, []event{load(branch{family: backfilled(0, 5)})}, "load, send start on 0"},
		{"its own backfill, in the way", attempt{ranges: ours(4, 9)}, []event{load(branch{family: backfilled(0, 5)})}, "load, stop halt"},
		{"two backfills of the same", attempt{job: "job/backfill/2", ranges: ours(4, 9)}, []event{load(branch{family: backfilled(0, 5)})}, "load, stop halt"},
		{"expired receipts are proved", attempt{ranges: ours(5, 9)}, []event{load(branch{commits: []Receipt{{}, {}}, cut: 1, property: progress("c1", 0, 5)}), {highs: map[string]int64{"a/0": 4}}, {replied: true}}, "load, read highs, send data on 2, stop done"},
		{"expired receipts are not proved", attempt{ranges: ours(5, 9)}, []event{load(branch{commits: []Receipt{{}, {}}, cut: 1, property: progress("c1", 0, 5)}), {highs: map[string]int64{"a/0": 5}}}, "load, read highs, stop halt"},
		{"the table is paused", attempt{ranges: ours(5, 9)}, []event{load(paused)}, "load, stop paused"},
		{"its position can be read", attempt{}, []event{load(paused)}, "load, stop done"},
		{"paused, and another writer is ahead", attempt{ranges: ours(4, 9)}, []event{load(paused)}, "load, stop moved"},
		{"paused when it was sent", attempt{ranges: ours(5, 9)}, []event{load(c1), failed, {}, load(paused), {replied: true}}, "load, send data on 1, wait, load, send again data on 1, stop done"},
		{"paused and moved when it was sent", attempt{ranges: ours(5, 9)}, []event{load(c1), failed, {}, load(movedOn), {replied: true}}, "load, send data on 1, wait, load, send data on 2, stop done"},
		{"a rewrite of a table that is paused", attempt{rewrite: true}, []event{load(paused)}, "load, stop paused"},
		{"a rewrite", attempt{rewrite: true}, []event{load(c1), {replied: true}}, "load, send replace on 1, stop done"},
		{"a rewrite that another has made", attempt{rewrite: true}, []event{load(c1), {void: true}}, "load, send replace on 1, stop done"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := strings.Join(script(t, &c.attempt, c.events...), ", "); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	unfit := c1.view(t)
	unfit.mismatch = errors.New("column x is gone")
	if got := strings.Join(script(t, &attempt{ranges: ours(5, 9)}, event{loaded: unfit}), ", "); got != "load, stop restage" {
		t.Errorf("files that do not fit: %s", got)
	}
}
