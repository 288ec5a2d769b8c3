package pipeline

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
	"github.com/firn-io/firn/runtime/decode"
	"github.com/firn-io/firn/runtime/processor"
)

// Remake makes rows of records as the workers of a job do: for those who bring in records that the job has passed, or want to know what it
// would make of them. It is not for concurrent use, for its transforms are not.
type Remake struct {
	Decode     decode.Config
	Transforms []Step        // of the table; they stay the caller's
	Table      *arrow.Schema // the table's columns; nil if there is no table yet
	Pins       []string      // columns, their parts joined by dots, that must stay as the table has them
	Allocator  memory.Allocator
}

// Rows decodes the records of a source whose offsets lie in span, takes them through the transforms and fits them to the table. The records
// of the batch are the caller's to release, nil if there are none; what is neither a row nor rejected the transforms have left out.
// decode.ErrFull asks for a smaller span.
func (m *Remake) Rows(ctx context.Context, src processor.Source, batches []byte, span kfs.Span) (processor.Batch, error) {
	out := processor.Batch{Source: src, Span: span}
	cfg := m.Decode
	cfg.Pinned = m.Pins
	d, err := decode.New(cfg, chain(m.Transforms).origin(m.Table), m.Allocator)
	if err != nil {
		return out, err
	}
	defer d.Release()
	for batch, err := range record.Batches(batches) {
		if err != nil {
			return out, err
		}
		if err := d.Append(src, batch, span); err != nil {
			return out, err
		}
	}
	rows, letters := d.Flush()
	for _, l := range letters {
		out.Rejected = append(out.Rejected, processor.Rejection{Offset: l.Offset, Class: string(l.Class), Message: l.Message})
	}
	if out.Records = rows; rows == nil || len(m.Transforms) == 0 {
		return out, nil
	}
	if out, err = chain(m.Transforms).apply(ctx, out); err != nil || out.Records == nil {
		return out, err
	}
	return fit(out, m.Table, m.Pins, m.Allocator)
}
