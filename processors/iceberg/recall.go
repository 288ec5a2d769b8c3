package iceberg

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/apache/arrow-go/v18/arrow/array"
	iceberglib "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
)

// ResolvedColumn is the column of dead-letter tables that says when a letter was resolved: null for those that are still dead. A resolved
// letter's record is a row of the job's table, or one that the job leaves out.
const ResolvedColumn = "resolved_at"

// DeadOffsets gives the offsets of a source in span that the dead-letter table holds and that are not resolved, ascending: the records
// whose fate is decided. A resolved letter decides nothing: if its row is in the table the position is behind it, and if a rollback has
// taken the row away it must come again. A table that does not exist holds none.
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
	var out []int64
	for at, err := range s.offsets(ctx, t, src, []kfs.Span{span}, ResolvedColumn) {
		if err != nil {
			return nil, err
		}
		out = append(out, at)
	}
	slices.Sort(out)
	return out, nil
}

// RowsOf gives those of some offsets of a source, which are in order, that are rows of the table, each once, ascending. A table that does
// not exist holds none.
func (s *Sink) RowsOf(ctx context.Context, src processor.Source, wanted []int64) ([]int64, error) {
	t, err := s.committer.Load(ctx)
	if errors.Is(err, catalog.ErrNoTable) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return s.rowsOf(ctx, t, src, wanted, "")
}

// rowsOf leaves rows out that have a value in the column unset, if one is named.
func (s *Sink) rowsOf(ctx context.Context, t *table.Table, src processor.Source, wanted []int64, unset string) ([]int64, error) {
	var out []int64
	for at, err := range s.offsets(ctx, t, src, clusters(wanted), unset) {
		if err != nil {
			return nil, err
		}
		if _, ok := slices.BinarySearch(wanted, at); ok {
			out = append(out, at)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// maxClusters bounds the ranges of a filter.
const maxClusters = 32

// clusters covers offsets, which are in order, with at most maxClusters spans, parted at the widest gaps.
func clusters(offsets []int64) []kfs.Span {
	if len(offsets) == 0 {
		return nil
	}
	gaps := make([]int, 0, len(offsets))
	for i := 1; i < len(offsets); i++ {
		if offsets[i] > offsets[i-1]+1 {
			gaps = append(gaps, i)
		}
	}
	width := func(i int) int64 { return offsets[i] - offsets[i-1] }
	slices.SortFunc(gaps, func(a, b int) int { return -int(min(1, max(-1, width(a)-width(b)))) })
	gaps = gaps[:min(len(gaps), maxClusters-1)]
	slices.Sort(gaps)
	var spans []kfs.Span
	from := 0
	for _, i := range append(gaps, len(offsets)) {
		spans = append(spans, kfs.Span{Base: offsets[from], Next: offsets[i-1] + 1})
		from = i
	}
	return spans
}

// offsets gives the offsets of a source in spans, in no order, as often as they are there; but not those of rows that have a value in the
// column unset, if one is named and the table has it.
func (s *Sink) offsets(ctx context.Context, t *table.Table, src processor.Source, spans []kfs.Span, unset string) iter.Seq2[int64, error] {
	return func(yield func(int64, error) bool) {
		if len(spans) == 0 {
			return
		}
		column := func(name string) iceberglib.Reference { return iceberglib.Reference(s.cfg.Prefix + name) }
		var within iceberglib.BooleanExpression = iceberglib.AlwaysFalse{}
		for _, span := range spans {
			within = iceberglib.NewOr(within, iceberglib.NewAnd(
				iceberglib.GreaterThanEqual(column("offset"), span.Base), iceberglib.LessThan(column("offset"), span.Next)))
		}
		filter := iceberglib.NewAnd(iceberglib.EqualTo(column("topic"), src.Topic), iceberglib.EqualTo(column("partition"), src.Partition), within)
		columns := []string{s.cfg.Prefix + "topic", s.cfg.Prefix + "partition", s.cfg.Prefix + "offset"}
		if _, ok := t.Schema().FindFieldByName(unset); ok && unset != "" {
			columns = append(columns, unset)
		}
		for rec, err := range Rows(ctx, t, filter, columns...) {
			if err != nil {
				yield(0, fmt.Errorf("offsets of table %s: %w", s.spec.Name, err))
				return
			}
			at := make([]int, len(columns))
			for i, name := range columns {
				found := rec.Schema().FieldIndices(name)
				if len(found) != 1 {
					yield(0, fmt.Errorf("offsets of table %s: rows without the column %s: %s", s.spec.Name, name, rec.Schema()))
					return
				}
				at[i] = found[0]
			}
			topics, okTopic := rec.Column(at[0]).(array.StringLike)
			partitions, okPartition := rec.Column(at[1]).(*array.Int32)
			offsets, okOffset := rec.Column(at[2]).(*array.Int64)
			if !okTopic || !okPartition || !okOffset {
				yield(0, fmt.Errorf("offsets of table %s: the columns are %s", s.spec.Name, rec.Schema()))
				return
			}
			for i := range int(rec.NumRows()) {
				if len(at) == 4 && rec.Column(at[3]).IsValid(i) || offsets.IsNull(i) || partitions.IsNull(i) || topics.IsNull(i) {
					continue
				}
				offset := offsets.Value(i)
				if topics.Value(i) != src.Topic || partitions.Value(i) != src.Partition ||
					!slices.ContainsFunc(spans, func(s kfs.Span) bool { return s.Contains(offset) }) {
					continue
				}
				if !yield(offset, nil) {
					return
				}
			}
		}
	}
}
