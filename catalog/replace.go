package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/iceberg-go"
	icebergcat "github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"
)

// shelver is a client that gives tables other names, and takes them away. Every catalog of iceberg-go is one.
type shelver interface {
	RenameTable(ctx context.Context, from, to table.Identifier) (*table.Table, error)
	DropTable(ctx context.Context, ident table.Identifier) error
}

// purger is a client that takes the files of a table away with it.
type purger interface {
	PurgeTable(ctx context.Context, ident table.Identifier) error
}

var _ shelver = icebergcat.Catalog(nil)

// The kinds of snapshots that carry no receipt, and say which of two tables stays.
const (
	kindBegin = "begin" // the first one after which another one may come in the place of this one
	kindSeal  = "seal"  // the last one of a table in whose place another one comes
	kindForgo = "forgo" // another one never comes in the place of this one
)

// Replacement puts a table in the place of another: at first it is marked and the other sealed, then both get their names.
type Replacement struct {
	Table   string // namespace.table
	Job     string
	By      string // that takes its place, likewise
	ByHead  int64  // of By, and what its mark is pinned to
	Head    int64  // of Table, and what the seal is pinned to
	Rebuilt Rebuilt
}

// Seal ends the commits to a table, by one of its own: nobody's request lands behind it, and whoever looks at the table halts. Before that the
// table that takes its place is told so. ErrMoved says that one of the two has another head, or that Rebuilt.Rebuild is not under way: the table is not
// sealed. ErrForgone says that it never will be. A table that is sealed stays so.
func (c *Catalog) Seal(ctx context.Context, r Replacement, opts Options) error {
	opts.Job = r.Job
	by, err := c.mark(ctx, r, opts)
	if err != nil {
		return fmt.Errorf("mark table %s: %w", r.By, err)
	}
	return c.settle(ctx, r.Table, kindSeal, opts, func(t *table.Table) (iceberg.Properties, error) {
		switch {
		case t.Properties()[sealedProperty] == r.By:
			return nil, nil
		case t.Properties()[forgoneProperty] == by:
			return nil, ErrForgone
		case headOf(t.Metadata(), table.MainBranch) != r.Head, t.Properties()[underWayProperty] != r.Rebuilt.Rebuild:
			return nil, ErrMoved
		}
		return iceberg.Properties{sealedProperty: r.By, underWayProperty: ""}, nil
	})
}

// Forgo makes sure that a table, by, of the UUID byID, never takes the place of another one, of the UUID id, and that no rebuild of it is under way. byID is
// empty where that has not come to a table. ErrReplaced says that it is too late for that. Either lands alone, a seal or this: both are commits that are
// pinned to the head.
func (c *Catalog) Forgo(ctx context.Context, name, id, by, byID string, opts Options) error {
	err := c.settle(ctx, name, kindForgo, opts, func(t *table.Table) (iceberg.Properties, error) {
		switch {
		case t.Metadata().TableUUID().String() != id, t.Properties()[sealedProperty] == by:
			return nil, ErrReplaced
		case t.Properties()[forgoneProperty] == byID && t.Properties()[underWayProperty] == "":
			return nil, nil
		}
		return iceberg.Properties{forgoneProperty: byID, underWayProperty: ""}, nil
	})
	if errors.Is(err, ErrNoTable) {
		return fmt.Errorf("%w: %w", ErrReplaced, err)
	}
	return err
}

// settle sets properties in a commit of its own that is pinned to the head, until say has no more to say, or an error.
func (c *Catalog) settle(ctx context.Context, name, kind string, opts Options, say func(*table.Table) (iceberg.Properties, error)) error {
	committer, err := c.Committer(name, opts)
	if err != nil {
		return err
	}
	var said error
	sent := false
	err = c.change(ctx, name, opts, func(t *table.Table) (*request, error) {
		var props iceberg.Properties
		if props, said = say(t); said != nil || props == nil {
			return nil, said
		}
		sent = true
		return committer.emptyRequest(ctx, t, map[string]string{keyJob: opts.Job, keyKind: kind}, props)
	})
	switch {
	case err != nil && sent && said == nil:
		return fmt.Errorf("%s of table %s: %w: %w", kind, name, ErrUnknownOutcome, err)
	case err != nil:
		return fmt.Errorf("%s of table %s: %w", kind, name, err)
	}
	return nil
}

// mark tells a table that it takes another one's place, and gives its UUID.
func (c *Catalog) mark(ctx context.Context, r Replacement, opts Options) (id string, err error) {
	moved := false
	err = c.change(ctx, r.By, opts, func(t *table.Table) (*request, error) {
		id = t.Metadata().TableUUID().String()
		r.Rebuilt.Progress = t.Properties()[progressPrefix+r.Job]
		value, err := json.Marshal(r.Rebuilt)
		if err != nil {
			return nil, err
		}
		if moved = headOf(t.Metadata(), table.MainBranch) != r.ByHead; moved || t.Properties()[rebuiltPrefix+r.Job] == string(value) {
			return nil, nil
		}
		return &request{
			requirements: []table.Requirement{table.AssertTableUUID(t.Metadata().TableUUID()), table.AssertRefSnapshotID(table.MainBranch, &r.ByHead)},
			updates: []table.Update{table.NewSetPropertiesUpdate(iceberg.Properties{
				rebuiltPrefix + r.Job: string(value), lettersPrefix + r.Job: r.Rebuilt.Commit,
			})},
		}, nil
	})
	if err == nil && moved {
		err = ErrMoved
	}
	return id, err
}

// Unseal lets a table be committed to again whose seal is for a table that is not there.
func (c *Catalog) Unseal(ctx context.Context, name string, opts Options) error {
	if err := c.drop(ctx, name, sealedProperty, nil, opts); err != nil {
		return fmt.Errorf("unseal table %s: %w", name, err)
	}
	return nil
}

// Rename gives a table another name. It is tried until the table has it, by whose hand is all the same; a table that neither name leads to is
// an error.
func (c *Catalog) Rename(ctx context.Context, from, to, uuid string, opts Options) error {
	s, ok := c.client.(shelver)
	if !ok {
		return errors.New("the catalog does not rename tables")
	}
	committer, err := c.Committer(to, opts)
	if err != nil {
		return err
	}
	err = committer.persist(ctx, func(t *table.Table) (bool, error) {
		if t != nil && t.Metadata().TableUUID().String() != uuid {
			return false, errors.New("there is another table of that name")
		}
		return t != nil, nil
	}, func() error {
		_, err := s.RenameTable(ctx, icebergcat.ToIdentifier(from), slices.Clone(committer.ident))
		return err
	})
	if err != nil {
		return fmt.Errorf("rename table %s to %s: %w", from, to, err)
	}
	return nil
}

// Purge takes a table of a UUID away, and its files where the catalog does that. One that is not there, or not of that UUID, is as good.
func (c *Catalog) Purge(ctx context.Context, name, uuid string, opts Options) error {
	s, ok := c.client.(shelver)
	if !ok {
		return errors.New("the catalog does not drop tables")
	}
	drop := s.DropTable
	if p, ok := c.client.(purger); ok {
		drop = p.PurgeTable
	}
	committer, err := c.Committer(name, opts)
	if err != nil {
		return err
	}
	err = committer.persist(ctx,
		func(t *table.Table) (bool, error) { return t == nil || t.Metadata().TableUUID().String() != uuid, nil },
		func() error { return drop(ctx, slices.Clone(committer.ident)) })
	if err != nil {
		return fmt.Errorf("drop table %s: %w", name, err)
	}
	return nil
}

// persist asks for something until a look at the table, nil if there is none, shows that it is done, whoever did it. An error of the look is final.
func (c *Committer) persist(ctx context.Context, done func(*table.Table) (bool, error), ask func() error) error {
	last := errors.New("the catalog has agreed to it and not done it")
	for try := range maxSends + 1 {
		if try > 0 {
			if err := c.wait(ctx, try-1); err != nil {
				return err
			}
		}
		t, err := c.Load(ctx)
		if err != nil && !errors.Is(err, ErrNoTable) {
			last = err
			continue
		}
		if is, err := done(t); is || err != nil {
			return err
		}
		if try < maxSends {
			if err := ask(); err != nil {
				last = err
			}
		}
	}
	return fmt.Errorf("given up after %d tries: %w", maxSends, last)
}
