package differential

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// patience is how long an answer may take.
	patience = time.Minute
	// maxAnswer bounds the memory that a server's word can take, bytes.
	maxAnswer = 64 << 20
)

// errClosed says that the server closed the connection in place of an answer. That is an answer too.
var errClosed = errors.New("the server closed the connection")

// conn is a connection that sends requests and receives their answers in order. It is not safe for concurrent use.
type conn struct {
	addr    string
	net     net.Conn
	in      *bufio.Reader
	last    int32 // correlation id
	waiting []sent
}

// sent is a request that has no answer yet.
type sent struct {
	correlation int32
	request     kmsg.Request
}

// send sends a request, on a new connection if the one before was closed.
func (c *conn) send(ctx context.Context, req kmsg.Request) error {
	if c.net == nil {
		var d net.Dialer
		n, err := d.DialContext(ctx, "tcp", c.addr)
		if err != nil {
			return err
		}
		c.net, c.in = n, bufio.NewReader(n)
	}
	c.last++
	c.net.SetDeadline(time.Now().Add(patience))
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("differential")).AppendRequest(nil, req, c.last)
	if produce, ok := req.(*kmsg.ProduceRequest); !ok || produce.Acks != 0 {
		c.waiting = append(c.waiting, sent{c.last, req})
	}
	// A server that has closed the connection meanwhile shows when its answer is read.
	_, err := c.net.Write(frame)
	if errors.As(err, new(*net.OpError)) {
		return nil
	}
	return err
}

// receive reads the answer to the oldest request that has none. The error is errClosed if the server closed the connection.
func (c *conn) receive() (kmsg.Response, error) {
	if len(c.waiting) == 0 {
		return nil, errors.New("nothing was asked")
	}
	next := c.waiting[0]
	c.waiting = c.waiting[1:]
	if c.net == nil {
		return nil, errClosed
	}
	frame, err := c.frame()
	if err != nil {
		c.close()
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return nil, fmt.Errorf("%s: no answer: %w", kmsg.NameForKey(next.request.Key()), err)
		}
		return nil, errClosed
	}
	if got := int32(binary.BigEndian.Uint32(frame)); got != next.correlation {
		return nil, fmt.Errorf("an answer to request %d in place of %d", got, next.correlation)
	}
	body := frame[4:]
	resp := next.request.ResponseKind()
	if resp.Key() == 18 && int16(binary.BigEndian.Uint16(body)) == 35 {
		resp.SetVersion(0) // what a server answers to a version that it does not know
	}
	if resp.IsFlexible() && resp.Key() != 18 {
		if len(body) == 0 || body[0] != 0 {
			return nil, fmt.Errorf("%s: tagged fields in the answer's header", kmsg.NameForKey(resp.Key()))
		}
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("%s version %d: reading the answer: %w", kmsg.NameForKey(resp.Key()), resp.GetVersion(), err)
	}
	return resp, nil
}

func (c *conn) frame() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(c.in, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < 4 || n > maxAnswer {
		return nil, fmt.Errorf("an answer of %d bytes", n)
	}
	frame := make([]byte, n)
	_, err := io.ReadFull(c.in, frame)
	return frame, err
}

// call sends a request and reads its answer.
func (c *conn) call(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	if err := c.send(ctx, req); err != nil {
		return nil, err
	}
	return c.receive()
}

func (c *conn) close() {
	if c.net != nil {
		c.net.Close()
		c.net = nil
	}
}
