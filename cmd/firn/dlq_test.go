package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors/iceberg/deadletter"
	"github.com/firn-io/firn/processors/iceberg/plan"
	"github.com/firn-io/firn/processors/iceberg/verify"
)

// TestNothingMovesTheCursor prints what records have brought with them, control characters in names of fields among it.
func TestNothingMovesTheCursor(t *testing.T) {
	const field = "a\x1b[2J\u009b1A"
	var out bytes.Buffer
	letter := deadletter.Letter{Topic: "events", Time: time.UnixMilli(0), Key: []byte(field), Value: []byte(field), Headers: []deadletter.Header{{Key: field, Value: []byte(field)}}, Class: "type_conflict", Message: "field " + field}
	if err := printLetter(&out, "job", &letter, false); err != nil {
		t.Fatal(err)
	}
	if err := printRetries(&out, []retryLine{{Retried: deadletter.Retried{Reasons: []deadletter.Reason{{Class: "type_conflict", Example: field}}}}}, false); err != nil {
		t.Fatal(err)
	}
	printPlan(&out, &jobPlan{Tables: []*plan.Report{{
		DDL: "CREATE TABLE `" + field + "` (\n);", Sampled: 1,
		Fields:  []plan.Field{{Field: field}, {Field: field, Type: "long", Coerced: []string{"string"}, Seen: map[string]plan.Seen{"string": {Example: field}}}},
		Rejects: []plan.Reject{{Class: "type_conflict", Records: 1, Examples: []string{field}}},
	}}})
	printReport(&out, &verify.Report{Notes: []string{field}, Findings: []verify.Finding{{Kind: verify.Halt, What: field}}})
	if err := printStatus(&out, []jobStatus{{Halts: []kfs.JobHalt{{What: field}}}}, false); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if strings.ContainsFunc(strings.TrimSuffix(line, "\n"), unicode.IsControl) {
			t.Errorf("printed is %q", line)
		}
	}
	if n := strings.Count(out.String(), `a\x1b[2J\u009b1A`); n < 11 {
		t.Errorf("the name is there %d times:\n%s", n, out.String())
	}
}
