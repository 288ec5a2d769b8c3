package transform

import (
	"context"
	"fmt"

	"cel.dev/cel-go/common/types"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
)

var (
	_ processor.Typed   = (*filter)(nil)
	_ processor.Tracing = (*filter)(nil)
)

// maxPrograms bounds the schemas that an expression is kept compiled for: partitions whose records came to different columns take turns.
const maxPrograms = 16

// programs is an expression and what it was compiled to.
type programs struct {
	text     string
	compiled []compiled
}

type compiled struct {
	columns *arrow.Schema
	*expression
}

// of is the expression for the columns of a batch. What it names and is not there is null.
func (p *programs) of(columns *arrow.Schema) (*expression, error) {
	for _, c := range p.compiled {
		if c.columns == columns || c.columns.Equal(columns) {
			return c.expression, nil
		}
	}
	e, err := compile(p.text, columns, false)
	if err != nil {
		return nil, &processor.HaltError{Reason: err.Error(), Decide: "mend the expression"}
	}
	if len(p.compiled) == maxPrograms {
		p.compiled = p.compiled[1:]
	}
	p.compiled = append(p.compiled, compiled{columns, e})
	return e, nil
}

// filter keeps the rows for which an expression is true.
type filter struct {
	programs
	mem memory.Allocator
}

func newFilter(text string, env plugin.Env) (processor.Transform, error) {
	f := &filter{programs{text: text}, env.Allocator}
	_, err := f.Columns(arrow.NewSchema(nil, nil), false)
	return f, err
}

func (f *filter) Apply(_ context.Context, b processor.Batch) (processor.Batch, error) {
	e, err := f.of(b.Records.Schema())
	if err != nil {
		b.Records.Release()
		return processor.Batch{}, err
	}
	defer b.Records.Release()
	keep := make([]bool, b.Records.NumRows())
	for row := range keep {
		v, err := e.eval(b.Records, row)
		if err == nil && v != nil && v.Type() != types.BoolType {
			err = fmt.Errorf("%v is neither true nor false", v.Type())
		}
		if err != nil {
			b.Rejected = append(b.Rejected, processor.Rejection{Offset: offset(b.Records, row), Class: classExpression,
				Message: fmt.Sprintf("filter %q: %v", f.text, err)})
		}
		keep[row] = err == nil && v == types.True
	}
	b.Records, err = processor.KeepRows(b.Records, keep, f.mem)
	return b, err
}

func (f *filter) Columns(in *arrow.Schema, complete bool) (*arrow.Schema, error) {
	e, err := compile(f.text, in, complete)
	if err == nil && e.result.Kind() != types.BoolKind && e.result.Kind() != types.DynKind {
		err = fmt.Errorf("expression %q is a %s: a filter is true or false", f.text, e.result)
	}
	return in, err
}

func (f *filter) Origin(table *arrow.Schema) *arrow.Schema { return table }
