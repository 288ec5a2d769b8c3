package verify

import (
	"context"
	"fmt"

	"github.com/apache/iceberg-go/table"
	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/catalog"
)

// replay goes through the snapshots of the branch, the oldest first: what each did is held against its receipt, and their sum against
// what is there.
func (v *verifier) replay(ctx context.Context) error {
	changes := make([]*change, len(v.account.Branch))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrent)
	for i, e := range v.account.Branch {
		g.Go(func() (err error) {
			changes[len(changes)-1-i], err = v.changeOf(gctx, e)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	older := v.live.deletes // delete files of snapshots that have expired
	silent := v.live.silent
	for _, c := range changes {
		older, silent = older-c.deletes, silent || c.silent
	}
	var sum int64
	countable := older == 0 // no delete files so far: then rows can be counted without reading them
	for _, c := range changes {
		sum += c.net()
		countable = countable && !c.deleteFiles
		v.judge(c, countable && !c.silent)
	}
	if v.live.deletes > 0 || !countable {
		if !v.Deep {
			v.note("there are delete files: which rows they hide is known only to those who read them (--deep)")
		}
		return nil
	}
	if silent {
		v.note("some files are of snapshots that have expired, and their manifests do not say whether their rows have offsets: they are not counted; --deep reads those that are there")
		return nil
	}
	v.checkSum(v.live.rows - sum)
	return nil
}

// judge holds what a snapshot did against what it says. countable is false if its rows cannot be counted by manifests.
func (v *verifier) judge(c *change, countable bool) {
	id := c.Snapshot.SnapshotID
	if r := c.Receipt; r != nil {
		v.taken = 0
		if !v.ours(r.Job) {
			return
		}
		rows := r.Rows()
		switch {
		case r.Kind == catalog.KindReplace && countable && c.net() != 0:
			v.find(Finding{Kind: Missing, Snapshot: id, What: fmt.Sprintf("snapshot %d of job %s wrote %d rows in place of %d", id, r.Job, c.added, c.removed)})
		case r.Kind != catalog.KindReplace && (c.added != rows || c.removed > 0 || c.deleteFiles):
			v.find(Finding{Kind: Damage, Snapshot: id, What: fmt.Sprintf("snapshot %d of job %s added %d rows and removed %d; its receipt counts %d", id, r.Job, c.added, c.removed, rows)})
		}
		return
	}
	if operation := operationOf(c); operation != table.OpReplace {
		v.judgeOther(c)
	} else if countable && c.net() != 0 {
		v.find(Finding{Kind: Missing, Snapshot: id, What: fmt.Sprintf("snapshot %d says that it rewrote files, but it removed %d rows and added %d", id, c.removed, c.added)})
	}
}

// judgeOther judges a snapshot of somebody else that says that it changed rows.
func (v *verifier) judgeOther(c *change) {
	id, operation, net := c.Snapshot.SnapshotID, operationOf(c), c.net()
	if c.removed > 0 || c.addedDeletes > 0 || c.equality {
		v.removed = append(v.removed, c) // if others came in their place, only reading tells which went
	}
	switch {
	case c.equality:
		v.removal(c, -1)
		if net > 0 {
			v.note("snapshot %d (%s) added %d rows and deleted others by their values%s", id, operation, net, v.unread())
		}
	case net < 0:
		v.removal(c, -net)
		v.taken -= net
	case net > 0 && net <= v.taken: // pyiceberg updates rows in two snapshots
		v.note("snapshot %d (%s) added %d rows with offsets, and others have just removed as many%s", id, operation, net, v.unread())
		v.taken -= net
	case net > 0:
		v.find(Finding{Kind: Foreign, Snapshot: id, What: fmt.Sprintf("snapshot %d (%s) added %d rows with offsets, and no receipt says where from", id, operation, net)})
	}
	if c.blind > 0 {
		v.note("snapshot %d (%s) added %d rows without offsets: they are not the job's", id, operation, c.blind)
	}
}

// unread ends a note about rows that manifests do not tell apart, where nobody reads them.
func (v *verifier) unread() string {
	if v.Deep {
		return ""
	}
	return ": whether they are the same is known only to those who read them (--deep)"
}

// removal lists a snapshot that took rows away, at most so many; -1 if nobody knows.
func (v *verifier) removal(c *change, rows int64) {
	c.listed = true
	id, operation := c.Snapshot.SnapshotID, operationOf(c)
	v.report.Removals = append(v.report.Removals, Removal{Snapshot: id, Operation: string(operation), Time: c.Snapshot.TimestampMs, Rows: rows})
	if v.Strict {
		what := fmt.Sprintf("snapshot %d (%s) removed %d rows", id, operation, rows)
		if rows < 0 {
			what = fmt.Sprintf("snapshot %d (%s) removed rows by their values", id, operation)
		}
		v.find(Finding{Kind: Removed, Snapshot: id, What: what})
	}
}

// operationOf is what a snapshot says that it did.
func operationOf(c *change) table.Operation {
	if c.Snapshot.Summary == nil {
		return table.OpAppend
	}
	return c.Snapshot.Summary.Operation
}

// checkSum holds the rows that no snapshot that is left has added against what receipts counted there: none, where all snapshots are left.
func (v *verifier) checkSum(older int64) {
	var want int64
	for _, a := range v.accounts {
		rows, ok := a.expiredRows()
		if !ok {
			v.note("%s: how many rows job %s committed before the oldest snapshot that is left was not counted; --deep finds what is missing", a.key, a.job)
			return
		}
		want += rows
	}
	const by = "the snapshots that are left have added and the jobs had committed before them"
	switch {
	case len(v.sources) == 0:
	case older < want:
		v.find(Finding{Kind: Missing, What: fmt.Sprintf("the table has %d rows less than %s: an expired snapshot of somebody else may have removed them", want-older, by)})
	case older > want:
		v.find(Finding{Kind: Foreign, What: fmt.Sprintf("the table has %d rows more than %s", older-want, by)})
	}
}
