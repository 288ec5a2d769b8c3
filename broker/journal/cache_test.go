package journal

import (
	"context"
	"testing"
)

// TestMemoryLent: whoever makes segments has room from the cache, one at a time, and the cache has it back afterwards.
func TestMemoryLent(t *testing.T) {
	m := NewMemory(100, 1)
	m.Lend(60)
	keep := func(n int) (kept int) {
		for s := range uint64(n) {
			m.cache.put(cacheKey{sequence: s}, make([]byte, 10))
		}
		for s := range uint64(n) {
			if _, ok := m.cache.get(cacheKey{sequence: s}); ok {
				kept++
			}
		}
		return kept
	}
	if n := keep(12); n != 10 {
		t.Errorf("%d objects of 10 bytes in a cache of 100", n)
	}
	if err := m.beginBuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := keep(12); n != 4 {
		t.Errorf("%d objects of 10 bytes in a cache of 100 that has lent 60", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.beginBuild(ctx); err == nil {
		t.Error("two make segments at a time")
	}
	m.endBuild()
	if n := keep(12); n != 10 {
		t.Errorf("%d objects of 10 bytes in a cache that has all back", n)
	}
}
