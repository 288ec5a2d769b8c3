package lease

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Session is the life of one process in the eyes of the others. It is safe for concurrent use. It ends when it is closed, when the
// service says that it has ended, or when no keep-alive was answered for a TTL; an ended session never comes back.
type Session struct {
	service *Service
	id      int64
	stop    context.CancelFunc
	stopped chan struct{} // closed when the keeper has returned
	done    chan struct{} // closed when the session has ended

	mu       sync.Mutex // guards what follows
	deadline time.Time  // zero when ended
	held     map[string]*Held
}

// Open begins a session. While the service is away it waits.
func (s *Service) Open(ctx context.Context) (*Session, error) {
	var (
		id   int64
		sent time.Time
	)
	err := s.retry(ctx, func(ctx context.Context) (err error) {
		sent = time.Now()
		id, err = s.backend.grant(ctx, s.ttl)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("opening a lease session: %w", err)
	}
	keeping, stop := context.WithCancel(context.Background())
	session := &Session{
		service: s, id: id, stop: stop, stopped: make(chan struct{}), done: make(chan struct{}),
		deadline: sent.Add(s.ttl), held: map[string]*Held{},
	}
	go session.keep(keeping, sent)
	return session, nil
}

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// Valid tells whether the session has certainly not ended at now, a time with a monotonic reading. See the package comment for what
// that is worth.
func (s *Session) Valid(now time.Time) bool {
	return now.Before(s.until())
}

// Close ends the session and all that it holds, here first and then for the others, and waits for its goroutines. If the service is
// away it tries for a TTL, after which the others know anyway.
func (s *Session) Close() error {
	s.stop()
	<-s.stopped
	if s.ended() {
		return nil
	}
	s.end()
	ctx, cancel := context.WithTimeout(context.Background(), s.service.ttl)
	defer cancel()
	err := s.service.retry(ctx, func(ctx context.Context) error { return s.service.backend.revoke(ctx, s.id) })
	if err != nil && !errors.Is(err, errGone) {
		return fmt.Errorf("closing a lease session: %w", err)
	}
	return nil
}

// keep sends keep-alives, three in a TTL, until it is stopped or the session has ended.
func (s *Session) keep(ctx context.Context, sent time.Time) {
	defer close(s.stopped)
	interval := s.service.ttl / 3
	next := sent.Add(interval)
	for {
		if pause(ctx, time.Until(next)) != nil {
			return
		}
		sent = time.Now()
		err := s.keepOnce(ctx, sent)
		switch {
		case err == nil:
			next = sent.Add(interval)
		case ctx.Err() != nil:
			return
		case errors.Is(err, errGone) || !s.Valid(time.Now()):
			s.end()
			return
		default:
			next = time.Now().Add(min(interval/4, maxPause, time.Until(s.until())))
		}
	}
}

func (s *Session) keepOnce(ctx context.Context, sent time.Time) error {
	deadline := s.until()
	if limit := sent.Add(s.service.ttl / 3); limit.Before(deadline) {
		deadline = limit
	}
	bounded, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	if err := s.service.backend.keepAlive(bounded, s.id); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !time.Now().Before(s.deadline) {
		return errGone // it was over for this process already, whatever the service says now
	}
	s.deadline = sent.Add(s.service.ttl)
	return nil
}

// end makes the session invalid, and tells all who wait.
func (s *Session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deadline.IsZero() {
		return
	}
	s.deadline = time.Time{}
	close(s.done)
	for _, h := range s.held {
		h.close()
	}
	s.held = nil
}

// until is the end of what is known of the session, zero when it has ended.
func (s *Session) until() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deadline
}

func (s *Session) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// run calls work with a context that ends with the session.
func (s *Session) run(ctx context.Context, work func(context.Context, *Session) error) error {
	bound, cancel := s.bind(ctx)
	defer cancel()
	return work(bound, s)
}

// bind gives a context that ends with the session too, and a function that releases it.
func (s *Session) bind(ctx context.Context) (context.Context, func()) {
	bound, cancel := context.WithCancelCause(ctx)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		select {
		case <-s.done:
			cancel(ErrLost)
		case <-bound.Done():
		}
	}()
	return bound, func() {
		cancel(nil)
		<-finished
	}
}

// do tries an operation of the session until it is done. It gives ErrLost when the session has ended, also if the service says so first.
func (s *Session) do(ctx context.Context, try func(context.Context) error) error {
	bound, release := s.bind(ctx)
	defer release()
	err := s.service.retry(bound, try)
	if errors.Is(err, errGone) {
		s.end()
	}
	if err != nil && s.ended() && ctx.Err() == nil {
		return ErrLost
	}
	return err
}

// Put puts a key that is there as long as the session is, or replaces what is there. While the service is away it waits; it gives
// ErrLost when the session has ended.
func (s *Session) Put(ctx context.Context, key, value string) error {
	err := s.do(ctx, func(ctx context.Context) error {
		return s.service.backend.put(ctx, s.id, s.service.prefix+key, value)
	})
	if err != nil {
		return fmt.Errorf("registering %s: %w", key, err)
	}
	return nil
}
