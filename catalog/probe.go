package catalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
	"github.com/google/uuid"

	"github.com/firn-io/firn/kfs"
)

// ErrCannot says that a catalog does not do what is asked of it.
var ErrCannot = errors.New("the catalog cannot do this")

// ProbeBranches finds out on a scratch table of a namespace, which it drops, whether the catalog keeps branches apart from main, honours their
// pins and swaps them in: Nessie 0.99 accepts a commit to a branch and makes it one to main. ErrCannot if it does not.
func (c *Catalog) ProbeBranches(ctx context.Context, namespace string, opts Options) error {
	return c.probe(ctx, namespace, opts, func(name string, main *Committer, opts Options) error {
		const branch, tag, source = "probe", "probe_before", "probe/0"
		before, err := main.Load(ctx)
		if err != nil {
			return err
		}
		head := headOf(before.Metadata(), table.MainBranch)
		aside, err := c.Aside(map[string]Aside{name: {Branch: branch}}).Committer(name, opts)
		if err != nil {
			return err
		}
		if err := aside.Commit(ctx, Group{Ranges: map[string]Advance{source: {Span: kfs.Span{Next: 1}, High: -1}}}); err != nil {
			return fmt.Errorf("%w: a commit to a branch: %w", ErrCannot, err)
		}
		t, err := main.Load(ctx)
		if err != nil {
			return err
		}
		own := headOf(t.Metadata(), branch)
		if headOf(t.Metadata(), table.MainBranch) != head || own == 0 || own == head {
			return fmt.Errorf("%w: a commit to a branch went to main", ErrCannot)
		}
		// It must not land: it is pinned to a head that main does not have, and the branch that it is for is there.
		stale := swapRequest(t.Metadata(), Swap{Job: opts.Job, Branch: branch, Head: own, BranchHead: head, Rebuilt: Rebuilt{Replaced: tag}}, "", "")
		if _, err := main.send(ctx, t, stale); err == nil {
			return fmt.Errorf("%w: it does not honour the pins of branches", ErrCannot)
		}
		if err := c.Swap(ctx, Swap{Table: name, Job: opts.Job, Branch: branch, BranchHead: own, Head: head, Rebuilt: Rebuilt{Commit: "probe", Replaced: tag}}, opts); err != nil {
			return fmt.Errorf("%w: a branch in the place of main: %w", ErrCannot, err)
		}
		if t, err = main.Load(ctx); err != nil {
			return err
		}
		if headOf(t.Metadata(), table.MainBranch) != own || headOf(t.Metadata(), tag) != head {
			return fmt.Errorf("%w: a branch in the place of main", ErrCannot)
		}
		return nil
	})
}

// ProbeRename finds out likewise whether the catalog renames tables.
func (c *Catalog) ProbeRename(ctx context.Context, namespace string, opts Options) error {
	return c.probe(ctx, namespace, opts, func(name string, main *Committer, opts Options) error {
		t, err := main.Load(ctx)
		if err != nil {
			return err
		}
		id := t.Metadata().TableUUID().String()
		if err := c.Rename(ctx, name, name+"_renamed", id, opts); err != nil {
			return fmt.Errorf("%w: %w", ErrCannot, err)
		}
		if err := c.Rename(ctx, name+"_renamed", name, id, opts); err != nil {
			return fmt.Errorf("%w: %w", ErrCannot, errors.Join(err, c.Purge(ctx, name+"_renamed", id, opts)))
		}
		return nil
	})
}

// probe tries something on a scratch table that has a snapshot.
func (c *Catalog) probe(ctx context.Context, namespace string, opts Options, try func(name string, main *Committer, opts Options) error) (err error) {
	opts.Job, opts.Config, opts.Known = "probe", "", Known{}
	name := namespace + ".firn_probe_" + uuid.NewString()[:8]
	main, err := c.Committer(name, opts)
	if err != nil {
		return err
	}
	schema := iceberg.NewSchema(0, iceberg.NestedField{ID: 1, Name: "probe", Type: iceberg.PrimitiveTypes.Int64})
	t, err := main.Create(ctx, schema, nil, nil)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, c.Purge(context.WithoutCancel(ctx), name, t.Metadata().TableUUID().String(), opts))
	}()
	if err := main.Commit(ctx, Group{Ranges: map[string]Advance{"probe/1": {Span: kfs.Span{Next: 1}, High: -1}}}); err != nil {
		return err
	}
	return try(name, main, opts)
}
