package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/firn-io/firn/kfs/lease"
)

// TestTurns shows that of two processes with one job the second waits until the first has ended, however that ended.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := lease.NewMemory()
		p := &program{logger: slog.New(slog.DiscardHandler), out: io.Discard}
		first, second := p.turns(memory.Service(etcdPrefix, lease.DefaultTTL)), p.turns(memory.Service(etcdPrefix, lease.DefaultTTL))
		failed := errors.New("failed")
		begun, end, over := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		go func() {
			over <- first(t.Context(), "job", func(context.Context) error {
				close(begun)
				<-end
				return failed
			})
		}()
		<-begun
		ran, waiting := false, make(chan error, 1)
		go func() {
			waiting <- second(t.Context(), "job", func(context.Context) error {
				ran = true
				return nil
			})
		}()
		impatient, cancel := context.WithCancel(t.Context())
		gaveUp := make(chan error, 1)
		go func() {
			gaveUp <- second(impatient, "job", func(context.Context) error { return errors.New("ran out of turn") })
		}()
		synctest.Wait()
		if ran {
			t.Error("two processes run the job")
		}
		cancel()
		if err := <-gaveUp; err != nil {
			t.Errorf("a wait that was given up: %v", err)
		}
		close(end)
		if err := <-over; !errors.Is(err, failed) {
			t.Errorf("the work's error became %v", err)
		}
		if err := <-waiting; err != nil || !ran {
			t.Errorf("the second had no turn: %v", err)
		}
		if err := memory.Close(); err != nil {
			t.Error(err)
		}
	})
}
