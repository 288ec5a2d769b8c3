package rebuild

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/firn-io/firn/catalog"
)

// place is where it is made.
func (r *Rebuild) place() Place {
	if r.To == InTable {
		return InTable
	}
	return OnBranch
}

// kindOf is where a rebuild is made, and with which job file.
func kindOf(part string) (place Place, config string) {
	to, rest, _ := strings.Cut(part, "/")
	config, _, _ = strings.Cut(rest, "/")
	return Place(to), config
}

// begin takes part in the rebuild that is under way, or has one be under way. From then on this process works on that one alone. ErrSwapped if there is one
// to be finished, ErrOther if the one that is under way is made in another place, or with another job file.
func (r *Rebuild) begin(ctx context.Context) error {
	if r.part != "" {
		return nil
	}
	if _, err := r.Standing(ctx); err != nil {
		return err
	}
	rows, letters, err := r.aside(ctx)
	if err != nil {
		return err
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return err
	}
	part, err := r.Catalog.Begin(ctx, r.Table, fmt.Sprintf("%s/%s/%s", r.place(), r.Config, id), r.options())
	if errors.Is(err, catalog.ErrReplaced) {
		return ErrSwapped
	}
	if err != nil {
		return err
	}
	if place, config := kindOf(part); place != r.place() || config != r.Config {
		return ErrOther
	}
	r.part = part
	// What was there before this one was known to be under way, and is not of it, is of one that is over: a process was late with it.
	return r.drop(ctx, rows, letters, func(of string) bool { return of != "" && of != part })
}

// aside is what there is in the rebuild's places, whose it may be.
func (r *Rebuild) aside(ctx context.Context) (rows, letters *catalog.Account, err error) {
	lake := r.lakeOf("")
	if rows, err = r.account(ctx, lake, r.Table); err != nil {
		return nil, nil, err
	}
	letters, err = r.account(ctx, lake, r.Letters)
	return rows, letters, err
}

// drop takes away what was seen in the places, where it is of a rebuild that is meant, which is not under way any more. It takes the rows first: without
// them it is not swapped in.
func (r *Rebuild) drop(ctx context.Context, rows, letters *catalog.Account, meant func(of string) bool) error {
	if rows != nil && meant(rows.Of) {
		if err := r.dropSeen(ctx, r.Table, Branch, r.Anew(), rows); err != nil {
			return err
		}
	}
	if letters == nil || !meant(letters.Of) {
		return nil
	}
	live, err := r.account(ctx, r.Catalog, r.Table)
	if err != nil || live == nil {
		return err
	}
	if rebuilt := live.Rebuilt[r.Job]; rebuilt != nil && rebuilt.Unfinished && rebuilt.Rebuild == letters.Of {
		return nil // it was being swapped in
	}
	return r.dropLetters(ctx, letters)
}

// dropLetters takes dead letters of a rebuild away, as they were seen.
func (r *Rebuild) dropLetters(ctx context.Context, seen *catalog.Account) error {
	return r.dropSeen(ctx, r.Letters, r.lettersBranch(), r.lettersAnew(), seen)
}

// dropSeen takes a branch of a table, or a table of its own, away, as it was seen: nil if it was not there.
func (r *Rebuild) dropSeen(ctx context.Context, name, branch, anew string, seen *catalog.Account) error {
	switch {
	case seen == nil || seen.Head == 0 && r.To != InTable:
		return nil
	case r.To == InTable:
		return r.Catalog.Purge(ctx, anew, seen.Table, r.options())
	}
	return r.Catalog.DropRef(ctx, name, branch, seen.Head, r.options())
}
