package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"strings"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
)

// Every commit adds a manifest to the list that the next one copies, and a snapshot to the metadata that every load reads: 600 commits
// make some 600 KB of metadata, and a commit reads and writes all of it. Upkeep bounds both. It deletes no file of the table; what is no longer
// named is for an orphan sweep. Of the source's store it deletes the progress files that the table does not point to any more: where one is
// needed, every commit writes one.

const (
	// progressLife is how old a progress file is, by the store's clock, when it goes: no request that names it is on its way any more.
	progressLife = time.Hour
	// maxSwept bounds the progress files that one upkeep deletes.
	maxSwept = 1000
)

// Upkeep is how much of its own a job leaves in a table. The zero value is the defaults. The table's properties go before Snapshots and Age:
// history.expire.min-snapshots-to-keep and history.expire.max-snapshot-age-ms.
type Upkeep struct {
	Manifests int           // above so many, manifests are merged; 100 if 0
	Snapshots int           // so many of the job's newest snapshots stay; 500 if 0
	Age       time.Duration // and all that are younger; 15 minutes if 0
}

func (u Upkeep) withDefaults() Upkeep {
	if u.Manifests == 0 {
		u.Manifests = 100
	}
	if u.Snapshots == 0 {
		u.Snapshots = 500
	}
	if u.Age == 0 {
		u.Age = 15 * time.Minute
	}
	return u
}

// of is the upkeep of a table with these properties. What is no positive number is not obeyed.
func (u Upkeep) of(props iceberg.Properties) Upkeep {
	if n := props.GetInt(table.MinSnapshotsToKeepKey, 0); n > 0 {
		u.Snapshots = n
	}
	if ms := props.GetInt64(table.MaxSnapshotAgeMsKey, 0); ms > 0 {
		u.Age = time.Duration(min(ms, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
	}
	return u
}

// kindMerge marks a snapshot that merged manifests. It carries no receipt.
const kindMerge = "merge"

// Upkeep merges manifests and removes the job's old snapshots from the metadata, each in a commit of its own that is pinned to the
// head, and deletes old progress files. It is tried once: an error leaves the table as good as it was, and whether the change landed makes no
// difference.
func (c *Committer) Upkeep(ctx context.Context) error {
	t, err := c.Load(ctx)
	if err != nil {
		return err
	}
	merge, err := c.mergeRequest(ctx, t)
	if err != nil {
		return fmt.Errorf("merge manifests of table %s: %w", c.Name(), err)
	}
	if merge != nil {
		if _, err := c.send(ctx, t, merge); err != nil {
			return fmt.Errorf("merge manifests of table %s: %w", c.Name(), err)
		}
		if t, err = c.Load(ctx); err != nil {
			return err
		}
	}
	if err := c.removeOld(ctx, t); err != nil {
		return err
	}
	if err := c.sweepProgress(ctx, t.Metadata()); err != nil {
		return fmt.Errorf("old progress files of table %s: %w", c.Name(), err)
	}
	return nil
}

// removeOld removes the job's old snapshots from the metadata. What their receipts say the property must say too, and so it does if it is of
// the newest receipt in the branch; after a rollback it is not, until the job has committed again.
func (c *Committer) removeOld(ctx context.Context, t *table.Table) error {
	v, err := c.view(ctx, t, nil)
	if err != nil {
		return err
	}
	receipts, err := v.receipts(c.opts.Job)
	if err != nil || len(receipts) == 0 || v.progress == nil || v.progress.Commit != receipts[0].Commit {
		return err
	}
	old, err := c.oldSnapshots(t.Metadata())
	if err != nil || len(old) == 0 {
		return err
	}
	head := t.CurrentSnapshot().SnapshotID
	_, err = c.send(ctx, t, &request{
		requirements: []table.Requirement{
			table.AssertTableUUID(t.Metadata().TableUUID()),
			table.AssertRefSnapshotID(table.MainBranch, &head),
		},
		updates: []table.Update{table.NewRemoveSnapshotsUpdate(old, false)},
	})
	if err != nil {
		return fmt.Errorf("remove snapshots of table %s: %w", c.Name(), err)
	}
	return nil
}

// mergeRequest merges small manifests; nil if there are not enough of them.
func (c *Committer) mergeRequest(ctx context.Context, t *table.Table) (*request, error) {
	head := t.CurrentSnapshot()
	if head == nil {
		return nil, nil
	}
	fs, err := t.FS(ctx)
	if err != nil {
		return nil, err
	}
	manifests, err := head.Manifests(fs)
	if err != nil || len(manifests) <= c.opts.Upkeep.Manifests {
		return nil, err
	}
	tx := t.NewTransaction()
	result, err := tx.RewriteManifests(ctx)
	if err != nil || result.IsNoOp() {
		return nil, err
	}
	commit, err := tx.TableCommit()
	if err != nil {
		return nil, err
	}
	updates, err := withSummary(commit.Updates, map[string]string{keyJob: c.opts.Job, keyKind: kindMerge})
	if err != nil {
		return nil, err
	}
	return &request{requirements: commit.Requirements, updates: updates}, nil
}

// withSummary adds to the summary of the snapshot that the updates add, where the library takes no words of ours.
func withSummary(updates []table.Update, more map[string]string) ([]table.Update, error) {
	out := make([]table.Update, len(updates))
	for i, u := range updates {
		if out[i] = u; u.Action() != table.UpdateAddSnapshot {
			continue
		}
		b, err := json.Marshal(u)
		if err != nil {
			return nil, err
		}
		var add struct {
			Snapshot table.Snapshot `json:"snapshot"`
		}
		if err := json.Unmarshal(b, &add); err != nil {
			return nil, err
		}
		maps.Copy(add.Snapshot.Summary.Properties, more)
		out[i] = table.NewAddSnapshotUpdate(&add.Snapshot)
	}
	return out, nil
}

// oldSnapshots are the job's own snapshots that may go: older than the age and beyond the newest ones, before the newest receipt in
// the branch, and named by no ref.
func (c *Committer) oldSnapshots(meta table.Metadata) ([]int64, error) {
	head := meta.CurrentSnapshot()
	if head == nil {
		return nil, nil
	}
	named := map[int64]bool{}
	for _, ref := range meta.Refs() {
		named[ref.SnapshotID] = true
	}
	snapshots, _ := table.AncestorsOfChecked(head.SnapshotID, meta.SnapshotByID)
	upkeep := c.opts.Upkeep.of(meta.Properties())
	youngest := c.opts.Now().Add(-upkeep.Age).UnixMilli()
	var old []int64
	own, receipt := 0, false
	for _, s := range snapshots {
		if s.Summary == nil || s.Summary.Properties[keyJob] != c.opts.Job {
			continue
		}
		after := receipt
		if r, err := parseReceipt(s.Summary.Properties); err != nil {
			return nil, fmt.Errorf("snapshot %d of table %s: %w", s.SnapshotID, c.Name(), err)
		} else if r != nil {
			receipt = true
		}
		if own++; after && own > upkeep.Snapshots && s.TimestampMs < youngest && !named[s.SnapshotID] {
			old = append(old, s.SnapshotID)
		}
	}
	return old, nil
}

// sweepProgress deletes the progress files of this job and table that no property of the table names, if the progress is in a file. Whoever
// works on a branch does not see all properties and leaves them to the job.
func (c *Committer) sweepProgress(ctx context.Context, meta table.Metadata) error {
	var pointer progressFile
	value := meta.Properties()[progressPrefix+c.opts.Job]
	if _, aside := c.catalog.client.(*asideClient); aside || c.opts.Store == nil || json.Unmarshal([]byte(value), &pointer) != nil || pointer.File == "" {
		return nil
	}
	swept := 0
	for page, err := range c.opts.Store.List(ctx, progressKeys(c.opts.Job, meta.TableUUID().String()), "") {
		if err != nil {
			return err
		}
		for _, o := range page.Objects {
			if page.ServerTime.IsZero() || page.ServerTime.Sub(o.Modified) < progressLife || named(meta.Properties(), o.Key) {
				continue
			}
			if swept++; swept > maxSwept {
				return nil
			}
			if err := c.opts.Store.Delete(ctx, o.Key); err != nil {
				return err
			}
		}
	}
	return nil
}

// named reports whether any property holds the key: also what a rebuild notes, and what is made aside, points to progress files.
func named(props iceberg.Properties, key string) bool {
	for _, value := range props {
		if strings.Contains(value, key) {
			return true
		}
	}
	return false
}
