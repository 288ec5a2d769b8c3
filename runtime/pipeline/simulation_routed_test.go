package pipeline

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/route"
)

// The records of some seeds name their tables (package route): {"k":"a"} of topic events goes to db.events_a. Kinds come up while the job runs,
// and so do their tables; a record without one is a dead letter.
const (
	simRoute = "db.{topic}_{field:k}"
	simKinds = "abcd"
	simMost  = 20 // tables that records may make
)

// kind gives a record's kind, or none. Each comes up some ten records after the one before.
func (l *simLog) kind() string {
	known := simKinds[:min(len(simKinds), 1+l.records/12)]
	n := l.s.rng.IntN(12)
	if n == 0 {
		return ""
	}
	return known[n%len(known):][:1]
}

// tableOf is the table that a record of a topic belongs to; "" if it has none.
func (s *simulation) tableOf(topic string, r *simRecord) string {
	switch {
	case !s.routed:
		return "db." + topic
	case r.kind == "":
		return ""
	}
	return "db." + topic + "_" + r.kind
}

// topicOf is the topic that fills a table of rows.
func topicOf(table string) string {
	topic, _, _ := strings.Cut(strings.TrimPrefix(table, "db."), "_")
	return topic
}

// tablesOf are the tables of rows of a topic, by name.
func (s *simulation) tablesOf(topic string) (all []*simTable) {
	for _, name := range slices.Sorted(maps.Keys(s.lake.tables)) {
		if name != simLetters && topicOf(name) == topic {
			all = append(all, s.lake.tables[name])
		}
	}
	return all
}

// simOpener opens the sink of a table with properties that are to be its own.
type simOpener func(ctx context.Context, table string, properties map[string]string, lineage kfs.TopicID) (processor.Sink, error)

// route has the records of a process name their tables, as cmd/firn does it.
func (p *simProcess) route(cfg *Config, open simOpener) {
	r := newRouting(p.simulation.t, simRoute, "", simMost, simLetters, memory.DefaultAllocator)
	cfg.Route, cfg.Fills, cfg.OpenTransforms = r.name, r.fills, r.steps(cfg.OpenTransforms)
	if former := cfg.Former; former != nil {
		cfg.Former = func(hash string, kept []byte) (*Form, error) {
			f, err := former(hash, kept)
			if err == nil {
				f.Route, f.OpenTransforms = r.name, r.steps(f.OpenTransforms)
			}
			return f, err
		}
	}
	cfg.OpenSink = func(_ context.Context, name string, lineage kfs.TopicID) (processor.Sink, error) {
		of := r.named(name)
		if p.member != nil {
			p.member.Serve(name, func(table string) bool { return r.tables.Fills(of, table) }, func(ctx context.Context, table string) (processor.Sink, error) {
				return p.openSink(ctx, table, nil, lineage, false)
			})
		}
		sink := route.NewSink(route.Config{
			Route: of, Tables: r.tables, Inferred: true, Allocator: memory.DefaultAllocator,
			Open: func(ctx context.Context, table, label string) (processor.Sink, error) {
				return open(ctx, table, map[string]string{route.Label: label}, lineage)
			},
			List: func(ctx context.Context) ([]string, error) { return p.listTables(ctx, of.Topic) },
		})
		if wrong := p.simulation.mistake.several; wrong != nil {
			return wrong(sink), nil
		}
		return sink, nil
	}
}

// listTables names the tables that there are.
func (p *simProcess) listTables(ctx context.Context, topic string) (names []string, err error) {
	err = simClient{p: p, own: true}.do(ctx, "list tables for "+topic, func() error {
		names = slices.Sorted(maps.Keys(p.simulation.lake.tables))
		return nil
	})
	return names, err
}
