package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxBody     = 256 << 20        // of a request or an answer; a larger one is refused
	landTimeout = 30 * time.Second // of a request to the server itself
)

// Request is what can be said of a request before it is carried out.
type Request struct {
	Verb string // GET, PUT, LIST, DELETE, HEAD, …
	Key  string // below the store's root; of a LIST its prefix

	body func() []byte
}

// Body is the whole body of the request. It waits for it to arrive, and is empty if the client has gone meanwhile. Not to be modified.
func (r Request) Body() []byte { return r.body() }

// Match picks requests.
type Match func(Request) bool

// Any matches every request.
func Any(Request) bool { return true }

// Verb matches the requests of one kind.
func Verb(verb string) Match { return func(r Request) bool { return r.Verb == verb } }

// Key matches the requests of one kind whose keys begin with prefix and contain all the parts.
func Key(verb, prefix string, parts ...string) Match {
	return func(r Request) bool {
		return r.Verb == verb && strings.HasPrefix(r.Key, prefix) && !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(r.Key, p) })
	}
}

// Store is an HTTP server before an S3 server. Requests pass, unless a Trap is in their way. It is safe for concurrent use.
type Store struct {
	target   *url.URL
	root     string
	listener net.Listener
	server   *http.Server
	client   *http.Transport
	served   chan struct{}

	mu    sync.Mutex // guards traps
	traps []*Trap    // the first that matches counts
}

// Trap is a fault that lies in wait.
type Trap struct {
	store *Store
	match Match
	fault Fault
	met   atomic.Int64
}

// NewStore listens on a free port, before the server at target. Keys are told below root, which is a bucket and a slash, and perhaps a
// prefix in it that ends with one. The caller closes it.
func NewStore(target, root string) (*Store, error) {
	at, err := url.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("chaos: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("chaos: %w", err)
	}
	s := &Store{
		target: at, root: root, listener: listener, served: make(chan struct{}),
		client: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
	}
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: landTimeout, ErrorLog: log.New(io.Discard, "", 0)}
	go func() {
		defer close(s.served)
		s.server.Serve(listener) // its error is that it was closed
	}()
	return s, nil
}

// URL is where clients find it.
func (s *Store) URL() string { return "http://" + s.listener.Addr().String() }

// Close cuts all connections.
func (s *Store) Close() {
	s.server.Close()
	<-s.served
	s.client.CloseIdleConnections()
}

// On has a fault befall each request that matches, until the trap is removed.
func (s *Store) On(match Match, fault Fault) *Trap {
	t := &Trap{store: s, match: match, fault: fault}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.traps = append(s.traps, t)
	return t
}

// Met is how many requests have met the trap.
func (t *Trap) Met() int { return int(t.met.Load()) }

// Remove takes the trap away. Requests that are in it stay there. It may be called again.
func (t *Trap) Remove() {
	t.store.mu.Lock()
	defer t.store.mu.Unlock()
	t.store.traps = slices.DeleteFunc(slices.Clone(t.store.traps), func(other *Trap) bool { return other == t })
}

// Caught is a trap for one request, which waits in it for what the test decides.
type Caught struct {
	trap      *Trap
	exchanges chan *Exchange
}

// Catch holds the next request that matches before the server sees it. Those that come after it pass.
func (s *Store) Catch(match Match) *Caught {
	c := &Caught{exchanges: make(chan *Exchange, 1)}
	var once atomic.Bool
	c.trap = s.On(func(r Request) bool { return match(r) && once.CompareAndSwap(false, true) }, func(x *Exchange) {
		c.exchanges <- x
		<-x.decided
	})
	return c
}

// Wait gives the request when it has come. The caller ends it with Reply, Answer or Drop.
func (c *Caught) Wait(ctx context.Context) (*Exchange, error) {
	select {
	case x := <-c.exchanges:
		c.trap.Remove()
		return x, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("chaos: no request was caught: %w", ctx.Err())
	}
}

// Give takes the trap away; a request that is in it passes.
func (c *Caught) Give() {
	c.trap.Remove()
	select {
	case x := <-c.exchanges:
		x.Reply()
	default:
	}
}

// find is the first trap that a request meets, if there is one.
func (s *Store) find(r Request) *Trap {
	s.mu.Lock()
	traps := s.traps
	s.mu.Unlock()
	for _, t := range traps {
		if t.match(r) {
			t.met.Add(1)
			return t
		}
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (s *Store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &Exchange{Request: s.parse(r), store: s, in: r, out: w, decided: make(chan struct{})}
	x.Request.body = x.body
	if t := s.find(x.Request); t != nil {
		t.fault(x)
	} else {
		Pass(x)
	}
	x.finish()
}

// parse tells verb and key of a request in path style.
func (s *Store) parse(r *http.Request) Request {
	verb, key := r.Method, strings.TrimPrefix(r.URL.Path, "/")
	if query := r.URL.Query(); verb == http.MethodGet && query.Has("list-type") {
		verb, key = "LIST", strings.TrimSuffix(key, "/")+"/"+query.Get("prefix")
	}
	return Request{Verb: verb, Key: strings.TrimPrefix(key, s.root)}
}

// answer is what the server said.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// send carries a request out. body may be shorter than the request says; then the connection breaks where it ends.
func (s *Store) send(ctx context.Context, r *http.Request, body io.Reader) (*answer, error) {
	out := r.Clone(ctx)
	out.URL.Scheme, out.URL.Host = s.target.Scheme, s.target.Host // the signature covers the Host header, which stays
	out.RequestURI, out.Body = "", nil
	if r.ContentLength > 0 {
		out.Body = io.NopCloser(body)
	}
	in, err := s.client.RoundTrip(out)
	if err != nil {
		return nil, fmt.Errorf("chaos: %w", err)
	}
	defer in.Body.Close()
	var got bytes.Buffer
	if n, err := io.Copy(&got, io.LimitReader(in.Body, maxBody+1)); err != nil || n > maxBody {
		return nil, errors.Join(fmt.Errorf("chaos: an answer of %d bytes", n), err)
	}
	return &answer{in.StatusCode, in.Header, got.Bytes()}, nil
}
