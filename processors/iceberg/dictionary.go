package iceberg

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// A dictionary of values that hardly repeat costs a hash of each and saves nothing, so a file goes without for the columns of which a
// sample says so. Where more than distinctShare of the sampled values differ, so do about half or more of those of a whole row group.
const (
	leastSample   = 256
	largestSample = 2048
	distinctShare = 0.85
)

// withoutDictionary names the columns, by their path in Parquet, whose values in rows hardly repeat.
func withoutDictionary(rows arrow.RecordBatch, props *parquet.WriterProperties, arrowProps pqarrow.ArrowWriterProperties) ([]string, error) {
	if rows.NumRows() < leastSample {
		return nil, nil
	}
	schema, err := pqarrow.ToParquet(rows.Schema(), props, arrowProps)
	if err != nil {
		return nil, fmt.Errorf("parquet schema: %w", err)
	}
	var columns []arrow.Array
	for _, c := range rows.Columns() {
		columns = leaves(columns, c)
	}
	if len(columns) != schema.NumColumns() {
		return nil, fmt.Errorf("%d columns in Arrow are %d in Parquet", len(columns), schema.NumColumns())
	}
	var paths []string
	for i, c := range columns {
		if !repeats(c) {
			paths = append(paths, schema.Column(i).Path())
		}
	}
	return paths, nil
}

// leaves appends the arrays that hold values, in the order of Parquet's columns.
func leaves(to []arrow.Array, a arrow.Array) []arrow.Array {
	switch a := a.(type) {
	case *array.Struct:
		for i := range a.NumField() {
			to = leaves(to, a.Field(i))
		}
		return to
	case *array.Map: // before lists, of which it is one
		return leaves(leaves(to, a.Keys()), a.Items())
	case array.ListLike:
		return leaves(to, a.ListValues())
	}
	return append(to, a)
}

// repeats reports whether enough of an array's values are there more than once, or too few are there to tell. Of types that are not sampled
// it says that they do.
func repeats(a arrow.Array) bool {
	switch a := a.(type) {
	case *array.String:
		return sample(a, a.Value)
	case *array.Binary:
		return sample(a, a.ValueString)
	case *array.Int64:
		return sample(a, a.Value)
	case *array.Int32:
		return sample(a, a.Value)
	case *array.Timestamp:
		return sample(a, a.Value)
	case *array.Float64:
		return sample(a, a.Value)
	}
	return true
}

// sample judges by values that lie evenly over the array.
func sample[T comparable](a arrow.Array, value func(int) T) bool {
	step := max(1, a.Len()/largestSample)
	seen := make([]T, 0, min(a.Len(), largestSample))
	for i := 0; i < a.Len() && len(seen) < cap(seen); i += step {
		if a.IsValid(i) {
			seen = append(seen, value(i))
		}
	}
	if len(seen) < leastSample {
		return true
	}
	distinct := make(map[T]struct{}, len(seen))
	for _, v := range seen {
		distinct[v] = struct{}{}
	}
	return float64(len(distinct)) <= distinctShare*float64(len(seen))
}
