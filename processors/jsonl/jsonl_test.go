package jsonl

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"testing"

	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/processor/processortest"
)

func TestSink(t *testing.T) {
	processortest.Sink(t, func(t *testing.T) processortest.Table {
		tables := &Tables{Store: blob.NewMemory(nil)}
		return processortest.Table{
			Open: func(ctx context.Context) (processor.Sink, error) {
				return tables.Open(ctx, plugin.Table{Name: "db.events"})
			},
			Offsets: func(ctx context.Context, source processor.Source) (offsets []int64, err error) {
				for page, err := range tables.Store.List(ctx, "db.events/", "") {
					if err != nil {
						return nil, err
					}
					for _, o := range page.Objects {
						body, _, err := blob.ReadAll(ctx, tables.Store, o.Key, blob.All, 1<<20)
						if err != nil {
							return nil, err
						}
						lines := bufio.NewScanner(bytes.NewReader(body))
						lines.Scan() // the header
						for lines.Scan() {
							var row struct {
								Partition int32 `json:"kafka_partition"`
								Offset    int64 `json:"kafka_offset"`
							}
							if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
								return nil, err
							}
							if row.Partition == source.Partition {
								offsets = append(offsets, row.Offset)
							}
						}
					}
				}
				return offsets, nil
			},
		}
	})
}
