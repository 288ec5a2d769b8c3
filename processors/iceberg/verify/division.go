package verify

import (
	"fmt"
	"maps"
	"slices"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
)

// Division is the tables among which the records of a topic are divided, by what they hold. Each table alone cannot say which offsets should
// be its rows; together they have each offset once, or a dead letter of it. Its zero value takes tables by Config.Division.
type Division struct {
	tables  []string
	sources map[string]*divided
	report  Report
	letters map[place]*roaring64.Bitmap // that were dead when one of the tables was read
	removed bool                        // somebody has removed rows
	whole   bool
}

// divided is a source in several tables.
type divided struct {
	place    place
	first    int64 // of the table that began first
	least    int64 // of the positions
	most     int64
	rows     int64 // catalog.UnknownRows
	letters  int64
	deadline int64
	found    int64
	seen     *roaring64.Bitmap
	again    *roaring64.Bitmap // in more than one table
	lost     *roaring64.Bitmap // to one of them, or more
}

// add takes what was verified of one table.
func (d *Division) add(v *verifier, rows map[place]*offsets, letters map[place]*roaring64.Bitmap) {
	if d.sources == nil {
		d.sources, d.letters = map[string]*divided{}, map[place]*roaring64.Bitmap{}
	}
	d.tables, d.whole = append(d.tables, v.Config.Table), v.WholeTogether
	for at, dead := range letters { // one that was resolved since has become a row, perhaps of a table that was read before
		if d.letters[at] == nil {
			d.letters[at] = roaring64.New()
		}
		d.letters[at].Or(dead)
	}
	d.removed = d.removed || len(v.report.Removals) > 0
	d.report.Deep = v.Deep
	d.report.Rows += v.report.Rows
	d.report.Files += v.report.Files
	d.report.Snapshots += v.report.Snapshots
	for key, s := range v.sources {
		spans := s.spans()
		if len(spans) == 0 {
			continue
		}
		one, ok := d.sources[key]
		if !ok {
			one = &divided{place: s.place, first: spans[0].Base, least: s.next(), letters: s.letters, deadline: s.deadline, seen: roaring64.New(), again: roaring64.New(), lost: roaring64.New()}
			d.sources[key] = one
		}
		one.lost.Or(setOf(s.lost()))
		if s.letters > 0 {
			one.first = min(one.first, s.lettersFrom) // what was before the first row was dead letters
		}
		one.first, one.least, one.most = min(one.first, spans[0].Base), min(one.least, s.next()), max(one.most, s.next())
		one.rows = catalog.AddRows(one.rows, s.rows)
		if o := rows[s.place]; o != nil {
			one.found += o.rows
			one.again.Or(roaring64.And(one.seen, o.seen))
			one.seen.Or(o.seen)
		}
	}
}

// Report says what was found of the tables together, under a name for all of them. It is nil if there were none.
func (d *Division) Report(name string) *Report {
	if len(d.tables) == 0 {
		return nil
	}
	r := d.report
	r.Table, r.Sources = name, []Source{}
	for _, key := range slices.Sorted(maps.Keys(d.sources)) {
		s := d.sources[key]
		one := Source{Source: key, Spans: []kfs.Span{{Base: s.first, Next: s.least}}, Rows: s.rows, Letters: s.letters, Found: -1}
		if !s.lost.IsEmpty() {
			one.Lost = spansOf(s.lost)
		}
		if r.Deep {
			one.Found = s.found
		}
		r.Sources = append(r.Sources, one)
		if r.Deep && !s.again.IsEmpty() {
			spans := spansOf(s.again)
			r.Findings = append(r.Findings, Finding{Kind: Duplicate, Source: key, Spans: spans,
				What: fmt.Sprintf("%d offsets are rows of more than one of the tables: %s", s.again.GetCardinality(), list(spans))})
		}
		if f, note := d.compare(s); f != nil {
			f.Source = key
			r.Findings = append(r.Findings, *f)
		} else if note != "" {
			r.Notes = append(r.Notes, key+": "+note)
		}
	}
	return &r
}

// compare holds the rows of all tables against the records that there were.
func (d *Division) compare(s *divided) (f *Finding, note string) {
	all := kfs.Span{Base: s.first, Next: s.least}
	switch {
	case !d.whole:
		return nil, "" // what the job leaves out, nobody counts
	case d.removed:
		return nil, "others have removed rows, so that the tables cannot be compared with the records; each was verified by itself"
	case d.report.Deep:
		gap := setOf([]kfs.Span{all})
		gap.AndNot(s.seen)
		gap.AndNot(s.lost)
		if letters := d.letters[s.place]; letters != nil {
			gap.AndNot(letters)
		}
		if gap.IsEmpty() {
			return nil, ""
		}
		spans := spansOf(gap)
		return &Finding{Kind: Missing, Spans: spans, What: fmt.Sprintf("%d offsets are in none of the tables: %s", gap.GetCardinality(), list(spans))}, ""
	case s.rows == catalog.UnknownRows || s.letters == catalog.UnknownRows || s.least != s.most || s.deadline > s.least || !s.lost.IsEmpty():
		return nil, "the tables stand at different positions, or records were lost, or nobody has counted all rows: only --deep compares them with the records"
	case s.rows+s.letters != all.Len():
		return &Finding{Kind: Missing, What: fmt.Sprintf("%d offsets are accounted for, but receipts count %d rows in all tables and %d dead letters", all.Len(), s.rows, s.letters)}, ""
	}
	return nil, ""
}
