package guard

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firn-io/firn/runtime/processor"
)

// transform is a guarded transform. What the inner one cannot do, it answers as the contract says of transforms that cannot.
type transform struct{ held[processor.Transform] }

var (
	_ processor.Transform = (*transform)(nil)
	_ processor.Tracing   = (*transform)(nil)
	_ io.Closer           = (*transform)(nil)
)

// Transform guards a transform while rows go through it: of the optional powers, those that a job file is checked by are left out. name is
// what job files call it, and open opens another.
func Transform(t processor.Transform, name string, open func() (processor.Transform, error), log *slog.Logger) processor.Transform {
	return &transform{held[processor.Transform]{
		log: log, name: name, value: t, open: func(context.Context) (processor.Transform, error) { return open() },
	}}
}

// Apply implements processor.Transform.
func (t *transform) Apply(ctx context.Context, b processor.Batch) (out processor.Batch, err error) {
	if err := t.renew(ctx); err != nil {
		b.Records.Release()
		return processor.Batch{}, err
	}
	what := func() string { return fmt.Sprintf("Apply of %s/%d %s", b.Source.Topic, b.Source.Partition, b.Span) }
	err = t.do(what, func(inner processor.Transform) error {
		out, err = inner.Apply(ctx, b)
		return err
	})
	return out, err
}

// Origin implements processor.Tracing.
func (t *transform) Origin(table *arrow.Schema) (origin *arrow.Schema) {
	if t.renew(context.Background()) != nil { // which does no I/O; Apply comes to the same
		return nil
	}
	_ = t.do(named("Origin"), func(inner processor.Transform) error { // which is in the log: the transform does not tell
		if tracing, ok := inner.(processor.Tracing); ok {
			origin = tracing.Origin(table)
		}
		return nil
	})
	return origin
}

// Close implements io.Closer.
func (t *transform) Close() error { return t.close() }
