package iceberg

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow/array"
	iceberglib "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
)

// DeadOffsets gives the offsets of a source in span that the table holds, ascending. Of a dead-letter table these are the records
// whose fate is decided. A table that does not exist holds none.
func (s *Sink) DeadOffsets(ctx context.Context, src processor.Source, span kfs.Span) ([]int64, error) {
	if span.Empty() {
		return nil, nil
	}
	t, err := s.committer.Load(ctx)
	if errors.Is(err, catalog.ErrNoTable) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	column := func(name string) iceberglib.Reference { return iceberglib.Reference(s.cfg.Prefix + name) }
	filter := iceberglib.NewAnd(
		iceberglib.EqualTo(column("topic"), src.Topic),
		iceberglib.EqualTo(column("partition"), src.Partition),
		iceberglib.GreaterThanEqual(column("offset"), span.Base),
		iceberglib.LessThan(column("offset"), span.Next),
	)
	_, batches, err := t.Scan(table.WithRowFilter(filter), table.WithSelectedFields(string(column("offset")))).ToArrowRecords(ctx)
	if err != nil {
		return nil, fmt.Errorf("offsets of table %s: %w", s.spec.Name, err)
	}
	var out []int64
	for rec, err := range batches {
		if err != nil {
			return nil, fmt.Errorf("offsets of table %s: %w", s.spec.Name, err)
		}
		offsets, ok := rec.Column(0).(*array.Int64)
		if !ok {
			rec.Release()
			return nil, fmt.Errorf("offsets of table %s: the column is %s", s.spec.Name, rec.Schema())
		}
		out = append(out, offsets.Int64Values()...)
		rec.Release()
	}
	slices.Sort(out)
	return out, nil
}
