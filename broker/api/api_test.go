package api

import (
	"context"
	"testing"
)

// TestASmallAnswerDoesNotWaitForMemory: up to smallAnswer bytes a request has for free, however it asks for them, and no more.
func TestASmallAnswerDoesNotWaitForMemory(t *testing.T) {
	earlier := make(chan struct{})
	close(earlier)
	memory := &counted{limit: 1 << 20}
	r := &Request{Earlier: earlier, Memory: memory}
	for range 2 {
		if err := r.Reserve(t.Context(), smallAnswer/2); err != nil || memory.used != 0 {
			t.Fatalf("%v, %d bytes are counted", err, memory.used)
		}
	}
	if err := r.Reserve(t.Context(), 1); err != nil || memory.used != 1 {
		t.Errorf("%v, %d bytes are counted of one above a small answer", err, memory.used)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (&Request{Earlier: make(chan struct{}), Memory: memory}).Reserve(ctx, 1); err == nil {
		t.Error("a small answer does not wait for the earlier answers of its connection")
	}
}
