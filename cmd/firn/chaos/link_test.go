package chaos_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/firn-io/firn/cmd/firn/chaos"
)

// echo is a server that says what it hears, and tells the test too.
func echo(t *testing.T) (addr string, heard <-chan string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	all := make(chan string, 10)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buffer := make([]byte, 10)
				for {
					n, err := conn.Read(buffer)
					if err != nil {
						return
					}
					all <- string(buffer[:n])
					conn.Write(buffer[:n])
				}
			}()
		}
	}()
	return listener.Addr().String(), all
}

func newLink(t *testing.T) (l *chaos.Link, heard <-chan string) {
	addr, heard := echo(t)
	l, err := chaos.NewLink(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l, heard
}

func dial(t *testing.T, l *chaos.Link) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func say(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}

// wantEcho reads what comes back.
func wantEcho(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != text {
		t.Errorf("got %q, %v; want %q", got, err, text)
	}
}

// wantEnd waits for the connection to be closed, without a byte more.
func wantEnd(t *testing.T, conn net.Conn) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the connection goes on: %d bytes, %v", n, err)
	} else if e, ok := err.(net.Error); ok && e.Timeout() {
		t.Error("the connection stays")
	}
}

func TestLinkCut(t *testing.T) {
	l, heard := newLink(t)
	conn := dial(t, l)
	say(t, conn, "one")
	wantEcho(t, conn, "one")
	<-heard
	l.Cut()
	wantEnd(t, conn)
	wantEnd(t, dial(t, l))
	l.Mend()
	conn = dial(t, l)
	say(t, conn, "two")
	wantEcho(t, conn, "two")
}

func TestLinkFrozen(t *testing.T) {
	l, heard := newLink(t)
	conn := dial(t, l)
	say(t, conn, "one")
	wantEcho(t, conn, "one")
	<-heard
	l.Freeze()
	say(t, conn, "two")
	conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil || len(heard) != 0 {
		t.Errorf("something has passed: %d, %v", n, err)
	}
	conn.SetReadDeadline(time.Time{})
	l.Mend()
	wantEcho(t, conn, "two")
}

func TestLinkLosesAnswers(t *testing.T) {
	l, heard := newLink(t)
	conn, idle := dial(t, l), dial(t, l)
	say(t, idle, "first")
	wantEcho(t, idle, "first")
	<-heard
	l.LoseAnswers()
	say(t, conn, "one")
	if got := <-heard; got != "one" {
		t.Errorf("the server has heard %q", got)
	}
	for tick := time.Tick(time.Millisecond); l.Lost() == 0; {
		<-tick
	}
	l.Mend()
	say(t, idle, "two")
	wantEcho(t, idle, "two") // of it nothing was lost
	wantEnd(t, conn)
}
