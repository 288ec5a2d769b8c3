package catalog

import (
	"context"
	"fmt"
	"maps"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
	"github.com/google/uuid"
)

// Rewrite is files that take the place of others, the rows being the same.
type Rewrite struct {
	Schema *iceberg.Schema // becomes the table's current schema; nil leaves that as it is
	Old    []iceberg.DataFile
	New    []iceberg.DataFile
}

// Rewrite replaces files, and perhaps the schema, in one commit, pinned to the head for which plan made them: whoever commits in between
// makes the plan void, and plan is asked again. A plan of nil says that nothing is left to do. The position stays where it is. An
// error of plan ends it and comes back as it is; for others see Commit.
func (c *Committer) Rewrite(ctx context.Context, plan func(context.Context, *table.Table) (*Rewrite, error)) error {
	id, err := uuid.NewRandomFromReader(c.opts.Rand)
	if err != nil {
		return fmt.Errorf("commit id: %w", err)
	}
	a := c.attempt(Group{}, id.String())
	a.rewrite = true
	if err := c.run(ctx, a, Group{rewrite: plan}); err != nil {
		return fmt.Errorf("rewrite files of table %s: %w", c.Name(), err)
	}
	return nil
}

// rewriteRequest is the commit of a rewrite. The snapshot is made on metadata that has the new schema already, so that it names that
// one. Even where no file is replaced there is a snapshot: it moves the head, so that no group that was built for the old schema lands.
func (c *Committer) rewriteRequest(ctx context.Context, t *table.Table, r *Rewrite, summary map[string]string, props iceberg.Properties) (*request, error) {
	if r.Schema == nil {
		return replaceRequest(ctx, t, r, summary, props)
	}
	change := schemaRequest(t.Metadata(), r.Schema)
	meta, err := table.UpdateTableMetadata(t.Metadata(), change.updates, t.MetadataLocation())
	if err != nil {
		return nil, fmt.Errorf("change the schema: %w", err)
	}
	staged := table.New(t.Identifier(), meta, t.MetadataLocation(), t.FS, nil)
	var req *request
	if len(r.Old) == 0 {
		req, err = c.emptyRequest(ctx, staged, summary, props)
	} else {
		req, err = replaceRequest(ctx, staged, r, summary, props)
	}
	if err != nil {
		return nil, err
	}
	req.requirements = append(change.requirements, req.requirements...)
	req.updates = append(change.updates, req.updates...)
	return req, nil
}

// replaceRequest replaces data files.
func replaceRequest(ctx context.Context, t *table.Table, r *Rewrite, summary map[string]string, props iceberg.Properties) (*request, error) {
	tx := t.NewTransaction()
	if err := tx.SetProperties(props); err != nil {
		return nil, fmt.Errorf("set properties: %w", err)
	}
	if err := tx.ReplaceDataFilesWithDataFiles(ctx, r.Old, r.New, maps.Clone(summary), table.WithoutAutoNameMapping()); err != nil {
		return nil, fmt.Errorf("write manifests: %w", err)
	}
	commit, err := tx.TableCommit()
	if err != nil {
		return nil, fmt.Errorf("build commit: %w", err)
	}
	return &request{requirements: commit.Requirements, updates: commit.Updates}, nil
}
