package catalogtest

import (
	"slices"
	"testing"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
)

// testLoss gives offsets up between two groups while every operation fails in every way: they are given up once, and nothing else is.
func testLoss(t *testing.T, open func(t *testing.T) catalog.Client) {
	lost := kfs.Span{Base: 10, Next: 20}
	before, behind := Group("a/0", 0, lost.Base), Group("a/0", lost.Next, 30)
	run := func(t *testing.T, client catalog.Client, inject func(Op) Fault) *Faulty {
		inner := NewCommitter(t, client, "default.lost", catalog.Options{})
		create(t, inner)
		must(t, inner.Commit(t.Context(), before))
		faulty := NewFaulty(client, inject)
		c := NewCommitter(t, faulty, "default.lost", catalog.Options{})
		for tries := 0; ; tries++ {
			if tries > 5 {
				t.Fatal("the run does not end")
			}
			at, _, err := c.Position(t.Context())
			if err != nil {
				continue
			}
			if at["a/0"] == 30 {
				break
			}
			if at["a/0"] == lost.Base { // one fault is never the end of a commit
				must(t, c.Forgo(t.Context(), map[string]kfs.Span{"a/0": lost}))
			} else {
				must(t, c.Commit(t.Context(), behind))
			}
		}
		faulty.Settle()
		moved(t, c.Forgo(t.Context(), map[string]kfs.Span{"a/0": lost}))
		moved(t, c.Forgo(t.Context(), map[string]kfs.Span{"a/1": lost}))
		wantFiles(t, inner, before, behind)
		wantPosition(t, inner, map[string]int64{"a/0": 30})
		account, _, err := catalog.New(client).Account(t.Context(), "default.lost", nil)
		must(t, err)
		if got := account.Lost("job", "a/0"); !slices.Equal(got, []kfs.Span{lost}) {
			t.Errorf("%v is lost, want %v", got, lost)
		}
		receipts := 0
		for _, e := range account.Branch {
			if e.Receipt != nil && e.Receipt.Kind == catalog.KindLoss {
				receipts++
			}
		}
		if receipts != 1 {
			t.Errorf("%d receipts tell of it, want 1", receipts)
		}
		return faulty
	}
	everyFault(t, open, run)
}
