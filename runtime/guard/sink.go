package guard

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
)

// sink is a guarded sink. What the inner one cannot do, it answers as the contract says of sinks that cannot.
//
// After a panic every call has the same error until Committed, which asks another sink: what has become of a Commit shows there.
type sink struct{ held[processor.Sink] }

// What follows are powers whose absence says something.
type (
	identified struct{ s *sink }
	recalling  struct{ s *sink }
	several    struct{ s *sink }
)

var (
	_ processor.Sink       = (*sink)(nil)
	_ processor.Described  = (*sink)(nil)
	_ processor.Buffering  = (*sink)(nil)
	_ processor.Deciding   = (*sink)(nil)
	_ processor.Citing     = (*sink)(nil)
	_ processor.Portable   = (*sink)(nil)
	_ processor.Propertied = (*sink)(nil)
	_ processor.Spilling   = (*sink)(nil)
	_ io.Closer            = (*sink)(nil)
	_ processor.Identified = identified{}
	_ processor.Recalling  = recalling{}
	_ processor.Several    = several{}
)

// Sink opens a sink and guards it. name is what job files call it.
func Sink(ctx context.Context, name string, open func(context.Context) (processor.Sink, error), log *slog.Logger) (processor.Sink, error) {
	s := &sink{held[processor.Sink]{log: log, name: name, open: open, gone: &processor.PanicError{}}}
	if err := s.renew(ctx); err != nil {
		return nil, err
	}
	return s.powerful(), nil
}

// powerful is the sink with the powers of the inner one. Several tables have identities of their own, and hold no dead letters.
func (s *sink) powerful() processor.Sink {
	_, isSeveral := s.value.(processor.Several)
	_, isRecalling := s.value.(processor.Recalling)
	_, isIdentified := s.value.(processor.Identified)
	switch {
	case isSeveral:
		return struct {
			*sink
			several
		}{s, several{s}}
	case isRecalling && isIdentified:
		return struct {
			*sink
			recalling
			identified
		}{s, recalling{s}, identified{s}}
	case isRecalling:
		return struct {
			*sink
			recalling
		}{s, recalling{s}}
	case isIdentified:
		return struct {
			*sink
			identified
		}{s, identified{s}}
	}
	return s
}

// Committed implements processor.Sink.
func (s *sink) Committed(ctx context.Context) (at processor.Positions, err error) {
	if err := s.renew(ctx); err != nil {
		return nil, err
	}
	err = s.do(named("Committed"), func(inner processor.Sink) error {
		at, err = inner.Committed(ctx)
		return err
	})
	return at, err
}

// Stage implements processor.Sink.
func (s *sink) Stage(ctx context.Context, b processor.Batch) error {
	what := func() string { return fmt.Sprintf("Stage of %s/%d %s", b.Source.Topic, b.Source.Partition, b.Span) }
	return s.do(what, func(inner processor.Sink) error { return inner.Stage(ctx, b) })
}

// Seal implements processor.Sink.
func (s *sink) Seal(ctx context.Context) (staged processor.Staged, err error) {
	err = s.do(named("Seal"), func(inner processor.Sink) error {
		staged, err = inner.Seal(ctx)
		return err
	})
	return staged, err
}

// Commit implements processor.Sink.
func (s *sink) Commit(ctx context.Context, from, to processor.Positions, staged []processor.Staged) error {
	return s.do(func() string { return "Commit of " + spans(from, to) }, func(inner processor.Sink) error { return inner.Commit(ctx, from, to, staged) })
}

// spans are those that a commit advances by, as far as a message has room for them.
func spans(from, to processor.Positions) string {
	const most = 8
	var all []string
	for _, source := range slices.SortedFunc(maps.Keys(to), processor.Source.Compare) {
		if len(all) == most {
			all = append(all, fmt.Sprintf("%d more", len(to)-most))
			break
		}
		all = append(all, fmt.Sprintf("%s/%d %s", source.Topic, source.Partition, kfs.Span{Base: from[source], Next: to[source]}))
	}
	return strings.Join(all, ", ")
}

// Discard implements processor.Sink.
func (s *sink) Discard(ctx context.Context, staged []processor.Staged) error {
	return s.do(named("Discard"), func(inner processor.Sink) error { return inner.Discard(ctx, staged) })
}

// Close implements io.Closer.
func (s *sink) Close() error { return s.close() }
