// Package guard stands between the runtime and plug-ins: a panic of theirs is an error of the call, and ends neither other tables nor the
// process. What may be half done after it is not used any more: the value that has panicked is closed, and another one opened in its place.
//
// It cannot help where a plug-in panics on a goroutine that it has started itself.
package guard

import (
	"context"
	"io"
	"log/slog"
	"runtime/debug"

	"github.com/firn-io/firn/runtime/processor"
)

// Call calls a plug-in. A panic is a *processor.PanicError; its stack goes to the log. what names the call for people.
func Call(log *slog.Logger, what func() string, do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			panicked := &processor.PanicError{Call: what(), Value: p}
			log.Error("a plug-in has panicked", "err", panicked, "stack", string(debug.Stack()))
			err = panicked
		}
	}()
	return do()
}

// held is a value of a plug-in, as long as it has not panicked.
type held[T any] struct {
	log   *slog.Logger
	name  string // of the plug-in, as job files call it
	open  func(context.Context) (T, error)
	value T
	gone  *processor.PanicError // why there is no value; nil if there is one
}

// do calls the value. After a panic it is closed, and there is none before renew.
func (h *held[T]) do(what func() string, call func(T) error) error {
	if h.gone != nil {
		return h.gone
	}
	err := Call(h.log, func() string { return h.name + "." + what() }, func() error { return call(h.value) })
	if panicked, ok := err.(*processor.PanicError); ok {
		if err := h.close(); err != nil {
			h.log.Warn("closing what has panicked", "err", err)
		}
		h.value, h.gone = *new(T), panicked
	}
	return err
}

// renew opens another value, if there is none.
func (h *held[T]) renew(ctx context.Context) error {
	if h.gone == nil {
		return nil
	}
	var value T
	err := Call(h.log, func() string { return h.name + ".Open" }, func() (err error) {
		value, err = h.open(ctx)
		return err
	})
	if err == nil {
		h.value, h.gone = value, nil
	}
	return err
}

// close closes the value, if there is one that is to be closed.
func (h *held[T]) close() error {
	if h.gone != nil {
		return nil
	}
	c, ok := any(h.value).(io.Closer)
	if !ok {
		return nil
	}
	return Call(h.log, func() string { return h.name + ".Close" }, c.Close)
}

// named is a call that its name describes.
func named(method string) func() string { return func() string { return method } }
