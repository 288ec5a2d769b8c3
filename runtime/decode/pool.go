package decode

import (
	"math/bits"
	"sync"

	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Pool is an allocator that keeps the buffers which are given back for the next that are asked for: columns need buffers of the same
// sizes again and again, and clearing and faulting in fresh memory costs a third of decoding. Several decoders share one. Unlike those
// of Go's allocator its buffers are not zeroed. It is safe for concurrent use.
type Pool struct {
	limit int
	fresh memory.Allocator

	mu   sync.Mutex // guards the fields below
	held int        // bytes
	free [poolClasses][][]byte
}

var _ memory.Allocator = (*Pool)(nil)

// NewPool makes a pool that keeps at most limit bytes that nobody uses.
func NewPool(limit int) *Pool {
	return &Pool{limit: limit, fresh: memory.NewGoAllocator()}
}

// poolClasses is the number of sizes of buffers: from 64 bytes on four to each doubling, so that at most a fifth of a buffer is unused.
const poolClasses = 4 * (31 - 6)

// poolClass is the smallest class that holds size bytes, and its size; class is poolClasses if there is none.
func poolClass(size int) (class, bytes int) {
	size = max(size, 64)
	double := bits.Len(uint(size)) - 1 // size is within [1<<double, 2<<double)
	step := 1 << double / 4
	n := (size - 1<<double + step - 1) / step // quarters above, 0 to 4
	return min((double-6)*4+n, poolClasses), 1<<double + n*step
}

// Allocate implements memory.Allocator.
func (p *Pool) Allocate(size int) []byte {
	class, bytes := poolClass(size)
	if class == poolClasses {
		return p.fresh.Allocate(size)
	}
	if b := p.take(class); b != nil {
		return b[:size]
	}
	return p.fresh.Allocate(bytes)[:size:bytes]
}

func (p *Pool) take(class int) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.free[class])
	if n == 0 {
		return nil
	}
	b := p.free[class][n-1]
	p.free[class][n-1] = nil
	p.free[class] = p.free[class][:n-1]
	p.held -= cap(b)
	return b
}

// Reallocate implements memory.Allocator.
func (p *Pool) Reallocate(size int, b []byte) []byte {
	if size <= cap(b) {
		return b[:size]
	}
	larger := p.Allocate(size)
	copy(larger, b)
	p.Free(b)
	return larger
}

// Free implements memory.Allocator.
func (p *Pool) Free(b []byte) {
	class, bytes := poolClass(cap(b))
	if class == poolClasses || bytes != cap(b) {
		return // none of ours: the garbage collector takes it
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held+bytes <= p.limit {
		p.held += bytes
		p.free[class] = append(p.free[class], b[:0])
	}
}
