package work

import (
	"context"
	"io"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
)

// sink is a sink of one table whose commits go through the table's committer. What the inner sink cannot do, it answers as the contract
// says of sinks that cannot.
type sink struct {
	processor.Sink
	member *Member
	table  string
}

// recallingSink is one that can tell which dead letters it holds.
type recallingSink struct {
	*sink
	recalling processor.Recalling
}

var (
	_ processor.Sink       = (*sink)(nil)
	_ processor.Described  = (*sink)(nil)
	_ processor.Buffering  = (*sink)(nil)
	_ processor.Identified = (*sink)(nil)
	_ processor.Deciding   = (*sink)(nil)
	_ processor.Citing     = (*sink)(nil)
	_ processor.Propertied = (*sink)(nil)
	_ io.Closer            = (*sink)(nil)
	_ processor.Recalling  = recallingSink{}
)

func wrap(m *Member, table string, inner processor.Sink) processor.Sink {
	s := &sink{inner, m, table}
	if r, ok := inner.(processor.Recalling); ok {
		return recallingSink{s, r}
	}
	return s
}

// Commit implements processor.Sink.
func (s *sink) Commit(ctx context.Context, from, to processor.Positions, staged []processor.Staged) error {
	return s.member.commit(ctx, s.table, s.Sink, from, to, staged)
}

// Schema implements processor.Described.
func (s *sink) Schema(ctx context.Context) (*arrow.Schema, error) {
	if d, ok := s.Sink.(processor.Described); ok {
		return d.Schema(ctx)
	}
	return nil, nil
}

// Buffered implements processor.Buffering.
func (s *sink) Buffered() int64 {
	if b, ok := s.Sink.(processor.Buffering); ok {
		return b.Buffered()
	}
	return 0
}

// Identity implements processor.Identified.
func (s *sink) Identity() string {
	if i, ok := s.Sink.(processor.Identified); ok {
		return i.Identity()
	}
	return ""
}

// Decided implements processor.Deciding.
func (s *sink) Decided(src processor.Source) (next int64, config string, ok bool) {
	if d, is := s.Sink.(processor.Deciding); is {
		return d.Decided(src)
	}
	return 0, "", false
}

// Cite implements processor.Citing. What it gives travels with what is staged.
func (s *sink) Cite(marks map[processor.Source]string) (staged processor.Staged, ok bool, err error) {
	if c, is := s.Sink.(processor.Citing); is {
		return c.Cite(marks)
	}
	return staged, false, nil
}

// Bereft implements processor.Citing.
func (s *sink) Bereft(gone func(mark string) bool) (src processor.Source, span kfs.Span, ok bool, err error) {
	if c, is := s.Sink.(processor.Citing); is {
		return c.Bereft(gone)
	}
	return src, span, false, nil
}

// Property implements processor.Propertied.
func (s *sink) Property(key string) (value string, ok bool) {
	if p, is := s.Sink.(processor.Propertied); is {
		return p.Property(key)
	}
	return "", false
}

// Close implements io.Closer.
func (s *sink) Close() error {
	if c, ok := s.Sink.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// DeadOffsets implements processor.Recalling.
func (s recallingSink) DeadOffsets(ctx context.Context, src processor.Source, span kfs.Span) ([]int64, error) {
	return s.recalling.DeadOffsets(ctx, src, span)
}

// Lost implements processor.Recalling.
func (s recallingSink) Lost(src processor.Source) kfs.Span { return s.recalling.Lost(src) }

// Mark implements processor.Recalling.
func (s recallingSink) Mark(src processor.Source, from int64) string {
	return s.recalling.Mark(src, from)
}

// Gone implements processor.Recalling.
func (s recallingSink) Gone(mark string) bool { return s.recalling.Gone(mark) }

// Amend implements processor.Recalling. It is as seldom as a worker's death between two commits: each makes its own.
func (s recallingSink) Amend(ctx context.Context, staged processor.Staged, offsets map[processor.Source][]int64) error {
	return s.recalling.Amend(ctx, staged, offsets)
}
