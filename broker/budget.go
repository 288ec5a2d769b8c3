package broker

import (
	"container/list"
	"context"
	"fmt"
	"sync"
)

// Budget is an amount of memory, in bytes, that many connections share. Who asks for more than is free waits; those who wait are
// served in order.
//
// Who can do with less than it likes to have asks for a share: it gets what it likes while that is at most a quarter of what is free,
// and less, down to what it needs, where many hold much already. So those who hold memory for long leave some for those who come later.
//
// A request grows as its bytes arrive, so that it holds memory while it waits for more. If all memory were held by halves of
// requests, no one would ever finish: therefore one lease at a time may overdraw the budget until it is released. What is used
// is thus at most the budget and one largest lease.
type Budget struct {
	limit int64

	mu        sync.Mutex // guards the fields below, and the fields of leases
	used      int64
	overdrawn *Lease // nil if no lease may overdraw
	waiters   list.List
}

// NewBudget is a budget of limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Lease is one holder's part of a budget. It is not safe for concurrent use.
type Lease struct {
	budget *Budget
	held   int64
}

// shareOfFree is the part of what is free that a share may have.
const shareOfFree = 4

type waiter struct {
	lease   *Lease
	least   int64
	most    int64
	got     int64         // guarded by the budget's mutex until granted is closed
	granted chan struct{} // closed under the budget's mutex
}

// Lease is a new, empty lease.
func (b *Budget) Lease() *Lease { return &Lease{budget: b} }

// Used is the number of bytes in use.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// Wanted reports whether somebody waits for memory.
func (b *Budget) Wanted() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiters.Len() > 0
}

// Reserve adds bytes to the lease. It blocks until they may be used or ctx is done; a lease of more than the whole budget is an
// error at once.
func (l *Lease) Reserve(ctx context.Context, bytes int64) error {
	_, err := l.ReserveShare(ctx, bytes, bytes)
	return err
}

// ReserveShare adds at least and at most so many bytes to the lease, and says how many. It blocks until the least may be used or ctx is
// done; a lease of more than the whole budget is an error at once.
func (l *Lease) ReserveShare(ctx context.Context, least, most int64) (int64, error) {
	b := l.budget
	b.mu.Lock()
	if l.held+least > b.limit {
		b.mu.Unlock()
		return 0, fmt.Errorf("%d bytes are wanted, the memory for them all is %d", l.held+least, b.limit)
	}
	w := &waiter{lease: l, least: least, most: most, granted: make(chan struct{})}
	if b.overdrawn == l || b.waiters.Len() == 0 && b.used+least <= b.limit {
		b.take(w)
		b.mu.Unlock()
		return w.got, nil
	}
	e := b.waiters.PushBack(w)
	b.grant()
	b.mu.Unlock()
	select {
	case <-w.granted:
		return w.got, nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-w.granted: // at the same moment; Release gives it back
	default:
		b.waiters.Remove(e)
		b.grant() // it may have stood before one that fits
	}
	return 0, ctx.Err()
}

// Release gives everything back. The lease can be used again.
func (l *Lease) Release() { l.Keep(0) }

// Keep gives back what the lease holds above bytes.
func (l *Lease) Keep(bytes int64) {
	b := l.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.held > bytes {
		b.used -= l.held - bytes
		l.held = bytes
	}
	if b.overdrawn == l && l.held == 0 {
		b.overdrawn = nil
	}
	b.grant()
}

func (b *Budget) take(w *waiter) {
	w.got = max(w.least, min(w.most, (b.limit-b.used)/shareOfFree))
	b.used += w.got
	w.lease.held += w.got
}

// grant serves those who wait, in order, and lets the first of those who hold something overdraw if no one does.
func (b *Budget) grant() {
	for e := b.waiters.Front(); e != nil; e = b.waiters.Front() {
		w := e.Value.(*waiter)
		if b.used+w.least > b.limit {
			break
		}
		b.serve(e)
	}
	if b.overdrawn != nil {
		return
	}
	for e := b.waiters.Front(); e != nil; e = e.Next() {
		if w := e.Value.(*waiter); w.lease.held > 0 {
			b.overdrawn = w.lease
			b.serve(e)
			return
		}
	}
}

func (b *Budget) serve(e *list.Element) {
	w := b.waiters.Remove(e).(*waiter)
	b.take(w)
	close(w.granted)
}
