package catalog

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/firn-io/firn/kfs"
)

// Mark names a commit that was seen in a table's branch: rows in another table may stand beside what it has brought.
type Mark struct {
	Table    string // the table's uuid
	Commit   string // Receipt.Commit
	Sequence int64  // of its snapshot; 0 in tables of format version 1, which do not count
}

// String is the mark as receipts have it: sequence/table/commit.
func (m Mark) String() string { return fmt.Sprintf("%d/%s/%s", m.Sequence, m.Table, m.Commit) }

// ParseMark reads what String writes.
func ParseMark(text string) (Mark, error) {
	parts := strings.SplitN(text, "/", 3)
	if len(parts) != 3 || parts[1] == "" || parts[2] == "" {
		return Mark{}, fmt.Errorf("mark %q is not sequence/table/commit", text)
	}
	sequence, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil || sequence < 0 {
		return Mark{}, fmt.Errorf("mark %q: %q is no sequence number", text, parts[0])
	}
	return Mark{Table: parts[1], Commit: parts[2], Sequence: sequence}, nil
}

// Mark is the newest commit of the job, by the last call of Position, that has accounted for offsets of a source from one on, or repaired some
// of them. ok is false if there is none, its receipt has expired, or the table is being made anew aside: what is there does not stay where it is.
func (c *Committer) Mark(source string, from int64) (m Mark, ok bool) {
	if _, aside := c.catalog.client.(*asideClient); aside || c.seen == nil {
		return Mark{}, false
	}
	a, r := c.seen.newest(c.opts.Job, func(r *Receipt) bool {
		return r.Ranges[source].Span.Next > from || slices.ContainsFunc(r.Repaired[source], func(s kfs.Span) bool { return s.Next > from })
	})
	if r == nil {
		return Mark{}, false
	}
	return Mark{Table: c.seen.table, Commit: r.Commit, Sequence: a.sequence}, true
}

// Gone reports whether the commit of a mark is not in the branch any more, by the last call of Position, because the branch was rolled back. Of one
// that may have expired it does not say so, nor of one from before a person has removed the job's progress from the table's properties, to go
// on without what is gone.
func (c *Committer) Gone(m Mark) bool {
	v := c.seen
	if v == nil || v.table != m.Table || v.format < 2 || v.progress == nil || m.Sequence <= v.progress.Since || v.landed(m.Commit) {
		return false
	}
	return v.complete || len(v.ancestry) > 0 && v.ancestry[len(v.ancestry)-1].sequence <= m.Sequence
}

// Bereft names a source, and offsets of it, that the job's commits in the branch, by the last call of Position, have accounted for beside letters
// (Group.Letters) that are gone; ok is false if there is none.
func (c *Committer) Bereft(gone func(Mark) bool) (source string, span kfs.Span, ok bool, err error) {
	if c.seen == nil {
		return "", kfs.Span{}, false, nil
	}
	for i := range c.seen.ancestry {
		a := &c.seen.ancestry[i]
		if a.summary[keyJob] != c.opts.Job || a.summary[keyLetters] == "" {
			continue
		}
		r, err := a.read()
		if err != nil {
			return "", kfs.Span{}, false, err
		}
		for _, source := range slices.Sorted(maps.Keys(r.Letters)) {
			if gone(r.Letters[source]) {
				return source, r.Ranges[source].Span, true, nil
			}
		}
	}
	return "", kfs.Span{}, false, nil
}

// encodeMarks writes the marks of sources: most have one in common.
func encodeMarks(marks map[string]Mark) (string, error) {
	out := map[string][]string{}
	for _, source := range slices.Sorted(maps.Keys(marks)) {
		key := marks[source].String()
		out[key] = append(out[key], source)
	}
	b, err := json.Marshal(out)
	return string(b), err
}

// decodeMarks reads what encodeMarks wrote.
func decodeMarks(text string) (map[string]Mark, error) {
	var in map[string][]string
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return nil, fmt.Errorf("marks: %w", err)
	}
	out := map[string]Mark{}
	for key, sources := range in {
		m, err := ParseMark(key)
		if err != nil {
			return nil, err
		}
		for _, source := range sources {
			out[source] = m
		}
	}
	return out, nil
}
