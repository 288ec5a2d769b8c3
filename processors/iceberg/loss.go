package iceberg

import (
	"context"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
)

// Forgo moves the table's position over offsets whose records are gone, because a person has decided so: see catalog.Committer.Forgo. Each span begins at
// the position of its source, else the error is processor.ErrMoved, and nothing was committed.
func (s *Sink) Forgo(ctx context.Context, lost map[processor.Source]kfs.Span) error {
	spans := map[string]kfs.Span{}
	for source, span := range lost {
		spans[SourceKey(source)] = span
	}
	if err := s.committer.Forgo(ctx, spans); err != nil {
		s.stale = true
		return asProcessor(err)
	}
	return nil
}
