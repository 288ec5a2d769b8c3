// Package redact is a transform that replaces text by the beginning of its SHA-256, so that it can be counted and joined and not read.
package redact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
)

// Settings are what a job file says: redact: {columns: [email]}.
type Settings struct {
	Columns []string `yaml:"columns"`
}

// Transform redacts columns.
type Transform struct {
	columns []string
	mem     memory.Allocator
}

// New makes the transform of its settings.
func New(s Settings, env plugin.Env) (processor.Transform, error) {
	if len(s.Columns) == 0 {
		return nil, errors.New("columns: name at least one")
	}
	return &Transform{s.Columns, env.Allocator}, nil
}

// Apply implements processor.Transform. A value that is no text cannot be redacted: its row is rejected.
func (t *Transform) Apply(_ context.Context, b processor.Batch) (processor.Batch, error) {
	rows := b.Records
	defer rows.Release()
	columns, keep := slices.Clone(rows.Columns()), make([]bool, rows.NumRows())
	for i := range keep {
		keep[i] = true
	}
	for i, f := range rows.Schema().Fields() {
		if !slices.Contains(t.columns, f.Name) {
			continue
		}
		text, ok := rows.Column(i).(*array.String)
		for row := range keep {
			if !ok && keep[row] && rows.Column(i).IsValid(row) {
				keep[row] = false
				b.Rejected = append(b.Rejected, processor.Rejection{Offset: rows.Column(2).(*array.Int64).Value(row), Class: "not_text", Message: "column " + f.Name + " is no text"})
			}
		}
		if ok {
			columns[i] = redacted(text, t.mem)
			defer columns[i].Release()
		}
	}
	all := array.NewRecordBatch(rows.Schema(), columns, rows.NumRows())
	defer all.Release()
	var err error
	b.Records, err = processor.KeepRows(all, keep, t.mem)
	return b, err
}

func redacted(text *array.String, mem memory.Allocator) arrow.Array {
	b := array.NewStringBuilder(mem)
	defer b.Release()
	for row := range text.Len() {
		if text.IsNull(row) {
			b.AppendNull()
			continue
		}
		sum := sha256.Sum256([]byte(text.Value(row)))
		b.Append(hex.EncodeToString(sum[:8]))
	}
	return b.NewArray()
}

// Origin implements processor.Tracing: redacted text is text, so records are decoded into the columns that the table has.
func (t *Transform) Origin(table *arrow.Schema) *arrow.Schema { return table }
