package lease

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// Memory is a lease service inside the process: for tests, and for one process that has no etcd and needs none. Several Services on one
// Memory see each other. It is safe for concurrent use.
type Memory struct {
	mu       sync.Mutex // guards what follows
	changed  chan struct{}
	away     bool
	revision int64 // of the last change
	lastID   int64
	leases   map[int64]*memoryLease
	keys     map[string]memoryKey
}

type memoryLease struct {
	ttl   time.Duration
	timer *time.Timer
	left  bool // nobody is heard of any more
}

type memoryKey struct {
	value string
	owner int64
}

var _ backend = (*Memory)(nil)

// NewMemory makes an empty service.
func NewMemory() *Memory {
	return &Memory{changed: make(chan struct{}), leases: map[int64]*memoryLease{}, keys: map[string]memoryKey{}}
}

// Service is the view of one process. All keys are below prefix; a zero ttl is DefaultTTL.
func (m *Memory) Service(prefix string, ttl time.Duration) *Service {
	return newService(m, prefix, ttl)
}

// SetAway makes the service unreachable, or reachable again. What has a TTL goes on ageing.
func (m *Memory) SetAway(away bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.away = away
	m.broadcast()
}

// Wipe makes the service lose all that it knows, revisions too, and tell nobody.
func (m *Memory) Wipe() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.leases {
		l.timer.Stop()
	}
	m.revision = 0
	clear(m.leases)
	clear(m.keys)
}

// Expire ends the session that has put a key, as if its TTL were over; the session learns of it when it is to be kept alive.
func (m *Memory) Expire(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k, ok := m.keys[key]; ok {
		m.expire(k.owner)
	}
}

// Leave cuts off the session that has put a key, as if its process were killed: whatever it still asks for is answered well and not done, and
// what it has put goes when its TTL is over.
func (m *Memory) Leave(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l := m.leases[m.keys[key].owner]; l != nil {
		l.left = true
	}
}

// broadcast wakes all who wait. The caller holds m.mu.
func (m *Memory) broadcast() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// enter locks the service when it can be reached.
func (m *Memory) enter(ctx context.Context) error {
	for {
		m.mu.Lock()
		err := ctx.Err()
		if err == nil && !m.away {
			return nil
		}
		changed := m.changed
		m.mu.Unlock()
		if err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

func (m *Memory) grant(ctx context.Context, ttl time.Duration) (int64, error) {
	if err := m.enter(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	m.lastID++
	id := m.lastID
	m.leases[id] = &memoryLease{ttl: ttl, timer: time.AfterFunc(ttl, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.expire(id)
	})}
	return id, nil
}

// expire ends a lease. The caller holds m.mu.
func (m *Memory) expire(id int64) {
	l := m.leases[id]
	if l == nil {
		return
	}
	l.timer.Stop()
	delete(m.leases, id)
	for key, k := range m.keys {
		if k.owner == id {
			delete(m.keys, key)
			m.revision++
		}
	}
	m.broadcast()
}

// enterLease is enter for a lease that must be there.
func (m *Memory) enterLease(ctx context.Context, id int64) (*memoryLease, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	l := m.leases[id]
	if l == nil {
		m.mu.Unlock()
		return nil, errGone
	}
	return l, nil
}

func (m *Memory) keepAlive(ctx context.Context, id int64) error {
	l, err := m.enterLease(ctx, id)
	if err != nil {
		return err
	}
	defer m.mu.Unlock()
	if !l.left {
		l.timer.Reset(l.ttl)
	}
	return nil
}

func (m *Memory) revoke(ctx context.Context, id int64) error {
	l, err := m.enterLease(ctx, id)
	if err != nil {
		return err
	}
	defer m.mu.Unlock()
	if !l.left {
		m.expire(id)
	}
	return nil
}

func (m *Memory) create(ctx context.Context, id int64, key, value string) (int64, error) {
	l, err := m.enterLease(ctx, id)
	if err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	if k, ok := m.keys[key]; ok {
		return k.owner, nil
	}
	if l.left {
		return id, nil
	}
	m.set(key, memoryKey{value, id})
	return id, nil
}

func (m *Memory) put(ctx context.Context, id int64, key, value string) error {
	l, err := m.enterLease(ctx, id)
	if err != nil {
		return err
	}
	defer m.mu.Unlock()
	if l.left {
		return nil
	}
	m.set(key, memoryKey{value, id})
	return nil
}

// set changes a key. The caller holds m.mu.
func (m *Memory) set(key string, k memoryKey) {
	m.keys[key] = k
	m.revision++
	m.broadcast()
}

func (m *Memory) remove(ctx context.Context, id int64, key string) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if k, ok := m.keys[key]; ok && k.owner == id && !m.leases[id].left {
		delete(m.keys, key)
		m.revision++
		m.broadcast()
	}
	return nil
}

func (m *Memory) list(ctx context.Context, prefix string) ([]Entry, int64, error) {
	if err := m.enter(ctx); err != nil {
		return nil, 0, err
	}
	defer m.mu.Unlock()
	var entries []Entry
	for key, k := range m.keys {
		if strings.HasPrefix(key, prefix) {
			entries = append(entries, Entry{key, k.value})
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Compare(a.Key, b.Key) })
	return entries, m.revision, nil
}

// wait looks at no prefix: a change elsewhere costs a list.
func (m *Memory) wait(ctx context.Context, _ string, revision int64) error {
	for {
		if err := m.enter(ctx); err != nil {
			return err
		}
		changed, now := m.changed, m.revision
		m.mu.Unlock()
		if now > revision {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close does nothing: the Memory goes with its last user.
func (m *Memory) Close() error { return nil }
