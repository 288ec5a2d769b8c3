package broker

import (
	"sync/atomic"
	"time"
)

const (
	// slowestBytes is the rate in bytes per second below which a peer counts as stalled.
	slowestBytes = 64 << 10
	// pressedTimeout is how long a peer may be stalled while others wait for the memory that its request or answer takes.
	pressedTimeout = 5 * time.Second
	// window is how long a read or write goes on before its peer's pace is looked at.
	window = time.Second
)

// pace judges a peer that sends a request or reads an answer, whose memory is held meanwhile. It may take its time, as consumers do
// that work on what they have; but not more than patience in all, and not while others wait for the memory.
type pace struct {
	last  time.Time // when it is enough in any case
	good  time.Time // the end of the last window in which enough was moved, or the begin
	begun time.Time // of this window
	moved int       // bytes, in this window
}

func newPace(now time.Time, patience time.Duration) pace {
	return pace{last: now.Add(patience), good: now, begun: now}
}

// deadline is when the pace has to be looked at again.
func (p *pace) deadline() time.Time {
	if end := p.begun.Add(window); end.Before(p.last) {
		return end
	}
	return p.last
}

// add notes that bytes were moved.
func (p *pace) add(bytes int) { p.moved += bytes }

// turn ends a window and reports whether the peer has stalled. pressed says that others wait for memory.
func (p *pace) turn(now time.Time, pressed bool) (stalled bool) {
	if p.moved >= int(slowestBytes*window/time.Second) {
		p.good = now
	}
	p.begun, p.moved = now, 0
	return !now.Before(p.last) || pressed && now.Sub(p.good) >= pressedTimeout
}

// appetite is how much memory a client's next answer may take: about what the client has been seen to read in a second. It begins
// small, so that clients which ask for much and read nothing hold little, and grows as fast as answers are read. It is safe for
// concurrent use.
type appetite struct{ bytes atomic.Int64 }

const (
	// firstAppetite is enough for a batch of the largest usual size, as read and as encoded.
	firstAppetite = 2 << 20
	maxAppetite   = 1 << 30
	// An answer that was read within eager doubles the appetite, one that took longer than reluctant halves it.
	eager     = time.Second
	reluctant = 2 * time.Second
)

func (a *appetite) limit() int64 { return max(a.bytes.Load(), firstAppetite) }

// read notes how long the client took for an answer. One that took much less memory than allowed says nothing about more.
func (a *appetite) read(bytes int64, took time.Duration) {
	limit := a.limit()
	switch {
	case took > reluctant:
		a.bytes.Store(max(limit/2, firstAppetite))
	case took <= eager && bytes > limit/2:
		a.bytes.Store(min(2*limit, maxAppetite))
	}
}
