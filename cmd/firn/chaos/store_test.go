package chaos_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firn-io/firn/cmd/firn/chaos"
)

// bucket is a server that keeps what is put.
type bucket struct {
	mu      sync.Mutex
	objects map[string][]byte
}

func (b *bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.Method == http.MethodPut {
		b.objects[r.URL.Path] = body
		return
	}
	w.Write(b.objects[r.URL.Path])
}

func (b *bucket) has(path string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.objects[path] != nil
}

// bench is a bucket with a Store before it.
type bench struct {
	*testing.T
	bucket *bucket
	store  *chaos.Store
}

func newBench(t *testing.T) *bench {
	b := &bucket{objects: map[string][]byte{}}
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	store, err := chaos.NewStore(server.URL, "bucket/ns/")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return &bench{t, b, store}
}

// do sends a request on a connection of its own.
func (b *bench) do(ctx context.Context, verb, path string, body []byte) (status int, got []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, verb, b.store.URL()+path, bytes.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	got, err = io.ReadAll(answer.Body)
	return answer.StatusCode, got, err
}

func TestFaults(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789"), 100_000)
	for name, c := range map[string]struct {
		fault  chaos.Fault
		status int // 0: the connection is cut
		landed bool
	}{
		"pass": {chaos.Pass, 200, true}, "unavailable": {chaos.Unavailable, 503, false}, "broken": {chaos.Broken, 500, false},
		"request lost": {chaos.LoseRequest, 0, false}, "reply lost": {chaos.LoseReply, 0, true}, "cut": {chaos.CutUpload, 0, false},
		"slow": {chaos.Slow(10 << 20), 200, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			trap := b.store.On(chaos.Key("PUT", "journal/", ".kfs"), c.fault)
			status, _, err := b.do(t.Context(), "PUT", "/bucket/ns/journal/1.kfs", body)
			if status != c.status || (err == nil) != (c.status > 0) || b.bucket.has("/bucket/ns/journal/1.kfs") != c.landed || trap.Met() != 1 {
				t.Errorf("status %d, %v; landed %t", status, err, !c.landed)
			}
			if status, _, err := b.do(t.Context(), "PUT", "/bucket/ns/other", body); status != 200 || err != nil {
				t.Errorf("another request has status %d, %v", status, err)
			}
			trap.Remove()
			if status, _, err := b.do(t.Context(), "PUT", "/bucket/ns/journal/1.kfs", body); status != 200 || err != nil || trap.Met() != 1 {
				t.Errorf("without the trap the status is %d, %v", status, err)
			}
		})
	}
}

func TestCutDownload(t *testing.T) {
	b := newBench(t)
	body := bytes.Repeat([]byte("x"), 1<<20)
	b.bucket.objects["/bucket/ns/key"] = body
	b.store.On(chaos.Verb("GET"), chaos.CutDownload)
	status, got, err := b.do(t.Context(), "GET", "/bucket/ns/key", nil)
	if status != 200 || !errors.Is(err, io.ErrUnexpectedEOF) || len(got) != len(body)/2 {
		t.Errorf("status %d, %d bytes, %v", status, len(got), err)
	}
}

func TestSilentUntilTheClientGoes(t *testing.T) {
	b := newBench(t)
	trap := b.store.On(chaos.Any, chaos.Silent)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := b.do(ctx, "PUT", "/bucket/ns/key", []byte("x")); !errors.Is(err, context.DeadlineExceeded) || b.bucket.has("/bucket/ns/key") || trap.Met() != 1 {
		t.Errorf("%v", err)
	}
}

func TestSlowTakesItsTime(t *testing.T) {
	b := newBench(t)
	b.store.On(chaos.Any, chaos.Slow(1<<20))
	begun := time.Now()
	if _, _, err := b.do(t.Context(), "PUT", "/bucket/ns/key", make([]byte, 100<<10)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < 90*time.Millisecond {
		t.Errorf("100 KiB at 1 MiB/s took %v", took)
	}
}

func TestEvery(t *testing.T) {
	b := newBench(t)
	b.store.On(chaos.Any, chaos.Every(3, chaos.Unavailable))
	var got []int
	for range 6 {
		status, _, err := b.do(t.Context(), "GET", "/bucket/ns/key", nil)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, status)
	}
	if want := [6]int{200, 200, 503, 200, 200, 503}; [6]int(got) != want {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestCaught: a request that is caught lands when the test says so, also when its client has long gone.
func TestCaught(t *testing.T) {
	b := newBench(t)
	caught := b.store.Catch(func(r chaos.Request) bool { return r.Verb == "PUT" && bytes.HasPrefix(r.Body(), []byte("x")) })
	if _, _, err := b.do(t.Context(), "PUT", "/bucket/ns/other", []byte("y")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, _, err := b.do(ctx, "PUT", "/bucket/ns/key", []byte("x"))
		gone <- err
	}()
	x, err := caught.Wait(t.Context())
	if err != nil || x.Key != "key" || string(x.Body()) != "x" || x.Status() != 0 || b.bucket.has("/bucket/ns/key") {
		t.Fatalf("caught %+v, %v", x, err)
	}
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the client has %v", err)
	}
	<-x.Gone()
	if err := x.Land(t.Context()); err != nil || x.Status() != 200 || !b.bucket.has("/bucket/ns/key") {
		t.Errorf("landed: %v, %d", err, x.Status())
	}
	x.Drop()
	if status, _, err := b.do(t.Context(), "PUT", "/bucket/ns/key", []byte("x")); status != 200 || err != nil {
		t.Errorf("the next one: %d, %v", status, err)
	}
}

// TestCaughtIsAnswered: the client of a request that is caught gets the server's answer when the test lets it.
func TestCaughtIsAnswered(t *testing.T) {
	b := newBench(t)
	b.bucket.objects["/bucket/ns/key"] = []byte("body")
	for name, end := range map[string]func(c *chaos.Caught){
		"replied": func(c *chaos.Caught) {
			x, err := c.Wait(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			x.Reply()
			x.Drop() // too late
		},
		"given up": func(c *chaos.Caught) { c.Give() },
	} {
		t.Run(name, func(t *testing.T) {
			caught := b.store.Catch(chaos.Verb("GET"))
			done := make(chan struct{})
			go func() {
				defer close(done)
				if status, got, err := b.do(t.Context(), "GET", "/bucket/ns/key", nil); status != 200 || string(got) != "body" || err != nil {
					t.Errorf("%d %q %v", status, got, err)
				}
			}()
			end(caught)
			<-done
		})
	}
}

func TestListsAreKnown(t *testing.T) {
	b := newBench(t)
	var seen []chaos.Request
	b.store.On(func(r chaos.Request) bool { seen = append(seen, r); return false }, nil)
	for _, path := range []string{"/bucket?list-type=2&prefix=ns%2Fjournal%2F", "/bucket/ns/journal/x"} {
		if _, _, err := b.do(t.Context(), "GET", path, nil); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != 2 || seen[0].Verb != "LIST" || seen[0].Key != "journal/" || seen[1].Verb != "GET" || seen[1].Key != "journal/x" {
		t.Errorf("%+v", seen)
	}
	if !strings.HasPrefix(b.store.URL(), "http://127.0.0.1:") {
		t.Error(b.store.URL())
	}
}

func TestNobodyIsCaught(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if x, err := b.store.Catch(chaos.Any).Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", x, err)
	}
}
