package tail_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/tail"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// TestIdlePollIsOneGet is the golden request trace of waiting: what a user pays for.
func TestIdlePollIsOneGet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &traced{Store: blob.NewMemory(nil)}
		j := tailtest.Journal{Store: store.Store}
		j.Append(t, nil, tailtest.Values(events, 0, "a"))
		j.Checkpoint(t)
		f := open(t, store, nil)
		equal(t, "start", store.take(), "GET restoring.json\nLIST journal/0000/checkpoint- after \"\"\nGET journal/0000/checkpoint-00000000000000000000.kfm")

		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Hour)
		defer cancel()
		began := time.Now()
		if _, err := f.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		gets, lists := 0, 0
		for request := range strings.Lines(store.take()) {
			switch strings.TrimSpace(request) {
			case "GET journal/0000/00000000000000000001.kfs":
				gets++
			case `LIST journal/0000/ after "journal/0000/00000000000000000000.kfs"`:
				lists++
			default:
				t.Errorf("request %q", request)
			}
		}
		seconds := int(time.Since(began).Seconds())
		if gets < seconds || gets > seconds*5/4 {
			t.Errorf("%d GETs in %d idle seconds, want about one a second", gets, seconds)
		}
		if lists < 19 || lists > 21 {
			t.Errorf("%d LISTs in 10 hours, want two an hour", lists)
		}
	})
}

// TestPollsFasterAfterData measures the waits: 250 ms after data, doubling to a second.
func TestPollsFasterAfterData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		j := tailtest.Journal{Store: store}
		f := open(t, store, nil)
		for _, quiet := range []time.Duration{0, 100 * time.Millisecond, 10 * time.Second} {
			go func() {
				time.Sleep(quiet)
				j.Append(t, nil, tailtest.Values(events, 0, "a"))
			}()
			began := time.Now()
			next(t, f)
			synctest.Wait()
			limit := 250 * time.Millisecond
			if quiet > time.Second {
				limit = time.Second
			}
			if late := time.Since(began) - quiet; late > limit {
				t.Errorf("after %s of quiet the object was seen %s late", quiet, late)
			}
		}
	})
}

func TestReadsAheadWhenBehind(t *testing.T) {
	store := &traced{Store: blob.NewMemory(nil)}
	j := tailtest.Journal{Store: store.Store}
	const objects = 100
	for i := range objects {
		j.Append(t, nil, tailtest.Values(events, 0, fmt.Sprint(i)))
	}
	budget := &counting{Weighted: semaphore.NewWeighted(600)} // about two objects
	f := tail.New(tail.Config{Store: store, Match: func(string) bool { return true }, Budget: budget})
	if err := errors.Join(f.Open(t.Context()), f.Seek(t.Context(), nil)); err != nil {
		t.Fatal(err)
	}
	for i := range objects {
		equal(t, "object", next(t, f), fmt.Sprintf("events/0 [%d, %d) %d", i, i+1, i))
	}
	f.Close()
	if budget.held != 0 || budget.most > 600 || budget.most == 0 {
		t.Errorf("%d bytes are held at the end, %d at most", budget.held, budget.most)
	}
	if n := strings.Count(store.take(), "GET journal/"); n > objects+8 {
		t.Errorf("%d GETs for %d objects", n, objects)
	}
}

type counting struct {
	*semaphore.Weighted
	mu         sync.Mutex
	held, most int64
}

func (c *counting) add(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held += n
	c.most = max(c.most, c.held)
}

func (c *counting) Acquire(ctx context.Context, n int64) error {
	if err := c.Weighted.Acquire(ctx, n); err != nil {
		return err
	}
	c.add(n)
	return nil
}

func (c *counting) Release(n int64) {
	c.add(-n)
	c.Weighted.Release(n)
}

// TestSaysOnceThatItWaits follows a namespace in which no broker has written yet.
func TestSaysOnceThatItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		var log strings.Builder
		f := tail.New(tail.Config{Store: store, Match: func(string) bool { return true }, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		defer f.Close()
		if err := errors.Join(f.Open(t.Context()), f.Seek(t.Context(), nil)); err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(2 * time.Hour)
			j := tailtest.Journal{Store: store}
			j.Append(t, nil, tailtest.Values(events, 0, "a"))
		}()
		o, err := f.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		o.Release()
		if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "the journal is empty") {
			t.Errorf("%d lines of log:\n%s", n, log.String())
		}
	})
}
