package iceberg_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"

	iceberglib "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog/catalogtest"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// only is the share of a worker that reads one partition.
type only int32

func (o only) Share() (uint64, func(kfs.PartitionID) bool, <-chan struct{}) {
	return 0, func(id kfs.PartitionID) bool { return id.Partition == int32(o) }, nil
}
func (only) Found(kfs.TopicID, int32) {}
func (only) Settled(uint64)           {}

// letters counts the dead letters by partition/offset.
func (w *whole) letters() map[string]int {
	w.t.Helper()
	all := map[string]int{}
	t, err := w.lake.LoadTable(w.t.Context(), table.Identifier{"default", "job_dead_letter"})
	w.must(err)
	for batch, err := range iceberg.Rows(w.t.Context(), t, iceberglib.AlwaysTrue{}, "kafka_partition", "kafka_offset") {
		w.must(err)
		for row := range int(batch.NumRows()) {
			all[batch.Column(0).ValueStr(row)+"/"+batch.Column(1).ValueStr(row)]++
		}
	}
	return all
}

// TestDecidedOnceUnderInference kills a worker at every operation of its run, between dead letters, schema change and rows too. Then another
// worker changes the table's columns for another partition, and a third one finishes what the first had begun. Each record must be a row or
// a dead letter, once.
func TestDecidedOnceUnderInference(t *testing.T) {
	values := [2][]string{
		// A long that no double can hold, a letter, and more columns.
		{`{"a": 9007199254740993}`, `{"a": "x"}`, `{"a": 3, "b": {"c": 1}}`, `-`, `{"b": {"c": 2, "d": "new"}}`, `{"b": [1]}`},
		// Doubles for the longs, other types for the columns that the first worker may have added.
		{`{"a": 0.5}`, `{"b": {"c": 0.25, "d": 7}}`, `{"a": "y"}`, `{"b": {"c": 4}}`},
	}
	// life kills the first worker behind its operation at, and reports how many there were, and whether record 0/0 has become a dead letter.
	life := func(t *testing.T, at int) (operations int, late bool) {
		synctest.Test(t, func(t *testing.T) {
			w := newWhole(t)
			w.journal.Append(t, nil, tailtest.Values(w.events, 0, values[0]...))
			ctx, kill := context.WithCancel(t.Context())
			defer kill()
			w.assignment = only(0)
			w.inject = func(op catalogtest.Op) catalogtest.Fault {
				if operations++; op.N < at {
					return catalogtest.None
				}
				kill()
				return catalogtest.FailBefore // nobody is there any more to do it
			}
			if err := w.runIn(ctx); err != nil && ctx.Err() == nil {
				t.Fatalf("the first worker: %v", err)
			}
			w.journal.Append(t, nil, tailtest.Values(w.events, 1, values[1]...))
			w.assignment, w.inject = only(1), nil
			w.must(w.run())
			w.assignment = nil
			w.must(w.run())
			rows, letters := w.rows(), w.letters()
			for partition, all := range values {
				for offset, value := range all {
					key := fmt.Sprintf("%d/%d", partition, offset)
					if _, row := rows[key]; letters[key] > 1 || row == (letters[key] == 1) {
						t.Errorf("record %s, %s: a row %t, dead letters %d", key, value, row, letters[key])
					}
				}
			}
			late = letters["0/0"] == 1
			if row, ok := rows["0/0"]; ok && !strings.Contains(row, "9007199254740993") {
				t.Errorf("record 0/0 is %s", row)
			}
		})
		return operations, late
	}
	operations, _ := life(t, math.MaxInt)
	rows := 0
	for at := range operations {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			if _, late := life(t, at); !late {
				rows++
			}
		})
	}
	if rows == 0 || rows == operations {
		t.Errorf("in %d of %d walks the first record is a row: they have not come to both", rows, operations)
	}
}
