package transform

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
)

var (
	_ processor.Typed   = (*choose)(nil)
	_ processor.Tracing = (*choose)(nil)
	_ processor.Typed   = (*rename)(nil)
	_ processor.Tracing = (*rename)(nil)
)

// choose is select and drop: it lets columns through, or not.
type choose struct {
	names []string
	stay  func(name string) bool
}

func newSelect(names []string, _ plugin.Env) (processor.Transform, error) {
	return &choose{names, func(name string) bool { return slices.Contains(names, name) }}, checkPayload(names...)
}

func newDrop(names []string, _ plugin.Env) (processor.Transform, error) {
	return &choose{names, func(name string) bool { return !slices.Contains(names, name) }}, checkPayload(names...)
}

func (c *choose) Apply(_ context.Context, b processor.Batch) (processor.Batch, error) {
	b.Records = project(b.Records, only(b.Records.Schema(), c.stay))
	return b, nil
}

func (c *choose) Columns(in *arrow.Schema, complete bool) (*arrow.Schema, error) {
	if complete {
		if err := require(in, c.names...); err != nil {
			return nil, err
		}
	}
	return c.Origin(in), nil
}

func (c *choose) Origin(table *arrow.Schema) *arrow.Schema {
	return without(table, func(name string) bool { return !c.stay(name) && !coordinates[name] })
}

// rename gives columns other names. Where a record has a field of such a name itself, its row is rejected: one of the two values would be
// lost.
type rename struct {
	to  map[string]string // by the name before
	mem memory.Allocator
}

func newRename(to map[string]string, env plugin.Env) (processor.Transform, error) {
	from := slices.Sorted(maps.Keys(to))
	if err := checkPayload(from...); err != nil {
		return nil, err
	}
	for _, name := range from {
		if err := checkNames(to[name]); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return &rename{to, env.Allocator}, checkNames(slices.Collect(maps.Values(to))...)
}

// taken is the columns that have a name which another one is to get.
func (r *rename) taken(in *arrow.Schema) []int {
	var taken []int
	for i, f := range in.Fields() {
		if _, moves := r.to[f.Name]; moves {
			continue
		}
		for from, to := range r.to {
			if strings.EqualFold(to, f.Name) && in.HasField(from) {
				taken = append(taken, i)
				break
			}
		}
	}
	return taken
}

func (r *rename) Apply(_ context.Context, b processor.Batch) (processor.Batch, error) {
	in := b.Records.Schema()
	if taken := r.taken(in); len(taken) > 0 {
		keep := make([]bool, b.Records.NumRows())
		for row := range keep {
			keep[row] = true
			for _, i := range taken {
				if keep[row] && b.Records.Column(i).IsValid(row) {
					keep[row] = false
					b.Rejected = append(b.Rejected, processor.Rejection{Offset: offset(b.Records, row), Class: className,
						Message: fmt.Sprintf("field %s has the name that another column was given by rename", in.Field(i).Name)})
				}
			}
		}
		kept, err := processor.KeepRows(b.Records, keep, r.mem)
		b.Records.Release()
		if err != nil {
			return processor.Batch{}, err
		}
		var columns []int
		for i := range in.NumFields() {
			if !slices.Contains(taken, i) {
				columns = append(columns, i)
			}
		}
		b.Records = project(kept, columns)
	}
	defer b.Records.Release()
	b.Records = array.NewRecordBatch(r.renamed(b.Records.Schema()), b.Records.Columns(), b.Records.NumRows())
	return b, nil
}

func (r *rename) renamed(in *arrow.Schema) *arrow.Schema {
	fields := slices.Clone(in.Fields())
	for i := range fields {
		if to, ok := r.to[fields[i].Name]; ok {
			fields[i].Name = to
		}
	}
	return arrow.NewSchema(fields, nil)
}

func (r *rename) Columns(in *arrow.Schema, complete bool) (*arrow.Schema, error) {
	if complete {
		if err := require(in, slices.Sorted(maps.Keys(r.to))...); err != nil {
			return nil, err
		}
		if taken := r.taken(in); len(taken) > 0 {
			return nil, fmt.Errorf("there is a column %s already", in.Field(taken[0]).Name)
		}
	}
	return r.renamed(in), nil
}

func (r *rename) Origin(table *arrow.Schema) *arrow.Schema {
	from := make(map[string]string, len(r.to))
	for name, to := range r.to {
		from[to] = name
	}
	var fields []arrow.Field
	for _, f := range table.Fields() {
		if name, ok := from[f.Name]; ok {
			f.Name = name
		} else if _, gone := r.to[f.Name]; gone {
			continue
		}
		fields = append(fields, f)
	}
	return arrow.NewSchema(fields, nil)
}
