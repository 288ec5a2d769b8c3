package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob/blobtest"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// TestStatusRequests: what is asked of the store does not grow with the tables, and they come in order.
func TestStatusRequests(t *testing.T) {
	w := newWorkbench(t)
	events := tailtest.Topic("events", 1, 0)
	var asked [2]string
	for i, kinds := range [][]string{{"b"}, {"c", "a", "d"}} {
		var values []string
		for _, kind := range kinds {
			values = append(values, fmt.Sprintf(`{"kind":%q}`, kind))
		}
		entries := []kfs.Entry{events}
		w.journal.Append(t, entries[min(i, 1):], tailtest.Values(events, 0, values...))
		w.journal.Checkpoint(t)
		if err := w.run(routedJob); err != nil {
			t.Fatal(err)
		}
		flags := tableFlags{files: []string{filepath.Join(w.dir, "job.yaml")}, data: w.dir}
		err := flags.each(t.Context(), func(j *jobTables) error {
			trace := blobtest.NewTrace(j.store)
			j.store = trace
			s, err := statusOf(t.Context(), j, time.Now())
			var names []string
			for _, one := range s.Tables {
				names = append(names, one.Table)
			}
			if want := []int{1, 4}[i]; len(names) != want || !slices.IsSorted(names) {
				t.Errorf("the tables are %v, want %d in order", names, want)
			}
			asked[i] = fmt.Sprintf("%d GETs, %d LISTs", trace.Count("GET"), trace.Count("LIST"))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if asked[0] != asked[1] || strings.HasPrefix(asked[0], "0 ") {
		t.Errorf("of one table status asks for %s, of four for %s", asked[0], asked[1])
	}
}

// TestStatusOfMany sums up more tables than somebody sees at a glance, and no fewer.
func TestStatusOfMany(t *testing.T) {
	for n, want := range map[int]string{screen: "", screen + 1: "job shop: 51 tables, 2 are behind, the last of them 1m30s\n"} {
		s := jobStatus{Job: "shop"}
		for i := range n {
			s.Tables = append(s.Tables, tableStatus{Table: fmt.Sprintf("lake.t%02d", i)})
		}
		s.Tables[3].Lag, s.Tables[3].Behind, s.Tables[7].Lag, s.Tables[7].Behind = 5, 90, 5, 10
		var out bytes.Buffer
		if err := printStatus(&out, []jobStatus{s}, false); err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(out.String(), "lake."); lines != n || !strings.HasSuffix(out.String(), want) || want == "" && strings.Contains(out.String(), "job shop:") {
			t.Errorf("%d tables:\n%s", n, out.String())
		}
	}
}
