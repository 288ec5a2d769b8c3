// Package lease says who is alive and who does what: ephemeral keys and exclusive ones, bound to a session that is kept alive, on etcd or
// in memory.
//
//	service, err := lease.Dial(lease.Config{Endpoints: endpoints, Prefix: "/firn/"})
//	err = service.Run(ctx, func(ctx context.Context, s *lease.Session) error {
//		if err := s.Put(ctx, "brokers/7", address); err != nil {
//			return err
//		}
//		held, err := s.Acquire(ctx, "journals/0000", "7")
//		if err != nil {
//			return err
//		}
//		return work(ctx, held.Valid) // ctx ends when the session is lost
//	})
//
// A lease spreads work and saves effort. It proves nothing: a process that was paused, or whose clock stood still, may believe in a
// lease that somebody else has by now. So nothing durable rests on it, and nothing here has to be backed up; a service that comes back
// empty costs its sessions, which are opened anew.
//
// What can be known, a Held tells conservatively: it is valid for one TTL from the moment when the last keep-alive that was answered
// had been sent, by this machine's monotonic clock. While the service is away operations wait and try again, until their context ends;
// sessions end when their TTL is over.
package lease

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// DefaultTTL is the time after which a session that nobody keeps alive has ended.
const DefaultTTL = 5 * time.Second

const (
	minPause = 50 * time.Millisecond // between two tries
	maxPause = time.Second
)

// What callers branch on.
var (
	// ErrLost means that the session has ended, and with it all that it held.
	ErrLost = errors.New("the lease session has ended")
	// ErrHeld means that this session itself holds the key already.
	ErrHeld = errors.New("the session holds this key already")
)

// Entry is a key, relative to the service's prefix, and what was put there.
type Entry struct {
	Key   string
	Value string
}

// Service hands out sessions and shows what all sessions hold. It is safe for concurrent use. Make one with Dial or Memory.Service.
type Service struct {
	backend backend
	prefix  string
	ttl     time.Duration
}

// backend is what a service must be able to do. A method tries once, within its context; but for errGone and refusal, an error leaves
// the outcome open. Keys are whole. Leases are positive numbers.
type backend interface {
	// grant makes a lease that ends ttl after its last keep-alive, or a little later.
	grant(ctx context.Context, ttl time.Duration) (id int64, err error)
	// keepAlive gives a lease another ttl, from a moment after the call; errGone if it has ended.
	keepAlive(ctx context.Context, id int64) error
	// revoke ends a lease and removes its keys; errGone if it has ended.
	revoke(ctx context.Context, id int64) error
	// create puts a key that is bound to the lease if the key is absent, and tells whose it is now: the lease's, or 0 for a key that is
	// bound to none. errGone if the lease has ended.
	create(ctx context.Context, id int64, key, value string) (owner int64, err error)
	// put puts a key that is bound to the lease, whoever had it; errGone if the lease has ended.
	put(ctx context.Context, id int64, key, value string) error
	// remove removes a key if it is bound to the lease.
	remove(ctx context.Context, id int64, key string) error
	// list gives all keys that begin with prefix, in order, and a revision for wait.
	list(ctx context.Context, prefix string) ([]Entry, int64, error)
	// wait returns when a key that begins with prefix may have changed since the revision.
	wait(ctx context.Context, prefix string, revision int64) error
	io.Closer
}

// errGone means that a lease is not there any more.
var errGone = errors.New("no such lease")

// refusal is an error that the same request would meet again: of authentication, mostly.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

func newService(b backend, prefix string, ttl time.Duration) *Service {
	if ttl == 0 {
		ttl = DefaultTTL
	}
	return &Service{backend: b, prefix: prefix, ttl: ttl}
}

// Close ends the connection to the service. Sessions are closed first, by those who opened them.
func (s *Service) Close() error { return s.backend.Close() }

// Run opens a session and calls work with it, again and again, each time after a session was lost. The context of work ends when its
// session does, with the cause ErrLost; work then returns, whatever it returns, and is called anew. When work returns otherwise, or ctx
// has ended, Run closes the session, so that others can take over at once, and returns what work returned.
func (s *Service) Run(ctx context.Context, work func(context.Context, *Session) error) error {
	for {
		session, err := s.Open(ctx)
		if err != nil {
			return err
		}
		err = session.run(ctx, work)
		lost := session.ended() && ctx.Err() == nil
		closeErr := session.Close()
		if !lost {
			return errors.Join(err, closeErr)
		}
	}
}

// List gives the entries whose keys begin with prefix, in the order of keys. While the service is away it waits.
func (s *Service) List(ctx context.Context, prefix string) ([]Entry, error) {
	entries, _, err := s.list(ctx, prefix)
	if err != nil {
		return nil, fmt.Errorf("listing leases %s: %w", prefix, err)
	}
	return entries, nil
}

func (s *Service) list(ctx context.Context, prefix string) (entries []Entry, revision int64, err error) {
	err = s.retry(ctx, func(ctx context.Context) error {
		entries, revision, err = s.backend.list(ctx, s.prefix+prefix)
		return err
	})
	for i := range entries {
		entries[i].Key = strings.TrimPrefix(entries[i].Key, s.prefix)
	}
	return entries, revision, err
}

// Watch yields the entries whose keys begin with prefix, at once and after each change, until ctx ends; changes that come fast may be
// one, and after an absence of the service the news may take a TTL. While the service is away it yields nothing. It ends early, with an error, only if the service refuses to answer.
func (s *Service) Watch(ctx context.Context, prefix string) iter.Seq2[[]Entry, error] {
	return func(yield func([]Entry, error) bool) {
		var last []Entry
		for first := true; ; {
			entries, revision, err := s.list(ctx, prefix)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				yield(nil, fmt.Errorf("watching leases %s: %w", prefix, err))
				return
			}
			if first || !slices.Equal(entries, last) {
				if !yield(slices.Clone(entries), nil) {
					return
				}
				first, last = false, entries
			}
			if s.wait(ctx, prefix, revision) != nil {
				return
			}
		}
	}
}

// wait returns when something may have changed, and an error only if ctx has ended. It does not wait for longer than a TTL: a service
// that has lost its data has also lost the changes that are waited for.
func (s *Service) wait(ctx context.Context, prefix string, revision int64) error {
	bounded, cancel := context.WithTimeout(ctx, s.ttl)
	defer cancel()
	if err := s.backend.wait(bounded, s.prefix+prefix, revision); err != nil && bounded.Err() == nil {
		return pause(ctx, minPause) // the next list finds out what it is
	}
	return ctx.Err()
}

// retry tries until there is a definite answer. Each try is given a third of a TTL, so that a connection that is dead does not take a
// session with it.
func (s *Service) retry(ctx context.Context, try func(context.Context) error) error {
	for wait := minPause; ; wait = min(2*wait, maxPause) {
		bounded, cancel := context.WithTimeout(ctx, s.ttl/3)
		err := try(bounded)
		cancel()
		if err == nil || errors.Is(err, errGone) || errors.As(err, &refusal{}) {
			return err
		}
		if ctx.Err() != nil || pause(ctx, wait/2+rand.N(wait/2)) != nil {
			return fmt.Errorf("%w (last answer: %v)", context.Cause(ctx), err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
