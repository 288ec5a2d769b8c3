package guard

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
)

// power calls a sink that has an optional power, for an answer that has no error: after a panic it is that of a sink without the power, and
// the calls that come next say why.
func power[P any](s *sink, method string, call func(P)) {
	_ = s.do(named(method), func(inner processor.Sink) error {
		if p, ok := inner.(P); ok {
			call(p)
		}
		return nil
	})
}

// Schema implements processor.Described.
func (s *sink) Schema(ctx context.Context) (columns *arrow.Schema, err error) {
	err = s.do(named("Schema"), func(inner processor.Sink) error {
		if d, ok := inner.(processor.Described); ok {
			columns, err = d.Schema(ctx)
		}
		return err
	})
	return columns, err
}

// Buffered implements processor.Buffering.
func (s *sink) Buffered() (bytes int64) {
	power(s, "Buffered", func(p processor.Buffering) { bytes = p.Buffered() })
	return bytes
}

// Decided implements processor.Deciding.
func (s *sink) Decided(src processor.Source) (next int64, config string, ok bool) {
	power(s, "Decided", func(p processor.Deciding) { next, config, ok = p.Decided(src) })
	return next, config, ok
}

// Cite implements processor.Citing.
func (s *sink) Cite(marks map[processor.Source]string) (staged processor.Staged, ok bool, err error) {
	err = s.do(named("Cite"), func(inner processor.Sink) error {
		if c, is := inner.(processor.Citing); is {
			staged, ok, err = c.Cite(marks)
		}
		return err
	})
	return staged, ok, err
}

// Bereft implements processor.Citing.
func (s *sink) Bereft(gone func(mark string) bool) (src processor.Source, span kfs.Span, ok bool, err error) {
	err = s.do(named("Bereft"), func(inner processor.Sink) error {
		if c, is := inner.(processor.Citing); is {
			src, span, ok, err = c.Bereft(gone)
		}
		return err
	})
	return src, span, ok, err
}

// Portable implements processor.Portable.
func (s *sink) Portable() (portable bool) {
	power(s, "Portable", func(p processor.Portable) { portable = p.Portable() })
	return portable
}

// Identity implements processor.Identified.
func (i identified) Identity() (uuid string) {
	power(i.s, "Identity", func(p processor.Identified) { uuid = p.Identity() })
	return uuid
}

// Property implements processor.Propertied.
func (s *sink) Property(key string) (value string, ok bool) {
	power(s, "Property", func(p processor.Propertied) { value, ok = p.Property(key) })
	return value, ok
}

// Spills implements processor.Spilling.
func (s *sink) Spills() (spills bool) {
	power(s, "Spills", func(p processor.Spilling) { spills = p.Spills() })
	return spills
}

// Spill implements processor.Spilling.
func (s *sink) Spill(ctx context.Context) error {
	return s.do(named("Spill"), func(inner processor.Sink) error { return inner.(processor.Spilling).Spill(ctx) })
}

// DeadOffsets implements processor.Recalling.
func (r recalling) DeadOffsets(ctx context.Context, src processor.Source, span kfs.Span) (offsets []int64, err error) {
	err = r.s.do(named("DeadOffsets"), func(inner processor.Sink) error {
		offsets, err = inner.(processor.Recalling).DeadOffsets(ctx, src, span)
		return err
	})
	return offsets, err
}

// Amend implements processor.Recalling.
func (r recalling) Amend(ctx context.Context, staged processor.Staged, offsets map[processor.Source][]int64) error {
	return r.s.do(named("Amend"), func(inner processor.Sink) error { return inner.(processor.Recalling).Amend(ctx, staged, offsets) })
}

// Lost implements processor.Recalling.
func (r recalling) Lost(src processor.Source) (span kfs.Span) {
	power(r.s, "Lost", func(p processor.Recalling) { span = p.Lost(src) })
	return span
}

// Mark implements processor.Recalling.
func (r recalling) Mark(src processor.Source, from int64) (mark string) {
	power(r.s, "Mark", func(p processor.Recalling) { mark = p.Mark(src, from) })
	return mark
}

// Gone implements processor.Recalling.
func (r recalling) Gone(mark string) (gone bool) {
	power(r.s, "Gone", func(p processor.Recalling) { gone = p.Gone(mark) })
	return gone
}

// Tables implements processor.Several.
func (v several) Tables() (tables []processor.TableState) {
	power(v.s, "Tables", func(p processor.Several) { tables = p.Tables() })
	return tables
}

// CatchUp implements processor.Several.
func (v several) CatchUp(ctx context.Context, all bool) (behind bool, err error) {
	err = v.s.do(named("CatchUp"), func(inner processor.Sink) error {
		behind, err = inner.(processor.Several).CatchUp(ctx, all)
		return err
	})
	return behind, err
}
