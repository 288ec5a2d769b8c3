package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// check reports whether a part of the process is ready to serve; the error says why not.
type check struct {
	name  string
	ready func() error
	state func() string // how the part does, in a word; nil for parts that only are ready or not
}

// statusServer answers /healthz (the process lives, and how its parts do), /readyz (every part serves) and /metrics.
type statusServer struct {
	listener net.Listener
	server   *http.Server
}

func listenStatus(addr string, metrics prometheus.Gatherer, checks []check) (*statusServer, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--http %s: %w (choose another address, or 127.0.0.1:0 for any free port)", addr, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
		for _, c := range checks {
			if c.state != nil {
				fmt.Fprintf(w, "%s: %s\n", c.name, c.state())
			}
		}
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		status, lines := http.StatusOK, ""
		for _, c := range checks {
			if err := c.ready(); err != nil {
				status = http.StatusServiceUnavailable
				lines += fmt.Sprintf("%s: %v\n", c.name, err)
				continue
			}
			state := "ok"
			if c.state != nil {
				state = c.state()
			}
			lines += c.name + ": " + state + "\n"
		}
		w.WriteHeader(status)
		fmt.Fprint(w, lines)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	return &statusServer{listener, &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}}, nil
}

// Addr is where it listens.
func (s *statusServer) Addr() string { return s.listener.Addr().String() }

// Run serves until ctx is done.
func (s *statusServer) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.server.Serve(s.listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	err := s.server.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.server.Close()
	}
	<-served
	return err
}
