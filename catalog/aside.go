package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/apache/iceberg-go"
	icebergcat "github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"
	"github.com/google/uuid"
)

// Aside is a place beside a table where it is made anew while its readers and its job go on. One of the two is set.
type Aside struct {
	Branch string // of the table itself: it has the table's schema and cannot change it
	// Table is a table of its own, namespace.table. It is made with a location of its own beside the table's, and with its identity, so that it can
	// take its name.
	Table string
	// Rebuild is what the place is made by. It is marked with that from its first commit on, and one with another mark is refused. Empty marks and
	// refuses nothing.
	Rebuild string
}

// asidePrefix begins the table properties that are of a branch: in place of progressPrefix, for properties have no branches.
func asidePrefix(branch string) string { return "firn.aside." + branch + "/" }

// mark is the property that names the rebuild by which a branch is made, or a table of its own: as if of a job without a name.
func (p *Aside) mark() string { return asidePrefix(p.Branch) }

// ownMark is the mark as it is found in the place.
func ownMark(meta table.Metadata) string { return meta.Properties()[asidePrefix("")] }

// Aside is the catalog in which some tables, by name, are what is made of them in their places. Whoever works on it, a job, a sink or
// verify, finds in a branch all that it would find in main: its head, its ancestry and its progress; and what it commits goes there.
// Other tables are not changed. Closing it closes nothing.
func (c *Catalog) Aside(places map[string]Aside) *Catalog {
	return &Catalog{client: &asideClient{Client: c.client, places: places}, defaults: c.defaults, ownsMetadata: c.ownsMetadata}
}

type asideClient struct {
	Client
	places map[string]Aside
}

func (c *asideClient) place(ident table.Identifier) (Aside, table.Identifier) {
	p := c.places[strings.Join(ident, ".")]
	if p.Table != "" {
		return p, icebergcat.ToIdentifier(p.Table)
	}
	return p, ident
}

// LoadTable implements Client.
func (c *asideClient) LoadTable(ctx context.Context, ident table.Identifier) (*table.Table, error) {
	p, ident := c.place(ident)
	t, err := c.Client.LoadTable(ctx, ident)
	if err != nil {
		return nil, err
	}
	if p.Branch == "" {
		return t, p.admit(t.Metadata())
	}
	meta, err := p.enter(t.Metadata())
	if err == nil {
		err = p.admit(meta)
	}
	if err != nil {
		return nil, fmt.Errorf("branch %s: %w", p.Branch, err)
	}
	return table.New(t.Identifier(), meta, t.MetadataLocation(), t.FS, nil), nil
}

// CreateTable implements Client.
func (c *asideClient) CreateTable(ctx context.Context, ident table.Identifier, schema *iceberg.Schema, opts ...icebergcat.CreateTableOpt) (*table.Table, error) {
	p, there := c.place(ident)
	if p.Table != "" {
		t, err := c.Client.LoadTable(ctx, ident)
		opts = append(slices.Clone(opts), p.marked())
		switch {
		case err == nil:
			opts = append(opts, besides(t))
		case !errors.Is(err, icebergcat.ErrNoSuchTable) && !errors.Is(err, icebergcat.ErrNoSuchNamespace):
			return nil, err
		}
	}
	if _, err := c.Client.CreateTable(ctx, there, schema, opts...); err != nil {
		return nil, err
	}
	return c.LoadTable(ctx, ident)
}

// besides makes a table that can take another one's name.
func besides(t *table.Table) icebergcat.CreateTableOpt {
	return func(cfg *icebergcat.CreateTableCfg) {
		cfg.Location = strings.TrimRight(t.Location(), "/") + "-" + uuid.NewString()[:8]
		props := iceberg.Properties{identityProperty: Identity(t.Metadata())}
		for key, value := range cfg.Properties {
			if !slices.Contains(pathProperties, key) {
				props[key] = value
			}
		}
		cfg.Properties = props
	}
}

// marked marks a table of its own.
func (p *Aside) marked() icebergcat.CreateTableOpt {
	return func(cfg *icebergcat.CreateTableCfg) {
		if p.Rebuild != "" {
			cfg.Properties = maps.Clone(cfg.Properties)
			if cfg.Properties == nil {
				cfg.Properties = iceberg.Properties{}
			}
			cfg.Properties[p.mark()] = p.Rebuild
		}
	}
}

// admit refuses a place that is made by another rebuild. All that is committed is pinned to the head that was looked at, so it does not get there.
func (p *Aside) admit(meta table.Metadata) error {
	if p.Rebuild == "" || p.Branch != "" && headOf(meta, table.MainBranch) == 0 || ownMark(meta) == p.Rebuild {
		return nil
	}
	return &HaltError{
		Reason: "what there is of a rebuild is none of the one that this process works on: another process has finished that, or given it up, or a rebuild was begun by another version",
		Decide: "see firn status; firn rebuild goes on with what has been begun, firn rebuild --abandon takes it away",
	}
}

// CommitTable implements Client.
func (c *asideClient) CommitTable(ctx context.Context, ident table.Identifier, reqs []table.Requirement, updates []table.Update) (table.Metadata, string, error) {
	p, ident := c.place(ident)
	if p.Branch == "" {
		return c.Client.CommitTable(ctx, ident, reqs, updates)
	}
	reqs, begins, err := p.requirements(reqs)
	if err != nil {
		return nil, "", err
	}
	if begins {
		pins, err := c.first(ctx, ident, updates)
		if err != nil {
			return nil, "", err
		}
		reqs = append(reqs, pins...)
	}
	if updates, err = p.updates(strings.Join(ident, "."), updates); err != nil {
		return nil, "", err
	}
	meta, location, err := c.Client.CommitTable(ctx, ident, reqs, updates)
	if err != nil {
		return nil, "", err
	}
	meta, err = p.enter(meta)
	return meta, location, err
}

// first pins the first commit of a branch to all that the table has. Catalogs take a snapshot without a parent whatever its sequence number, and the table's
// last one with it: where others have committed since, to main or another branch, that would be too low for their snapshots. The error has it made anew.
func (c *asideClient) first(ctx context.Context, ident table.Identifier, updates []table.Update) (pins []table.Requirement, err error) {
	t, err := c.Client.LoadTable(ctx, ident)
	if err != nil {
		return nil, err
	}
	meta := t.Metadata()
	for _, u := range updates {
		var add struct {
			Snapshot struct {
				Sequence int64 `json:"sequence-number"`
			} `json:"snapshot"`
		}
		if u.Action() != table.UpdateAddSnapshot {
			continue
		}
		if err := reread(u, &add); err != nil {
			return nil, err
		}
		if meta.Version() > 1 && add.Snapshot.Sequence != meta.LastSequenceNumber()+1 {
			return nil, fmt.Errorf("the table has got snapshots since: %w", table.ErrCommitFailed)
		}
	}
	for name, ref := range meta.Refs() {
		pins = append(pins, table.AssertRefSnapshotID(name, &ref.SnapshotID))
	}
	return pins, nil
}

// enter is a table's metadata as it is on the branch: main is the branch, and the progress is that of the branch.
func (p *Aside) enter(meta table.Metadata) (table.Metadata, error) {
	var updates []table.Update
	head, main := headOf(meta, p.Branch), headOf(meta, table.MainBranch)
	switch {
	case head != 0:
		updates = append(updates, table.NewSetSnapshotRefUpdate(table.MainBranch, head, table.BranchRef, 0, 0, 0))
	case main != 0:
		updates = append(updates, table.NewRemoveSnapshotRefUpdate(table.MainBranch))
	}
	set, drop := iceberg.Properties{}, []string{}
	for key, value := range meta.Properties() {
		job, own := strings.CutPrefix(key, asidePrefix(p.Branch))
		switch {
		case key == p.mark():
			set[asidePrefix("")] = value
			drop = append(drop, key)
		case own:
			set[progressPrefix+job] = value
			drop = append(drop, key)
		case key == pausedProperty, key == asidePrefix(""), strings.HasPrefix(key, progressPrefix), strings.HasPrefix(key, rebuiltPrefix), strings.HasPrefix(key, lettersPrefix):
			drop = append(drop, key)
		}
	}
	if len(drop) > 0 {
		updates = append(updates, table.NewRemovePropertiesUpdate(drop), table.NewSetPropertiesUpdate(set))
	}
	return table.UpdateTableMetadata(meta, updates, "")
}

// requirements are those of main, of the branch, and whether that is not to be there.
func (p *Aside) requirements(reqs []table.Requirement) (out []table.Requirement, begins bool, err error) {
	out = slices.Clone(reqs)
	for i, r := range reqs {
		var of struct {
			Type     string `json:"type"`
			Ref      string `json:"ref"`
			Snapshot *int64 `json:"snapshot-id"`
		}
		if err := reread(r, &of); err != nil {
			return nil, false, err
		}
		if of.Type == "assert-ref-snapshot-id" && of.Ref == table.MainBranch {
			out[i], begins = table.AssertRefSnapshotID(p.Branch, of.Snapshot), of.Snapshot == nil
		}
	}
	return out, begins, nil
}

// updates are those of main, of the branch. What the table has once, for all its branches, stays as it is.
func (p *Aside) updates(name string, updates []table.Update) ([]table.Update, error) {
	out := slices.Clone(updates)
	for i, u := range updates {
		switch u.Action() {
		case table.UpdateAddSnapshot, table.UpdateRemoveSnapshots:
		case table.UpdateSetSnapshotRef:
			var set struct {
				Ref      string `json:"ref-name"`
				Snapshot int64  `json:"snapshot-id"`
			}
			if err := reread(u, &set); err != nil {
				return nil, err
			}
			if set.Ref != table.MainBranch {
				return nil, fmt.Errorf("branch %s of table %s: a commit to it would set ref %s", p.Branch, name, set.Ref)
			}
			out[i] = table.NewSetSnapshotRefUpdate(p.Branch, set.Snapshot, table.BranchRef, 0, 0, 0)
		case table.UpdateSetProperties:
			var set struct {
				Updates map[string]string `json:"updates"`
			}
			if err := reread(u, &set); err != nil {
				return nil, err
			}
			props := iceberg.Properties{}
			for key, value := range set.Updates {
				job, ok := strings.CutPrefix(key, progressPrefix)
				if !ok {
					return nil, fmt.Errorf("branch %s of table %s: a commit to it would set the table's property %s", p.Branch, name, key)
				}
				props[asidePrefix(p.Branch)+job] = value
			}
			if p.Rebuild != "" {
				props[p.mark()] = p.Rebuild
			}
			out[i] = table.NewSetPropertiesUpdate(props)
		case table.UpdateAddSchema, table.UpdateSetCurrentSchema:
			return nil, &HaltError{
				Reason: fmt.Sprintf("the rows on branch %s need columns that table %s does not have, or has with other types; a table has one schema for all its branches", p.Branch, name),
				Decide: "take the rebuild away with firn rebuild --abandon, and make it with --to table",
			}
		default:
			return nil, fmt.Errorf("branch %s of table %s: a commit to it would do %s to the whole table", p.Branch, name, u.Action())
		}
	}
	return out, nil
}

// headOf is the snapshot of a branch or tag; 0 if there is none of that name.
func headOf(meta table.Metadata, ref string) int64 {
	for name, r := range meta.Refs() {
		if name == ref {
			return r.SnapshotID
		}
	}
	return 0
}

// reread reads what the library does not let others look into.
func reread(from, to any) error {
	b, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, to)
}
