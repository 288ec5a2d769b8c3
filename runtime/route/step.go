package route

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/schema"
)

// Step is the transform that rejects the rows that have no table. It comes after all others, so that rows are where they stay when the
// sink sees them.
type Step struct {
	route  *Route
	tables *Tables
	mem    memory.Allocator
}

var (
	_ processor.Transform = (*Step)(nil)
	_ processor.Typed     = (*Step)(nil)
	_ processor.Tracing   = (*Step)(nil)
)

// NewStep makes the step of a route. tables may be nil where nothing goes through it.
func NewStep(r *Route, tables *Tables, mem memory.Allocator) *Step { return &Step{r, tables, mem} }

// Apply implements processor.Transform.
func (s *Step) Apply(_ context.Context, b processor.Batch) (processor.Batch, error) {
	defer b.Records.Release()
	a, err := s.route.assign(b.Records)
	if err != nil {
		return b, fmt.Errorf("%s: %w", s.route.Name(), err)
	}
	for i, d := range a.dests {
		if a.refused[i].class != "" {
			continue
		}
		if why := s.tables.admit(s.route.Topic, d.name, d.label); why != nil {
			a.refused[i] = *why
		}
	}
	keep := make([]bool, len(a.of))
	offsets := b.Records.Column(2).(*array.Int64)
	for row, i := range a.of {
		keep[row] = a.refused[i].class == ""
		if !keep[row] {
			b.Rejected = append(b.Rejected, processor.Rejection{Offset: offsets.Value(row), Class: a.refused[i].class, Message: a.refused[i].message})
		}
	}
	b.Records, err = processor.KeepRows(b.Records, keep, s.mem)
	return b, err
}

// Columns implements processor.Typed.
func (s *Step) Columns(in *arrow.Schema, complete bool) (*arrow.Schema, error) {
	if in == nil {
		return nil, nil
	}
	for _, p := range s.route.content() {
		if p.kind != ofField {
			continue
		}
		at, ok := p.path.Find(in.Fields())
		if ok {
			if t := schema.FieldAt(in.Fields(), at).Type; !names(t) {
				return nil, fmt.Errorf("%s: a %s names no table; make it text or a whole number by a cast", p.placeholder(), t)
			}
		}
		if !ok && complete {
			return nil, fmt.Errorf("%s: rows have no column %s", p.placeholder(), p.text)
		}
	}
	return in, nil
}

// Origin implements processor.Tracing: every column goes through.
func (s *Step) Origin(table *arrow.Schema) *arrow.Schema { return table }
