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
	end := w.monitor.begin("get")
	body, info, err := w.store.Get(ctx, key, r)
	if err != nil {
		end(0, err)
		return nil, info, err
	}
	return &watchedBody{body: body, end: end}, info, nil
}

// watchedBody is a body whose request ends when it is closed.
type watchedBody struct {
	body  io.ReadCloser
	end   func(int64, error)
	bytes int64
	err   error
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	b.bytes += int64(n)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

func (b *watchedBody) Close() error {
	err := b.body.Close()
	if b.end != nil {
		b.end(b.bytes, b.err)
		b.end = nil
	}
	return err
}

func (w *watched) Put(ctx context.Context, key string, body []byte, ifAbsent bool) (blob.Info, error) {
	end := w.monitor.begin("put")
	info, err := w.store.Put(ctx, key, body, ifAbsent)
	end(int64(len(body)), err)
	return info, err
}

func (w *watched) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Page, error] {
	return func(yield func(blob.Page, error) bool) {
		end := w.monitor.begin("list")
		for page, err := range w.store.List(ctx, prefix, after) {
			end(0, err)
			if !yield(page, err) {
				return
			}
			end = w.monitor.begin("list")
		}
		end(0, context.Canceled) // there was no further page to ask for
	}
}

func (w *watched) Delete(ctx context.Context, key string) error {
	end := w.monitor.begin("delete")
	err := w.store.Delete(ctx, key)
	end(0, err)
	return err
}
