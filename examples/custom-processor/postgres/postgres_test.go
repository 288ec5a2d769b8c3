//go:build integration

package postgres

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/firn-io/firn/examples/custom-processor/postgres/postgrestest"
	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/processor/processortest"
)

// TestIntegrationSuite runs the suite of sinks against a real PostgreSQL.
func TestIntegrationSuite(t *testing.T) {
	url := postgrestest.Start(t)
	n := 0
	processortest.Sink(t, func(t *testing.T) processortest.Table {
		n++
		name := fmt.Sprintf("suite.t%d", n)
		tables, err := Open(t.Context(), Settings{URL: url}, plugin.SinkEnv{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { tables.Close() })
		return processortest.Table{
			Open: func(ctx context.Context) (processor.Sink, error) { return tables.Open(ctx, plugin.Table{Name: name}) },
			Offsets: func(ctx context.Context, source processor.Source) ([]int64, error) {
				rows, _ := tables.pool.Query(ctx, `select "offset" from `+name+` where topic = $1 and partition = $2`, source.Topic, source.Partition)
				offsets, err := pgx.CollectRows(rows, pgx.RowTo[int64]) // also the error of Query
				var e *pgconn.PgError
				if errors.As(err, &e) && (e.Code == "42P01" || e.Code == "3F000") { // there is no such table, or schema
					return nil, nil
				}
				return offsets, err
			},
		}
	})
}
