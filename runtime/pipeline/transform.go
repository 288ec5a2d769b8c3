package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/decode"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/schema"
)

// Step is one transform of a job, under the name that messages call it by.
type Step struct {
	Name string
	processor.Transform
}

// chain is the transforms that the rows of a table go through, in order.
type chain []Step

// apply takes ownership of the batch's rows and gives the result's.
func (c chain) apply(ctx context.Context, b processor.Batch) (processor.Batch, error) {
	for _, step := range c {
		if b.Records == nil {
			return b, nil
		}
		before := b
		before.Records.Retain()
		after, err := step.Apply(ctx, b)
		if err == nil {
			if err = errors.Join(processor.CheckApplied(before, after), checkTypes(before.Records.Schema(), after.Records)); err != nil {
				if after.Records != nil {
					after.Records.Release()
				}
				err = halted(fmt.Sprintf("%v", err), "mend the transform, or take it out of the job file")
			}
		}
		before.Records.Release()
		if err != nil {
			return processor.Batch{}, fmt.Errorf("transform %s: %w", step.Name, err)
		}
		if after.Records != nil && after.Records.NumRows() == 0 {
			after.Records.Release()
			after.Records = nil
		}
		b = after
	}
	return b, nil
}

// checkTypes refuses columns of types that tables do not have. Columns of type null hold nothing, and are left out by the sink.
func checkTypes(before *arrow.Schema, after arrow.RecordBatch) error {
	if after == nil || after.Schema() == before {
		return nil
	}
	for _, f := range after.Schema().Fields() {
		if f.Type.ID() == arrow.NULL {
			continue
		}
		if _, err := schema.FromArrow([]arrow.Field{f}); err != nil {
			return fmt.Errorf("its result: %w", err)
		}
	}
	return nil
}

// origin is the columns that records are decoded into for a table with these columns; nil if a transform does not tell.
func (c chain) origin(table *arrow.Schema) *arrow.Schema {
	for _, step := range slices.Backward(c) {
		t, ok := step.Transform.(processor.Tracing)
		if table == nil || !ok {
			return nil
		}
		table = t.Origin(table)
	}
	return table
}

// CloseSteps closes the transforms that hold resources.
func CloseSteps(steps []Step) error {
	var errs []error
	for _, step := range steps {
		if closer, ok := step.Transform.(io.Closer); ok {
			errs = append(errs, closer.Close())
		}
	}
	return errors.Join(errs...)
}

// transform takes the rows that a decoder gave through the table's transforms and fits the result to the table. It takes ownership of rows
// and gives what is left of them, and dead letters for the others.
func (w *worker) transform(ctx context.Context, s *source, rows arrow.RecordBatch) (arrow.RecordBatch, []decode.DeadLetter, error) {
	if len(s.form.chain) == 0 || rows == nil {
		return rows, nil, nil
	}
	b, err := s.form.chain.apply(ctx, processor.Batch{Source: s.Source, Span: kfs.Span{Base: s.flushed, Next: s.next}, Records: rows})
	if err == nil && b.Records != nil {
		b, err = fit(b, w.target, w.table.pins, w.cfg.Allocator)
	}
	if err != nil || len(b.Rejected) == 0 {
		return b.Records, nil, err
	}
	letters, err := s.letters(b.Rejected, s.form.decode.BatchBytes)
	if err != nil && b.Records != nil {
		b.Records.Release()
	}
	return b.Records, letters, err
}

// keep holds the bytes of an item until its records are rows or dead letters: a transform may reject what decoding took.
func (s *source) keep(it item) {
	s.kept = append(s.kept, piece{it.piece, slices.Clone(it.records)})
	s.keptBytes += int64(len(it.records))
}

// forget drops what was kept of offsets that are decided.
func (s *source) forget() {
	s.kept = slices.DeleteFunc(s.kept, func(p piece) bool {
		if p.span.Next <= s.next {
			s.keptBytes -= int64(len(p.records))
			return true
		}
		return false
	})
}

// piece is record batches of a source.
type piece struct {
	span    kfs.Span
	records []byte
}

// letters makes dead letters of rejected rows. Where the records were not kept, letters have no more than their coordinates.
func (s *source) letters(rejected []processor.Rejection, batchBytes int) ([]decode.DeadLetter, error) {
	open := make(map[int64]processor.Rejection, len(rejected))
	for _, r := range rejected {
		open[r.Offset] = r
	}
	var all []decode.DeadLetter
	for _, p := range s.kept {
		letters, err := decode.Letters(s.Source, p.records, batchBytes, open)
		if err != nil {
			return nil, fmt.Errorf("%s: rejected records: %w", s.name(), err)
		}
		for _, l := range letters {
			delete(open, l.Offset)
		}
		all = append(all, letters...)
	}
	for _, r := range open {
		all = append(all, decode.DeadLetter{Source: s.Source, Offset: r.Offset, Class: decode.Class(r.Class), Message: r.Message})
	}
	return all, nil
}

// Columns goes through the steps with the columns that records are decoded into, and gives those that rows have afterwards: all of them if
// the schema is raw or declared, else those that are known before there are records. They are nil from a step on that does not tell.
func Columns(steps []Step, decoding decode.Config) (*arrow.Schema, error) {
	columns, complete := decoding.Columns()
	for _, step := range steps {
		t, ok := step.Transform.(processor.Typed)
		if !ok {
			return nil, nil
		}
		var err error
		if columns, err = t.Columns(columns, complete); err != nil {
			return nil, fmt.Errorf("transform %s: %w", step.Name, err)
		}
	}
	return columns, nil
}
