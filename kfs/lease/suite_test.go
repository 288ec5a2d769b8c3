package lease

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// dial makes the view of one more process on the service under test.
type dial func(t *testing.T, prefix string) *Service

// suite is what every backend must do. Its tests wait for events and never for time, so they run on real and on fake clocks.
var suite = []struct {
	name string
	test func(t *testing.T, dial dial)
}{
	{"Registration", testRegistration},
	{"Prefixes", testPrefixes},
	{"Acquire", testAcquire},
	{"TriedTwice", testTriedTwice},
	{"Race", testRace},
	{"CloseIsPrompt", testCloseIsPrompt},
	{"Crash", testCrash},
	{"CancelledAcquire", testCancelledAcquire},
	{"Ended", testEnded},
	{"Revoked", testRevoked},
	{"Run", testRun},
}

func openSession(t *testing.T, s *Service) *Session {
	t.Helper()
	session, err := s.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return session
}

func closeSession(t *testing.T, s *Session) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func acquire(t *testing.T, s *Session, key, value string) *Held {
	t.Helper()
	held, err := s.Acquire(t.Context(), key, value)
	if err != nil {
		t.Fatal(err)
	}
	return held
}

// watch gives the sets that a Watch yields, until stop.
func watch(t *testing.T, s *Service, prefix string) (next func(want ...Entry), stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	sets := make(chan []Entry)
	go func() {
		defer close(sets)
		for set, err := range s.Watch(ctx, prefix) {
			if err != nil {
				t.Error(err)
				return
			}
			select {
			case sets <- set:
			case <-ctx.Done():
			}
		}
	}()
	next = func(want ...Entry) {
		t.Helper()
		for set := range sets {
			if slices.Equal(set, want) {
				return
			}
			t.Logf("on the way to %v: %v", want, set) // sets may be skipped, and so may be seen
		}
		t.Fatalf("the watch has ended before %v", want)
	}
	return next, func() {
		cancel()
		for range sets {
		}
	}
}

func testRegistration(t *testing.T, dial dial) {
	mine, other := dial(t, "firn/"), dial(t, "firn/")
	next, stop := watch(t, other, "brokers/")
	defer stop()
	next()
	a, b := openSession(t, mine), openSession(t, mine)
	for _, put := range []struct {
		session    *Session
		key, value string
	}{{a, "brokers/1", "one"}, {b, "brokers/2", "two"}, {b, "workers/1", "x"}} {
		if err := put.session.Put(t.Context(), put.key, put.value); err != nil {
			t.Fatal(err)
		}
	}
	next(Entry{"brokers/1", "one"}, Entry{"brokers/2", "two"})
	if err := a.Put(t.Context(), "brokers/1", "uno"); err != nil {
		t.Fatal(err)
	}
	next(Entry{"brokers/1", "uno"}, Entry{"brokers/2", "two"})
	// The key is the last one's who put it, and stays when the former one ends.
	if err := b.Put(t.Context(), "brokers/1", "ein"); err != nil {
		t.Fatal(err)
	}
	closeSession(t, a)
	next(Entry{"brokers/1", "ein"}, Entry{"brokers/2", "two"})
	got, err := other.List(t.Context(), "")
	if want := []Entry{{"brokers/1", "ein"}, {"brokers/2", "two"}, {"workers/1", "x"}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("list gives %v, %v; want %v", got, err, want)
	}
	closeSession(t, b)
	next()
}

func testPrefixes(t *testing.T, dial dial) {
	one, two := openSession(t, dial(t, "one/")), openSession(t, dial(t, "two/"))
	defer closeSession(t, one)
	defer closeSession(t, two)
	acquire(t, one, "key", "1")
	acquire(t, two, "key", "2")
	got, err := two.service.List(t.Context(), "")
	if want := []Entry{{"key", "2"}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("list gives %v, %v; want %v", got, err, want)
	}
	// A key that begins like another one is not in its way.
	acquire(t, one, "key2", "1")
	acquire(t, two, "ke", "2")
}

func testAcquire(t *testing.T, dial dial) {
	a, b := openSession(t, dial(t, "")), openSession(t, dial(t, ""))
	defer closeSession(t, a)
	defer closeSession(t, b)
	held := acquire(t, a, "journals/0", "a")
	if !held.Valid(time.Now()) || held.Key() != "journals/0" {
		t.Errorf("%+v is not valid", held)
	}
	if held.Valid(time.Now().Add(a.service.ttl)) {
		t.Error("is valid for longer than a TTL")
	}
	if _, ok, err := b.TryAcquire(t.Context(), "journals/0", "b"); ok || err != nil {
		t.Errorf("b: %v, %v", ok, err)
	}
	if _, err := a.Acquire(t.Context(), "journals/0", "a"); !errors.Is(err, ErrHeld) {
		t.Errorf("a again: %v", err)
	}
	waiting := make(chan *Held)
	go func() {
		h, err := b.Acquire(t.Context(), "journals/0", "b")
		if err != nil {
			t.Error(err)
		}
		waiting <- h
	}()
	select {
	case <-held.Done():
		t.Error("lost it to one who waits")
	case <-waiting:
		t.Error("two have it")
	default:
	}
	if err := held.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-held.Done()
	if held.Valid(time.Now()) {
		t.Error("valid after the release")
	}
	theirs := <-waiting
	if err := held.Release(t.Context()); err != nil { // must not touch what is another's now
		t.Fatal(err)
	}
	got, err := a.service.List(t.Context(), "")
	if want := []Entry{{"journals/0", "b"}}; err != nil || !slices.Equal(got, want) || !theirs.Valid(time.Now()) {
		t.Errorf("list gives %v, %v; want %v", got, err, want)
	}
	if err := theirs.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	acquire(t, a, "journals/0", "a")
}

func testRace(t *testing.T, dial dial) {
	const contenders, rounds = 8, 3
	var (
		done   sync.WaitGroup
		inside atomic.Int32
	)
	for c := range contenders {
		session := openSession(t, dial(t, ""))
		done.Go(func() {
			for range rounds {
				held, err := session.Acquire(t.Context(), "key", fmt.Sprint(c))
				if err != nil {
					t.Error(err)
					break
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d have it", n)
				}
				inside.Add(-1)
				if err := held.Release(t.Context()); err != nil {
					t.Error(err)
				}
			}
			closeSession(t, session)
		})
	}
	done.Wait()
}

func testCloseIsPrompt(t *testing.T, dial dial) {
	a, b := openSession(t, dial(t, "")), openSession(t, dial(t, ""))
	defer closeSession(t, b)
	held := acquire(t, a, "key", "a")
	begin := time.Now()
	go a.Close()
	acquire(t, b, "key", "b")
	if d := time.Since(begin); d > a.service.ttl/2 {
		t.Errorf("taking over took %v", d)
	}
	if held.Valid(time.Now()) {
		t.Error("two believe that they have it")
	}
	<-held.Done()
	closeSession(t, a)
}

// testCrash: a process that sends nothing any more is succeeded after a TTL, and knew before that it would be.
func testCrash(t *testing.T, dial dial) {
	a, b := openSession(t, dial(t, "")), openSession(t, dial(t, ""))
	defer closeSession(t, b)
	held := acquire(t, a, "key", "a")
	a.stop()
	<-a.stopped
	if !held.Valid(time.Now()) {
		t.Error("is not valid though the TTL has not passed")
	}
	acquire(t, b, "key", "b")
	if held.Valid(time.Now()) {
		t.Error("two believe that they have it")
	}
}

// testTriedTwice: the answer to a first try may be lost, and the second must find the key to be this session's own; else it would wait for itself.
func testTriedTwice(t *testing.T, dial dial) {
	a, b := openSession(t, dial(t, "")), openSession(t, dial(t, ""))
	defer closeSession(t, a)
	defer closeSession(t, b)
	key := a.service.prefix + "key"
	if owner, err := a.service.backend.create(t.Context(), a.id, key, "a"); owner != a.id || err != nil {
		t.Errorf("a new key is lease %d's, want %d: %v", owner, a.id, err)
	}
	if owner, err := b.service.backend.create(t.Context(), b.id, key, "b"); owner != a.id || err != nil {
		t.Errorf("the key is lease %d's, want %d: %v", owner, a.id, err)
	}
	if held, ok, err := a.TryAcquire(t.Context(), "key", "a"); !ok || err != nil || !held.Valid(time.Now()) {
		t.Errorf("a session does not know its own key: %t, %v", ok, err)
	}
}

func testCancelledAcquire(t *testing.T, dial dial) {
	a, b := openSession(t, dial(t, "")), openSession(t, dial(t, ""))
	defer closeSession(t, a)
	defer closeSession(t, b)
	held := acquire(t, a, "key", "a")
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() {
		_, err := b.Acquire(ctx, "key", "b")
		result <- err
	}()
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if err := held.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := a.service.List(t.Context(), ""); err != nil || len(got) != 0 {
		t.Errorf("list gives %v, %v", got, err)
	}
	acquire(t, b, "key", "b")
}

func testEnded(t *testing.T, dial dial) {
	s := openSession(t, dial(t, ""))
	held := acquire(t, s, "key", "x")
	closeSession(t, s)
	closeSession(t, s)
	<-s.Done()
	<-held.Done()
	if s.Valid(time.Now()) || held.Valid(time.Now()) {
		t.Error("valid after the end")
	}
	if err := held.Release(t.Context()); err != nil {
		t.Errorf("release: %v", err)
	}
	if err := s.Put(t.Context(), "key", "x"); !errors.Is(err, ErrLost) {
		t.Errorf("put: %v", err)
	}
	if _, err := s.Acquire(t.Context(), "key", "x"); !errors.Is(err, ErrLost) {
		t.Errorf("acquire: %v", err)
	}
}

// testRevoked: the service may end a session too, and all learn so.
func testRevoked(t *testing.T, dial dial) {
	a, b := openSession(t, dial(t, "")), openSession(t, dial(t, ""))
	held, theirs := acquire(t, a, "key", "x"), acquire(t, b, "other", "x")
	waiting := make(chan error)
	go func() {
		_, err := b.Acquire(t.Context(), "key", "y")
		waiting <- err
	}()
	for _, s := range []*Session{b, a} {
		if err := s.service.backend.revoke(t.Context(), s.id); err != nil {
			t.Fatal(err)
		}
	}
	<-a.Done() // by a keep-alive
	<-held.Done()
	<-theirs.Done()
	if err := <-waiting; !errors.Is(err, ErrLost) {
		t.Errorf("waiting: %v", err)
	}
	if err := a.Put(t.Context(), "key", "x"); !errors.Is(err, ErrLost) {
		t.Errorf("put: %v", err)
	}
	closeSession(t, a)
	closeSession(t, b)
}

func testRun(t *testing.T, dial dial) {
	service := dial(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	lives := 0
	err := service.Run(ctx, func(ctx context.Context, s *Session) error {
		lives++
		if _, err := s.Acquire(ctx, "key", fmt.Sprint(lives)); err != nil {
			return err
		}
		if lives == 3 {
			cancel()
		} else if err := service.backend.revoke(ctx, s.id); err != nil {
			return err
		}
		<-ctx.Done()
		if lost := errors.Is(context.Cause(ctx), ErrLost); lost == (lives == 3) {
			t.Errorf("life %d ends with %v", lives, context.Cause(ctx))
		}
		return context.Cause(ctx)
	})
	if lives != 3 || !errors.Is(err, context.Canceled) || errors.Is(err, ErrLost) {
		t.Errorf("%v after %d lives", err, lives)
	}
	if got, err := service.List(t.Context(), ""); err != nil || len(got) != 0 {
		t.Errorf("there is still %v, %v", got, err)
	}
	failure := errors.New("failure")
	if err := service.Run(t.Context(), func(context.Context, *Session) error { return failure }); !errors.Is(err, failure) {
		t.Errorf("%v", err)
	}
}
