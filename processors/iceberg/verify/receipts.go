package verify

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/runtime/processor"
)

// account is what one job, or one backfill of it, says of a source.
type account struct {
	job      string
	key      string // of the source
	progress catalog.SourceProgress
	ranges   []committed // by the receipts that are left, the oldest first
	repaired []kfs.Span  // likewise: offsets whose rows came by repairs, in no order
	lost     []kfs.Span  // offsets whose records were gone, in order
}

// committed is what one receipt says of a source.
type committed struct {
	catalog.Advance
	snapshot int64
}

// expired is the part of the progress that no receipt is left of.
func (a *account) expired() kfs.Span {
	if len(a.ranges) == 0 {
		return kfs.Span{Base: a.progress.First, Next: a.progress.Next}
	}
	return kfs.Span{Base: a.progress.First, Next: max(a.progress.First, a.ranges[0].Span.Base)}
}

// expiredRows is how many rows no receipt is left of; false if nobody counted.
func (a *account) expiredRows() (int64, bool) {
	rows := a.progress.Rows
	for _, r := range a.ranges {
		rows -= r.Rows
	}
	for _, s := range a.repaired {
		rows -= s.Len()
	}
	return rows, a.progress.Rows != catalog.UnknownRows
}

// firstRows is how many rows came to the expired part when its offsets were accounted for, not by repairs; false if nobody counted.
func (a *account) firstRows() (int64, bool) {
	rows := a.progress.Rows - a.progress.Repaired
	for _, r := range a.ranges {
		rows -= r.Rows
	}
	return rows, a.progress.Rows != catalog.UnknownRows
}

// next is the position of the job itself, not of its backfills.
func (s *source) next() int64 {
	var next int64
	for _, a := range s.jobs {
		if !strings.Contains(a.job, "/backfill/") {
			next = max(next, a.progress.Next)
		}
	}
	return next
}

// spans are the offsets that the jobs account for, in order, those that touch joined.
func (s *source) spans() []kfs.Span {
	var all []kfs.Span
	for _, a := range s.jobs {
		if span := (kfs.Span{Base: a.progress.First, Next: a.progress.Next}); !span.Empty() {
			all = append(all, span)
		}
	}
	slices.SortFunc(all, func(a, b kfs.Span) int { return cmp.Compare(a.Base, b.Base) })
	joined := []kfs.Span{}
	for _, span := range all {
		if n := len(joined); n > 0 && span.Base <= joined[n-1].Next {
			joined[n-1].Next = max(joined[n-1].Next, span.Next)
		} else {
			joined = append(joined, span)
		}
	}
	return joined
}

// lost are the offsets that the jobs have accounted for without their records, which were gone.
func (s *source) lost() []kfs.Span {
	var all []kfs.Span
	for _, a := range s.jobs {
		all = append(all, a.lost...)
	}
	return all
}

// ours reports whether a job is the one that is verified, or a backfill of it.
func (v *verifier) ours(job string) bool { return job == v.Job || catalog.OwnBackfill(v.Job, job) }

// readReceipts reads what the jobs say, and checks that it goes on from offset to offset.
func (v *verifier) readReceipts() {
	for _, e := range v.account.Branch {
		if e.Damage != nil {
			v.find(Finding{Kind: Damage, Snapshot: e.Snapshot.SnapshotID, What: e.Damage.Error()})
		}
	}
	jobs := map[string]bool{}
	for job := range v.account.Progress {
		jobs[job] = v.ours(job)
	}
	for _, e := range v.account.Branch {
		if e.Receipt != nil {
			jobs[e.Receipt.Job] = v.ours(e.Receipt.Job)
		}
	}
	for _, job := range slices.Sorted(maps.Keys(jobs)) {
		if !jobs[job] {
			v.note("job %s has filled this table too; verify it with that job's file", job)
		}
		v.readJob(job)
	}
	for _, key := range slices.Sorted(maps.Keys(v.sources)) {
		v.checkApart(v.sources[key])
	}
	v.topics = map[string]bool{}
	for at := range v.places {
		v.topics[at.topic] = true
	}
	if len(v.topics) == 1 {
		for v.sole = range v.topics {
		}
	}
}

// readJob reads what one job says, and checks it if it is the one that is verified, or a backfill of it. Of another one it must be known which rows
// are its own.
func (v *verifier) readJob(job string) {
	ranges, repaired := map[string][]committed{}, map[string][]kfs.Span{}
	newest := "" // the newest receipt's commit
	for _, e := range v.account.Branch {
		if e.Receipt == nil || e.Receipt.Job != job {
			continue
		}
		newest = cmp.Or(newest, e.Receipt.Commit)
		for key, a := range e.Receipt.Ranges {
			ranges[key] = append(ranges[key], committed{a, e.Snapshot.SnapshotID})
		}
		for key, spans := range e.Receipt.Repaired {
			repaired[key] = append(repaired[key], spans...)
		}
	}
	progress := v.account.Progress[job]
	agreed := progress != nil && progress.Commit == newest
	if progress != nil && newest != "" && !agreed && v.ours(job) {
		v.lost(job, progress)
	}
	keys := maps.Clone(ranges)
	// A property of a commit that the branch has lost says nothing of a source of which the branch, whole, has no receipt.
	if progress != nil && (agreed || newest == "" || !v.account.Complete) {
		for key := range progress.Sources {
			keys[key] = ranges[key]
		}
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		slices.Reverse(ranges[key])
		a := &account{job: job, key: key, ranges: ranges[key], repaired: repaired[key], lost: v.account.Lost(job, key)}
		if len(a.ranges) > 0 && !agreed { // the property is of a commit that the branch does not have: the receipts alone count
			a.progress = v.byReceipts(a)
		} else {
			a.progress = progress.Sources[key]
		}
		v.accounts = append(v.accounts, a)
		v.takeAccount(a, agreed)
	}
}

// byReceipts is how far a source is by the receipts that are left alone.
func (v *verifier) byReceipts(a *account) catalog.SourceProgress {
	first, last := a.ranges[0], a.ranges[len(a.ranges)-1]
	p := catalog.SourceProgress{First: first.Span.Base, Next: last.Span.Next, Rows: catalog.UnknownRows}
	if !v.account.Complete {
		return p
	}
	p.Rows = 0
	for _, r := range a.ranges {
		p.Rows += r.Rows
	}
	for _, span := range a.repaired {
		p.Rows, p.Repaired = p.Rows+span.Len(), p.Repaired+span.Len()
	}
	return p
}

// takeAccount adds what a job says of a source to what is known of that.
func (v *verifier) takeAccount(a *account, agreed bool) {
	if !v.ours(a.job) {
		if at, err := iceberg.ParseSource(a.key); err == nil {
			v.strange(place{v.topicOf(at), at.Partition})
		}
		return
	}
	s, err := v.source(a.key)
	if err != nil {
		v.find(Finding{Kind: Damage, Source: a.key, What: err.Error()})
		return
	}
	s.jobs = append(s.jobs, a)
	s.repaired += a.progress.Repaired
	s.rows = catalog.AddRows(s.rows, a.progress.Rows)
	v.checkChain(s, a, agreed)
}

// lost tells what the branch does not have any more: the property was set by a commit that is not in it.
func (v *verifier) lost(job string, progress *catalog.Progress) {
	var at []int64
	for _, e := range v.account.Others {
		if e.Receipt != nil && e.Receipt.Job == job {
			at = append(at, e.Snapshot.SnapshotID)
		}
	}
	f := Finding{Kind: Rollback, What: fmt.Sprintf("commit %s of job %s, by the table's property its newest, is not in the branch: the branch was rolled back to a snapshot before it", progress.Commit, job)}
	if len(at) > 0 {
		slices.Sort(at)
		f.What += fmt.Sprintf("; %d snapshots of the job are outside the branch, %v", len(at), at[:min(len(at), 5)])
	}
	v.find(f)
}

// checkChain looks for holes and overlaps between the receipts of a job, and for a property that says something else.
func (v *verifier) checkChain(s *source, a *account, agreed bool) {
	if len(a.ranges) == 0 {
		return
	}
	at := a.ranges[0].Span.Base
	if agreed && at < a.progress.First {
		v.find(Finding{Kind: Damage, Source: s.key, What: fmt.Sprintf("receipts of job %s begin at %d, its property says that it began at %d", a.job, at, a.progress.First)})
	}
	if agreed && v.account.Complete && at > a.progress.First {
		v.note("%s: no receipt of job %s is left below %d: counts speak for [%d, %d)", s.key, a.job, at, a.progress.First, at)
	}
	for _, r := range a.ranges {
		switch {
		case r.Span.Base > at:
			v.find(Finding{Kind: Hole, Source: s.key, Spans: []kfs.Span{{Base: at, Next: r.Span.Base}}, Snapshot: r.snapshot,
				What: fmt.Sprintf("no receipt of job %s accounts for [%d, %d): the next one, of snapshot %d, begins behind", a.job, at, r.Span.Base, r.snapshot)})
		case r.Span.Base < at:
			v.find(Finding{Kind: Overlap, Source: s.key, Spans: []kfs.Span{{Base: r.Span.Base, Next: min(at, r.Span.Next)}}, Snapshot: r.snapshot,
				What: fmt.Sprintf("snapshot %d accounts for %s again, job %s stood at %d", r.snapshot, r.Span, a.job, at)})
		}
		if r.Rows > r.Span.Len() {
			v.find(Finding{Kind: Damage, Source: s.key, Snapshot: r.snapshot, What: fmt.Sprintf("receipt of %s says that it has %d rows", r.Span, r.Rows)})
		}
		at = max(at, r.Span.Next)
	}
	if agreed && at != a.progress.Next {
		v.find(Finding{Kind: Damage, Source: s.key, What: fmt.Sprintf("receipts of job %s end at %d, its property says %d", a.job, at, a.progress.Next)})
	}
}

// checkApart looks for offsets that the job and a backfill, or two backfills, both account for.
func (v *verifier) checkApart(s *source) {
	for i, a := range s.jobs {
		for _, b := range s.jobs[i+1:] {
			both := kfs.Span{Base: max(a.progress.First, b.progress.First), Next: min(a.progress.Next, b.progress.Next)}
			if !both.Empty() {
				v.find(Finding{Kind: Overlap, Source: s.key, Spans: []kfs.Span{both}, What: fmt.Sprintf("jobs %s and %s both account for %s", a.job, b.job, both)})
			}
		}
	}
}

// source finds or makes the record of a source.
func (v *verifier) source(key string) (*source, error) {
	if s, ok := v.sources[key]; ok {
		return s, nil
	}
	at, err := iceberg.ParseSource(key)
	if err != nil {
		return nil, err
	}
	s := &source{key: key, topic: at.ID, place: place{v.topicOf(at), at.Partition}, lettersFrom: math.MaxInt64}
	if other := v.places[s.place]; other != nil {
		return nil, fmt.Errorf("the table has rows of two topics of this name, this one and %s: their offsets cannot be told apart", other.key)
	}
	v.sources[key], v.places[s.place] = s, s
	return s, nil
}

// strange takes note that another job has rows in a place, unless the one that is verified has.
func (v *verifier) strange(at place) {
	if v.places[at] == nil {
		v.places[at] = nil
	}
}

// topicOf is what a place calls the topic of a source.
func (v *verifier) topicOf(s processor.Source) string {
	if v.columns.topicID == 0 {
		return s.Topic
	}
	return s.Topic + "/" + s.ID.String()
}

// superseded says what to do about letters whose records are rows.
const superseded = "the rows count, and firn dlq retry marks the letters as resolved"

// readLetters counts the dead letters of each source, and compares them with the rows where every record must be one or the other.
func (v *verifier) readLetters() {
	if v.letters.account != nil {
		for job, progress := range v.letters.account.Progress {
			if !v.ours(job) {
				continue
			}
			for key, p := range progress.Sources {
				s := v.sources[key]
				if s == nil {
					continue
				}
				s.letters = catalog.AddRows(s.letters, p.Rows)
				s.deadline, s.lettersFrom = max(s.deadline, p.Next), min(s.lettersFrom, p.First)
			}
		}
	}
	rebuilt := v.account.Rebuilt[v.Job]
	if rebuilt != nil && rebuilt.Unfinished {
		v.note("the table was rebuilt and dead letters are left to be dealt with: firn rebuild finishes it")
	}
	if !v.Whole {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(v.sources)) {
		s := v.sources[key]
		if s.rows == catalog.UnknownRows || s.letters == catalog.UnknownRows || v.Deep {
			continue // deep reading tells exactly
		}
		var want int64
		for _, span := range s.spans() {
			want += span.Len()
		}
		lost := s.lost()
		for _, span := range lost {
			want -= span.Len()
		}
		// The dead-letter table may be ahead of this one, never behind.
		letters := s.letters
		if rebuilt != nil {
			letters -= rebuilt.Superseded[key]
		}
		switch got := s.rows - s.repaired + letters; {
		case got < want:
			v.find(Finding{Kind: Missing, Source: key, What: fmt.Sprintf("%d offsets are accounted for, but receipts count %d rows and %d dead letters", want, s.rows-s.repaired, letters)})
		case got > want && len(lost) > 0:
			v.note("%s: some of the dead letters may be of records that were lost to this table; --deep compares them", key)
		case got > want && s.deadline <= s.next():
			v.note("%s: %d records are rows and dead letters too, as two workers without a lease make them: %s", key, got-want, superseded)
		}
	}
}
