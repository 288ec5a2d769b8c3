// Command custom-processor is firn process with a transform and a sink of its own: redact, and tables in PostgreSQL.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/firn-io/firn/examples/custom-processor/postgres"
	"github.com/firn-io/firn/examples/custom-processor/redact"
	"github.com/firn-io/firn/processors/transform"
	"github.com/firn-io/firn/runtime/host"
	"github.com/firn-io/firn/runtime/plugin"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	transforms := transform.Kinds() // what every Firn has, and
	transforms["redact"] = plugin.NewTransform(redact.New)
	program := host.Program{
		Transforms: transforms,
		Sinks:      plugin.Sinks{"postgres": plugin.NewSink(postgres.Open)},
		Sink:       "postgres",
		Getenv:     os.LookupEnv, Out: os.Stdout, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	if err := program.Command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "custom-processor:", err)
		os.Exit(1)
	}
}
