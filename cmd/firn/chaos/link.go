package chaos

import (
	"fmt"
	"net"
	"sync"
)

// Link is a TCP address before another one. It is safe for concurrent use.
type Link struct {
	target   string
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex // guards what follows
	how     weather
	changed chan struct{}        // closed at the next change
	open    map[*connection]bool // value: bytes were lost, so that it is of no use any more
	lost    int                  // answers, or parts of them
}

// weather is how a link is.
type weather uint8

const (
	fine       weather = iota
	cut                // no connection stays, and none is let in
	frozen             // connections stay, and nothing passes until the link is mended
	answerless         // what clients say passes, what they are told does not
)

type connection struct{ client, server net.Conn }

func (c *connection) close() {
	c.client.Close()
	c.server.Close()
}

// NewLink listens on a free port, before target. The caller closes it.
func NewLink(target string) (*Link, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("chaos: %w", err)
	}
	l := &Link{target: target, listener: listener, changed: make(chan struct{}), open: map[*connection]bool{}}
	l.running.Go(l.accept)
	return l, nil
}

// Addr is where clients find it.
func (l *Link) Addr() string { return l.listener.Addr().String() }

// Cut closes every connection, and those that come.
func (l *Link) Cut() { l.become(cut) }

// Freeze has connections stay and nothing pass, as where packets are dropped on the way. What is sent meanwhile arrives when the link is mended.
func (l *Link) Freeze() { l.become(frozen) }

// LoseAnswers has what clients say arrive, and loses what they are told.
func (l *Link) LoseAnswers() { l.become(answerless) }

// Mend lets everything pass again. Connections of which something was lost are closed.
func (l *Link) Mend() { l.become(fine) }

// Lost is how often an answer, or a part of one, was lost.
func (l *Link) Lost() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// Close ends the link.
func (l *Link) Close() {
	l.listener.Close()
	l.Cut()
	l.running.Wait()
}

func (l *Link) become(how weather) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.how = how
	for c, lossy := range l.open {
		if how == cut || how == fine && lossy {
			c.close()
		}
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *Link) accept() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.running.Go(func() { l.join(client) })
	}
}

// join connects a client, unless the link is cut.
func (l *Link) join(client net.Conn) {
	server, err := net.Dial("tcp", l.target)
	if err != nil {
		client.Close()
		return
	}
	c := &connection{client, server}
	l.mu.Lock()
	if l.how == cut {
		l.mu.Unlock()
		c.close()
		return
	}
	l.open[c] = false
	l.mu.Unlock()
	var pumps sync.WaitGroup
	ended := make(chan struct{})
	end := sync.OnceFunc(func() {
		c.close()
		close(ended)
	})
	pumps.Go(func() { defer end(); l.pump(c, client, server, ended) })
	pumps.Go(func() { defer end(); l.pump(c, server, client, ended) })
	pumps.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, c)
}

// pump carries bytes until either end closes.
func (l *Link) pump(c *connection, from, to net.Conn, ended <-chan struct{}) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && l.passes(c, from == c.server, ended) {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// passes waits while the link is frozen, and tells whether bytes are carried on.
func (l *Link) passes(c *connection, isAnswer bool, ended <-chan struct{}) bool {
	for {
		l.mu.Lock()
		how, changed := l.how, l.changed
		if how == answerless && isAnswer {
			l.open[c] = true
			l.lost++
		}
		l.mu.Unlock()
		switch {
		case how == fine, how == answerless && !isAnswer:
			return true
		case how == cut, how == answerless:
			return false
		}
		select {
		case <-changed:
		case <-ended:
			return false
		}
	}
}
