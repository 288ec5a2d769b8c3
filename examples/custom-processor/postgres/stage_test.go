package postgres

import (
	"encoding/json"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
)

// TestStageWithoutNUL: what PostgreSQL's JSON cannot hold becomes something else, and nothing else does.
func TestStageWithoutNUL(t *testing.T) {
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.BinaryTypes.String}}, nil))
	defer b.Release()
	want := []string{"x\ufffdy", `x\u0000y`, `\` + "\ufffd", "\n\\\""}
	for _, text := range []string{"x\x00y", want[1], `\` + "\x00", want[3]} {
		b.Field(0).(*array.StringBuilder).Append(text)
	}
	records := b.NewRecordBatch()
	defer records.Release()
	sink := &Sink{spans: map[processor.Source]kfs.Span{}}
	if err := sink.Stage(t.Context(), processor.Batch{Span: kfs.Span{Next: 4}, Records: records}); err != nil {
		t.Fatal(err)
	}
	staged, err := sink.Seal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var batches [][]struct{ A string }
	if err := json.Unmarshal(staged.Data, &batches); err != nil {
		t.Fatal(err)
	}
	for i, row := range batches[0] {
		if row.A != want[i] {
			t.Errorf("row %d is %q, want %q", i, row.A, want[i])
		}
	}
}
