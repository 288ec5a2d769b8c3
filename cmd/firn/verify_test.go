package main

import (
	"strings"
	"testing"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// TestVerifyTellsOfHalts has a partition that halts before its first row, beside one that is committed; then all of a topic's, so that there is no
// table. What is in the tables is right, and the job is not sound.
func TestVerifyTellsOfHalts(t *testing.T) {
	const halting = `
name: strict
source: {topics: [%]}
decode: {value: {schema: [{name: id, type: long, required: true}]}}
table: {name: "lake.{topic}"}
errors: {policy: halt}
`
	w := newWorkbench(t)
	good, bad := tailtest.Topic("events", 1, 0, 0), tailtest.Topic("bad", 2, 0)
	w.journal.Append(t, []kfs.Entry{good, bad}, tailtest.Values(good, 0, `{"id":1}`), tailtest.Values(good, 1, `{"id":"no"}`), tailtest.Values(bad, 0, `no`))
	for topic, want := range map[string][]string{
		"events": {"lake.events: 1 findings", "/0  [0, 1)  1 rows", "WRONG: halt: events/1: "},
		"bad":    {"lake.bad: 1 findings", "WRONG: halt: bad/0: "},
	} {
		job := strings.Replace(halting, "%", topic, 1)
		if err := w.run(job); err == nil {
			t.Fatalf("%s: the job ended well", topic)
		}
		for _, arguments := range [][]string{nil, {"--deep"}, {"lake." + topic}} {
			out, err := w.verified(job, arguments...)
			if err == nil || err.Error() != "1 findings" {
				t.Errorf("verify %v: %v", arguments, err)
			}
			for _, text := range want {
				if !strings.Contains(out, text) {
					t.Errorf("verify %v does not say %q:\n%s", arguments, text, out)
				}
			}
		}
		if out, err := w.verified(strings.Replace(job, "policy: halt", "policy: dead_letter", 1), "lake.strict_dead_letter"); err == nil || strings.Contains(out, "WRONG") {
			t.Errorf("verify of the dead letters alone: %v\n%s", err, out)
		}
		mended := strings.Replace(job, "policy: halt", "policy: skip", 1)
		if err := w.run(mended); err != nil {
			t.Fatal(err)
		}
		if out, err := w.verified(mended); err != nil {
			t.Errorf("%s, mended: %v\n%s", topic, err, out)
		}
	}
}
