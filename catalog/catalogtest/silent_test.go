package catalogtest

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/memory"
)

// silent is a client that does not answer one load or commit, until the caller gives up.
type silent struct {
	catalog.Client
	n    int  // which, counted from 1
	done bool // it does what it was asked for
	ops  int
}

func (s *silent) answer(ctx context.Context, do func() error) error {
	if s.ops++; s.ops != s.n {
		return do()
	}
	if s.done {
		if err := do(); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

func (s *silent) LoadTable(ctx context.Context, ident table.Identifier) (t *table.Table, err error) {
	err = s.answer(ctx, func() (err error) { t, err = s.Client.LoadTable(ctx, ident); return err })
	return t, err
}

func (s *silent) CommitTable(ctx context.Context, ident table.Identifier, reqs []table.Requirement, updates []table.Update) (meta table.Metadata, at string, err error) {
	err = s.answer(ctx, func() (err error) { meta, at, err = s.Client.CommitTable(ctx, ident, reqs, updates); return err })
	return meta, at, err
}

// TestSilentCatalog commits through a catalog that once takes a request and never says a word, whether or not it does what it was asked for: the
// commit ends, and is there once.
func TestSilentCatalog(t *testing.T) {
	const requests = 4 // load, start receipt, load, group
	for n := 1; n <= requests; n++ {
		for _, done := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d done %t", n, done), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					client := memory.New()
					create(t, NewCommitter(t, client, "default.silent", catalog.Options{}))
					s := &silent{Client: client, n: n, done: done}
					c, err := catalog.New(s).Committer("default.silent", catalog.Options{Job: "job"})
					must(t, err)
					g := Group("a/0", 0, 10)
					must(t, c.Commit(t.Context(), g))
					if s.ops < requests {
						t.Errorf("%d requests: the silent one was not among them", s.ops)
					}
					wantFiles(t, c, g)
					wantPosition(t, c, map[string]int64{"a/0": 10})
				})
			})
		}
	}
}
