package catalog

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/firn-io/firn/kfs"
)

// view is what the protocol looks at in a loaded table: everything that decides, nothing that does I/O.
type view struct {
	table    string // the table's uuid
	format   int    // its format version
	identity string // its own, or of the table in whose place it is
	head     int64  // the snapshot of the branch; 0 if it has none
	sequence int64  // the last sequence number that a snapshot of the table, of any branch, was given
	ancestry []ancestor
	complete bool                                 // the ancestry ends at the table's first snapshot
	progress *Progress                            // this job's property, nil if it is absent
	foreign  map[string]string                    // stream → another job that has progress for it
	family   map[string]map[string]SourceProgress // the job that this one is a backfill of, its backfills, and their progress
	rebuilt  *Rebuilt                             // the last rebuild of this job's rows, nil if there was none
	sealed   string                               // the table that takes this one's place; empty if none does
	paused   *Pause                               // that is to be obeyed, nil if there is none
	mismatch error                                // why staged output does not fit the table any more, nil if it does
}

// ancestor is a snapshot of the branch, the newest first.
type ancestor struct {
	snapshot int64
	sequence int64
	summary  map[string]string

	once    bool // receipt was read
	receipt *Receipt
	damage  error
}

// read reads the receipt; nil if there is none.
func (a *ancestor) read() (*Receipt, error) {
	if !a.once {
		a.once = true
		if a.receipt, a.damage = parseReceipt(a.summary); a.damage != nil {
			a.damage = fmt.Errorf("snapshot %d: %w", a.snapshot, a.damage)
		}
	}
	return a.receipt, a.damage
}

// landed reports whether the commit is in the branch.
func (v *view) landed(commit string) bool {
	return slices.ContainsFunc(v.ancestry, func(a ancestor) bool { return a.summary[keyCommit] == commit })
}

// since is Progress.Since of the next commit.
func (v *view) since() int64 {
	if v.progress == nil {
		return v.sequence
	}
	return v.progress.Since
}

// position is what a table says about a job.
type position struct {
	started bool                      // there is a receipt or a property of the job
	sources map[string]SourceProgress // what is known of each source
	// unproven are sources whose receipts are gone by expiry: the property alone speaks for them, and counts only if the greatest
	// offset that the table's files hold agrees with it.
	unproven []string
	lineage  string
	lost     map[string][]kfs.Span // as Progress has it
	since    int64                 // likewise
}

// position reads the job's position: the newest receipt in the branch's ancestry decides, and the property only where expiry has cut
// the ancestry.
func (v *view) position(job string) (position, error) {
	if v.progress != nil && v.progress.Table != v.table {
		return position{}, &HaltError{
			Reason: fmt.Sprintf("the table's property %s%s was written for table %s, but this is table %s: a copy, or a table that was created again", progressPrefix, job, v.progress.Table, v.table),
			Decide: "remove the property to begin anew in this table, or point the job at the table that it wrote",
		}
	}
	receipts, err := v.receipts(job)
	if err != nil {
		return position{}, err
	}
	switch {
	case len(receipts) == 0 && v.progress == nil:
		return position{sources: map[string]SourceProgress{}}, nil
	case len(receipts) == 0:
		// Expiry may have rewritten the survivor's parent to none, so even a complete ancestry does not speak against the property.
		return position{started: true, sources: maps.Clone(v.progress.Sources), unproven: slices.Sorted(maps.Keys(v.progress.Sources)), lineage: v.progress.Lineage, lost: v.progress.Lost}, nil
	case v.progress != nil && v.progress.Commit == receipts[0].Commit:
		return v.agreed(receipts[0])
	}
	return v.walked(receipts), nil
}

// receipts are the job's own in the ancestry, the newest first.
func (v *view) receipts(job string) ([]*Receipt, error) {
	var out []*Receipt
	for i := range v.ancestry {
		a := &v.ancestry[i]
		if a.summary[keyJob] != job {
			continue
		}
		r, err := a.read()
		if err != nil {
			return nil, err
		}
		if r == nil {
			continue
		}
		out = append(out, r)
		if len(out) == 1 && v.progress != nil && v.progress.Commit == r.Commit {
			break // the property holds what the older ones say
		}
	}
	return out, nil
}

// config is the configuration by the newest receipt of the job that names a source; "" if there is none.
func (v *view) config(job, source string) string {
	if _, r := v.newest(job, func(r *Receipt) bool { _, ok := r.Ranges[source]; return ok }); r != nil {
		return r.Config
	}
	return ""
}

// newest is the newest receipt of a job that is wanted, and its snapshot; nil if there is none.
func (v *view) newest(job string, wanted func(*Receipt) bool) (*ancestor, *Receipt) {
	for i := range v.ancestry {
		a := &v.ancestry[i]
		if a.summary[keyJob] != job {
			continue
		}
		if r, err := a.read(); err == nil && r != nil && wanted(r) {
			return a, r
		}
	}
	return nil, nil
}

// agreed is the position when the property belongs to the newest receipt. The two were set together and must say the same.
func (v *view) agreed(newest *Receipt) (position, error) {
	for source, a := range newest.Ranges {
		if p, ok := v.progress.Sources[source]; !ok || p.Next != a.Span.Next {
			return position{}, &HaltError{
				Reason: fmt.Sprintf("receipt %s ends source %s at %d, the table property of the same commit at %d", newest.Commit, source, a.Span.Next, p.Next),
				Decide: "the property was changed by another program; restore it from an older metadata file of the table, or remove it to let the receipts decide",
			}
		}
	}
	return position{started: true, sources: maps.Clone(v.progress.Sources), lineage: newest.Lineage, lost: v.progress.Lost}, nil
}

// walked is the position when the property is not of the newest receipt: the branch was rolled back, or the property is lost. Every
// receipt speaks for the sources that it names, the newest for each.
func (v *view) walked(receipts []*Receipt) position {
	pos := position{started: true, sources: map[string]SourceProgress{}, lineage: receipts[0].Lineage}
	var before map[string][]kfs.Span
	if v.progress != nil && !v.complete {
		before = v.progress.Lost
	}
	next := func(source string) int64 { // of the newest receipt
		for _, r := range receipts {
			if a, ok := r.Ranges[source]; ok {
				return a.Span.Next
			}
		}
		return math.MaxInt64 // the property alone speaks for it
	}
	pos.lost = lostBy(before, next, receipts)
	for _, r := range receipts {
		for source, a := range r.Ranges {
			p, ok := pos.sources[source]
			if !ok {
				p = SourceProgress{Next: a.Span.Next, High: a.High}
			}
			p.First = a.Span.Base // the oldest one stays
			p.High = max(p.High, a.High)
			p.Rows += a.Rows
			pos.sources[source] = p
		}
	}
	for _, r := range receipts {
		for source, spans := range r.Repaired {
			if p, ok := pos.sources[source]; ok {
				p.repair(spans)
				pos.sources[source] = p
			}
		}
	}
	if !v.complete {
		for source, p := range pos.sources {
			p.Rows = UnknownRows // what the receipts that are gone had added
			pos.sources[source] = p
		}
	}
	if v.progress == nil {
		return pos
	}
	for source, known := range v.progress.Sources {
		if p, ok := pos.sources[source]; ok {
			if !v.complete {
				p.First = min(p.First, known.First)
			}
			p.reach(max(known.High+1, known.Reached))
			pos.sources[source] = p
			continue
		}
		if v.complete { // the branch was rolled back to before the job began with it
			p := SourceProgress{First: known.First, Next: known.First, High: -1}
			p.reach(max(known.High+1, known.Reached))
			pos.sources[source] = p
			continue
		}
		pos.sources[source] = known
		pos.unproven = append(pos.unproven, source)
	}
	slices.Sort(pos.unproven)
	return pos
}

// prove checks the sources for which only the property speaks against the greatest offsets that the table's files hold (-1 or absent
// for none).
func (p *position) prove(highs map[string]int64) error {
	for _, source := range p.unproven {
		high, ok := highs[source]
		if !ok {
			high = -1
		}
		if want := p.sources[source]; high != want.High || high >= want.Next {
			return &HaltError{
				Reason: fmt.Sprintf("no receipt of source %s is left in the branch, by expiry or by a rollback to before them; the table property puts it at %d with %d as its greatest offset, but the greatest offset in the table is %d", source, want.Next, want.High, high),
				Decide: "find out who removed or added rows or rolled the table back; then remove the property to begin anew, or set it to what the table really holds",
			}
		}
	}
	p.unproven = nil
	return nil
}

// movedBack names the first source whose position lies below what was seen before.
func (p *position) movedBack(known map[string]int64) (source string, now, before int64, ok bool) {
	for _, source := range slices.Sorted(maps.Keys(known)) {
		if at := p.sources[source].Next; at < known[source] {
			return source, at, known[source], true
		}
	}
	return "", 0, 0, false
}

// admits reports whether every range begins exactly at the running position. A source without a position begins where its range does.
func (p *position) admits(ranges map[string]Advance) (source string, at kfs.Span, ok bool) {
	for _, source := range slices.Sorted(maps.Keys(ranges)) {
		if at, ok := p.sources[source]; ok && at.Next != ranges[source].Span.Base {
			return source, kfs.Span{Base: at.First, Next: at.Next}, false
		}
	}
	return "", kfs.Span{}, true
}

// knows reports whether every source of ranges has a position; else it names one that has none.
func (p *position) knows(ranges map[string]Advance) (source string, ok bool) {
	for _, source := range slices.Sorted(maps.Keys(ranges)) {
		if _, ok := p.sources[source]; !ok {
			return source, false
		}
	}
	return "", true
}

// passed reports whether all offsets are among those that are accounted for; else it names a source with others.
func (p *position) passed(offsets map[string][]kfs.Span) (source string, ok bool) {
	for _, source := range slices.Sorted(maps.Keys(offsets)) {
		at, known := p.sources[source]
		for _, s := range offsets[source] {
			if !known || s.Base < at.First || s.Next > at.Next {
				return source, false
			}
		}
	}
	return "", true
}

// nexts are the positions alone.
func (p *position) nexts() map[string]int64 {
	out := make(map[string]int64, len(p.sources))
	for source, s := range p.sources {
		out[source] = s.Next
	}
	return out
}
