package iceberg

import (
	"context"
	"iter"

	"github.com/apache/arrow-go/v18/arrow"
	iceberglib "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
)

// Rows reads columns of a table. Files without a row that filter selects are left out, but rows that it does not select may come: who reads
// them looks. (The library's own row filter finds columns by their place in the table, also where fewer were asked for: rows were
// missing without a word when the filter's column had another place among those, iceberg-go 0.7.0.) A nil filter selects all rows.
//
// A few batches for each core are in memory at a time, each of more than a hundred thousand rows: it is for columns of few bytes.
func Rows(ctx context.Context, t *table.Table, filter iceberglib.BooleanExpression, columns ...string) iter.Seq2[arrow.RecordBatch, error] {
	return FewRows(ctx, t, filter, 0, columns...)
}

// FewRows is Rows in batches of so many rows at most, for columns that may have megabytes each; 0 means the library's own bound.
func FewRows(ctx context.Context, t *table.Table, filter iceberglib.BooleanExpression, most int, columns ...string) iter.Seq2[arrow.RecordBatch, error] {
	return func(yield func(arrow.RecordBatch, error) bool) {
		planned := t.Scan()
		if filter != nil {
			planned = t.Scan(table.WithRowFilter(filter))
		}
		tasks, err := planned.PlanFiles(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		for i := range tasks {
			tasks[i].Residual = nil
		}
		options := []table.ScanOption{table.WithSelectedFields(columns...)}
		if most > 0 {
			options = append(options, table.WithArrowBatchSize(most))
		}
		_, batches, err := t.Scan(options...).ReadTasks(ctx, tasks)
		if err != nil {
			yield(nil, err)
			return
		}
		for rec, err := range batches {
			more := yield(rec, err)
			if rec != nil {
				rec.Release()
			}
			if !more || err != nil {
				return
			}
		}
	}
}
