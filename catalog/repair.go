package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
	"github.com/google/uuid"

	"github.com/firn-io/firn/kfs"
)

// maxRepairSpans bounds the spans of one repair: they stand in the snapshot's summary.
const maxRepairSpans = 2000

// ErrRowsThere says that a table has some of the rows already that a repair was to bring in. Nothing was committed.
var ErrRowsThere = errors.New("some of the rows are in the table already")

// ErrUnaccounted says that offsets to be repaired are not among those that the job has accounted for. It is an ErrMoved: once they were.
var ErrUnaccounted = fmt.Errorf("offsets to be repaired are not among those that the job has accounted for: %w", ErrMoved)

// Repair is files with rows of offsets that the job has accounted for without them: dead letters that have become rows.
type Repair struct {
	Offsets map[string][]kfs.Span // of the rows, one for each, in order
	Files   []iceberg.DataFile
	// Fits tells why the files do not fit a table of this metadata, nil if they do. It may be nil.
	Fits func(table.Metadata) error
	// Absent makes sure that the table, at its head, has no row of the offsets, else it gives ErrRowsThere. Required.
	Absent func(context.Context, *table.Table) error
}

// Repair adds the rows in one commit and leaves the position where it is. Nothing but the table itself tells which offsets are rows, so the
// commit is pinned to a head for which Absent was asked, and Absent is asked again for every other head, unless all that lies between the
// two are commits that say that they have no row of these offsets. So however often repairs are tried, and however many try, a row comes
// once. Errors are those of Absent, ErrUnaccounted, and those of Commit.
func (c *Committer) Repair(ctx context.Context, r Repair) error {
	spans := 0
	for _, of := range r.Offsets {
		spans += len(of)
	}
	if spans == 0 || spans > maxRepairSpans {
		return fmt.Errorf("repair of table %s: %d ranges of offsets, want 1 to %d", c.Name(), spans, maxRepairSpans)
	}
	id, err := uuid.NewRandomFromReader(c.opts.Rand)
	if err != nil {
		return fmt.Errorf("commit id: %w", err)
	}
	a := c.attempt(Group{}, id.String())
	a.repair = r.Offsets
	checked := int64(0) // the head without the rows
	g := Group{Files: r.Files, Fits: r.Fits, repair: func(ctx context.Context, t *table.Table) error {
		head := t.CurrentSnapshot().SnapshotID // there is one: the offsets are accounted for
		if checked == 0 || !disjoint(t.Metadata(), head, checked, r.Offsets) {
			if err := r.Absent(ctx, t); err != nil {
				return err
			}
		}
		checked = head
		return nil
	}}
	if err := c.run(ctx, a, g); err != nil {
		return fmt.Errorf("repair table %s: %w", c.Name(), err)
	}
	return nil
}

// receiptKinds are the kinds of receipts that this program knows.
var receiptKinds = []Kind{KindStart, KindData, KindEmpty, KindReplace, KindRepair, KindLoss}

// disjoint reports whether every snapshot behind since, up to head, says of itself that it added no row of the offsets.
func disjoint(meta table.Metadata, head, since int64, offsets map[string][]kfs.Span) bool {
	snapshots, _ := table.AncestorsOfChecked(head, meta.SnapshotByID)
	for _, s := range snapshots {
		switch {
		case s.SnapshotID == since:
			return true
		case s.Summary == nil:
			return false
		case s.Summary.Properties[keyKind] == kindMerge:
			continue
		}
		r, err := parseReceipt(s.Summary.Properties)
		if err != nil || r == nil || !slices.Contains(receiptKinds, r.Kind) {
			return false
		}
		for source, wanted := range offsets {
			span := r.Ranges[source].Span
			for _, w := range wanted {
				if span.Overlaps(w) || slices.ContainsFunc(r.Repaired[source], w.Overlaps) {
					return false
				}
			}
		}
	}
	return false
}
