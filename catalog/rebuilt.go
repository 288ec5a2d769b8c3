package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/kfs/blob"
)

const (
	// rebuiltPrefix begins the table property that tells of the last rebuild of a job's rows; the job's name follows.
	rebuiltPrefix = "firn.rebuilt."
	// lettersPrefix begins the table property that says that dead letters of the job are left to be dealt with since a rebuild was swapped in:
	// its value is Rebuilt.Commit.
	lettersPrefix = "firn.rebuilt-letters."
	// underWayProperty is the rebuild of the table that is under way, a name that no other has. It is set before anything is made of it, and goes with
	// the swap, or before anything of it is taken away. Empty is none.
	underWayProperty = "firn.rebuild"
	// sealedProperty names the table that takes the place of this one: nobody commits to this one any more.
	sealedProperty = "firn.replaced-by"
	// forgoneProperty is the UUID of a table that never takes the place of this one.
	forgoneProperty = "firn.forgone"
	// identityProperty is the UUID of the table in whose place this one is: to those who know that one, this is it.
	identityProperty = "firn.identity"
)

// Rebuilt tells of a rebuild that was swapped in. As long as the newest receipt of the job is the rebuild's last, only a job of its
// configuration goes on: one that knows nothing of it would add rows as they were before.
type Rebuilt struct {
	Commit   string `json:"commit"`            // the rebuild's last
	Config   string `json:"config"`            // it was made with
	Rebuild  string `json:"rebuild,omitempty"` // which was under way
	Replaced string `json:"replaced"`          // the tag, or the table, of what was before
	// Superseded counts the dead letters of each source whose records the rebuild has made rows of, or left out.
	Superseded map[string]int64 `json:"superseded,omitempty"`
	Progress   string           `json:"progress"` // where it stood: the property of that time

	Unfinished bool `json:"-"` // dead letters are left to be dealt with
}

// rebuiltOf is the last rebuild of a job that a table's properties tell of; nil if there was none.
func rebuiltOf(props iceberg.Properties, job string) (*Rebuilt, error) {
	value, ok := props[rebuiltPrefix+job]
	if !ok {
		return nil, nil
	}
	r := &Rebuilt{}
	if err := json.Unmarshal([]byte(value), r); err != nil {
		return nil, fmt.Errorf("property %s%s: %w", rebuiltPrefix, job, err)
	}
	if r.Commit == "" || r.Replaced == "" {
		return nil, fmt.Errorf("property %s%s tells of no rebuild", rebuiltPrefix, job)
	}
	r.Unfinished = props[lettersPrefix+job] == r.Commit
	return r, nil
}

// Positions are where the rebuild stood when it was swapped in.
func (r *Rebuilt) Positions(ctx context.Context, store blob.Store) (map[string]SourceProgress, error) {
	p, err := decodeProgress(ctx, store, r.Progress)
	if err != nil {
		return nil, fmt.Errorf("where the rebuild stood: %w", err)
	}
	return p.Sources, nil
}

// Identity is the identity of a table: its UUID, or what it was given by a rebuild.
func Identity(meta table.Metadata) string {
	if id := meta.Properties()[identityProperty]; id != "" {
		return id
	}
	return meta.TableUUID().String()
}

// Swap puts a branch in the place of main.
type Swap struct {
	Table      string // namespace.table
	Job        string
	Branch     string
	BranchHead int64
	Head       int64 // of main, and what it is pinned to
	Rebuilt    Rebuilt
}

// Begin has a rebuild be under way, unless one is, and gives the one that is, by a commit of its own that is pinned to the head: one of two that begin lands,
// and no swap or seal lands any more that was sent before. ErrReplaced says that an earlier rebuild has been swapped in and is not finished.
func (c *Catalog) Begin(ctx context.Context, name, rebuild string, opts Options) (now string, err error) {
	err = c.settle(ctx, name, kindBegin, opts, func(t *table.Table) (iceberg.Properties, error) {
		props := t.Properties()
		last, err := rebuiltOf(props, opts.Job)
		switch now = props[underWayProperty]; {
		case err != nil:
			return nil, err
		case last != nil && last.Unfinished, props[sealedProperty] != "":
			return nil, ErrReplaced
		case now != "":
			return nil, nil
		}
		return iceberg.Properties{underWayProperty: rebuild}, nil
	})
	return now, err
}

// Cancel has no rebuild be under way any more. A swap that was sent before may land as long as its branch is there.
func (c *Catalog) Cancel(ctx context.Context, name string, opts Options) error {
	if err := c.drop(ctx, name, underWayProperty, nil, opts); err != nil {
		return fmt.Errorf("cancel the rebuild of table %s: %w", name, err)
	}
	return nil
}

// Swap makes a branch the main branch, in one commit that is pinned to the heads of both: the progress of the job becomes that of the branch,
// that of its backfills, whose rows the branch has too, goes, and so does a pause; what was main stays under a tag, Rebuilt.Replaced, and the branch goes. ErrMoved says that main has another
// head, or Rebuilt.Rebuild is not under way: nothing was done. opts says how to wait between tries.
func (c *Catalog) Swap(ctx context.Context, s Swap, opts Options) error {
	done, sent := false, false
	err := c.change(ctx, s.Table, opts, func(t *table.Table) (*request, error) {
		meta := t.Metadata()
		progress := meta.Properties()[asidePrefix(s.Branch)+s.Job]
		s.Rebuilt.Progress = progress
		now, err := rebuiltOf(meta.Properties(), s.Job)
		if err != nil {
			return nil, err
		}
		if now != nil && now.Commit == s.Rebuilt.Commit && now.Replaced == s.Rebuilt.Replaced {
			done = true
			return nil, nil
		}
		if headOf(meta, table.MainBranch) != s.Head || headOf(meta, s.Branch) != s.BranchHead || progress == "" || meta.Properties()[underWayProperty] != s.Rebuilt.Rebuild {
			return nil, nil
		}
		value, err := json.Marshal(s.Rebuilt)
		if err != nil {
			return nil, err
		}
		sent = true
		return swapRequest(meta, s, progress, string(value)), nil
	})
	switch {
	case err != nil && sent:
		return fmt.Errorf("swap branch %s of table %s in: %w: %w", s.Branch, s.Table, ErrUnknownOutcome, err)
	case err != nil:
		return fmt.Errorf("swap branch %s of table %s in: %w", s.Branch, s.Table, err)
	case !done:
		return fmt.Errorf("swap branch %s of table %s in: %w", s.Branch, s.Table, ErrMoved)
	}
	return nil
}

func swapRequest(meta table.Metadata, s Swap, progress, rebuilt string) *request {
	drop := ofAside(meta, s.Branch)
	for key := range meta.Properties() {
		if job, ok := strings.CutPrefix(key, progressPrefix); ok && OwnBackfill(s.Job, job) {
			drop = append(drop, key)
		}
	}
	for _, key := range []string{pausedProperty, underWayProperty} {
		if _, there := meta.Properties()[key]; there {
			drop = append(drop, key)
		}
	}
	slices.Sort(drop)
	return &request{
		requirements: []table.Requirement{
			table.AssertTableUUID(meta.TableUUID()),
			table.AssertRefSnapshotID(table.MainBranch, &s.Head),
			table.AssertRefSnapshotID(s.Branch, &s.BranchHead),
			table.AssertRefSnapshotID(s.Rebuilt.Replaced, nil),
		},
		updates: []table.Update{
			table.NewSetSnapshotRefUpdate(s.Rebuilt.Replaced, s.Head, table.TagRef, 0, 0, 0),
			moveMain(meta, s.BranchHead),
			table.NewRemoveSnapshotRefUpdate(s.Branch),
			table.NewRemovePropertiesUpdate(drop),
			table.NewSetPropertiesUpdate(iceberg.Properties{
				progressPrefix + s.Job: progress, rebuiltPrefix + s.Job: rebuilt, lettersPrefix + s.Job: s.Rebuilt.Commit,
			}),
		},
	}
}

// ofAside are the properties of a branch.
func ofAside(meta table.Metadata, branch string) []string {
	keys := []string{}
	for key := range meta.Properties() {
		if strings.HasPrefix(key, asidePrefix(branch)) {
			keys = append(keys, key)
		}
	}
	return keys
}

// Finished notes that no dead letters are left to be dealt with since a rebuild was swapped in.
func (c *Catalog) Finished(ctx context.Context, name, job string, rebuilt *Rebuilt, opts Options) error {
	err := c.drop(ctx, name, lettersPrefix+job, func(value string) bool { return value == rebuilt.Commit }, opts)
	if err != nil {
		return fmt.Errorf("finish the rebuild of table %s: %w", name, err)
	}
	return nil
}

// DropRef removes a branch or a tag with what is said of it alone: its progress, and the snapshots that no other ref leads to. No file is
// deleted. A ref, or a table, that is not there is as good, and so is a ref with another head; 0 means any.
func (c *Catalog) DropRef(ctx context.Context, name, ref string, of int64, opts Options) error {
	err := c.change(ctx, name, opts, func(t *table.Table) (*request, error) {
		meta := t.Metadata()
		head := headOf(meta, ref)
		if head == 0 || of != 0 && head != of || ref == table.MainBranch {
			return nil, nil
		}
		req := &request{
			requirements: []table.Requirement{table.AssertTableUUID(meta.TableUUID()), table.AssertRefSnapshotID(ref, &head)},
			updates:      []table.Update{table.NewRemoveSnapshotRefUpdate(ref)},
		}
		if keys := ofAside(meta, ref); len(keys) > 0 {
			slices.Sort(keys)
			req.updates = append(req.updates, table.NewRemovePropertiesUpdate(keys))
		}
		if alone := onlyOf(meta, ref); len(alone) > 0 {
			req.updates = append(req.updates, table.NewRemoveSnapshotsUpdate(alone, false))
		}
		return req, nil
	})
	if err != nil && !errors.Is(err, ErrNoTable) {
		return fmt.Errorf("drop %s of table %s: %w", ref, name, err)
	}
	return nil
}

// onlyOf are the snapshots that only one ref leads to.
func onlyOf(meta table.Metadata, ref string) []int64 {
	kept := map[int64]bool{}
	var own []int64
	for name, r := range meta.Refs() {
		snapshots, _ := table.AncestorsOfChecked(r.SnapshotID, meta.SnapshotByID)
		for _, s := range snapshots {
			if name == ref {
				own = append(own, s.SnapshotID)
			} else {
				kept[s.SnapshotID] = true
			}
		}
	}
	return slices.DeleteFunc(own, func(id int64) bool { return kept[id] })
}

// change sends what make says until make says that nothing is left to be done, which it sees in the table alone.
func (c *Catalog) change(ctx context.Context, name string, opts Options, make func(*table.Table) (*request, error)) error {
	committer, err := c.Committer(name, opts)
	if err != nil {
		return err
	}
	var last error
	for try := range maxSends {
		if try > 0 && last != nil {
			if err := committer.wait(ctx, try-1); err != nil {
				return err
			}
		}
		t, err := committer.Load(ctx)
		if errors.Is(err, ErrNoTable) || ctx.Err() != nil {
			return err
		}
		if err != nil {
			last = err
			continue
		}
		req, err := make(t)
		if err != nil || req == nil {
			return err
		}
		_, last = committer.send(ctx, t, req)
	}
	return fmt.Errorf("given up after %d tries: %w", maxSends, last)
}
