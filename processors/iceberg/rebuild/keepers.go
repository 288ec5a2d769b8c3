package rebuild

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/runtime/processor"
)

// keeper accounts for the dead letters of some offsets of a source, in the dead-letter table: the job, or a backfill of it.
type keeper struct {
	job  string
	next int64 // behind what it accounts for
	end  int64 // how far it may go
}

// keepers are those of a source, in the order of offsets, from where the log begins on. The last one has no end: it is the job. Where a job has begun
// behind records that the log has, nobody accounts for the letters of these; they are brought as a backfill would bring them. The job stands at decided.
func (r *Rebuild) keepers(account *catalog.Account, decided processor.Positions, source processor.Source) []keeper {
	job := keeper{job: r.Job, next: r.Starts[source], end: math.MaxInt64}
	if account == nil {
		return []keeper{job}
	}
	var all []keeper
	key := iceberg.SourceKey(source)
	pass := func(span kfs.Span, name string) {
		if span.Base > job.next {
			all = append(all, keeper{job: r.gapName(account, key, job.next, all), next: job.next, end: span.Base})
		}
		if name != "" {
			all = append(all, keeper{job: name, next: span.Next, end: span.Next})
		}
		job.next = max(job.next, span.Next)
	}
	accounted := account.Accounted(r.Job, key)
	own, begun := accounted[r.Job], false
	if own.Next, begun = decided[source]; own.Empty() {
		own.Base = own.Next
	}
	delete(accounted, r.Job)
	byBase := func(a, b string) int { return cmp.Compare(accounted[a].Base, accounted[b].Base) }
	for _, name := range slices.SortedFunc(maps.Keys(accounted), byBase) {
		pass(accounted[name], name)
	}
	if begun {
		pass(own, "")
	}
	return append(all, job)
}

// gapName is under which name letters are brought that nobody accounts for, from an offset of a source on: one that stands there, for the rebuild may have
// been killed, or a new one. No backfill that a person begins has such a name.
func (r *Rebuild) gapName(account *catalog.Account, source string, at int64, taken []keeper) string {
	for n := 0; ; n++ {
		name := catalog.Backfill(r.Job, fmt.Sprintf("rebuild.%d", n))
		if slices.ContainsFunc(taken, func(k keeper) bool { return k.job == name && k.next != at }) {
			continue
		}
		if next, known := account.Position(name, source); !known || next == at {
			return name
		}
	}
}
