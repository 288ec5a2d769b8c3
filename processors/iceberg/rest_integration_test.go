//go:build integration

package iceberg

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"testing"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/processors"
)

// wire is a proxy before a REST catalog that lets one request of a run go wrong.
type wire struct {
	proxy *httputil.ReverseProxy
	mu    sync.Mutex
	trace []string // method and path of every request
	at    int      // the request that goes wrong; -1: none
	how   string
}

// The ways in which a request goes wrong.
var wireFaults = []string{
	"lost before",    // the connection ends before the catalog hears of it
	"reply lost",     // the catalog has done it, and the connection ends
	"500 after",      // the catalog has done it, and a gateway says that it failed
	"503 before",     // a gateway turns it away
	"503 six before", // and the five that follow
}

func (w *wire) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	n := len(w.trace)
	w.trace = append(w.trace, r.Method+" "+r.URL.Path)
	w.mu.Unlock()
	hit := w.at >= 0 && n == w.at
	switch {
	case hit && w.how == "lost before":
		panic(http.ErrAbortHandler)
	case hit && w.how == "503 before", w.how == "503 six before" && w.at >= 0 && n >= w.at && n < w.at+6:
		http.Error(out, `{"error": {"message": "try again", "type": "ServiceUnavailableException", "code": 503}}`, http.StatusServiceUnavailable)
	case hit:
		w.proxy.ServeHTTP(httptest.NewRecorder(), r)
		if w.how == "reply lost" {
			panic(http.ErrAbortHandler)
		}
		http.Error(out, `{"error": {"message": "no answer from upstream", "type": "InternalServerError", "code": 500}}`, http.StatusInternalServerError)
	default:
		w.proxy.ServeHTTP(out, r)
	}
}

// TestFaultsOnREST lets every request of ten commits to the REST catalog at FIRN_TEST_REST_URI go wrong in every way. Afterwards the table
// has every offset once.
func TestFaultsOnREST(t *testing.T) {
	uri := os.Getenv("FIRN_TEST_REST_URI")
	if uri == "" {
		t.Fatal("FIRN_TEST_REST_URI is not set: make integration-rest starts an Iceberg REST catalog and names it there")
	}
	target, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	namespace := fmt.Sprintf("faults_%d", rand.Uint32())
	t.Logf("tables are in namespace %s", namespace)
	tables := 0
	run := func(t *testing.T, at int, how string) *wire {
		t.Helper()
		tables++
		w := &wire{proxy: httputil.NewSingleHostReverseProxy(target), at: -1, how: how}
		server := httptest.NewServer(w)
		defer server.Close()
		open := func(uri string) *catalog.Catalog {
			c, err := catalog.Open(t.Context(), catalog.Config{Type: "rest", Properties: map[string]string{"uri": uri}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			})
			return c
		}
		table := processors.Table{Name: fmt.Sprintf("%s.t%d", namespace, tables), Partition: []string{"day(kafka_timestamp)"}}
		awaken := func(c *Config) { c.Options.Sleep = awake }
		s, mem := openSink(t, open(server.URL), table, awaken)
		w.mu.Lock()
		w.trace, w.at = nil, at // what opening the catalog asks is not part of the run
		w.mu.Unlock()
		const commits, size = 10, 4
		drive(t, s, mem, commits, size)
		reader, _ := openSink(t, open(uri), table, awaken)
		wantOffsets(t, reader, map[int64]int64{0: commits * size})
		return w
	}
	trace := run(t, -1, "").trace
	t.Logf("%d requests, %d faults", len(trace), len(trace)*len(wireFaults))
	for n, request := range trace {
		for _, how := range wireFaults {
			t.Run(fmt.Sprintf("%03d %s %s", n, request, how), func(t *testing.T) { run(t, n, how) })
		}
	}
}
