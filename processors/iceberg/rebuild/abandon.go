package rebuild

import (
	"context"
	"errors"
	"fmt"

	"github.com/firn-io/firn/catalog"
)

// Abandon takes away what there is of a rebuild that was not swapped in; if another process is about to swap it in, one of the two is done; one that still
// reads finds it gone. ErrSwapped if it was swapped in.
func (r *Rebuild) Abandon(ctx context.Context) error {
	letters, err := r.account(ctx, r.lakeOf(""), r.Letters)
	if err != nil {
		return err
	}
	live, err := r.account(ctx, r.Catalog, r.Table)
	if err != nil {
		return err
	}
	aside, err := r.account(ctx, r.lakeOf(""), r.Table)
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
	if place, _ := kindOf(live.UnderWay); live.UnderWay != "" && place != r.place() {
		return fmt.Errorf("a rebuild has been begun in a %s", place)
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
	id := ""
	if aside != nil {
		id = aside.Table
	} else {
		now, err := r.account(ctx, r.Catalog, r.Table)
		switch {
		case err != nil:
			return err
		case now == nil || now.Table != live.Table:
			return ErrSwapped
		case live.Sealed == r.Anew():
			return r.Catalog.Unseal(ctx, r.Table, r.options()) // what was to take its place was dropped by somebody
		case live.UnderWay == "":
			return nil
		}
	}
	err := r.Catalog.Forgo(ctx, r.Table, live.Table, r.Anew(), id, r.options())
	if errors.Is(err, catalog.ErrReplaced) {
		return ErrSwapped
	}
	if err != nil || aside == nil {
		return err
	}
	return r.Catalog.Purge(ctx, r.Anew(), id, r.options())
}

// abandonBranch takes the branch away: a swap is pinned to its head, so that one of the two finds it. Before that the rebuild is not under way any more: a
// branch that a process has been late to make is never swapped in.
func (r *Rebuild) abandonBranch(ctx context.Context) error {
	if err := r.Catalog.Cancel(ctx, r.Table, r.options()); err != nil {
		return err
	}
	if err := r.Catalog.DropRef(ctx, r.Table, Branch, 0, r.options()); err != nil {
		return err
	}
	now, err := r.account(ctx, r.Catalog, r.Table)
	if err == nil && now != nil && now.Rebuilt[r.Job] != nil && now.Rebuilt[r.Job].Unfinished {
		return ErrSwapped // its dead letters are needed still
	}
	return err
}
