package tail

import (
	"fmt"
	"time"

	"github.com/firn-io/firn/kfs"
)

const (
	pollFirst     = 250 * time.Millisecond // the first wait at the end of a journal
	pollLast      = time.Second            // the longest
	refreshMargin = Limit / 30             // how long before Limit the checkpoints are listed again
	maxAhead      = 8                      // GETs in flight while behind
)

// An event is what happened: an answer of the store, or the end of a wait. Times are the store's.
type event interface{ event() }

type (
	// listed answers a list.
	listed struct {
		newest     uint64 // sequence of the newest checkpoint, if any
		any        bool
		higher     uint64 // the lowest object at or above the next one, if list.objects asked and anyObject
		anyObject  bool
		serverTime time.Time
	}
	// loaded answers a load.
	loaded struct{ checkpoint *kfs.Checkpoint }
	// read says that the next object is there.
	read struct {
		manifest   *kfs.Manifest
		crc        uint32
		serverTime time.Time
	}
	// absent says that the next object is not there.
	absent struct {
		higher     bool // one behind it was read
		serverTime time.Time
	}
	// waited says that a wait is over.
	waited struct{}
)

func (listed) event() {}
func (loaded) event() {}
func (read) event()   {}
func (absent) event() {}
func (waited) event() {}

// An effect is what to do next. The answer is the next event.
type effect interface{ effect() }

type (
	list struct{ objects bool } // the newest checkpoint; with objects also the first object at or above the next one
	load struct{ sequence uint64 }
	get  struct{ ahead int } // the next object; up to ahead ones behind it may be asked for at the same time
	wait struct{ d time.Duration }
	// deliver gives the object of the last read to the caller; step(waited{}) goes on.
	deliver struct{ faults map[int]error }
	// released says that the next object may go: read on from the newest checkpoint and the segments.
	released struct{}
	stop     struct{ err error }
)

func (list) effect()     {}
func (load) effect()     {}
func (get) effect()      {}
func (wait) effect()     {}
func (deliver) effect()  {}
func (released) effect() {}
func (stop) effect()     {}

// core decides what a tailer does next: no I/O, no clock, one step after another.
type core struct {
	chain *chain

	since     time.Time // the store's time of the newest list of checkpoints
	newest    uint64    // the newest checkpoint in it, if any
	any       bool
	runs      []kfs.Run // released runs of checkpoint loadedAs
	loadedAs  uint64
	hasLoaded bool

	refresh bool // list again before the next GET
	missing int  // how often the next object was absent one after the other
	suspect bool // an object behind the next one is known to be there
	ahead   int
}

// newCore begins with what a list and the checkpoint that it named have told; c is nil if there is none.
func newCore(h *chain, c *kfs.Checkpoint, since time.Time) *core {
	k := &core{chain: h, since: since}
	if c != nil {
		k.newest, k.any = c.Sequence, true
		k.runs, k.loadedAs, k.hasLoaded = c.Released, c.Sequence, true
	}
	return k
}

// step takes what happened and says what to do. The first event is waited{}.
func (k *core) step(e event) effect {
	switch e := e.(type) {
	case listed:
		return k.onListed(e)
	case loaded:
		k.runs, k.loadedAs, k.hasLoaded = e.checkpoint.Released, e.checkpoint.Sequence, true
		return k.onward()
	case read:
		if !k.believes(e.serverTime) {
			return list{}
		}
		return k.onRead(e)
	case absent:
		if !k.believes(e.serverTime) {
			return list{objects: true}
		}
		return k.onAbsent(e)
	}
	if k.refresh {
		return list{objects: k.missing > 0}
	}
	return k.onward()
}

// believes reports whether an answer at that time counts, and asks for a new list in time.
func (k *core) believes(at time.Time) bool {
	age := at.Sub(k.since)
	k.refresh = age > Limit-refreshMargin
	return age <= Limit
}

func (k *core) onListed(e listed) effect {
	k.since, k.newest, k.any, k.refresh = e.serverTime, e.newest, e.any, false
	k.suspect = k.suspect || e.anyObject && e.higher > k.chain.next
	if k.covered() && (!k.hasLoaded || k.loadedAs != k.newest) {
		return load{k.newest}
	}
	return k.onward()
}

// covered reports whether the newest checkpoint speaks about the next object. One that ends before it cannot have released it.
func (k *core) covered() bool { return k.any && k.chain.next <= k.newest }

// onward asks for the next object, unless it was released.
func (k *core) onward() effect {
	if k.covered() && k.hasLoaded {
		for _, r := range k.runs {
			if r.First <= k.chain.next && k.chain.next <= r.Last {
				return released{}
			}
		}
	}
	return get{ahead: k.ahead}
}

func (k *core) onRead(e read) effect {
	faults, err := k.chain.follow(e.manifest, e.crc)
	if err != nil {
		return stop{err}
	}
	k.missing, k.suspect = 0, false
	k.ahead = min(2*k.ahead+1, maxAhead-1)
	return deliver{faults}
}

// onAbsent waits at the end of the journal. Where something behind the missing object is known to exist, it is asked for once more at
// once, for it may have come in between; then it is a hole.
func (k *core) onAbsent(e absent) effect {
	k.ahead = 0
	k.missing++
	if k.suspect {
		return stop{fmt.Errorf("%s: %w", kfs.ObjectKey(k.chain.journal, k.chain.next),
			corrupt("the object is missing, but the journal goes on behind it: there is a hole"))}
	}
	if e.higher || k.covered() {
		k.suspect = true
		return get{}
	}
	if k.refresh {
		return list{objects: true}
	}
	return wait{min(pollFirst<<min(k.missing-1, 4), pollLast)}
}
