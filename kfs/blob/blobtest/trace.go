package blobtest

import (
	"context"
	"fmt"
	"io"
	"iter"
	"regexp"
	"strings"
	"sync"

	"github.com/firn-io/firn/kfs/blob"
)

// Trace is a Store that writes down what it is asked, and how it went, one line for each request in the order in which they end:
//
//	PUT journal/0000/00000000000000000007.kfs (1234 bytes) if-absent -> ok
//	GET journal/0000/00000000000000000008.kfs last 65536 -> not found
//	LIST journal/0000/checkpoint- -> 2 objects
//
// Each page of a List is a request. It has no Copier, so copies are a GET and a PUT. It is safe for concurrent use.
type Trace struct {
	store blob.Store

	mu     sync.Mutex // guards what follows
	lines  []string
	counts map[string]int
}

var _ blob.Store = (*Trace)(nil)

// NewTrace traces what goes to s.
func NewTrace(s blob.Store) *Trace {
	return &Trace{store: s, counts: map[string]int{}}
}

// Take gives the trace since the last Take, each line with its line feed, and forgets it.
func (t *Trace) Take() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	for _, line := range t.lines {
		b.WriteString(line)
		b.WriteByte('\n')
	}
	t.lines = nil
	return b.String()
}

// Count is the number of requests with a verb since the Trace was made. Take does not change it.
func (t *Trace) Count(verb string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts[verb]
}

func (t *Trace) add(op Op, result string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, op.String()+" -> "+result)
	t.counts[op.Verb]++
}

// Get implements blob.Store.
func (t *Trace) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Info, error) {
	body, info, err := t.store.Get(ctx, key, r)
	t.add(Op{Verb: Get, Key: key, Range: r}, outcome(err))
	return body, info, err
}

// Put implements blob.Store.
func (t *Trace) Put(ctx context.Context, key string, body []byte, ifAbsent bool) (blob.Info, error) {
	info, err := t.store.Put(ctx, key, body, ifAbsent)
	t.add(Op{Verb: Put, Key: key, Size: len(body), IfAbsent: ifAbsent}, outcome(err))
	return info, err
}

// List implements blob.Store.
func (t *Trace) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Page, error] {
	return func(yield func(blob.Page, error) bool) {
		start := after
		for page, err := range t.store.List(ctx, prefix, start) {
			result := outcome(err)
			switch {
			case err == nil && len(page.Objects) == 1:
				result = "1 object"
			case err == nil:
				result = fmt.Sprintf("%d objects", len(page.Objects))
			}
			t.add(Op{Verb: List, Key: prefix, After: start}, result)
			if n := len(page.Objects); n > 0 {
				start = page.Objects[n-1].Key
			}
			if !yield(page, err) {
				return
			}
		}
	}
}

// Delete implements blob.Store.
func (t *Trace) Delete(ctx context.Context, key string) error {
	err := t.store.Delete(ctx, key)
	t.add(Op{Verb: Delete, Key: key}, outcome(err))
	return err
}

var (
	traceSize  = regexp.MustCompile(`\(\d+ bytes\)`)
	traceZeros = regexp.MustCompile(`0{6,}(\d)`)
	traceID    = regexp.MustCompile(`topics/[\w-]{22}\b|[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}`)
)

// HideSizes takes the sizes of bodies out of a trace, for they change with every detail of a format.
func HideSizes(trace string) string { return traceSize.ReplaceAllString(trace, "(n bytes)") }

// ShortNumbers takes the leading zeros out of the long numbers in a trace: 00000000000000000042 becomes 42.
func ShortNumbers(trace string) string { return traceZeros.ReplaceAllString(trace, "$1") }

// HideIDs replaces each topic id and each UUID, with hyphens or without, by <1>, <2> … in the order of appearance.
func HideIDs(trace string) string {
	names := map[string]string{}
	return traceID.ReplaceAllStringFunc(trace, func(match string) string {
		id, isTopic := strings.CutPrefix(match, "topics/")
		if names[id] == "" {
			names[id] = fmt.Sprintf("<%d>", len(names)+1)
		}
		if isTopic {
			return "topics/" + names[id]
		}
		return names[id]
	})
}
