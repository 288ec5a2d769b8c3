package verify

import (
	"math"
	"slices"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/firn-io/firn/kfs"
)

// offsets are the offsets of one source partition that were seen, and which of them were seen again. Runs take next to no memory.
type offsets struct {
	seen  *roaring64.Bitmap
	again *roaring64.Bitmap
	rows  int64
}

func newOffsets() *offsets { return &offsets{seen: roaring64.New(), again: roaring64.New()} }

// add takes the offsets of one file, in any order. It sorts them in place.
func (o *offsets) add(values []int64) {
	slices.Sort(values)
	o.rows += int64(len(values))
	file := roaring64.New()
	run := make([]uint64, 0, len(values))
	for i, at := range values {
		if i > 0 && at == values[i-1] {
			o.again.Add(uint64(at))
			continue
		}
		run = append(run, uint64(at)) // a negative one is beyond every span, and found there
	}
	file.AddMany(run)
	file.RunOptimize()
	o.again.Or(roaring64.And(o.seen, file))
	o.seen.Or(file)
}

// setOf is the offsets of spans.
func setOf(spans []kfs.Span) *roaring64.Bitmap {
	set := roaring64.New()
	for _, s := range spans {
		set.AddRange(uint64(s.Base), uint64(s.Next))
	}
	return set
}

// maxSpans bounds the ranges that a finding names.
const maxSpans = 1000

// spansOf writes a set as spans, at most maxSpans of them.
func spansOf(set *roaring64.Bitmap) []kfs.Span {
	var spans []kfs.Span
	for it := set.Iterator(); it.HasNext(); {
		at := it.Next()
		if at > math.MaxInt64-1 {
			break
		}
		if n := len(spans); n > 0 && spans[n-1].Next == int64(at) {
			spans[n-1].Next++
			continue
		}
		if len(spans) == maxSpans {
			break
		}
		spans = append(spans, kfs.Span{Base: int64(at), Next: int64(at) + 1})
	}
	return spans
}
