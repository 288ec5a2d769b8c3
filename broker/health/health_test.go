package health

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/blobtest"
)

// TestJudge runs steps: "ok 50ms" and "fail 50ms" are requests that take so long, "hang" is one that is begun, "hang 100" one that sends 100
// bytes, "part 100" is so much of the answer to the first of them, "back" ends those that hang well, "wait 5s" lets time pass, and the rest is
// the state that it comes to.
func TestJudge(t *testing.T) {
	for name, steps := range map[string]string{
		"nothing":                    "healthy; wait 1h; healthy",
		"all is well":                "ok 50ms; ok 900ms; ok 20ms; healthy",
		"a failure is nothing":       "ok 50ms; fail 50ms; healthy; wait 10s; healthy",
		"a few among many":           "ok 10ms ×20; fail 10ms ×3; ok 10ms ×20; healthy",
		"a fifth":                    "ok 10ms ×8; fail 10ms; ok 10ms; fail 10ms; ok 10ms; fail 10ms; ok 10ms; degraded",
		"degraded is over":           "ok 10ms ×3; fail 10ms ×2; ok 10ms; fail 10ms; ok 10ms; degraded; wait 20s; degraded; wait 12s; healthy",
		"better, but not good":       "fail 10ms ×3; ok 10ms ×3; degraded; ok 10ms ×14; degraded; ok 10ms ×30; healthy",
		"slow":                       "ok 2s ×3; degraded; wait 31s; healthy",
		"everything fails":           "ok 10ms; fail 100ms ×10; degraded; wait 3s; degraded; wait 1s; unavailable; wait 1h; unavailable",
		"everything fails at once":   "fail 1ms ×3; degraded; wait 4s; degraded; wait 1s; unavailable",
		"silence":                    "ok 10ms; hang; wait 4s; healthy; wait 1s; unavailable; back; degraded; wait 31s; healthy",
		"back after an hour":         "fail 10ms ×5; wait 1h; unavailable; ok 10ms; healthy",
		"one hangs, others go on":    "hang; wait 4s; ok 10ms; wait 4s; ok 10ms; wait 4s; ok 10ms; healthy",
		"a failure before a silence": "fail 10ms; wait 1h; healthy",
		"what was given up":          "hang; give up; wait 1h; healthy",
		"a large body on its way":    "hang 8388608; wait 12s; healthy; back; healthy",
		"a large body is lost":       "hang 8388608; wait 13s; unavailable",
		"a large body, and silence":  "hang 8388608; hang; wait 5s; unavailable",
		"a long answer":              "hang; wait 4s; part 1048576; wait 4s; part 1048576; wait 4s; healthy; wait 1s; unavailable; part 1; degraded; back; degraded",
	} {
		t.Run(name, func(t *testing.T) { runJudge(t, steps) })
	}
}

func runJudge(t *testing.T, steps string) {
	var j judge
	now := time.Unix(1_800_000_000, 0)
	var hanging []uint64
	for i, step := range strings.Split(steps, "; ") {
		words := strings.Fields(step)
		times := 1
		if n := len(words); strings.HasPrefix(words[n-1], "×") {
			if _, err := fmt.Sscan(strings.TrimPrefix(words[n-1], "×"), &times); err != nil {
				t.Fatal(err)
			}
		}
		took := func() time.Duration {
			d, err := time.ParseDuration(words[1])
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		for range times {
			switch words[0] {
			case "ok", "fail":
				how := answered
				if words[0] == "fail" {
					how = failed
				}
				id := j.begin(now, 0)
				now = now.Add(took())
				j.end(now, id, how)
			case "hang":
				hanging = append(hanging, j.begin(now, bytesOf(t, words)))
			case "part":
				j.progress(now, hanging[0], bytesOf(t, words))
			case "back", "give":
				how := answered
				if words[0] == "give" {
					how = abandoned
				}
				for _, id := range hanging {
					j.end(now, id, how)
				}
				hanging = nil
			case "wait":
				now = now.Add(took())
			default:
				if got := j.state(now).String(); got != step {
					t.Errorf("step %d of %q: %s", i+1, steps, got)
				}
			}
		}
	}
	if len(j.pending) != len(hanging) {
		t.Errorf("%d requests are under way, %d are known", len(hanging), len(j.pending))
	}
}

// bytesOf is the number behind a word; 0 if there is none.
func bytesOf(t *testing.T, words []string) (n int64) {
	if len(words) > 1 {
		if _, err := fmt.Sscan(words[1], &n); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func TestLargeRequestsMayTakeLonger(t *testing.T) {
	var j judge
	now := time.Unix(1_800_000_000, 0)
	for range 10 {
		id := j.begin(now, 8<<20)
		now = now.Add(2500 * time.Millisecond)
		j.end(now, id, answered)
	}
	if got := j.state(now); got != Healthy {
		t.Errorf("8 MiB in 2.5 s are %s", got)
	}
}

// TestWatchedStoreIsAStore: watching changes nothing.
func TestWatchedStoreIsAStore(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blob.Store {
		m := NewMonitor(Config{Store: blob.NewMemory(time.Now)})
		t.Cleanup(func() {
			if n := len(m.judge.pending); n > 0 {
				t.Errorf("%d requests have not ended", n)
			}
		})
		return m.Store()
	})
}

// TestMonitor has a store go away and come back: it is asked once a second in between, and no more.
func TestMonitor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var away, doubted atomic.Bool
		var asked atomic.Int64
		store := blobtest.NewFault(blob.NewMemory(nil), func(blobtest.Op) blobtest.Action {
			asked.Add(1)
			if away.Load() {
				return blobtest.FailBefore
			}
			return blobtest.Pass
		})
		m := NewMonitor(Config{Store: store, Probe: "probe"})
		ctx, cancel := context.WithCancel(t.Context())
		var seen []State
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			m.Run(ctx, func(s State) bool {
				if len(seen) == 0 || seen[len(seen)-1] != s {
					seen = append(seen, s)
				}
				return doubted.Load()
			})
		}()
		put := func() error {
			_, err := m.Store().Put(t.Context(), "key", []byte("x"), false)
			return err
		}
		if err := put(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		away.Store(true)
		for range 10 {
			if err := put(); err == nil {
				t.Fatal("the store is not away")
			}
			time.Sleep(time.Second)
		}
		before := asked.Load()
		time.Sleep(10 * time.Second)
		if n := asked.Load() - before; n < 9 || n > 11 {
			t.Errorf("an unavailable store was asked %d times in 10 s", n)
		}
		away.Store(false)
		time.Sleep(time.Minute)
		before = asked.Load()
		doubted.Store(true)
		time.Sleep(10 * time.Second)
		doubted.Store(false)
		time.Sleep(time.Minute)
		if n := asked.Load() - before; n < 9 || n > 11 {
			t.Errorf("a store that was doubted for 10 s was asked %d times", n)
		}
		cancel()
		<-ended
		if got := fmt.Sprint(seen); got != "[healthy degraded unavailable degraded healthy]" {
			t.Errorf("states %s", got)
		}
	})
}

func TestOutcomes(t *testing.T) {
	for err, want := range map[error]outcome{
		nil: answered, blob.ErrNotFound: answered, fmt.Errorf("key: %w", blob.ErrPrecondition): answered, context.Canceled: abandoned,
		context.DeadlineExceeded: failed, errors.New("503 Slow Down"): failed,
	} {
		if got := outcomeOf(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}
