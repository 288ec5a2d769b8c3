package host

import (
	"context"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/pipeline"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/work"
)

// member makes the process one of the workers of a job, or of a bounded run of it: processes that run it to the same end are.
func (p *Program) member(cfg *pipeline.Config) (*work.Member, error) {
	return work.New(work.Config{
		Job: cfg.Name, Hash: cfg.Hash, Leases: p.Leases, Store: cfg.Store, Name: p.Name, Run: cfg.Until.Name(), Logger: cfg.Logger, Registerer: cfg.Registerer,
	})
}

// shared opens tables so that one worker commits to each for all; those of a process that is alone, which has no member, as they are.
func shared(m *work.Member, open openTable) openTable {
	if m == nil {
		return open
	}
	return func(ctx context.Context, table string, properties map[string]string, lineage kfs.TopicID) (processor.Sink, error) {
		return m.Wrap(ctx, table, func(ctx context.Context) (processor.Sink, error) { return open(ctx, table, properties, lineage) })
	}
}
