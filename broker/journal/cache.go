package journal

import (
	"container/list"
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/firn-io/firn/kfs/record"
)

// Memory is what the journals of one process share, so that their number does not change what they take together.
type Memory struct {
	cache     *cache
	reads     *semaphore.Weighted
	readBytes int64
	builds    chan struct{} // holds a token while a journal makes segments
	lent      int64         // bytes that the cache is smaller by meanwhile
	searches  *record.Readers
}

// NewMemory is memory for recent and cold records, and for cold reads that are on their way at a time, in bytes. Batches that are searched
// are decompressed beside it, as many at a time as there are cores.
func NewMemory(cacheBytes, readBytes int64) *Memory {
	return &Memory{
		cache: newCache(cacheBytes), reads: semaphore.NewWeighted(readBytes), readBytes: readBytes, builds: make(chan struct{}, 1), searches: record.NewReaders(),
	}
}

// Lend has the cache give so many of its bytes, at most all, to whoever makes segments, as long as that takes. It is called before the
// memory is used.
func (m *Memory) Lend(bytes int64) { m.lent = min(bytes, m.cache.limit) }

// beginBuild waits for the turn to make segments.
func (m *Memory) beginBuild(ctx context.Context) error {
	select {
	case m.builds <- struct{}{}:
		m.cache.resize(-m.lent)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// endBuild gives the turn to the next.
func (m *Memory) endBuild() {
	m.cache.resize(m.lent)
	<-m.builds
}

// cacheKey names what is cached: a whole journal object (position 0), one segment of it, or another object by name.
type cacheKey struct {
	journal  uint32
	sequence uint64
	position int64
	name     string
}

// cache keeps recent objects and segments, bounded in bytes; the least recently used go first.
type cache struct {
	mu      sync.Mutex // guards what follows
	limit   int64
	bytes   int64
	recent  *list.List // of *cached, the most recent in front
	entries map[cacheKey]*list.Element
}

type cached struct {
	key  cacheKey
	body []byte
}

func newCache(limit int64) *cache {
	return &cache{limit: limit, recent: list.New(), entries: map[cacheKey]*list.Element{}}
}

func (c *cache) get(key cacheKey) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok {
		return nil, false
	}
	c.recent.MoveToFront(e)
	return e.Value.(*cached).body, true
}

// put keeps body, which nobody modifies from here on.
func (c *cache) put(key cacheKey, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.entries[key]; ok || int64(len(body)) > c.limit {
		return
	}
	c.entries[key] = c.recent.PushFront(&cached{key, body})
	c.bytes += int64(len(body))
	c.evict()
}

// resize changes the bound by so many bytes.
func (c *cache) resize(by int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limit += by
	c.evict()
}

// evict drops what is too much. The caller holds c.mu.
func (c *cache) evict() {
	for c.bytes > c.limit {
		last := c.recent.Back()
		old := c.recent.Remove(last).(*cached)
		delete(c.entries, old.key)
		c.bytes -= int64(len(old.body))
	}
}

// flights joins reads of the same thing that happen at the same time into one.
type flights struct {
	mu    sync.Mutex // guards under
	under map[cacheKey]*joined
}

type joined struct {
	done chan struct{}
	body []byte
	err  error
}

// do reads by fn, or waits for somebody who is reading key already. If that reader gave up because its own ctx ended, the next one reads.
func (f *flights) do(ctx context.Context, key cacheKey, fn func() ([]byte, error)) ([]byte, error) {
	for {
		f.mu.Lock()
		other, ok := f.under[key]
		if !ok {
			break
		}
		f.mu.Unlock()
		select {
		case <-other.done:
			if !errors.Is(other.err, context.Canceled) && !errors.Is(other.err, context.DeadlineExceeded) {
				return other.body, other.err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if f.under == nil {
		f.under = map[cacheKey]*joined{}
	}
	mine := &joined{done: make(chan struct{})}
	f.under[key] = mine
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.under, key)
		f.mu.Unlock()
		close(mine.done)
	}()
	mine.body, mine.err = fn()
	return mine.body, mine.err
}
