package host

import (
	"context"
	"log/slog"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/runtime/guard"
	"github.com/firn-io/firn/runtime/job"
	"github.com/firn-io/firn/runtime/pipeline"
	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
)

// openPlain opens the sink of a table as plugin.Tables do.
type openPlain func(ctx context.Context, t plugin.Table) (processor.Sink, error)

// guarded opens sinks whose panics are errors.
func guarded(tables plugin.Tables, kind string, logger *slog.Logger) openPlain {
	return func(ctx context.Context, t plugin.Table) (processor.Sink, error) {
		return guard.Sink(ctx, kind, func(ctx context.Context) (processor.Sink, error) { return tables.Open(ctx, t) }, logger.With("table", t.Name))
	}
}

// openTransforms makes the transforms of a job file. Their panics are errors.
func openTransforms(j *job.Job, logger *slog.Logger) func(table string) ([]pipeline.Step, error) {
	return func(table string) ([]pipeline.Step, error) {
		env := plugin.Env{Job: j.Name, Table: table, Logger: logger.With("table", table), Allocator: memory.DefaultAllocator}
		steps, err := j.Steps(env)
		for i := range steps {
			again := func() (processor.Transform, error) { return j.Transform[i].Open(env) }
			steps[i].Transform = guard.Transform(steps[i].Transform, j.Transform[i].Kind, again, env.Logger)
		}
		return steps, err
	}
}
