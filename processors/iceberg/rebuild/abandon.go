package rebuild

import (
	"context"
	"errors"
	"fmt"

	"github.com/firn-io/firn/catalog"
)

// Abandon takes away what there is of a rebuild that was not swapped in; if another process is about to swap it in, one of the two is done. One that still
// reads must have been stopped. ErrSwapped if it was swapped in.
func (r *Rebuild) Abandon(ctx context.Context) error {
	letters, err := r.account(ctx, r.lake(), r.Letters)
	if err != nil {
		return err
	}
	live, err := r.account(ctx, r.Catalog, r.Table)
	if err != nil {
		return err
	}
	aside, err := r.account(ctx, r.lake(), r.Table)
	if err != nil {
		return err
	}
	switch {
	case live == nil && aside == nil:
		return nil
	case live == nil || live.Rebuilt[r.Job] != nil && live.Rebuilt[r.Job].Unfinished:
		return ErrSwapped
	case r.To == InTable && aside != nil && aside.Identity != live.Identity:
		return fmt.Errorf("table %s is no rebuild of table %s", r.Anew(), r.Table)
	}
	if err := r.Catalog.Resume(ctx, r.Table, r.options()); err != nil && !errors.Is(err, catalog.ErrNoTable) {
		return err
	}
	if r.To == InTable {
		err = r.abandonTable(ctx, live, aside)
	} else {
		err = r.abandonBranch(ctx)
	}
	if err != nil {
		return err
	}
	return r.dropLetters(ctx, letters)
}

// abandonTable takes away the table aside, after it was made sure that it does not come in the place of the one that is there.
func (r *Rebuild) abandonTable(ctx context.Context, live, aside *catalog.Account) error {
	if aside == nil {
		now, err := r.account(ctx, r.Catalog, r.Table)
		switch {
		case err != nil:
			return err
		case now == nil || now.Table != live.Table:
			return ErrSwapped
		case live.Sealed != r.Anew():
			return nil
		}
		return r.Catalog.Unseal(ctx, r.Table, r.options()) // what was to take its place was dropped by somebody
	}
	err := r.Catalog.Forgo(ctx, r.Table, live.Table, r.Anew(), aside.Table, r.options())
	if errors.Is(err, catalog.ErrReplaced) {
		return ErrSwapped
	}
	if err != nil {
		return err
	}
	return r.Catalog.Purge(ctx, r.Anew(), aside.Table, r.options())
}

// abandonBranch takes the branch away: a swap is pinned to its head, so that one of the two finds it.
func (r *Rebuild) abandonBranch(ctx context.Context) error {
	if err := r.Catalog.DropRef(ctx, r.Table, Branch, 0, r.options()); err != nil {
		return err
	}
	now, err := r.account(ctx, r.Catalog, r.Table)
	if err == nil && now != nil && now.Rebuilt[r.Job] != nil && now.Rebuilt[r.Job].Unfinished {
		return ErrSwapped // its dead letters are needed still
	}
	return err
}

// dropLetters takes the rebuild's dead letters away, as they were seen: nil if there were none.
func (r *Rebuild) dropLetters(ctx context.Context, seen *catalog.Account) error {
	switch {
	case seen == nil || seen.Head == 0 && r.To != InTable:
		return nil
	case r.To == InTable:
		return r.Catalog.Purge(ctx, r.lettersAnew(), seen.Table, r.options())
	}
	return r.Catalog.DropRef(ctx, r.Letters, r.lettersBranch(), seen.Head, r.options())
}
