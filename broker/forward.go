package broker

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/api"
	"github.com/firn-io/firn/broker/auth"
	"github.com/firn-io/firn/broker/cluster"
	"github.com/firn-io/firn/broker/journal"
)

const (
	forwardTimeout     = 15 * time.Second // of a request, with the wait for a controller
	forwardDialTimeout = 3 * time.Second
	forwardPause       = 250 * time.Millisecond // before a controller that was not reached is tried again
	maxForwards        = 16                     // requests that are forwarded at a time; others wait
	maxForwardAnswer   = 32 << 20
)

// forwarder carries requests to the broker that owns journal 0, over the Kafka protocol: a connection for each, for they are few. It waits for a
// controller while there is none, and tries again while nothing was sent. What was sent and not answered may have been done.
type forwarder struct {
	cluster *cluster.Cluster
	tls     *auth.TLS // nil: brokers listen without TLS
	connect dial
	log     *slog.Logger
	turns   chan struct{} // holds a token for each request that may go
}

var _ api.Forwarder = (*forwarder)(nil)

// dial is net.Dialer's DialContext.
type dial func(ctx context.Context, network, address string) (net.Conn, error)

func newForwarder(c *cluster.Cluster, secure *auth.TLS, connect dial, log *slog.Logger) *forwarder {
	f := &forwarder{cluster: c, tls: secure, connect: connect, log: log, turns: make(chan struct{}, maxForwards)}
	for range maxForwards {
		f.turns <- struct{}{}
	}
	return f
}

func (f *forwarder) Forward(ctx context.Context, req kmsg.Request) (resp kmsg.Response, here bool, err error) {
	if _, err := f.cluster.Journal(0); err == nil {
		return nil, true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	select {
	case <-f.turns:
		defer func() { f.turns <- struct{}{} }()
	case <-ctx.Done():
		return nil, false, api.ErrNotController
	}
	for {
		controller, here := f.controller(ctx)
		if here {
			return nil, true, nil
		}
		if ctx.Err() != nil {
			return nil, false, api.ErrNotController
		}
		conn, err := f.dial(ctx, controller)
		if err != nil {
			f.log.Warn("the controller is not reached", "broker", controller.ID, "error", err)
			select {
			case <-time.After(forwardPause):
				continue
			case <-ctx.Done():
				return nil, false, fmt.Errorf("broker %d: %w: %w", controller.ID, err, api.ErrNotController)
			}
		}
		resp, err := roundTrip(ctx, conn, req)
		if err != nil {
			return nil, false, fmt.Errorf("%s at broker %d: %w: %w", kmsg.NameForKey(req.Key()), controller.ID, err, journal.ErrUnavailable)
		}
		if err := f.cluster.Refresh(ctx); err != nil {
			f.log.Warn("what the controller has done is not known here yet", "error", err)
		}
		return resp, false, nil
	}
}

// controller waits for a broker that serves journal 0, until ctx ends.
func (f *forwarder) controller(ctx context.Context) (b cluster.Broker, here bool) {
	for {
		changed := f.cluster.Changed()
		if owner, _, ok := f.cluster.Owner(0); ok {
			return owner, owner.ID == f.cluster.Self().ID
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return cluster.Broker{}, false
		}
	}
}

func (f *forwarder) dial(ctx context.Context, b cluster.Broker) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, forwardDialTimeout)
	defer cancel()
	conn, err := f.connect(ctx, "tcp", net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))))
	if err != nil || f.tls == nil {
		return conn, err
	}
	secured := tls.Client(conn, f.tls.Client(b.Host))
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secured, nil
}

// roundTrip sends a request, reads its answer, and closes the connection.
func roundTrip(ctx context.Context, conn net.Conn, req kmsg.Request) (kmsg.Response, error) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	const correlation = 1
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID(api.ForwardedClientID)).AppendRequest(nil, req, correlation)
	if _, err := conn.Write(frame); err != nil {
		return nil, err
	}
	var prefix [4]byte
	if _, err := io.ReadFull(conn, prefix[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(prefix[:])
	if size < 4 || size > maxForwardAnswer {
		return nil, fmt.Errorf("an answer of %d bytes; they have 4 to %d", size, maxForwardAnswer)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(conn, body); err != nil {
		return nil, err
	}
	if got := binary.BigEndian.Uint32(body); got != correlation {
		return nil, fmt.Errorf("an answer to request %d, this one is %d", got, correlation)
	}
	body = body[4:]
	resp := req.ResponseKind()
	if resp.IsFlexible() {
		var err error
		if body, err = skipTags(body); err != nil {
			return nil, err
		}
	}
	return resp, resp.ReadFrom(body)
}
