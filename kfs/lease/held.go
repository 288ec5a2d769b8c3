package lease

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Held is a key that one session has to itself.
type Held struct {
	session *Session
	key     string
	done    chan struct{}

	// Session.mu guards these.
	released  bool // done is closed, though the service may not know yet
	releasing bool // a Release is telling it
}

// Acquire waits until the key is free and takes it for the session. A key that somebody has put otherwise is not free either. It gives
// ErrHeld if the session has it already, and ErrLost when the session has ended.
func (s *Session) Acquire(ctx context.Context, key, value string) (*Held, error) {
	for {
		held, ok, err := s.TryAcquire(ctx, key, value)
		if err != nil || ok {
			return held, err
		}
		if err := s.waitFree(ctx, key); err != nil {
			return nil, fmt.Errorf("waiting for %s: %w", key, err)
		}
	}
}

// waitFree returns when the key may be free.
func (s *Session) waitFree(ctx context.Context, key string) error {
	bound, release := s.bind(ctx)
	defer release()
	entries, revision, err := s.service.list(bound, key)
	if err == nil && len(entries) > 0 && entries[0].Key == key {
		err = s.service.wait(bound, key, revision)
	}
	if err != nil && s.ended() && ctx.Err() == nil {
		return ErrLost
	}
	return err
}

// TryAcquire takes the key if it is free, and tells whether it was. While the service is away it waits.
func (s *Session) TryAcquire(ctx context.Context, key, value string) (*Held, bool, error) {
	h := &Held{session: s, key: key, done: make(chan struct{})}
	if err := s.reserve(h); err != nil {
		return nil, false, fmt.Errorf("acquiring %s: %w", key, err)
	}
	var owner int64
	err := s.do(ctx, func(ctx context.Context) (err error) {
		owner, err = s.service.backend.create(ctx, s.id, s.service.prefix+key, value)
		return err
	})
	if err != nil {
		h.abandon(ctx)
		return nil, false, fmt.Errorf("acquiring %s: %w", key, err)
	}
	if owner != s.id {
		h.forget()
		return nil, false, nil
	}
	return h, true, nil
}

// reserve keeps the key for h in this session, so that two of its callers do not both find that the session has it.
func (s *Session) reserve(h *Held) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.deadline.IsZero():
		return ErrLost
	case s.held[h.key] != nil:
		return ErrHeld
	}
	s.held[h.key] = h
	return nil
}

// abandon takes back a try of which nobody knows whether it took the key.
func (h *Held) abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.session.service.ttl/3)
	defer cancel()
	// If this fails too, the key is free when the session ends.
	_ = h.session.service.backend.remove(ctx, h.session.id, h.session.service.prefix+h.key)
	h.forget()
}

// forget ends h in this session, if the session has not ended it.
func (h *Held) forget() {
	s := h.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[h.key] == h {
		delete(s.held, h.key)
		h.close()
	}
}

// close tells those who wait. The caller holds Session.mu.
func (h *Held) close() {
	if !h.released {
		h.released = true
		close(h.done)
	}
}

// Key is what is held.
func (h *Held) Key() string { return h.key }

// Valid tells whether the key is certainly still this session's at now. It takes no I/O.
func (h *Held) Valid(now time.Time) bool {
	select {
	case <-h.done:
		return false
	default:
		return h.session.Valid(now)
	}
}

// Done is closed when the key is released or its session has ended.
func (h *Held) Done() <-chan struct{} { return h.done }

// Release gives the key up: here at once, and then for the others. While the service is away it waits; when its context ends first, it
// may be called again. Where there is nothing to release any more, or a Release is under way, it does nothing.
func (h *Held) Release(ctx context.Context) error {
	s := h.session
	s.mu.Lock()
	if s.held[h.key] != h || h.releasing {
		s.mu.Unlock()
		return nil
	}
	h.releasing = true
	h.close()
	s.mu.Unlock()

	err := s.do(ctx, func(ctx context.Context) error {
		return s.service.backend.remove(ctx, s.id, s.service.prefix+h.key)
	})
	if err == nil || errors.Is(err, ErrLost) {
		h.forget()
		return nil
	}
	s.mu.Lock()
	h.releasing = false
	s.mu.Unlock()
	return fmt.Errorf("releasing %s: %w", h.key, err)
}
