package processor

import (
	"context"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// KeepRows gives the rows for which keep is true. It borrows rows; the result is the caller's to release.
func KeepRows(rows arrow.RecordBatch, keep []bool, mem memory.Allocator) (arrow.RecordBatch, error) {
	if !slices.Contains(keep, false) {
		rows.Retain()
		return rows, nil
	}
	b := array.NewBooleanBuilder(mem)
	defer b.Release()
	b.AppendValues(keep, nil)
	mask := b.NewBooleanArray()
	defer mask.Release()
	ctx := compute.WithAllocator(context.Background(), mem)
	kept, err := compute.FilterRecordBatch(ctx, rows, mask, compute.DefaultFilterOptions())
	if err != nil {
		return nil, fmt.Errorf("choose rows: %w", err)
	}
	return kept, nil
}
