package pipeline

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// objectBudget bounds the bytes of objects that were read and not decoded yet. One object may always be held, however large it is.
type objectBudget struct {
	limit int64
	free  *semaphore.Weighted
}

func newObjectBudget(limit int64) *objectBudget {
	return &objectBudget{limit, semaphore.NewWeighted(limit)}
}

// Acquire waits for n bytes, first come, first served.
func (b *objectBudget) Acquire(ctx context.Context, n int64) error {
	return b.free.Acquire(ctx, min(n, b.limit))
}

// Release gives them back.
func (b *objectBudget) Release(n int64) { b.free.Release(min(n, b.limit)) }

// rowMemory counts what the tables' decoders and sinks hold. Each table says what it holds; when all together hold more than the limit,
// no table takes more records, and those that hold at least their share commit. At least one does.
type rowMemory struct {
	limit int64

	mu      sync.Mutex // guards what follows
	tables  map[*table]int64
	used    int64
	changed chan struct{} // closed when used has crossed the limit
}

func newRowMemory(limit int64) *rowMemory {
	return &rowMemory{limit: limit, tables: map[*table]int64{}, changed: make(chan struct{})}
}

// hold says how much a table holds now.
func (m *rowMemory) hold(t *table, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.used > m.limit
	m.used += bytes - m.tables[t]
	m.tables[t] = bytes
	if bytes == 0 {
		delete(m.tables, t)
	}
	if before != (m.used > m.limit) {
		close(m.changed)
		m.changed = make(chan struct{})
	}
}

// pressure reports whether all together hold too much, and whether the table holds its share of it or more. The channel is closed when the
// first answer changes.
func (m *rowMemory) pressure(t *table) (over, share bool, changed <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	over = m.used > m.limit
	return over, over && m.tables[t] >= m.used/int64(max(1, len(m.tables))), m.changed
}
