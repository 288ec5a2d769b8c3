package catalog

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

// Account is what a table's metadata says about who filled it: for those who check and tell, not for those who commit.
type Account struct {
	Table    string               // the table's uuid
	Identity string               // the same; of a table that took another's place after a rebuild, the other's
	UnderWay string               // the rebuild of the table that is under way; empty if none is
	Of       string               // the rebuild that it is made by, if it is aside; see Aside
	Sealed   string               // the table that takes this one's place, to which nobody commits any more; empty if none does
	Paused   *Pause               // that was asked for, over or not; nil if none was
	Head     int64                // the main branch's snapshot; 0 if it has none
	Complete bool                 // the branch ends at a snapshot without a parent; expiry may have made it one
	Branch   []Entry              // the main branch's snapshots, the newest first
	Others   []Entry              // snapshots that the branch does not have: rolled back, or of another ref
	Progress map[string]*Progress // the jobs' own records, by job
	Rebuilt  map[string]*Rebuilt  // the last rebuilds, by job
}

// Entry is a snapshot with its receipt.
type Entry struct {
	Snapshot table.Snapshot
	Receipt  *Receipt // nil: somebody else's snapshot
	Damage   error    // why what looks like a receipt is none
}

// Account reads what is known of a table, namespace.table. store holds progress that is too large for a property; it may be nil.
// ErrNoTable if the table does not exist.
func (c *Catalog) Account(ctx context.Context, name string, store blob.Store) (*Account, *table.Table, error) {
	ident, err := ParseIdentifier(name)
	if err != nil {
		return nil, nil, err
	}
	t, err := c.load(ctx, ident)
	if err != nil {
		return nil, nil, err
	}
	meta := t.Metadata()
	a := &Account{Table: meta.TableUUID().String(), Identity: Identity(meta), UnderWay: meta.Properties()[underWayProperty], Of: ownMark(meta), Sealed: meta.Properties()[sealedProperty], Paused: pauseOf(meta.Properties()), Complete: true, Progress: map[string]*Progress{}, Rebuilt: map[string]*Rebuilt{}}
	inBranch := map[int64]bool{}
	if head := meta.CurrentSnapshot(); head != nil {
		a.Head = head.SnapshotID
		var snapshots []table.Snapshot
		snapshots, a.Complete = table.AncestorsOfChecked(head.SnapshotID, meta.SnapshotByID)
		for _, s := range snapshots {
			inBranch[s.SnapshotID] = true
			a.Branch = append(a.Branch, entryOf(s))
		}
	}
	for _, s := range meta.Snapshots() {
		if !inBranch[s.SnapshotID] {
			a.Others = append(a.Others, entryOf(s))
		}
	}
	for key, value := range meta.Properties() {
		if job, ok := strings.CutPrefix(key, rebuiltPrefix); ok {
			if a.Rebuilt[job], err = rebuiltOf(meta.Properties(), job); err != nil {
				return nil, nil, fmt.Errorf("table %s: %w", name, err)
			}
		}
		job, ok := strings.CutPrefix(key, progressPrefix)
		if !ok {
			continue
		}
		if a.Progress[job], err = decodeProgress(ctx, store, value); err != nil {
			return nil, nil, fmt.Errorf("table %s: property %s: %w", name, key, err)
		}
	}
	return a, t, nil
}

func entryOf(s table.Snapshot) Entry {
	e := Entry{Snapshot: s}
	if s.Summary != nil {
		e.Receipt, e.Damage = parseReceipt(s.Summary.Properties)
	}
	return e
}

// Has reports whether the branch holds the commit of that id.
func (a *Account) Has(commit string) bool {
	for _, e := range a.Branch {
		if e.Receipt != nil && e.Receipt.Commit == commit {
			return true
		}
	}
	return false
}

// OwnBackfill reports whether other is a backfill of job, which may share its streams.
func OwnBackfill(job, other string) bool { return strings.HasPrefix(other, job+"/backfill/") }

// Backfill is the job name of a backfill of a job.
func Backfill(job, id string) string { return job + "/backfill/" + id }

// root is the job itself of a job or a backfill of it.
func root(job string) string {
	name, _, _ := strings.Cut(job, "/backfill/")
	return name
}

// Covers finds the snapshot of the branch in which a job, or a backfill of it, accounted for an offset of a source. ok is false if no
// receipt that is left does.
func (a *Account) Covers(job, source string, offset int64) (e Entry, ok bool) {
	for _, e := range a.Branch {
		if e.Receipt == nil || e.Receipt.Job != job && !OwnBackfill(job, e.Receipt.Job) {
			continue
		}
		if slices.ContainsFunc(e.Receipt.Repaired[source], func(s kfs.Span) bool { return s.Contains(offset) }) {
			return e, true // newer than the receipt of the range that it lies in
		}
		if at, named := e.Receipt.Ranges[source]; named && at.Span.Base <= offset && offset < at.Span.Next {
			return e, true
		}
	}
	return Entry{}, false
}

// Position is how far a job has brought a source, by its own record where that is true of the branch, else by the receipts that are left.
func (a *Account) Position(job, source string) (next int64, ok bool) {
	if p := a.current(job); p != nil {
		at, known := p.Sources[source]
		return at.Next, known
	}
	for _, e := range a.Branch {
		if e.Receipt != nil && e.Receipt.Job == job {
			if at, named := e.Receipt.Ranges[source]; named {
				return at.Span.Next, true
			}
		}
	}
	return 0, false
}

// Rows is how many rows a job has added of a source, by its own record where that is true of the branch, else by the receipts that are left;
// UnknownRows if nobody counted, or a branch that was rolled back has lost the oldest of its receipts too.
func (a *Account) Rows(job, source string) int64 {
	if p := a.current(job); p != nil {
		return p.Sources[source].Rows
	}
	var oldest *Receipt
	var rows int64
	for _, e := range a.Branch {
		if e.Receipt != nil && e.Receipt.Job == job {
			oldest = e.Receipt
			rows += oldest.Ranges[source].Rows + count(oldest.Repaired[source])
		}
	}
	if oldest != nil && oldest.Kind != KindStart {
		return UnknownRows
	}
	return rows
}

// current is a job's own record, if that is true of the branch; else nil.
func (a *Account) current(job string) *Progress {
	if p := a.Progress[job]; p != nil && (a.Has(p.Commit) || len(a.Branch) > 0 && !a.receipts(job)) {
		return p
	}
	return nil
}

// receipts reports whether the branch has receipts of a job.
func (a *Account) receipts(job string) bool {
	for _, e := range a.Branch {
		if e.Receipt != nil && e.Receipt.Job == job {
			return true
		}
	}
	return false
}

// Lost is the offsets of a source that a job has accounted for without their records, which were gone: a person has decided so.
func (a *Account) Lost(job, source string) []kfs.Span {
	next, ok := a.Position(job, source)
	if !ok {
		return nil
	}
	var before map[string][]kfs.Span
	if p := a.Progress[job]; p != nil && (a.Has(p.Commit) || !a.receipts(job) || !a.Complete) {
		before = p.Lost
	}
	var receipts []*Receipt
	for _, e := range a.Branch {
		if e.Receipt != nil && e.Receipt.Job == job {
			receipts = append(receipts, e.Receipt)
		}
	}
	return lostBy(before, func(string) int64 { return next }, receipts)[source]
}

// Accounted is what a job, and each backfill of it, has accounted for of a source, by job.
func (a *Account) Accounted(job, source string) map[string]kfs.Span {
	out := map[string]kfs.Span{}
	for name, p := range a.Progress {
		at, known := p.Sources[source]
		if !known || name != job && !OwnBackfill(job, name) {
			continue
		}
		if next, ok := a.Position(name, source); ok && next > at.First {
			out[name] = kfs.Span{Base: at.First, Next: next}
		}
	}
	return out
}
