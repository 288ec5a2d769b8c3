package verify

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors/iceberg/deadletter"
)

// deep reads the offsets of every row and gives how many there are of each source partition.
func (v *verifier) deep(ctx context.Context) (map[place]int64, error) {
	counts := map[place]int64{}
	rows := map[place]*offsets{}
	if v.account.Head != 0 {
		var err error
		if rows, err = v.liveRows(ctx); err != nil {
			return nil, err
		}
	}
	letters, err := v.deadOffsets(ctx)
	if err != nil {
		return nil, err
	}
	v.rows, v.dead = rows, letters
	missing := map[*source]*lack{}
	for at, o := range rows {
		counts[at] = o.rows
		if _, known := v.places[at]; !known && len(v.sources) > 0 {
			v.find(Finding{Kind: Foreign, Source: v.keyOf(at), What: fmt.Sprintf("%d rows of a source that no receipt names", o.rows)})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(v.sources)) {
		s := v.sources[key]
		o := rows[s.place]
		if o == nil {
			o = newOffsets()
		}
		v.checkRows(s, o)
		if n := both(letters[s.place], o.seen); n > 0 {
			v.note("%s: %d records are rows and dead letters too, as two workers without a lease make them: %s", key, n, superseded)
		}
		if gap := v.gap(s, o.seen, letters[s.place]); gap != nil {
			missing[s] = &lack{gap: gap, seen: o.seen.Clone(), letters: letters[s.place]}
		}
	}
	return counts, v.explain(ctx, missing)
}

// checkRows looks for rows that are there twice, and for rows beyond what receipts account for.
func (v *verifier) checkRows(s *source, o *offsets) {
	if n := o.again.GetCardinality(); n > 0 {
		spans := spansOf(o.again)
		v.find(Finding{Kind: Duplicate, Source: s.key, Spans: spans, What: fmt.Sprintf("%d rows more than offsets; twice or more: %s", o.rows-int64(o.seen.GetCardinality()), list(spans))})
	}
	if beyond := roaring64.AndNot(o.seen, setOf(s.spans())); !beyond.IsEmpty() {
		spans := spansOf(beyond)
		v.find(Finding{Kind: Foreign, Source: s.key, Spans: spans, What: fmt.Sprintf("%d rows that no receipt accounts for: %s", beyond.GetCardinality(), list(spans))})
	}
}

// lack is the offsets of a source that should be rows and are not, with what they were found by.
type lack struct{ gap, seen, letters *roaring64.Bitmap }

// explained takes it that rows were there, and gives those of them that were missing. Where only counts tell what should be there, the others of
// their ranges may not be missing any more.
func (l *lack) explained(v *verifier, s *source, rows *roaring64.Bitmap) *roaring64.Bitmap {
	were := roaring64.And(l.gap, rows)
	if !were.IsEmpty() {
		l.seen.Or(were)
		l.gap = v.gap(s, l.seen, l.letters)
	}
	return were
}

// gap is the offsets that should be rows and are not; nil if there are none. Where a job leaves records out on purpose, only the counts of its receipts
// tell, and a range that has too few rows is given whole, less what is there.
func (v *verifier) gap(s *source, seen, letters *roaring64.Bitmap) *roaring64.Bitmap {
	there := seen
	if letters != nil {
		there = roaring64.Or(seen, letters)
	}
	all := roaring64.New()
	if v.Whole {
		all = roaring64.AndNot(setOf(s.spans()), there)
	} else {
		for _, a := range s.jobs {
			// Rows that came by repairs were not counted with their ranges. Of those that expired nobody knows which they are: they may hide a gap.
			first := roaring64.AndNot(seen, setOf(a.repaired))
			for _, r := range a.ranges {
				v.short(all, r.Span, r.Rows, first, there)
			}
			if rows, ok := a.firstRows(); ok {
				v.short(all, a.expired(), rows, first, there)
			}
		}
	}
	if all.AndNot(setOf(s.lost())); all.IsEmpty() {
		return nil
	}
	return all
}

// both is how many offsets are in both sets; the first may be nil.
func both(letters, seen *roaring64.Bitmap) uint64 {
	if letters == nil {
		return 0
	}
	return letters.AndCardinality(seen)
}

// short adds what may be missing of a span that has fewer rows than were counted.
func (v *verifier) short(all *roaring64.Bitmap, span kfs.Span, rows int64, seen, there *roaring64.Bitmap) {
	if span.Empty() {
		return
	}
	set := setOf([]kfs.Span{span})
	if int64(seen.AndCardinality(set)) < rows {
		all.Or(roaring64.AndNot(set, there))
	}
}

// explain tells which of the missing rows foreign snapshots have removed. The others are missing.
func (v *verifier) explain(ctx context.Context, missing map[*source]*lack) error {
	for _, c := range v.removed {
		if len(missing) == 0 {
			return nil
		}
		gone, err := v.goneIn(ctx, c)
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			v.note("which rows snapshot %d removed cannot be read any more (%v): if its files were deleted, nothing tells them from rows that were lost", c.Snapshot.SnapshotID, err)
			continue
		}
		var explained uint64
		for s, l := range missing {
			if rows := gone[s.place]; rows != nil {
				explained += l.explained(v, s, rows.seen).GetCardinality()
			}
			if l.gap == nil {
				delete(missing, s)
			}
		}
		if explained > 0 && !c.listed {
			v.removal(c, int64(explained)) // it has put others in their place, so that no count told
		}
	}
	if err := v.explainHidden(ctx, missing); err != nil {
		return err
	}
	for _, s := range slices.SortedFunc(maps.Keys(missing), func(a, b *source) int { return strings.Compare(a.key, b.key) }) {
		gap := missing[s].gap
		spans := spansOf(gap)
		what := fmt.Sprintf("%d rows are missing: %s", gap.GetCardinality(), list(spans))
		if !v.Whole {
			what = fmt.Sprintf("rows are missing among %d offsets, of which the job may have left some out: %s", gap.GetCardinality(), list(spans))
		}
		if gap.Intersects(expired(s)) {
			what += "; of what was committed before the oldest snapshot that is left, an expired snapshot of somebody else may have removed them"
		}
		v.find(Finding{Kind: Missing, Source: s.key, Spans: spans, What: what})
	}
	return nil
}

// explainHidden tells which of the missing rows are in the data files, hidden by delete files. Jobs write none: others have removed those rows, by
// snapshots that have expired.
func (v *verifier) explainHidden(ctx context.Context, missing map[*source]*lack) error {
	if len(missing) == 0 || v.live.deletes == 0 {
		return nil
	}
	held, err := v.rowsOf(ctx, v.live.data)
	if err != nil {
		return err
	}
	for s, l := range missing {
		rows := held[s.place]
		if rows == nil {
			continue
		}
		hidden := l.explained(v, s, rows.seen)
		if hidden.IsEmpty() {
			continue
		}
		spans := spansOf(hidden)
		what := fmt.Sprintf("%d rows are hidden by delete files of snapshots that have expired: others have removed them: %s", hidden.GetCardinality(), list(spans))
		if v.Strict {
			v.find(Finding{Kind: Removed, Source: s.key, Spans: spans, What: what})
		} else {
			v.note("%s: %s", s.key, what)
		}
		if l.gap == nil {
			delete(missing, s)
		}
	}
	return nil
}

// expired is the offsets of a source that no receipt is left of.
func expired(s *source) *roaring64.Bitmap {
	all := roaring64.New()
	for _, a := range s.jobs {
		if span := a.expired(); !span.Empty() {
			all.Or(setOf([]kfs.Span{span}))
		}
	}
	return all
}

// goneIn reads which rows a snapshot removed: those of the files that it took away, less those that it wrote again. Where it
// added deletes, the rows before and after it are compared.
func (v *verifier) goneIn(ctx context.Context, c *change) (map[place]*offsets, error) {
	var before, after map[place]*offsets
	var err error
	if c.deleteFiles && c.Snapshot.ParentSnapshotID != nil {
		if before, err = v.rowsAt(ctx, *c.Snapshot.ParentSnapshotID); err == nil {
			after, err = v.rowsAt(ctx, c.Snapshot.SnapshotID)
		}
	} else {
		if before, err = v.rowsOf(ctx, c.gone); err == nil {
			after, err = v.rowsOf(ctx, c.came)
		}
	}
	if err != nil {
		return nil, err
	}
	for at, o := range after {
		if b := before[at]; b != nil {
			b.seen.AndNot(o.seen)
		}
	}
	return before, nil
}

// rowsOf reads the rows of files.
func (v *verifier) rowsOf(ctx context.Context, files []file) (map[place]*offsets, error) {
	r := v.reader(nil)
	return r.rows, r.files(ctx, files)
}

// liveRows reads the live rows of the head. A file that is broken, or is not there, is damage, and the rest is read.
func (v *verifier) liveRows(ctx context.Context) (map[place]*offsets, error) {
	r := v.reader(v.Progress)
	r.broken = func(path string, why error) {
		v.find(Finding{Kind: Damage, What: fmt.Sprintf("data file %s cannot be read, and so its rows are missing: %v", path, why)})
	}
	if v.live.deletes > 0 {
		return r.rows, r.snapshot(ctx, v.account.Head)
	}
	r.total = len(v.live.data)
	return r.rows, r.files(ctx, v.live.data)
}

// rowsAt reads the live rows of a snapshot.
func (v *verifier) rowsAt(ctx context.Context, snapshot int64) (map[place]*offsets, error) {
	r := v.reader(nil)
	return r.rows, r.snapshot(ctx, snapshot)
}

func (v *verifier) reader(progress func(done, total int)) *reader {
	r := &reader{table: v.table, fs: v.fs, columns: v.columns, rows: map[place]*offsets{}, progress: progress, topic: v.sole}
	if v.columns.topicID != 0 {
		r.sole = map[string]string{}
		for topic := range v.topics {
			name, _, _ := strings.Cut(topic, "/")
			if _, several := r.sole[name]; several {
				topic = name
			}
			r.sole[name] = topic
		}
	}
	return r
}

// deadOffsets reads the offsets of the job's dead letters, without those that are resolved.
func (v *verifier) deadOffsets(ctx context.Context) (map[place]*roaring64.Bitmap, error) {
	out := map[place]*roaring64.Bitmap{}
	if v.letters.account == nil || v.letters.account.Head == 0 {
		return out, nil
	}
	for l, err := range deadletter.Read(ctx, v.letters.table, deadletter.Selection{Offsets: true, Dead: true, Prefix: v.Prefix}) {
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", v.DeadLetters, err)
		}
		at := place{l.Topic, l.Partition}
		if s := v.places[at]; s != nil && !l.TopicID.IsZero() && l.TopicID != s.topic {
			continue // of a topic that was deleted, or of the one that has the name now
		}
		if out[at] == nil {
			out[at] = roaring64.New()
		}
		out[at].Add(uint64(l.Offset))
	}
	return out, nil
}
