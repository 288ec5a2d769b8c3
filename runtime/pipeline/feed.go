package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/tail"
)

// item is what a reader hands to a worker: record batches of one source partition, of which the offsets in span are to be taken.
type item struct {
	source  processor.Source
	span    kfs.Span
	piece   kfs.Span // what records hold
	records []byte
	key     string // the object's
	created time.Time
	read    time.Time
	fault   error // instead of records: the source cannot be read from span.Base on
	ended   bool  // instead of records: the source's topic is being deleted
	object  *shared
}

// shared is an object whose memory is given back when all of its items are done with.
type shared struct {
	object *tail.Object
	uses   atomic.Int32
}

func (s *shared) release() {
	if s != nil && s.uses.Add(-1) == 0 {
		s.object.Release()
	}
}

// feedDepth is how many items may wait for a worker. Their bytes are bounded by the budget of objects.
const feedDepth = 64

// feed is the way of records to one worker, for one life of its positions: when the worker begins anew it closes the feed and makes
// another. Each source partition is offered by one reader; the feed knows how far each has come, so what is offered twice is taken once.
type feed struct {
	items  chan item
	atEnd  chan struct{} // has room for one: a reader has offered all that there was
	closed chan struct{}
	reads  func(kfs.PartitionID) bool // what this process reads; nothing else is taken
	stood  map[kfs.PartitionID]int64  // how far the table, or the dead letters, had come of the log when this began

	mu   sync.Mutex                // guards what follows
	next map[kfs.PartitionID]int64 // the next offset to be offered
	shut map[kfs.PartitionID]bool  // sources that take no more

	offered, settled int64 // items: those that were handed over, and those of which nothing is pending any more
	ended            int64 // offered when atEnd was sent last
}

// newFeed makes the feed of a topic's worker, where the table and the dead letters stand.
func newFeed(topic string, committed, letters processor.Positions, reads func(kfs.PartitionID) bool) *feed {
	f := &feed{items: make(chan item, feedDepth), atEnd: make(chan struct{}, 1), closed: make(chan struct{}), reads: reads, stood: map[kfs.PartitionID]int64{}, next: map[kfs.PartitionID]int64{}, shut: map[kfs.PartitionID]bool{}}
	for source, next := range ofShare(committed, reads) {
		f.next[id(source)], f.stood[id(source)] = next, next
	}
	for source, next := range ofShare(letters, reads) {
		if source.Topic == topic {
			f.stood[id(source)] = max(f.stood[id(source)], next)
		}
	}
	return f
}

func id(s processor.Source) kfs.PartitionID {
	return kfs.PartitionID{Topic: s.ID, Partition: s.Partition}
}

// position is the next offset to be offered of a partition. Where none is known, it begins at start.
func (f *feed) position(id kfs.PartitionID, start int64) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if next, ok := f.next[id]; ok {
		return next
	}
	f.next[id] = start
	return start
}

// move moves the next offset to be offered of a partition of which nothing was offered yet.
func (f *feed) move(id kfs.PartitionID, to int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next[id] = to
}

// known is the next offset to be offered of a partition, if there is one.
func (f *feed) known(id kfs.PartitionID) (next int64, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	next, ok = f.next[id]
	return next, ok
}

// shutSource makes the feed drop what is offered of a source.
func (f *feed) shutSource(id kfs.PartitionID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shut[id] = true
}

// plan says what of an item the worker still needs. A span behind a gap makes a fault of the item.
func (f *feed) plan(it *item) (wanted bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	next, known := f.next[id(it.source)]
	switch {
	case f.shut[id(it.source)]:
		return false
	case it.ended:
		return true
	case !known:
		next = it.span.Base
	case it.span.Next <= next:
		return false
	}
	if it.fault == nil && it.span.Base > next {
		it.fault = lost(kfs.Span{Base: next, Next: it.span.Base})
	}
	it.span.Base = next
	return true
}

// settle notes that nothing of the first n items is pending. It reports whether that is news and now true of all items.
func (f *feed) settle(n int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	news := n > f.settled
	f.settled = max(f.settled, n)
	return news && f.settled == f.offered
}

// sayAtEnd tells the worker that a reader has offered all that there was, if anything was offered since it was told last.
func (f *feed) sayAtEnd() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended == f.offered {
		return
	}
	f.ended = f.offered
	select {
	case f.atEnd <- struct{}{}:
	default:
	}
}

// idle reports whether everything that was offered is settled.
func (f *feed) idle() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.settled == f.offered
}

// lost says that records of a partition were trimmed before they were read.
func lost(span kfs.Span) error {
	return halted(fmt.Sprintf("offsets %s were trimmed before this job has read them", span),
		"to go on without them in the same table, run firn accept-loss, which lists what is lost, asks, and says so in the table; or give the job another table.name: that table begins where the log does now, and this one stays as it is")
}

var errClosed = errors.New("the feed is closed")

// offer hands an item over and blocks while the worker is busy. It takes ownership of the item's use of its object. errClosed says that the
// worker has begun anew, and nothing was taken.
func (f *feed) offer(ctx context.Context, it item) error {
	if !f.plan(&it) {
		it.object.release()
		return nil
	}
	switch { // before chance decides between that and a place in the queue
	case !f.alive():
		it.object.release()
		return errClosed
	case ctx.Err() != nil:
		it.object.release()
		return context.Cause(ctx)
	}
	f.mu.Lock()
	f.offered++
	f.mu.Unlock()
	select {
	case f.items <- it:
	case <-f.closed:
		it.object.release()
		return errClosed
	case <-ctx.Done():
		it.object.release()
		f.mu.Lock()
		f.offered--
		f.mu.Unlock()
		return context.Cause(ctx)
	}
	f.mu.Lock()
	f.next[id(it.source)] = it.span.Next
	if it.fault != nil || it.ended {
		f.shut[id(it.source)] = true
	}
	f.mu.Unlock()
	select {
	case <-f.closed: // perhaps after the worker has drained it
		f.drain()
		return errClosed
	default:
		return nil
	}
}

// close ends the feed. What waits in it is dropped.
func (f *feed) close() {
	close(f.closed)
	f.drain()
}

func (f *feed) drain() {
	for {
		select {
		case it := <-f.items:
			it.object.release()
		default:
			return
		}
	}
}

// alive reports whether the feed takes items.
func (f *feed) alive() bool {
	select {
	case <-f.closed:
		return false
	default:
		return true
	}
}
