package pipeline

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	iceberglib "github.com/apache/iceberg-go"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/catalogtest"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// TestRegressionRoutedTypes has records of two partitions give a column two types, in one commit: the first to come decides, also of two tables,
// and the others are dead letters. The job had halted.
func TestRegressionRoutedTypes(t *testing.T) {
	for name, records := range map[string][2]string{
		"of one table":              {`{"k":"a","x":"text"}`, `{"k":"a","x":1}`},
		"of two tables":             {`{"k":"a","x":"text"}`, `{"k":"b","x":1}`},
		"of two tables, in a field": {`{"k":"a","x":{"y":"text"}}`, `{"k":"b","x":{"y":1}}`},
	} {
		t.Run(name, func(t *testing.T) {
			store, l, lake := blob.NewMemory(nil), newLake(t), catalogtest.NewFake()
			factory := iceberg.New(iceberg.Config{Catalog: catalog.New(lake), Options: catalog.Options{Job: "test", Store: store}, Allocator: l.mem})
			w := tailtest.Journal{Store: store}
			w.Append(t, []kfs.Entry{cluster, events}, tailtest.Values(events, 0, records[0], records[0]), tailtest.Values(events, 1, records[1], records[1]))
			open := func(ctx context.Context, table, label string) (processor.Sink, error) {
				l.table(table) // is listed
				return factory.Open(ctx, processors.Table{Name: table, Properties: map[string]string{"firn.route": label}})
			}
			if err := run(t, routedBy(t, testConfig(t, store, l), l, "db.{topic}_{field:k}", 10, open)); err != nil {
				t.Fatal(err)
			}
			var found []string
			for _, partition := range []int32{0, 1} {
				for _, offset := range l.table(deadLetterTable).offsets(partition) {
					found = append(found, fmt.Sprintf("%d/%d", partition, offset))
				}
			}
			if len(found) != 2 {
				t.Errorf("dead letters %v, want those of one partition", found)
			}
			for _, table := range []string{"events_a", "events_b"} {
				loaded, err := lake.LoadTable(t.Context(), []string{"db", table})
				if err != nil {
					continue
				}
				for batch, err := range iceberg.Rows(t.Context(), loaded, iceberglib.AlwaysTrue{}, "kafka_partition", "kafka_offset") {
					if err != nil {
						t.Fatal(err)
					}
					for i := range int(batch.NumRows()) {
						found = append(found, fmt.Sprintf("%d/%d", batch.Column(0).(*array.Int32).Value(i), batch.Column(1).(*array.Int64).Value(i)))
					}
				}
			}
			if slices.Sort(found); strings.Join(found, " ") != "0/0 0/1 1/0 1/1" {
				t.Errorf("rows and dead letters are %v", found)
			}
		})
	}
}
