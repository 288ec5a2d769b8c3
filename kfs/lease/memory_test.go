package lease

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestMemory(t *testing.T) {
	for _, test := range suite {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := NewMemory()
				test.test(t, func(_ *testing.T, prefix string) *Service { return m.Service(prefix, 0) })
			})
		})
	}
}

// TestAway: a session outlives a short absence of the service, and ends one TTL after the last keep-alive that was answered was sent.
func TestAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		s := openSession(t, m.Service("", 0))
		opened := time.Now()
		held := acquire(t, s, "key", "x")
		m.SetAway(true)
		time.Sleep(DefaultTTL - time.Millisecond)
		if !held.Valid(time.Now()) {
			t.Fatal("lost too early")
		}
		m.SetAway(false)
		synctest.Wait()
		back := time.Now()
		if !held.Valid(back.Add(DefaultTTL / 2)) {
			t.Error("was not kept alive when the service came back")
		}
		m.SetAway(true)
		<-held.Done()
		if lived := time.Since(opened); lived < DefaultTTL || time.Since(back) > DefaultTTL {
			t.Errorf("ended %v after opening, %v after the absence", lived, time.Since(back))
		}
		if held.Valid(time.Now()) {
			t.Error("valid after the end")
		}
		closeSession(t, s) // nothing to do, and no wait
		if _, _, err := s.TryAcquire(t.Context(), "key", "x"); !errors.Is(err, ErrLost) {
			t.Errorf("%v", err)
		}
	})
}

// TestOperationsWaitForTheService: nothing fails while it is away, and everything ends with its context.
func TestOperationsWaitForTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		service := m.Service("", 0)
		m.SetAway(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := service.Open(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "last answer") {
			t.Errorf("open: %v", err)
		}
		if _, err := service.List(ctx, ""); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("list: %v", err)
		}
		for set, err := range service.Watch(ctx, "") {
			t.Errorf("watch gives %v, %v", set, err)
		}
		time.AfterFunc(time.Minute, func() { m.SetAway(false) })
		s := openSession(t, service)
		held := acquire(t, s, "key", "x")
		m.SetAway(true)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := held.Release(short); !errors.Is(err, context.DeadlineExceeded) || held.Valid(time.Now()) {
			t.Errorf("release: %v", err)
		}
		m.SetAway(false)
		if _, err := s.Acquire(t.Context(), "key", "x"); !errors.Is(err, ErrHeld) {
			t.Errorf("acquired what is not released yet: %v", err)
		}
		if err := held.Release(t.Context()); err != nil {
			t.Errorf("release: %v", err)
		}
		acquire(t, s, "key", "x")
		m.SetAway(true)
		begin := time.Now()
		if err := s.Close(); err == nil {
			t.Error("closing was no error")
		}
		if d := time.Since(begin); d > DefaultTTL+maxPause {
			t.Errorf("closing took %v", d)
		}
	})
}

// TestWipe: a service that comes back empty, with lower revisions, costs the sessions and nothing more.
func TestWipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		a, b := openSession(t, m.Service("", 0)), openSession(t, m.Service("", 0))
		acquire(t, a, "key", "a")
		next, stop := watch(t, b.service, "")
		defer stop()
		next(Entry{"key", "a"})
		begin := time.Now()
		m.Wipe()
		<-a.Done()
		<-b.Done()
		if d := time.Since(begin); d > DefaultTTL {
			t.Errorf("noticed after %v", d)
		}
		again := openSession(t, a.service)
		defer closeSession(t, again)
		acquire(t, again, "key", "again")
		next(Entry{"key", "again"})
		if d := time.Since(begin); d > 2*DefaultTTL {
			t.Errorf("the watch noticed after %v", d)
		}
	})
}

// slow answers keep-alives late, and loses answers.
type slow struct {
	backend
	delay time.Duration
	lose  func() bool
}

func (s slow) keepAlive(ctx context.Context, id int64) error {
	err := s.backend.keepAlive(ctx, id)
	if pauseErr := pause(ctx, s.delay); pauseErr != nil {
		return pauseErr
	}
	if s.lose() {
		return errors.New("the answer was lost")
	}
	return err
}

func (s slow) create(ctx context.Context, id int64, key, value string) (int64, error) {
	owner, err := s.backend.create(ctx, id, key, value)
	if s.lose() {
		return 0, errors.New("the answer was lost")
	}
	return owner, err
}

// TestValidCountsFromTheSending of a keep-alive, not from its answer, and not from one whose answer was lost.
func TestValidCountsFromTheSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lost atomic.Bool
		service := newService(slow{NewMemory(), time.Second, lost.Load}, "", 0)
		s := openSession(t, service)
		opened := time.Now()
		first := opened.Add(service.ttl / 3)
		time.Sleep(service.ttl/3 + time.Second/2)
		if got := s.until(); !got.Equal(opened.Add(service.ttl)) {
			t.Errorf("before the answer: until %v after opening", got.Sub(opened))
		}
		time.Sleep(time.Second)
		if got := s.until(); !got.Equal(first.Add(service.ttl)) {
			t.Errorf("after the answer: until %v after sending", got.Sub(first))
		}
		time.Sleep(time.Second)
		lost.Store(true)
		<-s.Done()
		if d := time.Since(first); d != service.ttl {
			t.Errorf("ended %v after the sending of the only keep-alive that was answered", d)
		}
		if s.Valid(time.Now()) {
			t.Error("valid after the end")
		}
	})
}

// TestLostAnswerToAcquire: the key that the first try took is found to be this session's own.
func TestLostAnswerToAcquire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		var answers atomic.Int32
		service := newService(slow{m, 0, func() bool { return answers.Add(1) == 1 }}, "", 0)
		s := openSession(t, service)
		defer closeSession(t, s)
		if held := acquire(t, s, "key", "x"); !held.Valid(time.Now()) {
			t.Error("is not valid")
		}
		// And where nobody waits for the answer any more, the key is given back.
		never := newService(slow{m, 0, func() bool { return true }}, "", 0)
		other := openSession(t, never)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := other.TryAcquire(ctx, "other", "x"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if _, ok, err := s.TryAcquire(t.Context(), "other", "x"); !ok || err != nil {
			t.Errorf("the key was not given back: %v, %v", ok, err)
		}
		other.Close()
	})
}

// TestRefusal: what would be refused again is not tried again.
func TestRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := newService(refusing{NewMemory()}, "", 0)
		if _, err := service.Open(t.Context()); !errors.As(err, &refusal{}) {
			t.Errorf("open: %v", err)
		}
		for _, err := range service.Watch(t.Context(), "") {
			if !errors.As(err, &refusal{}) {
				t.Errorf("watch: %v", err)
			}
		}
	})
}

type refusing struct{ backend }

func (refusing) grant(context.Context, time.Duration) (int64, error) {
	return 0, refusal{errors.New("no")}
}

func (refusing) list(context.Context, string) ([]Entry, int64, error) {
	return nil, 0, refusal{errors.New("no")}
}

// TestExpire ends the session that has put a key: the key is gone at once, and the session learns of it.
func TestExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		service := m.Service("/firn/", 0)
		s, err := service.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.Put(t.Context(), "a", "1"); err != nil {
			t.Fatal(err)
		}
		m.Expire("/firn/b")
		m.Expire("/firn/a")
		if all, err := service.List(t.Context(), ""); err != nil || len(all) > 0 {
			t.Errorf("%v, %v", all, err)
		}
		began := time.Now()
		<-s.Done()
		if took := time.Since(began); took > DefaultTTL/3 {
			t.Errorf("the session has ended after %s", took)
		}
	})
}

// TestLeave cuts off the session that has put a key: closed or not, the key stays until its TTL is over, and the process changes nothing more.
func TestLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		service := m.Service("/firn/", 0)
		s, err := service.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Put(t.Context(), "a", "1"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(DefaultTTL)
		m.Leave("/firn/b")
		m.Leave("/firn/a")
		began := time.Now()
		held, err := s.Acquire(t.Context(), "b", "1")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.Put(t.Context(), "a", "2"), held.Release(t.Context()), s.Close()); err != nil {
			t.Fatal(err)
		}
		want := []Entry{{"a", "1"}}
		for all, err := range service.Watch(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(all, want) {
				t.Errorf("%v, want %v", all, want)
			}
			if want = nil; len(all) == 0 {
				break
			}
		}
		if took := time.Since(began); took < 2*DefaultTTL/3 || took > DefaultTTL {
			t.Errorf("the key has gone after %s", took)
		}
	})
}
