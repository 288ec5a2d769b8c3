package tail_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// TestStartFarBehind starts on a journal of 10,000 small objects. What is read until the first record is there depends on where that is, not on
// how much lies before or behind it: one LIST, one checkpoint, and the pages of its index from the newest to the one that knows the record.
func TestStartFarBehind(t *testing.T) {
	const objects, perPage, settled = 10_000, 1_000, 2_000
	store := &traced{Store: blob.NewMemory(nil)}
	j := &tailtest.Journal{Store: store.Store}
	var values []string
	for i := range objects {
		value := fmt.Sprint(i)
		j.Append(t, nil, tailtest.Values(events, 0, value))
		if i < settled {
			values = append(values, value)
		}
		if i == settled-1 {
			j.Settle(t, events, 0, values...)
			j.Release(t, settled, true)
		}
		if i >= settled && i%perPage == perPage-1 && i < objects-perPage {
			j.Page(t)
		}
	}
	j.Checkpoint(t)

	const list, checkpoint = "GET restoring.json\nLIST journal/0000/checkpoint-", "GET journal/0000/checkpoint-00000000000000009999.kfm"
	page := func(first int) string {
		return fmt.Sprintf("GET journal/0000/index-%020d-%020d.kfm", first, first+perPage-1)
	}
	all := []string{list, checkpoint}
	for first := objects - 2*perPage; first >= settled; first -= perPage {
		all = append(all, page(first))
	}
	p0 := kfs.PartitionID{Topic: events.ID}
	for _, c := range []struct {
		name     string
		at       int64
		requests []string
		first    string // object
	}{
		{"almost at the end", objects - 3, []string{list, checkpoint}, "events/0 [9997, 9998) 9997"},
		{"before the checkpoint's own objects", 8_500, []string{list, checkpoint, page(8_000)}, "events/0 [8500, 8501) 8500"},
		{"at the first record", 0, all, "events/0 [0, 2000) " + strings.Join(values, " ")},
	} {
		t.Run(c.name, func(t *testing.T) {
			store.take()
			f := open(t, store, map[kfs.PartitionID]int64{p0: c.at})
			var start []string
			for line := range strings.Lines(store.take()) {
				start = append(start, strings.TrimSpace(strings.ReplaceAll(line, ` after ""`, "")))
			}
			equal(t, "requests of the start", strings.Join(start, "\n"), strings.Join(c.requests, "\n"))
			equal(t, "first records", next(t, f), c.first)
		})
	}
}
