package chaos

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Fault decides what becomes of a request. It runs on the request's own goroutine, and returns when that is decided.
type Fault func(*Exchange)

// Pass lets a request through.
func Pass(x *Exchange) { x.Reply() }

// Unavailable answers as a server that is overloaded, which has done nothing: 503 Slow Down.
func Unavailable(x *Exchange) { x.Answer(http.StatusServiceUnavailable, "SlowDown") }

// Broken answers as a server that has failed: 500 Internal Error.
func Broken(x *Exchange) { x.Answer(http.StatusInternalServerError, "InternalError") }

// Silent never answers, and the server never sees the request.
func Silent(x *Exchange) {
	x.Body()
	<-x.Gone()
	x.Drop()
}

// LoseRequest cuts the connection before the server has seen the request.
func LoseRequest(x *Exchange) {
	x.Body()
	x.Drop()
}

// LoseReply cuts the connection after the server has carried the request out.
func LoseReply(x *Exchange) {
	x.Land(context.Background()) // whatever the server said, nobody learns it
	x.Drop()
}

// CutUpload breaks both connections in the middle of the request's body.
func CutUpload(x *Exchange) {
	body := x.Body()
	if len(body) < 2 {
		x.Drop()
		return
	}
	half := io.MultiReader(bytes.NewReader(body[:len(body)/2]), brokenReader{})
	ctx, cancel := context.WithTimeout(context.Background(), landTimeout)
	defer cancel()
	x.store.send(ctx, x.in, half) // its error is the fault
	x.Drop()
}

type brokenReader struct{}

var errCut = errors.New("the connection is cut here")

func (brokenReader) Read([]byte) (int, error) { return 0, errCut }

// CutDownload breaks the connection in the middle of the answer's body.
func CutDownload(x *Exchange) {
	x.mu.Lock()
	x.cut = true
	x.mu.Unlock()
	x.Reply()
}

// Slow lets so many bytes a second through, in each direction. Each request has its own link.
func Slow(bytesPerSecond int) Fault {
	return func(x *Exchange) {
		x.mu.Lock()
		x.pace = bytesPerSecond
		x.mu.Unlock()
		x.Reply()
	}
}

// Every has a fault befall each n-th request, and lets the others pass.
func Every(n int, fault Fault) Fault {
	var count atomic.Int64
	return func(x *Exchange) {
		if count.Add(1)%int64(n) == 0 {
			fault(x)
			return
		}
		Pass(x)
	}
}

// Exchange is a request on its way. Its methods are safe for concurrent use; the first of Reply, Answer and Drop decides.
type Exchange struct {
	Request
	store *Store
	in    *http.Request
	out   http.ResponseWriter

	read sync.Once
	all  []byte

	landing sync.Mutex // guards landed: one request is sent to the server once
	landed  *answer

	mu      sync.Mutex // guards what follows
	outcome outcome
	own     *answer // in place of the server's
	cut     bool    // the answer is cut in its middle
	pace    int     // bytes a second; 0: as fast as it can
	decided chan struct{}
}

type outcome uint8

const (
	undecided outcome = iota
	replied
	dropped
)

func (x *Exchange) body() []byte {
	x.read.Do(func() {
		x.mu.Lock()
		from := io.LimitReader(x.in.Body, maxBody)
		if x.pace > 0 {
			from = &slowReader{from, x.pace}
		}
		x.mu.Unlock()
		all, err := io.ReadAll(from)
		if err == nil {
			x.all = all
		}
	})
	return x.all
}

// Gone is closed when the client has given up.
func (x *Exchange) Gone() <-chan struct{} { return x.in.Context().Done() }

// Land has the server carry the request out, though the client may have gone, and returns when it has: nil if it answered, whatever it
// answered. The client learns nothing. A request lands once; a second call returns the same.
func (x *Exchange) Land(ctx context.Context) error {
	x.landing.Lock()
	defer x.landing.Unlock()
	if x.landed != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, landTimeout)
	defer cancel()
	body := x.Body()
	if int64(len(body)) < x.in.ContentLength {
		return errors.New("chaos: the client went before the request was there")
	}
	a, err := x.store.send(ctx, x.in, bytes.NewReader(body))
	if err == nil {
		x.landed = a
	}
	return err
}

// Status is what the server has answered; 0 if it has not.
func (x *Exchange) Status() int {
	x.landing.Lock()
	defer x.landing.Unlock()
	if x.landed == nil {
		return 0
	}
	return x.landed.status
}

// Reply gives the client the server's answer, which is asked for it if it was not yet.
func (x *Exchange) Reply() { x.decide(replied, nil) }

// Answer gives the client an answer of S3's kind in place of the server's.
func (x *Exchange) Answer(status int, code string) {
	body := `<?xml version="1.0" encoding="UTF-8"?><Error><Code>` + code + `</Code><Message>by a test</Message></Error>`
	x.Body() // who is cut off while sending learns no status
	x.decide(replied, &answer{status, http.Header{"Content-Type": {"application/xml"}, "Content-Length": {strconv.Itoa(len(body))}}, []byte(body)})
}

// Drop cuts the client's connection.
func (x *Exchange) Drop() { x.decide(dropped, nil) }

func (x *Exchange) decide(o outcome, own *answer) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.outcome == undecided {
		x.outcome, x.own = o, own
		close(x.decided)
	}
}

// finish does what was decided, on the request's goroutine.
func (x *Exchange) finish() {
	x.mu.Lock()
	o, a, cut, pace := x.outcome, x.own, x.cut, x.pace
	x.mu.Unlock()
	if o != replied {
		panic(http.ErrAbortHandler)
	}
	if a == nil {
		if x.Land(context.Background()) != nil {
			panic(http.ErrAbortHandler)
		}
		a = x.landed
	}
	for name, values := range a.header {
		x.out.Header()[name] = values
	}
	x.out.WriteHeader(a.status)
	body := a.body
	if cut {
		body = body[:len(body)/2]
	}
	to := io.Writer(x.out)
	if pace > 0 {
		to = &slowWriter{x.out, pace}
	}
	if _, err := to.Write(body); err != nil || cut {
		if f, ok := x.out.(http.Flusher); ok {
			f.Flush()
		}
		panic(http.ErrAbortHandler)
	}
}

// parts is into how many pieces a slow link cuts a second.
const parts = 20

// slowReader reads so many bytes a second.
type slowReader struct {
	from io.Reader
	pace int
}

func (s *slowReader) Read(p []byte) (int, error) {
	n, err := s.from.Read(p[:min(len(p), max(1, s.pace/parts))])
	time.Sleep(time.Duration(n) * time.Second / time.Duration(s.pace))
	return n, err
}

// slowWriter writes so many bytes a second.
type slowWriter struct {
	to   http.ResponseWriter
	pace int
}

func (s *slowWriter) Write(p []byte) (written int, err error) {
	for len(p) > 0 && err == nil {
		part := p[:min(len(p), max(1, s.pace/parts))]
		var n int
		n, err = s.to.Write(part)
		if f, ok := s.to.(http.Flusher); ok {
			f.Flush()
		}
		time.Sleep(time.Duration(n) * time.Second / time.Duration(s.pace))
		written, p = written+n, p[n:]
	}
	return written, err
}
