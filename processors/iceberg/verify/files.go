package verify

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/firn-io/firn/kfs"
)

// checkFiles looks at what the manifests say of each live file.
func (v *verifier) checkFiles() {
	seen := make(map[string]bool, len(v.live.data))
	dense := map[place][]*file{} // files that hold every offset of their spans
	for i := range v.live.data {
		f := &v.live.data[i]
		if seen[f.path] {
			v.find(Finding{Kind: Duplicate, What: fmt.Sprintf("file %s is in the table twice: %d rows", f.path, f.rows+f.blind)})
			continue
		}
		seen[f.path] = true
		if f.span.Empty() {
			continue
		}
		if n := f.span.Len(); f.rows > n {
			v.find(Finding{Kind: Duplicate, Source: v.keyOf(f.place), Spans: []kfs.Span{f.span}, What: fmt.Sprintf("file %s has %d rows for the %d offsets of %s", f.path, f.rows, n, f.span)})
		} else if f.rows == n {
			dense[f.place] = append(dense[f.place], f)
		}
		if s := v.places[f.place]; s != nil && !(within(f.span.Base, s.spans()) && within(f.span.Next-1, s.spans())) {
			v.find(Finding{Kind: Foreign, Source: s.key, Spans: []kfs.Span{f.span}, What: fmt.Sprintf("file %s has offsets of %s, the table accounts for %s", f.path, f.span, list(s.spans()))})
		}
	}
	if v.live.deletes > 0 {
		return // one of two files that hold the same may be hidden
	}
	for at, files := range dense {
		slices.SortFunc(files, func(a, b *file) int {
			return cmp.Or(cmp.Compare(a.span.Base, b.span.Base), cmp.Compare(a.span.Next, b.span.Next), cmp.Compare(a.path, b.path))
		})
		for i, b := range files[1:] {
			a := files[i]
			if both := (kfs.Span{Base: b.span.Base, Next: min(a.span.Next, b.span.Next)}); !both.Empty() {
				v.find(Finding{Kind: Duplicate, Source: v.keyOf(at), Spans: []kfs.Span{both}, What: fmt.Sprintf("files %s and %s both hold every offset of %s", a.path, b.path, both)})
			}
		}
	}
}

// keyOf names a place for people.
func (v *verifier) keyOf(p place) string {
	if s := v.places[p]; s != nil {
		return s.key
	}
	return fmt.Sprintf("%s/%d", p.topic, p.partition)
}

// within reports whether an offset lies in one of spans.
func within(offset int64, spans []kfs.Span) bool {
	return slices.ContainsFunc(spans, func(s kfs.Span) bool { return s.Contains(offset) })
}
