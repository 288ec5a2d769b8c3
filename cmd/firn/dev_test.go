package main

import (
	"context"
	"io"
	"testing"
)

// TestDevEndedWhileItStarts sends the signal before etcd is up: that is no error.
func TestDevEndedWhileItStarts(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := newCommand(io.Discard, t.Output())
	c.SetArgs([]string{"dev", "--data", t.TempDir(), "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0"})
	if err := c.ExecuteContext(ctx); err != nil {
		t.Errorf("it ends with %v", err)
	}
}
