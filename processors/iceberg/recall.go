package iceberg

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow/array"
	iceberglib "github.com/apache/iceberg-go"

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
	var out []int64
	columns := []string{s.cfg.Prefix + "topic", s.cfg.Prefix + "partition", s.cfg.Prefix + "offset"}
	for rec, err := range Rows(ctx, t, filter, columns...) {
		if err != nil {
			return nil, fmt.Errorf("offsets of table %s: %w", s.spec.Name, err)
		}
		topics, okTopic := rec.Column(0).(*array.String)
		partitions, okPartition := rec.Column(1).(*array.Int32)
		offsets, okOffset := rec.Column(2).(*array.Int64)
		if !okTopic || !okPartition || !okOffset {
			return nil, fmt.Errorf("offsets of table %s: the columns are %s", s.spec.Name, rec.Schema())
		}
		for i, at := range offsets.Int64Values() {
			if topics.Value(i) == src.Topic && partitions.Value(i) == src.Partition && span.Contains(at) {
				out = append(out, at)
			}
		}
	}
	slices.Sort(out)
	return out, nil
}
