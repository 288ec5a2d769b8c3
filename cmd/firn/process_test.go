package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/kfs/lease"
	"github.com/firn-io/firn/runtime/host"
)

// turnTask is a task that runs until it is told to end.
type turnTask struct {
	resolved time.Time
	running  bool
	end      chan struct{}
	err      chan error
}

// begin starts a run of a job. Finding its end takes a second.
func begin(ctx context.Context, turn host.Turn, run string, result error) *turnTask {
	task := &turnTask{end: make(chan struct{}), err: make(chan error, 1)}
	go func() {
		task.err <- turn(ctx, host.Task{Job: "job", Run: run,
			Resolve: func(context.Context) error {
				time.Sleep(time.Second)
				task.resolved = time.Now()
				return nil
			},
			Work: func(context.Context) error {
				task.running = true
				<-task.end
				task.running = false
				return result
			}})
	}()
	return task
}

// pass lets time pass, and all that happens in it.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// TestTurns has processes run one job: those that have the same end run together, though they find it one after the other; another waits for
// them, as all do for a worker without an end.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := lease.NewMemory()
		p := &program{logger: slog.New(slog.DiscardHandler), out: io.Discard}
		turn := func() host.Turn { return p.turns(memory.Service(etcdPrefix, lease.DefaultTTL)) }
		workers, err := memory.Service(etcdPrefix, lease.DefaultTTL).Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := workers.Put(t.Context(), "jobs/job/workers/one", ""); err != nil {
			t.Fatal(err)
		}
		failed := errors.New("failed")
		a := begin(t.Context(), turn(), "x", failed)
		pass(time.Minute)
		if a.running {
			t.Error("a bounded run did not wait for a worker without an end")
		}
		if err := workers.Close(); err != nil {
			t.Fatal(err)
		}
		b := begin(t.Context(), turn(), "x", nil)
		pass(time.Minute)
		other := begin(t.Context(), turn(), "y", nil)
		impatient, cancel := context.WithCancel(t.Context())
		gaveUp := begin(impatient, turn(), "y", nil)
		pass(time.Minute)
		if !a.running || !b.running || other.running {
			t.Errorf("two with one end run: %t, %t; one with another: %t", a.running, b.running, other.running)
		}
		if apart := b.resolved.Sub(a.resolved).Abs(); apart < time.Second {
			t.Errorf("two have found their ends at one time: %v apart", apart)
		}
		cancel()
		if err := <-gaveUp.err; err != nil {
			t.Errorf("a wait that was given up: %v", err)
		}
		close(a.end)
		if err := <-a.err; !errors.Is(err, failed) {
			t.Errorf("the work's error became %v", err)
		}
		pass(time.Minute)
		if other.running {
			t.Error("a run to another end did not wait for both")
		}
		close(b.end)
		pass(time.Minute)
		if !other.running {
			t.Error("a run to another end had no turn")
		}
		close(other.end)
		if err := errors.Join(<-b.err, <-other.err); err != nil {
			t.Error(err)
		}
		if err := memory.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestTurnsAway has etcd go away while a run is at work: what it has done is done, and it exits with 0.
func TestTurnsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := lease.NewMemory()
		p := &program{logger: slog.New(slog.DiscardHandler), out: io.Discard}
		a := begin(t.Context(), p.turns(memory.Service(etcdPrefix, lease.DefaultTTL)), "x", nil)
		pass(time.Minute)
		memory.SetAway(true)
		close(a.end)
		if err := <-a.err; err != nil {
			t.Error(err)
		}
		if err := memory.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestTurnsLost has the lease be lost while a run finds its end: it finds it again.
func TestTurnsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := lease.NewMemory()
		p := &program{logger: slog.New(slog.DiscardHandler), out: io.Discard}
		began := time.Now()
		a := begin(t.Context(), p.turns(memory.Service(etcdPrefix, lease.DefaultTTL)), "x", nil)
		pass(500 * time.Millisecond)
		memory.Wipe()
		pass(time.Minute)
		if !a.running || a.resolved.Sub(began) < 1500*time.Millisecond {
			t.Errorf("it runs: %t, with an end of %v after its begin", a.running, a.resolved.Sub(began))
		}
		close(a.end)
		if err := <-a.err; err != nil {
			t.Error(err)
		}
		if err := memory.Close(); err != nil {
			t.Error(err)
		}
	})
}
