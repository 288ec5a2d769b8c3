package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/runtime/decode"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/schema"
)

// fit rejects what the table's columns can never hold: transforms made the columns, so decoding could not know. A column whose type the
// table's cannot take in, by the rules of evolution, is left out, and rows with a value in it are rejected. table is nil if there is no
// table yet; pins are the columns that cannot be widened either. It takes ownership of the batch's rows.
func fit(b processor.Batch, table *arrow.Schema, pins []string, mem memory.Allocator) (processor.Batch, error) {
	if table == nil {
		return b, nil
	}
	var unfit []int
	for i := processor.Coordinates; i < int(b.Records.NumCols()); i++ {
		f := b.Records.Schema().Field(i)
		held, ok := table.FieldsByName(f.Name)
		if ok && !holds(held[0], f, pinned(pins, f.Name)) {
			unfit = append(unfit, i)
		}
	}
	if len(unfit) == 0 {
		return b, nil
	}
	defer b.Records.Release()
	keep := make([]bool, b.Records.NumRows())
	offsets := b.Records.Column(2).(*array.Int64)
	for row := range keep {
		keep[row] = true
		for _, i := range unfit {
			if column := b.Records.Column(i); column.IsValid(row) {
				f := b.Records.Schema().Field(i)
				held, _ := table.FieldsByName(f.Name)
				b.Rejected = append(b.Rejected, processor.Rejection{Offset: offsets.Value(row), Class: string(decode.TypeConflict),
					Message: fmt.Sprintf("column %s: the table has %s, the transforms made %s", f.Name, held[0].Type, f.Type)})
				keep[row] = false
				break
			}
		}
	}
	return remaining(b, keep, unfit, mem)
}

// holds reports whether the table's column takes the values of f, perhaps after it was widened.
func holds(table, f arrow.Field, pinned bool) bool {
	if f.Type.ID() == arrow.NULL {
		return true
	}
	have, err := schema.FromArrow([]arrow.Field{table})
	if err != nil {
		return true // the sink knows better
	}
	got, err := schema.FromArrow([]arrow.Field{f})
	if err != nil {
		return true
	}
	merged, err := schema.Merge(have.Fields[0].Type, got.Fields[0].Type)
	return err == nil && (!pinned || merged.Equal(have.Fields[0].Type))
}

func pinned(pins []string, column string) bool {
	return slices.ContainsFunc(pins, func(p string) bool { return p == column || strings.HasPrefix(p, column+".") })
}

// remaining is the batch with the kept rows, without the columns in unfit.
func remaining(b processor.Batch, keep []bool, unfit []int, mem memory.Allocator) (processor.Batch, error) {
	rows, err := processor.KeepRows(b.Records, keep, mem)
	if err != nil {
		return processor.Batch{}, err
	}
	defer rows.Release()
	b.Records = nil
	if rows.NumRows() == 0 {
		return b, nil
	}
	var fields []arrow.Field
	var columns []arrow.Array
	for i, f := range rows.Schema().Fields() {
		if !slices.Contains(unfit, i) {
			fields, columns = append(fields, f), append(columns, rows.Column(i))
		}
	}
	b.Records = array.NewRecordBatch(arrow.NewSchema(fields, nil), columns, rows.NumRows())
	return b, nil
}
