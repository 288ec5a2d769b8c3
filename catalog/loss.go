package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"

	"github.com/firn-io/firn/kfs"
)

// Forgo moves the job's position over offsets whose records are gone, without rows, because a person has decided so. The receipt of that commit, and
// the job's progress from then on, say which they are. Each span must begin at the position of its source, else the error is ErrMoved, also
// where the job has no position of it. Other errors are those of Commit.
func (c *Committer) Forgo(ctx context.Context, lost map[string]kfs.Span) error {
	g := Group{Ranges: map[string]Advance{}}
	for source, span := range lost {
		if span.Empty() {
			return fmt.Errorf("table %s: no offset of %s is lost", c.Name(), source)
		}
		g.Ranges[source] = Advance{Span: span, High: -1}
	}
	id, err := uuid.NewRandomFromReader(c.opts.Rand)
	if err != nil {
		return fmt.Errorf("commit id: %w", err)
	}
	a := c.attempt(g, id.String())
	a.lost = true
	err = c.run(ctx, a, g)
	if errors.Is(err, ErrMoved) {
		c.saw(a)
	}
	if err != nil {
		return fmt.Errorf("go on behind what was lost to table %s: %w", c.Name(), err)
	}
	c.known.Table, c.identity = a.view.table, a.view.identity
	for source, span := range lost {
		c.known.Positions[source] = span.Next
	}
	return nil
}

// lose is what is lost after a commit of receipt r.
func lose(before map[string][]kfs.Span, r *Receipt) map[string][]kfs.Span {
	if r.Kind != KindLoss {
		return before
	}
	after := maps.Clone(before)
	if after == nil {
		after = map[string][]kfs.Span{}
	}
	for source, a := range r.Ranges {
		after[source] = joined(append(slices.Clone(after[source]), a.Span))
	}
	return after
}

// lostBy is what is lost by what was lost before, of which counts what ends at or below next, and by the receipts of KindLoss.
func lostBy(before map[string][]kfs.Span, next func(source string) int64, receipts []*Receipt) map[string][]kfs.Span {
	all := map[string][]kfs.Span{}
	for source, spans := range before {
		spans = slices.DeleteFunc(slices.Clone(spans), func(s kfs.Span) bool { return s.Next > next(source) })
		if len(spans) > 0 {
			all[source] = spans
		}
	}
	for _, r := range receipts {
		all = lose(all, r)
	}
	return all
}

// joined puts spans in order and joins those that touch.
func joined(spans []kfs.Span) []kfs.Span {
	slices.SortFunc(spans, func(a, b kfs.Span) int { return cmp.Compare(a.Base, b.Base) })
	var out []kfs.Span
	for _, s := range spans {
		if n := len(out); n > 0 && s.Base <= out[n-1].Next {
			out[n-1].Next = max(out[n-1].Next, s.Next)
		} else {
			out = append(out, s)
		}
	}
	return out
}
