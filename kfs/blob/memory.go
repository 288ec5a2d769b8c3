package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Memory is a Store in memory, for tests and simulations. The zero value is not usable; see NewMemory.
type Memory struct {
	now func() time.Time

	mu      sync.Mutex // guards what follows
	objects map[string]memoryObject
	keys    []string // sorted
	version int64
}

type memoryObject struct {
	body     []byte
	modified time.Time
	version  int64
}

var _ Store = (*Memory)(nil)

// NewMemory makes an empty store whose clock is now (time.Now if nil).
func NewMemory(now func() time.Time) *Memory {
	if now == nil {
		now = time.Now
	}
	return &Memory{now: now, objects: map[string]memoryObject{}}
}

func (m *Memory) info(key string, o memoryObject) Info {
	return Info{Key: key, Size: int64(len(o.body)), Version: strconv.FormatInt(o.version, 10), Modified: o.modified, ServerTime: m.now()}
}

// Get implements Store.
func (m *Memory) Get(ctx context.Context, key string, r Range) (io.ReadCloser, Info, error) {
	if err := errors.Join(ctx.Err(), CheckKey(key)); err != nil {
		return nil, Info{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[key]
	if !ok {
		return nil, Info{Key: key, ServerTime: m.now()}, fmt.Errorf("get %s: %w", key, ErrNotFound)
	}
	off, n, err := r.Resolve(int64(len(o.body)))
	if err != nil {
		return nil, m.info(key, o), fmt.Errorf("get %s: %w", key, err)
	}
	return io.NopCloser(bytes.NewReader(o.body[off : off+n])), m.info(key, o), nil
}

// Put implements Store.
func (m *Memory) Put(ctx context.Context, key string, body []byte, ifAbsent bool) (Info, error) {
	if err := errors.Join(ctx.Err(), CheckKey(key)); err != nil {
		return Info{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, exists := m.objects[key]
	if exists && ifAbsent {
		return Info{Key: key, ServerTime: m.now()}, fmt.Errorf("put %s: %w", key, ErrPrecondition)
	}
	if !exists {
		i, _ := slices.BinarySearch(m.keys, key)
		m.keys = slices.Insert(m.keys, i, key)
	}
	m.version++
	o := memoryObject{body: bytes.Clone(body), modified: m.now(), version: m.version}
	m.objects[key] = o
	return m.info(key, o), nil
}

// memoryPage is the number of objects on a page: small, so that tests meet more than one.
const memoryPage = 100

// List implements Store.
func (m *Memory) List(ctx context.Context, prefix, after string) iter.Seq2[Page, error] {
	return func(yield func(Page, error) bool) {
		for start, more := after, true; more; {
			if err := ctx.Err(); err != nil {
				yield(Page{}, err)
				return
			}
			var page Page
			page, more = m.page(prefix, start)
			if more {
				start = page.Objects[len(page.Objects)-1].Key
			}
			if !yield(page, nil) {
				return
			}
		}
	}
}

func (m *Memory) page(prefix, after string) (page Page, more bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	page.ServerTime = m.now()
	i, _ := slices.BinarySearch(m.keys, max(prefix, after))
	for ; i < len(m.keys); i++ {
		key := m.keys[i]
		if !strings.HasPrefix(key, prefix) {
			break
		}
		if key <= after {
			continue
		}
		if len(page.Objects) == memoryPage {
			return page, true
		}
		info := m.info(key, m.objects[key])
		info.ServerTime = time.Time{}
		page.Objects = append(page.Objects, info)
	}
	return page, false
}

// Delete implements Store.
func (m *Memory) Delete(ctx context.Context, key string) error {
	if err := errors.Join(ctx.Err(), CheckKey(key)); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.objects[key]; ok {
		delete(m.objects, key)
		i, _ := slices.BinarySearch(m.keys, key)
		m.keys = slices.Delete(m.keys, i, i+1)
	}
	return nil
}
