package health

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/firn-io/firn/kfs/blob"
)

// watched is a store whose requests a monitor watches.
type watched struct {
	store   blob.Store
	monitor *Monitor
}

var _ blob.Store = (*watched)(nil)

// outcomeOf is what an error says about the store.
func outcomeOf(err error) outcome {
	switch {
	case err == nil, errors.Is(err, blob.ErrNotFound), errors.Is(err, blob.ErrPrecondition), errors.Is(err, blob.ErrRange):
		return answered
	case errors.Is(err, context.Canceled):
		return abandoned
	}
	return failed
}

func (w *watched) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Info, error) {
	n := w.monitor.begin("get", 0)
	body, info, err := w.store.Get(ctx, key, r)
	if err != nil {
		n.end(err)
		return nil, info, err
	}
	n.progress(0)
	return &watchedBody{body: body, noted: n}, info, nil
}

// watchedBody is a body whose request ends when it is closed.
type watchedBody struct {
	body  io.ReadCloser
	noted *noted // nil when it was closed
	err   error
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	if n > 0 && b.noted != nil {
		b.noted.progress(n)
	}
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

func (b *watchedBody) Close() error {
	err := b.body.Close()
	if b.noted != nil {
		b.noted.end(b.err)
		b.noted = nil
	}
	return err
}

func (w *watched) Put(ctx context.Context, key string, body []byte, ifAbsent bool) (blob.Info, error) {
	n := w.monitor.begin("put", int64(len(body)))
	info, err := w.store.Put(ctx, key, body, ifAbsent)
	n.end(err)
	return info, err
}

func (w *watched) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Page, error] {
	return func(yield func(blob.Page, error) bool) {
		n := w.monitor.begin("list", 0)
		for page, err := range w.store.List(ctx, prefix, after) {
			n.end(err)
			if !yield(page, err) {
				return
			}
			n = w.monitor.begin("list", 0)
		}
		n.end(context.Canceled) // there was no further page to ask for
	}
}

func (w *watched) Delete(ctx context.Context, key string) error {
	n := w.monitor.begin("delete", 0)
	err := w.store.Delete(ctx, key)
	n.end(err)
	return err
}
