package pipeline

import (
	"iter"

	"github.com/firn-io/firn/kfs/record"
)

// biteBytes is about how much of an object a worker decodes at a time, in bytes of batches, which may be compressed. In a log that was
// compacted a partition has tens of megabytes in one object, and a worker that took them at once would let commits that are due, partitions
// that it is to give up and a signal to end wait for seconds.
const biteBytes = 256 << 10

// bites cuts an item at the bounds of batches into items of at least size bytes, the last one of what is left. Batches that are not as they
// should be are in the last one, where decoding finds what is wrong with them.
func (it item) bites(size int) iter.Seq[item] {
	return func(yield func(item) bool) {
		rest := it
		at, end := it.piece.Base, 0
		for it.fault == nil {
			h, err := record.ParseHeader(rest.records[end:])
			if err != nil || h.BaseOffset != at || h.LastOffset()+1 >= it.piece.Next {
				break
			}
			at, end = h.LastOffset()+1, end+h.Size()
			if end < size {
				continue
			}
			bite := rest
			bite.records, bite.piece.Next, bite.span.Next = rest.records[:end:end], at, min(at, it.span.Next)
			if !bite.span.Empty() && !yield(bite) {
				return
			}
			rest.records, rest.piece.Base, rest.span.Base, end = rest.records[end:], at, max(at, it.span.Base), 0
			if rest.span.Empty() {
				return
			}
		}
		yield(rest)
	}
}
