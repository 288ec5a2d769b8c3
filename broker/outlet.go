package broker

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// errStalled says that a client does not read.
var errStalled = errors.New("the client does not read its answers")

// outlet is a client's connection as answers go out: it judges the client's pace while it writes. It lies below TLS, which does not survive a
// write that is broken off to look at the clock.
type outlet struct {
	net.Conn
	patience time.Duration // for what is not an answer

	mu    sync.Mutex // guards what follows; not held while anything waits
	pace  *pace      // of the answer that goes out; nil if none does
	tight func() bool
	limit time.Time // no write goes on for longer; zero: none is set
}

// begin says that an answer goes out. tight reports whether others wait for its memory. end undoes it.
func (o *outlet) begin(patience time.Duration, tight func() bool) (end func()) {
	p := newPace(time.Now(), patience)
	o.set(&p, tight)
	return func() { o.set(nil, nil) }
}

func (o *outlet) set(p *pace, tight func() bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pace, o.tight = p, tight
}

// SetWriteDeadline bounds all writes together, whatever the client's pace.
func (o *outlet) SetWriteDeadline(t time.Time) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.limit = t
	return o.Conn.SetWriteDeadline(t)
}

// Write writes all of b. The error is errStalled where the client is too slow.
func (o *outlet) Write(b []byte) (written int, err error) {
	o.mu.Lock()
	p, tight := o.pace, o.tight
	o.mu.Unlock()
	if p == nil {
		own := newPace(time.Now(), o.patience)
		p, tight = &own, func() bool { return false }
	}
	for {
		limit, err := o.arm(p.deadline())
		if err != nil {
			return written, err
		}
		n, err := o.Conn.Write(b[written:])
		written += n
		p.add(n)
		now := time.Now()
		switch {
		case err == nil:
			return written, nil
		case !errors.Is(err, os.ErrDeadlineExceeded) || !limit.IsZero() && !now.Before(limit):
			return written, err
		case now.Before(p.deadline()): // the limit was set meanwhile
		case p.turn(now, tight()):
			return written, errStalled
		}
	}
}

// arm sets the connection's own deadline: the sooner of at and the limit, which it gives.
func (o *outlet) arm(at time.Time) (limit time.Time, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.limit.IsZero() && o.limit.Before(at) {
		at = o.limit
	}
	return o.limit, o.Conn.SetWriteDeadline(at)
}
