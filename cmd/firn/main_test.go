package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestSignalThatComesTwice: what sends a signal to the process and to its group does not end it before it has committed; who insists does.
func TestSignalThatComesTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		stopped := time.Time{}
		go release(ctx, func() { stopped = time.Now() })
		cancel()
		began := time.Now()
		pass(2 * passedOn)
		if after := stopped.Sub(began); after != passedOn {
			t.Errorf("signals are given back after %s, want %s", after, passedOn)
		}
	})
}
