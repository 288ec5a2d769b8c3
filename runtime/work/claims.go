package work

import (
	"maps"

	"github.com/firn-io/firn/kfs"
)

// An event is something that a worker's claims depend on.
type event interface{ event() }

type (
	// opened says that a session began, the first or one after a session that was lost: what was claimed in that is free for others.
	opened struct{}
	// viewed is what the live workers claim. The own key is among them if it was put in this session, and then of that edition.
	viewed struct {
		claims  map[string]set
		edition uint64
	}
	// found says how many partitions a topic has, 0 if there is no such topic any more.
	found struct {
		topic      kfs.TopicID
		partitions int32
	}
	// settled says that of what was read before that turn, and is not the worker's any more since, nothing is held or being committed.
	settled struct{ turn uint64 }
)

func (opened) event()  {}
func (viewed) event()  {}
func (found) event()   {}
func (settled) event() {}

// An effect is what to do about it.
type effect interface{ effect() }

type (
	// put says in the worker's key what it claims. Editions are put in order, though not all need to be.
	put struct {
		claims  set
		edition uint64
	}
	// share says what the worker reads from now on.
	share struct {
		turn uint64
		of   set
	}
)

func (put) effect()   {}
func (share) effect() {}

// claims decides what one worker claims and reads: no I/O, no clock, one step after another.
//
//	held ⊆ claimed, in the view or on its way there
//
// A partition is claimed in the worker's key before it is read, and read only after a view has shown the claim and no other's: views are
// what etcd holds at one moment, so of two workers that claim the same, the later one sees the earlier one's claim and does not read. A view
// may be old: it shows a claim only if its edition of the key is not older than that claim.
type claims struct {
	self   string
	topics topics
	view   map[string]set // of the live workers
	shown  uint64         // the edition of the own key in the view; 0 if it is not there
	renew  bool           // no view of this session has had the own key yet

	claimed    map[kfs.PartitionID]uint64 // since that edition
	edition    uint64                     // of the newest put
	held       set
	turn       uint64
	left       map[kfs.PartitionID]uint64 // given up in that turn, and claimed until that is settled
	registered bool                       // the own key was put in this session, or is about to be
}

func newClaims(self string) *claims {
	return &claims{self: self, topics: topics{}, claimed: map[kfs.PartitionID]uint64{}, held: set{}, left: map[kfs.PartitionID]uint64{}}
}

// step takes what happened and says what to do.
func (c *claims) step(e event) []effect {
	before := maps.Clone(c.claimed)
	switch e := e.(type) {
	case opened:
		c.view, c.shown, c.renew, c.registered = nil, 0, true, false
		return nil
	case viewed:
		c.view, c.shown = maps.Clone(e.claims), e.edition
		if c.renew {
			c.yield()
			c.renew = c.shown == 0
		}
	case found:
		if e.partitions == 0 {
			delete(c.topics, e.topic)
		} else {
			c.topics[e.topic] = e.partitions
		}
	case settled:
		for id, turn := range c.left {
			if turn <= e.turn {
				delete(c.left, id)
				delete(c.claimed, id)
			}
		}
	}
	if c.view == nil {
		return nil
	}
	var effects []effect
	if c.decide() {
		c.turn++
		for id, turn := range c.left {
			if turn == 0 {
				c.left[id] = c.turn
			}
		}
		effects = append(effects, share{c.turn, maps.Clone(c.held)})
	}
	if !c.registered || !maps.Equal(before, c.claimed) {
		c.registered = true
		c.edition++
		effects = append(effects, put{c.all(), c.edition})
	}
	return effects
}

// all are the partitions that are claimed.
func (c *claims) all() set {
	all := set{}
	for id := range c.claimed {
		all[id] = true
	}
	return all
}

// yield gives up at once what others have claimed while there was no session. They read it already: what is held of it comes to nothing.
func (c *claims) yield() {
	for id := range c.claimed {
		if c.other(id) {
			delete(c.claimed, id)
		}
	}
}

// other reports whether another worker claims a partition.
func (c *claims) other(id kfs.PartitionID) bool {
	for worker, claimed := range c.view {
		if worker != c.self && claimed[id] {
			return true
		}
	}
	return false
}

// decide brings what is claimed and held closer to the worker's share, and reports whether it reads something else from now on.
func (c *claims) decide() (changed bool) {
	seen := maps.Clone(c.view)
	if c.shown == 0 {
		seen[c.self] = c.all()
	}
	target := place(seen, c.topics, c.self)
	for id := range c.held {
		switch {
		case c.claimed[id] == 0: // others had taken it
			delete(c.held, id)
			changed = true
		case !target[id]:
			delete(c.held, id)
			c.left[id] = 0
			changed = true
		}
	}
	for id, since := range c.claimed {
		_, left := c.left[id]
		switch {
		case c.held[id]:
		case target[id] && left: // it was never free
			delete(c.left, id)
			c.held[id] = true
			changed = true
		case left:
		case !target[id]:
			delete(c.claimed, id)
		case since <= c.shown && !c.other(id):
			c.held[id] = true
			changed = true
		}
	}
	for id := range target {
		if c.claimed[id] == 0 && !c.other(id) {
			c.claimed[id] = c.edition + 1
		}
	}
	return changed
}
