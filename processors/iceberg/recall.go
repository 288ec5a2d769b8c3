package iceberg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
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

// TopicIDColumn is the column of dead-letter tables that says which topic a letter is of, where several have had its name. Letters from before
// there was the column have null.
const TopicIDColumn = "topic_id"

// DeadOffsets gives the offsets of a source in span that the dead-letter table holds and that are not resolved, ascending: the records
// whose fate is decided. A resolved letter decides nothing: if its row is in the table the position is behind it, and if a rollback has
// taken the row away it must come again. Letters without a topic id are the source's if the table knows no other topic of its name. A table
// that does not exist holds none.
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
	for at, err := range s.offsets(ctx, t, src, []kfs.Span{span}, true) {
		if err != nil {
			return nil, err
		}
		out = append(out, at)
	}
	slices.Sort(out)
	return out, nil
}

// Lost implements processor.Recalling.
func (s *Sink) Lost(src processor.Source) kfs.Span { return s.committer.Lost(SourceKey(src)) }

// Mark implements processor.Recalling.
func (s *Sink) Mark(src processor.Source, from int64) string {
	m, ok := s.committer.Mark(SourceKey(src), from)
	if !ok {
		return ""
	}
	return m.String()
}

// Gone implements processor.Recalling.
func (s *Sink) Gone(mark string) bool {
	m, err := catalog.ParseMark(mark)
	return err == nil && s.committer.Gone(m)
}

// Cite implements processor.Citing.
func (s *Sink) Cite(marks map[processor.Source]string) (processor.Staged, bool, error) {
	out := staged{Version: stagedVersion, Letters: make(map[string]string, len(marks))}
	for source, mark := range marks {
		out.Letters[SourceKey(source)] = mark
	}
	data, err := json.Marshal(out)
	return processor.Staged{Data: data}, true, err
}

// Bereft implements processor.Citing.
func (s *Sink) Bereft(gone func(mark string) bool) (src processor.Source, span kfs.Span, ok bool, err error) {
	if s.seen == nil {
		return src, span, false, nil
	}
	key, span, ok, err := s.committer.Bereft(func(m catalog.Mark) bool { return gone(m.String()) })
	if ok {
		src, err = ParseSource(key)
	}
	if err != nil {
		return src, span, false, fmt.Errorf("receipts of table %s: %w", s.spec.Name, err)
	}
	return src, span, ok, nil
}

// letters are the marks that a commit of these ranges is given.
func letters(ranges map[string]catalog.Advance, all []*staged) (map[string]catalog.Mark, error) {
	var marks map[string]catalog.Mark
	for _, p := range all {
		for key, mark := range p.Letters {
			m, err := catalog.ParseMark(mark)
			if err != nil {
				return nil, fmt.Errorf("staged output: %w", err)
			}
			if _, ok := ranges[key]; !ok {
				return nil, fmt.Errorf("staged output names dead letters of %s, which the commit does not advance", key)
			}
			if marks == nil {
				marks = map[string]catalog.Mark{}
			}
			if before, ok := marks[key]; !ok || before.Sequence < m.Sequence {
				marks[key] = m
			}
		}
	}
	return marks, nil
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
	return s.rowsOf(ctx, t, src, wanted, false)
}

// rowsOf is RowsOf; letters says that the rows are dead letters, as in offsets.
func (s *Sink) rowsOf(ctx context.Context, t *table.Table, src processor.Source, wanted []int64, letters bool) ([]int64, error) {
	var out []int64
	for at, err := range s.offsets(ctx, t, src, clusters(wanted), letters) {
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

// offsets gives the offsets of a source in spans, in no order, as often as they are there. If the rows are dead letters, those that are resolved
// and those of another topic of the name are not among them.
func (s *Sink) offsets(ctx context.Context, t *table.Table, src processor.Source, spans []kfs.Span, letters bool) iter.Seq2[int64, error] {
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
		if letters {
			for _, name := range []string{ResolvedColumn, TopicIDColumn} {
				if _, ok := t.Schema().FindFieldByName(name); ok {
					columns = append(columns, name)
				}
			}
		}
		nameless := letters && s.knowsAnother(src)
		for rec, err := range Rows(ctx, t, filter, columns...) {
			var c *coordinates
			if err == nil {
				c, err = coordinatesOf(rec, s.cfg.Prefix)
			}
			if err != nil {
				yield(0, fmt.Errorf("offsets of table %s: %w", s.spec.Name, err))
				return
			}
			for i := range int(rec.NumRows()) {
				at, ok := c.place(i)
				if !ok || at.Topic != src.Topic || at.Partition != src.Partition {
					continue
				}
				if letters && (c.resolved(i) || at.ID != src.ID && (nameless || !at.ID.IsZero())) {
					continue
				}
				offset := c.offsets.Value(i)
				if !slices.ContainsFunc(spans, func(s kfs.Span) bool { return s.Contains(offset) }) {
					continue
				}
				if !yield(offset, nil) {
					return
				}
			}
		}
	}
}

// knowsAnother reports whether the table has a position of another topic of the source's name.
func (s *Sink) knowsAnother(src processor.Source) bool {
	for key := range s.committer.Known().Positions {
		if o, err := ParseSource(key); err == nil && o.Topic == src.Topic && o.ID != src.ID {
			return true
		}
	}
	return false
}

// coordinates are columns that say where rows come from and, of dead letters, what has become of them.
type coordinates struct {
	topics     array.StringLike
	partitions *array.Int32
	offsets    *array.Int64
	ids        array.StringLike // nil: not read, or not there
	resolvedAt *array.Timestamp // likewise
}

func coordinatesOf(rec arrow.RecordBatch, prefix string) (*coordinates, error) {
	column := func(name string) arrow.Array {
		if at := rec.Schema().FieldIndices(name); len(at) == 1 {
			return rec.Column(at[0])
		}
		return nil
	}
	c := &coordinates{}
	var okTopic, okPartition, okOffset bool
	okID, okResolved := true, true
	c.topics, okTopic = column(prefix + "topic").(array.StringLike)
	c.partitions, okPartition = column(prefix + "partition").(*array.Int32)
	c.offsets, okOffset = column(prefix + "offset").(*array.Int64)
	if ids := column(TopicIDColumn); ids != nil {
		c.ids, okID = ids.(array.StringLike)
	}
	if resolved := column(ResolvedColumn); resolved != nil {
		c.resolvedAt, okResolved = resolved.(*array.Timestamp)
	}
	if !okTopic || !okPartition || !okOffset || !okID || !okResolved {
		return nil, fmt.Errorf("the columns are %s", rec.Schema())
	}
	return c, nil
}

// place is where a row comes from, without a topic id if it does not say which; ok is false where it does not say where from at all.
func (c *coordinates) place(i int) (at processor.Source, ok bool) {
	if c.topics.IsNull(i) || c.partitions.IsNull(i) || c.offsets.IsNull(i) {
		return at, false
	}
	at = processor.Source{Topic: c.topics.Value(i), Partition: c.partitions.Value(i)}
	if c.ids != nil && c.ids.IsValid(i) {
		var err error
		if at.ID, err = kfs.ParseTopicID(c.ids.Value(i)); err != nil {
			return at, false // no topic's: nothing here has written it
		}
	}
	return at, true
}

func (c *coordinates) resolved(i int) bool { return c.resolvedAt != nil && c.resolvedAt.IsValid(i) }
