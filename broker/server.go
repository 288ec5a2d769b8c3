package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/firn-io/firn/broker/api"
)

// ServerConfig is what a server needs. Registry, Requests and Answers must be set.
type ServerConfig struct {
	Registry        *api.Registry
	Requests        *Budget       // memory of requests from their first byte until they are answered
	Answers         *Budget       // memory of large answers until they are written
	MaxRequestBytes int           // a larger frame closes its connection; default 100 MiB, at most half of Requests
	IdleTimeout     time.Duration // a connection without requests for so long is closed; default 10 min
	StallTimeout    time.Duration // how long bytes of a begun request, or a client that should read an answer, may stay away; default 30 s
	DrainTimeout    time.Duration // how long requests that are under way may still take when the server stops; default 5 s
	// Admit holds a new connection until it may be served, and gives the context for as long as it may; an error closes it.
	// Nil admits all.
	Admit   func(context.Context) (context.Context, error)
	TLS     *tls.Config  // nil: connections are plain
	Metrics *Metrics     // may be nil
	Log     *slog.Logger // may be nil
}

const (
	defaultMaxRequestBytes = 100 << 20
	defaultIdleTimeout     = 10 * time.Minute
	defaultStallTimeout    = 30 * time.Second
	defaultDrainTimeout    = 5 * time.Second
)

// Server serves the Kafka protocol on a listener.
type Server struct {
	config ServerConfig
}

// NewServer makes a server; Run starts it.
func NewServer(c ServerConfig) *Server {
	if c.MaxRequestBytes <= 0 {
		c.MaxRequestBytes = defaultMaxRequestBytes
	}
	c.MaxRequestBytes = int(min(int64(c.MaxRequestBytes), c.Requests.limit/2))
	if c.IdleTimeout <= 0 {
		c.IdleTimeout = defaultIdleTimeout
	}
	if c.StallTimeout <= 0 {
		c.StallTimeout = defaultStallTimeout
	}
	if c.DrainTimeout <= 0 {
		c.DrainTimeout = defaultDrainTimeout
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil, c.Requests, c.Answers)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{config: c}
}

// Run accepts connections until ctx is done, then lets the requests that are under way finish for DrainTimeout, closes everything, and
// returns nil when all its goroutines have. It closes the listener. An error is one of the listener.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	var connections sync.WaitGroup
	defer connections.Wait()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for backoff := time.Duration(0); ; {
		conn, err := l.Accept()
		switch {
		case err == nil:
			backoff = 0
			connections.Go(func() { s.serve(ctx, conn) })
			continue
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		}
		// Out of file descriptors, or a client that left before it was accepted: the next one may do better.
		backoff = min(max(2*backoff, 5*time.Millisecond), time.Second)
		s.config.Log.Warn("accepting a connection", "error", err, "retry", backoff)
		select {
		case <-time.After(backoff):
		case <-ctx.Done():
			return nil
		}
	}
}

// serve admits and serves a connection.
func (s *Server) serve(ctx context.Context, raw net.Conn) {
	out := &outlet{Conn: raw, patience: s.config.StallTimeout}
	var conn net.Conn = out
	if s.config.TLS != nil {
		secured := tls.Server(out, s.config.TLS)
		if err := s.shakeHands(ctx, secured); err != nil {
			s.refuse(raw, closedHandshake, err)
			return
		}
		conn = secured
	}
	if s.config.Admit != nil {
		admitted, err := s.config.Admit(ctx)
		if err != nil {
			// By a reset: some clients take an orderly end before the first answer for a server that wants TLS, and give up.
			if tcp, ok := raw.(*net.TCPConn); ok {
				tcp.SetLinger(0)
			}
			s.refuse(raw, closedUnadmitted, err)
			return
		}
		ctx = admitted
	}
	serveConnection(ctx, &s.config, conn, out)
}

// shakeHands makes sure of the client before anything is kept for it.
func (s *Server) shakeHands(ctx context.Context, conn *tls.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, s.config.StallTimeout)
	defer cancel()
	return conn.HandshakeContext(ctx)
}

// refuse closes a connection that is not served.
func (s *Server) refuse(conn net.Conn, reason string, err error) {
	s.config.Metrics.closed.WithLabelValues(reason).Inc()
	s.config.Log.Debug("connection is not served", "client", conn.RemoteAddr(), "reason", reason, "error", err)
	conn.Close()
}
