package rebuild

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
)

// Old is what a rebuild that is finished has left of the table as it was before.
type Old struct {
	Place Place  `json:"place"` // OnBranch: a tag of the table
	Name  string `json:"name"`  // of the tag, or of the table

	id   string // of the table
	head int64  // of the tag
}

// replaced is what a rebuild calls what was before.
var replaced = regexp.MustCompile(`^before_rebuild_\d{8}_\d{6}_\d{3}$`)

// ErrUnfinished says that a rebuild is not finished, and so it is not told what is left of one.
var ErrUnfinished = errors.New("a rebuild of the table has been begun and is not finished: finish it, or give it up with --abandon")

// Old lists what finished rebuilds of the table have left, the oldest first: tags that a rebuild has named and whose snapshots the table
// has left behind, and tables that are sealed for a rebuild of this one. ErrUnfinished if there is another rebuild.
func (r *Rebuild) Old(ctx context.Context) ([]Old, error) {
	if begun, err := r.Begun(ctx); err != nil || begun != "" {
		return nil, errors.Join(err, ErrUnfinished)
	}
	live, t, err := r.Catalog.Account(ctx, r.Table, r.Store)
	if err != nil {
		return nil, err
	}
	var all []Old
	for name, ref := range t.Metadata().Refs() {
		left := !slices.ContainsFunc(live.Branch, func(e catalog.Entry) bool { return e.Snapshot.SnapshotID == ref.SnapshotID })
		if left && ref.SnapshotRefType == table.TagRef && replaced.MatchString(name) {
			all = append(all, Old{Place: OnBranch, Name: name, head: ref.SnapshotID})
		}
	}
	names, err := r.Catalog.List(ctx, r.Table[:strings.LastIndexByte(r.Table, '.')])
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if when, ok := strings.CutPrefix(name, r.Table+"__"); !ok || !replaced.MatchString(when) {
			continue
		}
		a, err := r.account(ctx, r.Catalog, name)
		if err != nil {
			return nil, err
		}
		if a != nil && a.Sealed == r.Anew() && a.Identity == live.Identity && a.Table != live.Table {
			all = append(all, Old{Place: InTable, Name: name, id: a.Table})
		}
	}
	slices.SortFunc(all, func(a, b Old) int {
		return strings.Compare(strings.TrimPrefix(a.Name, r.Table+"__"), strings.TrimPrefix(b.Name, r.Table+"__"))
	})
	return all, nil
}

// DropOld takes what a rebuild has left away: of a tag the snapshots, whose files are for firn sweep then; a table with its files, where the
// catalog does that. It refuses a table that has its folder in common with another one, for the catalog may take the whole folder.
func (r *Rebuild) DropOld(ctx context.Context, old Old) error {
	if old.Place == OnBranch {
		return r.Catalog.DropRef(ctx, r.Table, old.Name, old.head, r.options())
	}
	var own []string
	others := map[string]string{} // folder → table
	for place, err := range r.Catalog.Places(ctx) {
		if err != nil {
			return err
		}
		for _, folder := range place.Folders {
			if folder = catalog.Path(folder); place.Table == old.Name {
				own = append(own, folder)
			} else {
				others[folder] = place.Table
			}
		}
	}
	for _, folder := range own {
		for other, name := range others {
			if catalog.Below(folder, other) || catalog.Below(other, folder) {
				return fmt.Errorf("table %s has files in %s, and table %s has in %s: drop it in the catalog, without its files", old.Name, folder, name, other)
			}
		}
	}
	return r.Catalog.Purge(ctx, old.Name, old.id, r.options())
}
