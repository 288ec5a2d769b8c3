package catalogtest

import (
	"slices"
	"strings"
	"testing"

	"github.com/firn-io/firn/catalog"
)

// What a commit asks of the catalog and of the table's store. Requests are money: a change here is a decision.
func TestTrace(t *testing.T) {
	faulty := NewFaulty(NewFake(), nil)
	c := NewCommitter(t, faulty, "default.trace", catalog.Options{})
	create(t, c)
	from := len(faulty.Trace())
	for _, step := range []struct {
		name string
		do   func() error
		want string
	}{
		{"the first commit: a start receipt, then the group", func() error { return c.Commit(t.Context(), Group("a/0", 0, 10)) }, `
			load
			create file
			commit assert-table-uuid assert-ref-snapshot-id | set-properties add-snapshot set-snapshot-ref
			load
			create file
			create file
			open file
			commit assert-ref-snapshot-id assert-table-uuid | set-properties add-snapshot set-snapshot-ref`},
		{"a commit", func() error { return c.Commit(t.Context(), Group("a/0", 10, 20)) }, `
			load
			create file
			create file
			open file
			commit assert-ref-snapshot-id assert-table-uuid | set-properties add-snapshot set-snapshot-ref`},
		{"nothing to commit", func() error { return c.Commit(t.Context(), Group("a/0", 20, 20)) }, `
			load`},
		{"a position", func() error { _, _, err := c.Position(t.Context()); return err }, `
			load`},
		{"a schema that fits", func() error { _, err := c.Evolve(t.Context(), Schema); return err }, `
			load`},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		all := faulty.Trace()
		got := strings.Join(sortFiles(all[from:]), "\n")
		if want := strings.ReplaceAll(strings.TrimSpace(step.want), "\n\t\t\t", "\n"); got != want {
			t.Errorf("%s:\n%s\nwant:\n%s", step.name, got, want)
		}
		from = len(all)
	}
}

// sortFiles leaves the ends of files out and sorts what is done to files between two requests: the library does that side by side.
func sortFiles(ops []string) []string {
	var out []string
	from := 0
	for _, op := range ops {
		switch {
		case op == "close file":
			continue
		case !strings.HasSuffix(op, " file"):
			slices.Sort(out[from:])
			from = len(out) + 1
		}
		out = append(out, op)
	}
	return out
}
