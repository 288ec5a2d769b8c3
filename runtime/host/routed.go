package host

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/job"
	"github.com/firn-io/firn/runtime/pipeline"
	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/route"
	"github.com/firn-io/firn/runtime/work"
)

// routes are the routes of a job's topics, by the name that the pipeline calls the table by.
type routes struct {
	template *route.Template
	tables   *route.Tables // shared with a former configuration's

	mu     sync.Mutex
	byName map[string]*route.Route
}

func newRoutes(template *route.Template, tables *route.Tables) *routes {
	return &routes{template: template, tables: tables, byName: map[string]*route.Route{}}
}

// name is the table of a topic.
func (r *routes) name(topic string) string {
	found := r.template.Of(topic)
	name := found.Name()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byName[name] = found
	return name
}

// named is the route of a name that was given.
func (r *routes) named(name string) *route.Route {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byName[name]
}

// fills reports whether a topic's records may go to a table, where they decide it themselves.
func (r *routes) fills(topic, table string) bool { return r.tables.Fills(r.template.Of(topic), table) }

// steps adds the step of the route behind those of the job file, if records name their tables.
func (r *routes) steps(open func(table string) ([]pipeline.Step, error)) func(table string) ([]pipeline.Step, error) {
	if !r.template.ByContent() {
		return open
	}
	return func(table string) ([]pipeline.Step, error) {
		steps, err := open(table)
		if err != nil {
			return nil, err
		}
		return append(steps, pipeline.Step{Name: "table.name", Transform: route.NewStep(r.named(table), r.tables, memory.DefaultAllocator)}), nil
	}
}

// openTable opens the sink of a table. properties win over those of the job file.
type openTable func(ctx context.Context, table string, properties map[string]string, lineage kfs.TopicID) (processor.Sink, error)

// opener opens the tables of a job file.
func opener(j *job.Job, open openPlain) openTable {
	return func(ctx context.Context, table string, properties map[string]string, lineage kfs.TopicID) (processor.Sink, error) {
		all := map[string]string{}
		maps.Copy(all, j.Table.Properties)
		maps.Copy(all, properties)
		return open(ctx, plugin.Table{Name: table, Lineage: lineageOf(lineage), Partition: j.Table.Partition, Properties: all})
	}
}

// openSink opens the sink of a topic's table, or of its tables. If the process is a worker of the job, which commits to a table for all of
// them may be one that has no rows for it.
func (r *routes) openSink(tables plugin.Tables, open openTable, member *work.Member, inferred bool, logger *slog.Logger) (func(ctx context.Context, table string, lineage kfs.TopicID) (processor.Sink, error), error) {
	wrapped := shared(member, open)
	if !r.template.ByContent() {
		return func(ctx context.Context, table string, lineage kfs.TopicID) (processor.Sink, error) {
			return wrapped(ctx, table, nil, lineage)
		}, nil
	}
	listing, ok := tables.(plugin.Listing)
	if !ok {
		return nil, fmt.Errorf("table.name: %w", plugin.ErrNoListing)
	}
	return func(ctx context.Context, table string, lineage kfs.TopicID) (processor.Sink, error) {
		of := r.named(table)
		if of == nil {
			return nil, fmt.Errorf("table %s: no topic has it", table)
		}
		if member != nil {
			member.Serve(table, func(name string) bool { return r.tables.Fills(of, name) }, func(ctx context.Context, name string) (processor.Sink, error) { return open(ctx, name, nil, lineage) })
		}
		return route.NewSink(route.Config{
			Route: of, Tables: r.tables, Inferred: inferred, Allocator: memory.DefaultAllocator,
			Open: func(ctx context.Context, name, label string) (processor.Sink, error) {
				if label != "" {
					logger.Info("records have made a table", "table", name, "of", label)
				}
				return wrapped(ctx, name, map[string]string{route.Label: label}, lineage)
			},
			List: func(ctx context.Context) ([]string, error) { return listing.List(ctx, of.Namespace()) },
		}), nil
	}, nil
}
