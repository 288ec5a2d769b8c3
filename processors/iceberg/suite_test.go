package iceberg

import (
	"context"
	"errors"
	"testing"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/processor/processortest"
)

// TestSuite runs the suite that every sink has to pass.
func TestSuite(t *testing.T) {
	processortest.Sink(t, func(t *testing.T) processortest.Table {
		c := openSQLite(t)
		open := func(ctx context.Context) (processor.Sink, error) {
			return New(Config{Catalog: c, Options: catalog.Options{Job: "job", Writer: t.Name()}}).Open(ctx, processors.Table{Name: "default.events"})
		}
		return processortest.Table{Open: open, Offsets: func(ctx context.Context, source processor.Source) ([]int64, error) {
			s, err := open(ctx)
			if err != nil {
				return nil, err
			}
			_, err = s.(*Sink).Committed(ctx)
			if err != nil {
				return nil, err
			}
			all, err := offsets(ctx, s.(*Sink))
			if errors.Is(err, catalog.ErrNoTable) {
				return nil, nil
			}
			var got []int64
			for at, n := range all {
				for range n {
					if at[0] == int64(source.Partition) {
						got = append(got, at[1])
					}
				}
			}
			return got, err
		}}
	})
}
