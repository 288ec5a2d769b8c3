package blobtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"sync"

	"github.com/firn-io/firn/kfs/blob"
)

// ErrInjected is the error of a fault. It is none of those that callers branch on, so the outcome is unknown to them.
var ErrInjected = errors.New("injected fault")

// Action is what happens to an operation.
type Action int

// The actions. An operation that a context ends gives the context's error.
const (
	Pass       Action = iota // the operation is done
	FailBefore               // not done, ErrInjected
	FailAfter                // done, ErrInjected
	LoseBefore               // not done, and no reply: it waits until its context ends
	LoseAfter                // done, and no reply
	FailLate                 // ErrInjected now, and done when Fault.Land is called; a Get or List is not done
	Corrupt                  // a Get gives bytes of which one bit is wrong; others pass
	Short                    // a Get gives half of its bytes and then io.EOF, a List its first page and then ErrInjected; others pass
	Hold                     // done when Fault.Release is called: a slow request
)

// Fault is a Store in which operations fail as a function decides. It is deterministic if its caller is. It has no Copier.
type Fault struct {
	store  blob.Store
	decide func(Op) Action

	mu   sync.Mutex // guards what follows
	n    int
	late []func()      // operations of FailLate that wait for Land
	held chan struct{} // closed to let the held go
}

var _ blob.Store = (*Fault)(nil)

// NewFault makes a Store on s. decide is called for one operation at a time, in the order of Op.N, and must not use the Store.
func NewFault(s blob.Store, decide func(Op) Action) *Fault {
	return &Fault{store: s, decide: decide, held: make(chan struct{})}
}

// At does a to the operation number n, counted from 0, and to no other.
func At(n int, a Action) func(Op) Action {
	return func(op Op) Action {
		if op.N == n {
			return a
		}
		return Pass
	}
}

// Ops is the number of operations so far: a test that walks all faults runs once without any, and then with At(0…Ops-1).
func (f *Fault) Ops() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

// Land does the operations that FailLate has put off, in their order.
func (f *Fault) Land() {
	f.mu.Lock()
	late := f.late
	f.late = nil
	f.mu.Unlock()
	for _, do := range late {
		do()
	}
}

// Release lets the operations go on that are held now.
func (f *Fault) Release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.held)
	f.held = make(chan struct{})
}

func (f *Fault) next(op Op) (Action, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	op.N = f.n
	f.n++
	return f.decide(op), f.held
}

// run does one operation, as its action says.
func (f *Fault) run(ctx context.Context, op Op, do func(context.Context) error) (Action, error) {
	action, held := f.next(op)
	switch action {
	case FailBefore:
		return action, ErrInjected
	case FailAfter:
		do(ctx)
		return action, ErrInjected
	case LoseBefore:
		<-ctx.Done()
		return action, ctx.Err()
	case LoseAfter:
		do(ctx)
		<-ctx.Done()
		return action, ctx.Err()
	case FailLate:
		if op.Verb == Put || op.Verb == Delete {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.late = append(f.late, func() { do(context.WithoutCancel(ctx)) })
		}
		return action, ErrInjected
	case Hold:
		select {
		case <-held:
		case <-ctx.Done():
			return action, ctx.Err()
		}
	}
	return action, do(ctx)
}

// Get implements blob.Store.
func (f *Fault) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Info, error) {
	var (
		body io.ReadCloser
		info blob.Info
	)
	action, err := f.run(ctx, Op{Verb: Get, Key: key, Range: r}, func(ctx context.Context) error {
		b, i, err := f.store.Get(ctx, key, r)
		body, info = b, i
		return err
	})
	if err == nil {
		err = ctx.Err() // it has ended meanwhile
	}
	switch {
	case err != nil && body != nil:
		body.Close()
		return nil, blob.Info{}, err
	case errors.Is(err, ErrInjected) || ctx.Err() != nil:
		return nil, blob.Info{}, err
	case err == nil && (action == Corrupt || action == Short):
		return spoil(body, action), info, nil
	}
	return body, info, err
}

// spoil reads a body and gives it back damaged.
func spoil(body io.ReadCloser, action Action) io.ReadCloser {
	defer body.Close()
	b, err := io.ReadAll(body)
	if action == Short {
		b = b[:len(b)/2]
	} else if len(b) > 0 {
		b[len(b)/2] ^= 1
	}
	return io.NopCloser(io.MultiReader(bytes.NewReader(b), errorReader{err}))
}

// errorReader gives an error, or the end.
type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	return 0, io.EOF
}

// Put implements blob.Store.
func (f *Fault) Put(ctx context.Context, key string, body []byte, ifAbsent bool) (blob.Info, error) {
	var info blob.Info
	body = slices.Clone(body) // a late one lands after the caller may have changed its own
	_, err := f.run(ctx, Op{Verb: Put, Key: key, Size: len(body), IfAbsent: ifAbsent}, func(ctx context.Context) error {
		i, err := f.store.Put(ctx, key, body, ifAbsent)
		info = i
		return err
	})
	if errors.Is(err, ErrInjected) || err != nil && ctx.Err() != nil {
		return blob.Info{}, err
	}
	return info, err
}

// List implements blob.Store. An operation that fails gives no page but the first of Short.
func (f *Fault) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Page, error] {
	return func(yield func(blob.Page, error) bool) {
		var pages iter.Seq2[blob.Page, error]
		action, err := f.run(ctx, Op{Verb: List, Key: prefix, After: after}, func(ctx context.Context) error {
			pages = f.store.List(ctx, prefix, after)
			return nil
		})
		if err != nil {
			yield(blob.Page{}, err)
			return
		}
		for page, err := range pages {
			if !yield(page, err) {
				return
			}
			if action == Short {
				yield(blob.Page{}, ErrInjected)
				return
			}
		}
	}
}

// Delete implements blob.Store.
func (f *Fault) Delete(ctx context.Context, key string) error {
	_, err := f.run(ctx, Op{Verb: Delete, Key: key}, func(ctx context.Context) error {
		return f.store.Delete(ctx, key)
	})
	return err
}
