package retention

import (
	"iter"
	"math"
	"time"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/kfs"
)

// policy is how much is kept of each partition of a topic.
type policy struct {
	age   int64         // how old records get, milliseconds; negative: any age
	bytes int64         // how large a partition gets; negative: any size
	limit time.Duration // how much older than age a job can keep records
}

// nobody is where a partition is held from by no job.
const nobody = math.MaxInt64

// verdict is what becomes of a partition.
type verdict struct {
	start   int64    // where the log starts from now on
	bytes   int64    // that go
	held    int64    // bytes that would go but for a job
	overrun kfs.Span // goes although a job holds it, for it is too old; empty if nothing does
}

// decide judges the ranges of a partition, oldest first and of so many bytes together, at a time (Unix milliseconds). The log starts at start
// and is held from an offset on. Ranges go from the oldest on, as Kafka's segments do: by age when the newest record of a range is older
// than the policy says, by size while what stays is no smaller than it says. The first that stays ends it. A range that a job still
// needs stays, and all behind it, until its newest record is older than age and limit together.
func decide(start int64, ranges iter.Seq[journal.Range], bytes int64, p policy, held, now int64) verdict {
	v := verdict{start: start, overrun: kfs.Span{Base: start, Next: start}}
	keeping := false
	for r := range ranges {
		old := p.age >= 0 && r.Time >= 0 && now-r.Time > p.age
		large := p.bytes >= 0 && bytes-r.Bytes >= p.bytes
		if !old && !large {
			break
		}
		bytes -= r.Bytes
		needed := held < r.Span.Next
		if keeping = keeping || needed && !overdue(r.Time, p, now); keeping {
			v.held += r.Bytes
			continue
		}
		if needed {
			if v.overrun.Empty() {
				v.overrun.Base = max(held, r.Span.Base, start)
			}
			v.overrun.Next = r.Span.Next
		}
		v.start = r.Span.Next
		v.bytes += r.Bytes
	}
	return v
}

// overdue reports whether records of that time are too old for any job. Their age counts also where only the size of the log says that they
// go, for nobody knows since when it does.
func overdue(at int64, p policy, now int64) bool {
	beyond := now - at - p.limit.Milliseconds() // in this order nothing overflows, whatever a producer wrote
	return at >= 0 && beyond > 0 && beyond > p.age
}
