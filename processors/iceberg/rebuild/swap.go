package rebuild

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/runtime/processor"
)

// Swap puts the rebuild in the table's place, when it has caught up with it once more, and finishes it. A job that does not stand still is
// asked to wait for that.
func (r *Rebuild) Swap(ctx context.Context) error {
	s, err := r.CatchUp(ctx)
	if err == nil {
		err = r.swap(ctx, s)
	}
	if moved(err) {
		err = r.swapPaused(ctx)
	}
	if err != nil {
		err = r.because(ctx, err)
	}
	if err != nil && !errors.Is(err, ErrSwapped) { // somebody else did
		return err
	}
	return r.Finish(ctx)
}

// moved reports whether an error says that the table stands where the rebuild does not.
func moved(err error) bool {
	return errors.Is(err, catalog.ErrMoved) || errors.Is(err, processor.ErrMoved) || errors.Is(err, iceberg.ErrRowsThere)
}

// swapPaused has the jobs wait while it brings in what is left and puts the rebuild in the table's place. After an error they go on at once; of
// a process that has died they go on when the pause is over.
func (r *Rebuild) swapPaused(ctx context.Context) (err error) {
	now := r.now()
	pause := catalog.Pause{By: "firn rebuild, " + r.Writer, Since: now.UnixMilli(), Until: now.Add(catalog.MaxPause).UnixMilli()}
	if err := r.Catalog.Pause(ctx, r.Table, pause, r.options()); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			free, cancel := context.WithTimeout(context.WithoutCancel(ctx), resumePatience)
			defer cancel()
			_ = r.Catalog.Resume(free, r.Table, r.options()) // else it ends by itself
		}
	}()
	filling, cancel := context.WithTimeout(ctx, catalog.MaxPause)
	defer cancel()
	var before *Standing
	for range maxRounds {
		s, err := r.Standing(ctx)
		if err != nil {
			return err
		}
		if s.There() {
			if err = r.swap(ctx, s); !moved(err) {
				return err
			}
			continue
		}
		err = r.round(filling, s, before)
		if filling.Err() != nil && ctx.Err() == nil {
			return ErrBusy
		}
		if err != nil {
			return err
		}
		before = s
	}
	return ErrBusy
}

// swap puts the rebuild in the table's place, unless that has moved on: then the error is one of those that moved knows.
func (r *Rebuild) swap(ctx context.Context, s *Standing) error {
	if !s.There() {
		return catalog.ErrMoved
	}
	superseded, err := r.addLetters(ctx, s)
	if err != nil {
		return err
	}
	rebuilt := catalog.Rebuilt{
		Commit: newest(s.aside, r.Job).Commit, Config: r.Config, Rebuild: r.part, Superseded: superseded,
		Replaced: "before_rebuild_" + strings.ReplaceAll(r.now().UTC().Format("20060102_150405.000"), ".", "_"),
	}
	if r.To == InTable {
		rebuilt.Replaced = r.Table + "__" + rebuilt.Replaced
		return r.Catalog.Seal(ctx, catalog.Replacement{Table: r.Table, Job: r.Job, By: r.Anew(), ByHead: s.aside.Head, Head: s.live.Head, Rebuilt: rebuilt}, r.options())
	}
	return r.Catalog.Swap(ctx, catalog.Swap{Table: r.Table, Job: r.Job, Branch: Branch, BranchHead: s.aside.Head, Head: s.live.Head, Rebuilt: rebuilt}, r.options())
}

// Finish gives the tables their names, deals with the dead letters that are left after the swap, and takes away what the rebuild needs no
// more. Without a swap that is not finished it does nothing.
func (r *Rebuild) Finish(ctx context.Context) error {
	if err := r.rename(ctx); err != nil {
		return err
	}
	// The rebuild's dead letters are taken away when it is finished, so they are looked up before it is asked whether it is: who finds none, and that it
	// is not finished still, knows that there were none.
	letters, ours, err := r.look(ctx, r.lakeOf(""), r.Letters)
	if err != nil {
		return err
	}
	live, err := r.account(ctx, r.Catalog, r.Table)
	if err != nil || live == nil {
		return err
	}
	rebuilt := live.Rebuilt[r.Job]
	if rebuilt == nil || !rebuilt.Unfinished {
		return r.tidy(ctx, live)
	}
	if place, _ := kindOf(rebuilt.Rebuild); rebuilt.Rebuild != "" && place != r.place() {
		there := *r // another process has made it
		there.To = place
		return there.Finish(ctx)
	}
	if letters != nil && letters.Of != rebuilt.Rebuild {
		letters, ours = nil, nil // a process was late with them; of this rebuild there were none
	}
	if err := r.resolveLetters(ctx, rebuilt, ours); err != nil {
		return err
	}
	if err := r.Catalog.Finished(ctx, r.Table, r.Job, rebuilt, r.options()); err != nil {
		return err
	}
	return r.dropLetters(ctx, letters)
}

// tidy takes away what this process has been late to make of a rebuild that others have finished.
func (r *Rebuild) tidy(ctx context.Context, live *catalog.Account) error {
	if r.part == "" || live.UnderWay == r.part {
		return nil
	}
	rows, letters, err := r.aside(ctx)
	if err != nil {
		return err
	}
	return r.drop(ctx, rows, letters, func(of string) bool { return of == r.part })
}

// rename gives the table that was sealed another name, and its own to the one that takes its place.
func (r *Rebuild) rename(ctx context.Context) error {
	live, err := r.account(ctx, r.Catalog, r.Table)
	if err != nil {
		return err
	}
	anew, err := r.account(ctx, r.Catalog, r.Anew())
	if err != nil || !r.swapped(live, anew) || live != nil && live.Sealed == "" {
		return err
	}
	if anew == nil {
		now, err := r.account(ctx, r.Catalog, r.Table)
		if err != nil || now != nil && now.Table != live.Table {
			return err // somebody else has given both their names in between
		}
		return fmt.Errorf("table %s is sealed, and table %s, which was to take its place, is gone: --abandon breaks the seal", r.Table, r.Anew())
	}
	rebuilt := anew.Rebuilt[r.Job]
	if rebuilt == nil {
		return fmt.Errorf("table %s is sealed for table %s, which says nothing of it", r.Table, r.Anew())
	}
	if live != nil {
		if err := r.Catalog.Rename(ctx, r.Table, rebuilt.Replaced, live.Table, r.options()); err != nil {
			return err
		}
	}
	return r.Catalog.Rename(ctx, r.Anew(), r.Table, anew.Table, r.options())
}
