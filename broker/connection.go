package broker

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/api"
)

const (
	// maxInFlight bounds the requests of one connection that are not answered yet. It is high, for a producer that does not wait
	// for acknowledgements would otherwise be held to so many requests per flush; their bytes are bounded by the budget.
	maxInFlight = 256
	// readBuffer is the connection's own buffer. What fits there is read before any shared memory is asked for.
	readBuffer = 4 << 10
	// A frame's memory grows by growth as its bytes arrive, from firstChunk on, so that what is held is at most a
	// small multiple of what was sent.
	firstChunk = 64 << 10
	growth     = 4
)

// closing says why a connection ends. The reason is a label of a metric.
type closing struct {
	reason string
	err    error
}

func (c *closing) Error() string { return c.reason + ": " + c.err.Error() }
func (c *closing) Unwrap() error { return c.err }

func closeFor(reason string, err error) error { return &closing{reason, err} }

// Reasons for closing a connection.
const (
	closedByClient    = "client"
	closedIdle        = "idle"
	closedStalled     = "stalled"
	closedMalformed   = "malformed"
	closedUnsupported = "unsupported"
	closedByHandler   = "handler"
	closedByPanic     = "panic"
	closedAtStop      = "stop"
	closedUnadmitted  = "not admitted"
	closedHandshake   = "handshake"
)

// connection is one client. One goroutine reads requests and starts them in order, one writes the answers in order, and each request
// has one that finishes it.
type connection struct {
	*ServerConfig
	net      net.Conn // through TLS, if there is any
	out      *outlet  // below it
	host     string
	in       *bufio.Reader
	queue    chan *exchange // in order of arrival
	finishes sync.WaitGroup
	appetite appetite
	cancel   context.CancelCauseFunc // by the writer: why the connection ends
}

// exchange is one request and its answer.
type exchange struct {
	frame
	arrived  time.Time
	request  *Lease
	answer   *Lease
	appetite *appetite     // of its connection
	finished chan struct{} // response and err are set
	response kmsg.Response
	err      error
	answered chan struct{} // the answer is written, or never will be
}

// frame is a request as it came.
type frame struct {
	key, version int16
	correlation  int32
	clientID     string
	body         []byte
}

// ReserveShare makes an exchange the api.Memory of its request.
func (e *exchange) ReserveShare(ctx context.Context, least, most int64) (int64, error) {
	return e.answer.ReserveShare(ctx, least, max(least, min(most, e.appetite.limit())))
}

// serveConnection serves one client until it leaves, misbehaves or ctx is done, and returns when all its goroutines have.
func serveConnection(ctx context.Context, config *ServerConfig, conn net.Conn, out *outlet) {
	config.Metrics.connections.Inc()
	defer config.Metrics.connections.Dec()
	handlers, cancel := context.WithCancelCause(ctx)
	c := &connection{ServerConfig: config, net: conn, out: out, host: hostOf(conn.RemoteAddr()), in: bufio.NewReaderSize(conn, readBuffer),
		queue: make(chan *exchange, maxInFlight), cancel: cancel}
	stopReading := context.AfterFunc(handlers, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stopReading()
	var writer sync.WaitGroup
	writer.Go(func() { c.write(handlers) })

	err := c.read(handlers)
	var why *closing
	if errors.As(context.Cause(handlers), &why) {
		err = why // the writer was first
	}
	if !errors.As(err, &why) {
		why = &closing{closedAtStop, err}
		timer := time.AfterFunc(c.DrainTimeout, func() { conn.Close() })
		defer timer.Stop()
	} else {
		conn.Close() // nobody is there for the answers that remain
	}
	cancel(err)
	close(c.queue)
	writer.Wait()
	c.finishes.Wait()
	conn.Close()
	c.report(why)
}

func (c *connection) report(why *closing) {
	c.Metrics.closed.WithLabelValues(why.reason).Inc()
	switch why.reason {
	case closedByClient, closedIdle, closedAtStop:
		c.Log.Debug("connection closed", "client", c.net.RemoteAddr(), "reason", why.reason, "error", why.err)
	default:
		c.Log.Warn("connection closed", "client", c.net.RemoteAddr(), "reason", why.reason, "error", why.err)
	}
}

func hostOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}

// read reads requests and starts them until there is a reason to stop, which it returns: a *closing, or the cause of ctx's end.
func (c *connection) read(ctx context.Context) error {
	earlier := make(chan struct{})
	close(earlier)
	for {
		if err := c.awaitRequest(ctx, earlier); err != nil {
			return err
		}
		lease := c.Requests.Lease()
		e, err := c.readRequest(ctx, lease)
		if err != nil {
			lease.Release()
			return err
		}
		select {
		case c.queue <- e:
		case <-ctx.Done():
			lease.Release()
			return context.Cause(ctx)
		}
		c.start(ctx, e, earlier)
		earlier = e.answered
	}
}

// awaitRequest returns when the first byte of a request is there. A client that waits for the answer to an earlier one is not idle.
func (c *connection) awaitRequest(ctx context.Context, earlier <-chan struct{}) error {
	for {
		if err := c.readUntil(ctx, time.Now().Add(c.IdleTimeout)); err != nil {
			return err
		}
		_, err := c.in.Peek(1)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return closeFor(closedByClient, err)
		}
		select {
		case <-earlier:
			return closeFor(closedIdle, err)
		default:
		}
	}
}

// readUntil sets how long the next reads may take in all. What ends ctx makes them return too, whichever came first.
func (c *connection) readUntil(ctx context.Context, deadline time.Time) error {
	c.net.SetReadDeadline(deadline)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

func (c *connection) readRequest(ctx context.Context, lease *Lease) (*exchange, error) {
	var prefix [4]byte
	if err := c.fill(ctx, prefix[:]); err != nil {
		return nil, err
	}
	size := int64(int32(binary.BigEndian.Uint32(prefix[:])))
	if size < 8 || size > int64(c.MaxRequestBytes) {
		return nil, closeFor(closedMalformed, fmt.Errorf("a request of %d bytes; they have 8 to %d", size, c.MaxRequestBytes))
	}
	buf, err := c.readFrame(ctx, lease, int(size))
	if err != nil {
		return nil, err
	}
	c.Metrics.received.Add(float64(len(buf) + 4))
	f, err := parseFrame(buf)
	if err != nil {
		return nil, closeFor(closedMalformed, err)
	}
	return &exchange{frame: f, arrived: time.Now(), request: lease, answer: c.Answers.Lease(), appetite: &c.appetite,
		finished: make(chan struct{}), answered: make(chan struct{})}, nil
}

// readFrame reads a frame of size bytes. Memory is asked for as they arrive: a large size by itself costs nothing.
func (c *connection) readFrame(ctx context.Context, lease *Lease, size int) ([]byte, error) {
	if err := c.readUntil(ctx, time.Now().Add(c.patience(readBuffer))); err != nil {
		return nil, err
	}
	if _, err := c.in.Peek(min(size, readBuffer)); err != nil {
		return nil, readError(ctx, err)
	}
	var buf []byte
	for n := 0; n < size; n = len(buf) {
		next := min(size, max(firstChunk, growth*n))
		if err := lease.Reserve(ctx, int64(next)); err != nil { // beside the n that are copied from
			return nil, refused(ctx, err)
		}
		grown := make([]byte, next)
		copy(grown, buf)
		buf = grown
		lease.Keep(int64(next))
		if err := c.fill(ctx, buf[n:]); err != nil {
			return nil, err
		}
	}
	return buf, nil
}

// fill reads len(b) bytes of a request that has begun.
func (c *connection) fill(ctx context.Context, b []byte) error {
	p := newPace(time.Now(), c.patience(len(b)))
	for len(b) > 0 {
		if err := c.readUntil(ctx, p.deadline()); err != nil {
			return err
		}
		n, err := c.in.Read(b)
		p.add(n)
		b = b[n:]
		switch {
		case err == nil:
		case ctx.Err() != nil || !errors.Is(err, os.ErrDeadlineExceeded):
			return readError(ctx, err)
		case p.turn(time.Now(), c.Requests.Wanted()):
			return readError(ctx, err)
		}
	}
	return nil
}

// patience is how long a peer may take for so many bytes.
func (c *connection) patience(bytes int) time.Duration {
	return c.StallTimeout + time.Duration(bytes)*time.Second/slowestBytes
}

// refused is for memory that was not granted: because ctx is done, or because the request is too large for this broker.
func refused(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return closeFor(closedMalformed, err)
}

func readError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return closeFor(closedStalled, fmt.Errorf("in the middle of a request: %w", err))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return closeFor(closedMalformed, fmt.Errorf("the client left in the middle of a request: %w", err))
	}
	return closeFor(closedByClient, err)
}

// parseFrame reads a request's header:
//
//	key i16 · version i16 · correlation id i32 · client id: length i16 (-1: null), bytes · in flexible versions: tagged fields · body
//
// The client id is not compact in flexible versions, so that a broker can read the header of an ApiVersions request that it does not
// know the version of. There the tagged fields are left in the body.
func parseFrame(b []byte) (frame, error) {
	f := frame{
		key:         int16(binary.BigEndian.Uint16(b)),
		version:     int16(binary.BigEndian.Uint16(b[2:])),
		correlation: int32(binary.BigEndian.Uint32(b[4:])),
	}
	b = b[8:]
	if len(b) < 2 {
		return f, errors.New("the request ends before its client id")
	}
	n := int(int16(binary.BigEndian.Uint16(b)))
	b = b[2:]
	if n > len(b) {
		return f, errors.New("the request ends inside its client id")
	}
	if n > 0 {
		f.clientID, b = string(b[:n]), b[n:]
	}
	f.body = b
	return f, nil
}

// skipTags passes the tagged fields of a request header, none of which mean anything to a broker.
func skipTags(b []byte) ([]byte, error) {
	next := func() (uint64, error) {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > uint64(len(b)) {
			return 0, errors.New("the tagged fields of the request's header do not fit into it")
		}
		b = b[n:]
		return v, nil
	}
	count, err := next()
	for ; err == nil && count > 0; count-- {
		if _, n := binary.Uvarint(b); n > 0 {
			b = b[n:] // the field's number
		}
		var size uint64
		if size, err = next(); err == nil && size <= uint64(len(b)) {
			b = b[size:]
		} else if err == nil {
			err = errors.New("a tagged field of the request's header is longer than the request")
		}
	}
	return b, err
}

// start decodes a request, starts it, and lets a goroutine finish it.
func (c *connection) start(ctx context.Context, e *exchange, earlier <-chan struct{}) {
	finish, err := c.begin(ctx, e, earlier)
	if err != nil {
		e.err = err
		close(e.finished)
		return
	}
	c.finishes.Go(func() {
		defer close(e.finished)
		defer recovered(&e.err)
		e.response, e.err = finish(ctx)
	})
}

func (c *connection) begin(ctx context.Context, e *exchange, earlier <-chan struct{}) (finish api.Finish, err error) {
	defer recovered(&err)
	a, ok := c.Registry.Lookup(e.key)
	if !ok {
		return nil, closeFor(closedUnsupported, fmt.Errorf("request %s (key %d) is not served", kmsg.NameForKey(e.key), e.key))
	}
	if e.version < a.Min || e.version > a.Max {
		if e.key != keyApiVersions {
			return nil, closeFor(closedUnsupported, fmt.Errorf("%s version %d is not served, only %d to %d", kmsg.NameForKey(e.key), e.version, a.Min, a.Max))
		}
		return func(context.Context) (kmsg.Response, error) { return c.Registry.UnsupportedVersion(), nil }, nil
	}
	req := kmsg.RequestForKey(e.key)
	req.SetVersion(e.version)
	if err := c.decode(ctx, e, req); err != nil {
		return nil, closeFor(closedMalformed, fmt.Errorf("%s version %d: %w", kmsg.NameForKey(e.key), e.version, err))
	}
	return a.Start(ctx, &api.Request{Body: req, ClientID: e.clientID, Host: c.host, Earlier: earlier, Memory: e}), nil
}

func (c *connection) decode(ctx context.Context, e *exchange, req kmsg.Request) error {
	body := e.body
	if req.IsFlexible() {
		var err error
		if body, err = skipTags(body); err != nil {
			return err
		}
	}
	cost, err := api.Check(e.key, e.version, req.IsFlexible(), body)
	if err != nil {
		return err
	}
	if err := e.request.Reserve(ctx, cost); err != nil {
		return err
	}
	return req.ReadFrom(body)
}

// recovered turns a panic of a handler into an error that closes the connection. The other connections, and the journals, have
// nothing to do with it.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = closeFor(closedByPanic, fmt.Errorf("panic in a handler: %v\n%s", p, debug.Stack()))
	}
}

const keyApiVersions = 18

// write writes the answers in the order of the requests until the queue is closed. After the first that cannot be written it
// only waits for the rest and gives their memory back.
func (c *connection) write(ctx context.Context) {
	var failed error
	for e := range c.queue {
		<-e.finished
		if failed == nil {
			if failed = c.answer(ctx, e); failed != nil {
				c.cancel(failed)
				c.net.Close() // ends the reader
			}
		}
		c.Metrics.answered(e.key, time.Since(e.arrived))
		e.request.Release()
		e.answer.Release()
		close(e.answered)
	}
}

func (c *connection) answer(ctx context.Context, e *exchange) error {
	var why *closing
	switch {
	case e.err != nil && errors.As(e.err, &why):
		if why.reason == closedByPanic {
			c.Metrics.panics.Inc()
		}
		return e.err
	case e.err != nil && ctx.Err() != nil:
		return closeFor(closedAtStop, e.err)
	case e.err != nil:
		return closeFor(closedByHandler, fmt.Errorf("%s: %w", kmsg.NameForKey(e.key), e.err))
	case e.response == nil:
		return nil
	}
	return c.send(encode(e), e.answer.held)
}

// send writes an answer. A client may leave it unread for a while; but not while others wait for the memory that it takes.
func (c *connection) send(b []byte, held int64) error {
	began := time.Now()
	defer c.out.begin(c.patience(len(b)), func() bool { return held > 0 && c.Answers.Wanted() })()
	n, err := c.net.Write(b)
	c.Metrics.sent.Add(float64(n))
	switch {
	case errors.Is(err, errStalled):
		return closeFor(closedStalled, err)
	case err != nil:
		return closeFor(closedByClient, err)
	}
	c.appetite.read(held, time.Since(began))
	return nil
}
