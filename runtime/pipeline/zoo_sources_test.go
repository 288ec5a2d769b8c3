package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/route"
)

// zooOfSources is what only seeds notice whose records name their tables, whose topics are made again, or whose log is brought back.
var zooOfSources = []mistake{
	{name: "greatest-of-several", seed: 52, what: "of several tables the one counts that is ahead of the others", several: func(sink *route.Sink) processor.Sink {
		return greatest{sink}
	}},
	{name: "unplaced", seed: 52, what: "a table that is new to a source gets no position before others get rows of the span", sink: func(_ *simProcess, table string, sink *iceberg.Sink) processor.Sink {
		if table == simLetters {
			return sink
		}
		return unplaced{sink}
	}},
	{name: "misrouted-half", seed: 2, what: "half of what a group has for one table is committed to another", several: func(sink *route.Sink) processor.Sink {
		return misrouting{sink}
	}},
	{name: "recreated-as-old", seed: 6, what: "a topic that was made again is taken for the one before", sink: func(p *simProcess, table string, sink *iceberg.Sink) processor.Sink {
		if table == simLetters {
			return sink
		}
		return &mixingLives{Sink: sink, p: p, old: map[string]kfs.TopicID{}}
	}},
	{name: "restored-trusted", seed: 140, what: "nobody compares the lineage of a restored source with that of the tables", open: func(t *processors.Table) {
		t.Lineage = ""
	}},
}

// greatest stands where the first of its tables does.
type greatest struct{ *route.Sink }

func (s greatest) Committed(ctx context.Context) (processor.Positions, error) {
	at, err := s.Sink.Committed(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range s.Tables() {
		for source, next := range t.Positions {
			at[source] = max(at[source], next)
		}
	}
	return at, nil
}

// unplaced commits nothing where nothing was staged.
type unplaced struct{ *iceberg.Sink }

func (s unplaced) Commit(ctx context.Context, from, to processor.Positions, all []processor.Staged) error {
	if len(all) == 0 {
		return nil
	}
	return s.Sink.Commit(ctx, from, to, all)
}

// misrouting gives the last table of a group half of the files of the first.
type misrouting struct{ *route.Sink }

func (s misrouting) Seal(ctx context.Context) (processor.Staged, error) {
	out, err := s.Sink.Seal(ctx)
	var pieces []map[string]json.RawMessage
	if err != nil || json.Unmarshal(out.Data, &pieces) != nil || len(pieces) < 2 {
		return out, err
	}
	var moved []string
	change := func(piece map[string]json.RawMessage, files func([]string) []string) error {
		var data []byte
		if err := json.Unmarshal(piece["data"], &data); err != nil {
			return err
		}
		changed, err := describe([]processor.Staged{{Data: data}}, func(ranges map[string][4]int64, all []string) (map[string][4]int64, []string) {
			return ranges, files(all)
		})
		if err == nil {
			piece["data"], err = json.Marshal(changed[0].Data)
		}
		return err
	}
	err = errors.Join(change(pieces[0], func(files []string) []string {
		moved = slices.Clone(files[:(len(files)+1)/2])
		return files[len(moved):]
	}), change(pieces[len(pieces)-1], func(files []string) []string { return append(files, moved...) }))
	if err != nil {
		return out, err
	}
	out.Data, err = json.Marshal(pieces)
	return out, err
}

// mixingLives has the sources of a topic that was made again under the id that the table knows.
type mixingLives struct {
	*iceberg.Sink
	p   *simProcess
	old map[string]kfs.TopicID // of topics
}

func (s *mixingLives) Committed(ctx context.Context) (processor.Positions, error) {
	at, err := s.Sink.Committed(ctx)
	for source, next := range maps.Clone(at) {
		s.old[source.Topic] = source.ID
		for _, topic := range s.p.simulation.log.topics {
			if topic.Name == source.Topic {
				source.ID = topic.ID
				at[source] = next
			}
		}
	}
	return at, err
}

func (s *mixingLives) of(source processor.Source) processor.Source {
	if id, ok := s.old[source.Topic]; ok {
		source.ID = id
	}
	return source
}

func (s *mixingLives) positions(of processor.Positions) processor.Positions {
	out := processor.Positions{}
	for source, next := range of {
		out[s.of(source)] = next
	}
	return out
}

func (s *mixingLives) Stage(ctx context.Context, b processor.Batch) error {
	b.Source = s.of(b.Source)
	return s.Sink.Stage(ctx, b)
}

func (s *mixingLives) Commit(ctx context.Context, from, to processor.Positions, all []processor.Staged) error {
	return s.Sink.Commit(ctx, s.positions(from), s.positions(to), all)
}
