package broker

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"syscall"
	"testing"
)

// TestUnadmittedIsReset: a client that is sent away learns so by a reset, and not by an end before the first answer.
func TestUnadmittedIsReset(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	connected := make(chan struct{})
	s := NewServer(ServerConfig{
		Requests: NewBudget(1 << 20), Answers: NewBudget(1 << 20), Log: slog.New(slog.DiscardHandler),
		Admit: func(context.Context) (context.Context, error) {
			<-connected
			return nil, errElsewhere
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx, listener) }()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	close(connected)
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client reads %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
