package catalog_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/catalogtest"
)

// branchless makes every commit to a branch one to main, as Nessie 0.99 does.
type branchless struct{ *catalogtest.Fake }

func (b branchless) CommitTable(ctx context.Context, ident table.Identifier, _ []table.Requirement, updates []table.Update) (table.Metadata, string, error) {
	var all []table.Update
	for _, u := range updates {
		if u.Action() == table.UpdateSetSnapshotRef {
			text, err := json.Marshal(u)
			if err != nil {
				return nil, "", err
			}
			var set struct {
				Snapshot int64 `json:"snapshot-id"`
			}
			if err := json.Unmarshal(text, &set); err != nil {
				return nil, "", err
			}
			u = table.NewSetSnapshotRefUpdate(table.MainBranch, set.Snapshot, table.BranchRef, 0, 0, 0)
		}
		all = append(all, u)
	}
	return b.Fake.CommitTable(ctx, ident, nil, all)
}

// pinless keeps branches apart, and honours no pin.
type pinless struct{ *catalogtest.Fake }

func (p pinless) CommitTable(ctx context.Context, ident table.Identifier, _ []table.Requirement, updates []table.Update) (table.Metadata, string, error) {
	return p.Fake.CommitTable(ctx, ident, nil, updates)
}

// TestProbes finds out what a catalog only seems to do.
func TestProbes(t *testing.T) {
	opts := catalog.Options{Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}
	for name, client := range map[string]catalog.Client{"branchless": branchless{catalogtest.NewFake()}, "pinless": pinless{catalogtest.NewFake()}} {
		lake := catalog.New(client)
		if err := lake.ProbeBranches(t.Context(), "lake", opts); !errors.Is(err, catalog.ErrCannot) {
			t.Errorf("branches of a catalog that is %s: %v", name, err)
		}
		if left, err := lake.List(t.Context(), "lake"); err != nil || len(left) > 0 {
			t.Errorf("tables are left: %v, %v", left, err)
		}
	}
	nameless := struct{ catalog.Client }{catalogtest.NewFake()}
	if err := catalog.New(nameless).ProbeRename(t.Context(), "lake", opts); !errors.Is(err, catalog.ErrCannot) {
		t.Errorf("renaming in a catalog that cannot: %v", err)
	}
}
