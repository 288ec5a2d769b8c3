package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"testing"

	icetable "github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/route"
)

// mistake is something that processes do wrong, so that we know that the simulation would notice. It is made at the seams of the product, or
// in its memory: nothing in the product itself could turn one on.
type mistake struct {
	name, what string
	seed       uint64 // that has noticed it: it is tried first

	sink    func(p *simProcess, table string, sink *iceberg.Sink) processor.Sink                        // instead of the sink of a table
	wrap    func(sink processor.Sink) processor.Sink                                                    // likewise, where groups are handed over
	several func(sink *route.Sink) processor.Sink                                                       // likewise, of all tables of a topic, where records name them
	work    func(w *worker)                                                                             // before a worker decides what is next
	open    func(t *processors.Table)                                                                   // what the sink of a table is told
	load    func(meta icetable.Metadata) icetable.Metadata                                              // of a table, as it is loaded
	failed  func(c simClient, updates []icetable.Update)                                                // after a commit has not been answered well
	commit  func([]icetable.Requirement, []icetable.Update) ([]icetable.Requirement, []icetable.Update) // as they are sent
}

// zooSeeds is within how many seeds a mistake has to be noticed.
const zooSeeds = 500

// zoo is one mistake of each kind.
var zoo = slices.Concat(zooOfTables, zooOfSources)

// zooOfTables is what processes do wrong with any table.
var zooOfTables = []mistake{
	{name: "no-position-check", seed: 21, what: "a group that came too late is committed behind what is there", sink: func(_ *simProcess, _ string, sink *iceberg.Sink) processor.Sink {
		return pushing{sink}
	}},
	{name: "delete-named", seed: 1, what: "after a failed commit the files are deleted that it has named", failed: deleteNamed},
	{name: "trust-property", seed: 26, what: "the property counts also where it is not of the newest receipt", load: trustProperty},
	{name: "half-group", seed: 1, what: "half of the files of a group are committed, with all of its ranges", sink: func(_ *simProcess, _ string, sink *iceberg.Sink) processor.Sink {
		return halving{sink}
	}},
	{name: "letters-last", seed: 1, what: "dead letters are committed after the rows of their span", sink: func(p *simProcess, table string, sink *iceberg.Sink) processor.Sink {
		return &lastLetters{sink, p, table}
	}},
	{name: "unpinned-head", seed: 93, what: "a commit that came too late is sent again on top of what is there, its parent unchanged", commit: unpinnedHead},
	{name: "skip-span", seed: 18, what: "a span that could not be staged is left out", sink: func(_ *simProcess, _ string, sink *iceberg.Sink) processor.Sink {
		return &skipping{Sink: sink}
	}},
	{name: "decide-twice", seed: 13, what: "nobody asks the dead-letter table which records of a span it holds", sink: func(_ *simProcess, table string, sink *iceberg.Sink) processor.Sink {
		if table == simLetters {
			return struct{ processor.Sink }{sink}
		}
		return sink
	}},
	{name: "ids-of-two", seed: 51, what: "two workers give the same field id to two columns", commit: unpinnedIDs},
	{name: "delete-handed", seed: 11, what: "a worker deletes the files of a group that the committer was given and did not commit", wrap: func(sink processor.Sink) processor.Sink {
		return deletingHanded{sink.(wholeSink)}
	}},
	{name: "unpinned-merge", seed: 175, what: "manifests are merged whatever was committed meanwhile", commit: unpinnedMerge},
	{name: "letters-forgotten", seed: 155, what: "nobody asks the dead-letter table what a rollback has taken", sink: func(_ *simProcess, table string, sink *iceberg.Sink) processor.Sink {
		if table == simLetters {
			return forgetting{sink}
		}
		return sink
	}},
	{name: "letters-trusted", seed: 95, what: "a worker takes the dead letters for as it has seen them, for it has the lease of its partitions", sink: func(p *simProcess, table string, sink *iceberg.Sink) processor.Sink {
		if table == simLetters && p.member != nil {
			return &trusting{Sink: sink}
		}
		return sink
	}},
	{name: "hold-on-reply", seed: 11, what: "the hold goes by what commits have answered", work: func(w *worker) {
		w.table.note(func(s *tableStatus) { maps.Copy(s.seen, s.sent) })
	}},
}

// describe changes what staged output says of itself.
func describe(all []processor.Staged, change func(ranges map[string][4]int64, files []string) (map[string][4]int64, []string)) ([]processor.Staged, error) {
	out := make([]processor.Staged, len(all))
	for i, st := range all {
		var ranges map[string][4]int64
		var files []string
		d := map[string]json.RawMessage{}
		if err := json.Unmarshal(st.Data, &d); err != nil {
			return nil, err
		}
		if err := errors.Join(json.Unmarshal(d["ranges"], &ranges), unmarshal(d["files"], &files)); err != nil {
			return nil, err
		}
		ranges, files = change(ranges, files)
		var err, err2 error
		d["ranges"], err = json.Marshal(ranges)
		d["files"], err2 = json.Marshal(files)
		if err := errors.Join(err, err2); err != nil {
			return nil, err
		}
		out[i].Spans = map[processor.Source]kfs.Span{}
		for key, r := range ranges {
			source, err := iceberg.ParseSource(key)
			if err != nil {
				return nil, err
			}
			out[i].Spans[source] = kfs.Span{Base: r[0], Next: r[1]}
		}
		if out[i].Data, err = json.Marshal(d); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func unmarshal(b json.RawMessage, into any) error {
	if b == nil {
		return nil
	}
	return json.Unmarshal(b, into)
}

type pushing struct{ *iceberg.Sink }

func (s pushing) Commit(ctx context.Context, from, to processor.Positions, all []processor.Staged) error {
	err := s.Sink.Commit(ctx, from, to, all)
	if !errors.Is(err, processor.ErrMoved) {
		return err
	}
	at, loadErr := s.Sink.Committed(ctx)
	if loadErr != nil {
		return err
	}
	from, to = maps.Clone(from), maps.Clone(to)
	by := map[string]int64{}
	for source, base := range from {
		if next, ok := at[source]; ok {
			by[iceberg.SourceKey(source)] = next - base
			from[source], to[source] = next, to[source]+next-base
		}
	}
	all, describeErr := describe(all, func(ranges map[string][4]int64, files []string) (map[string][4]int64, []string) {
		for key, r := range ranges {
			high := r[2]
			if high >= 0 {
				high += by[key]
			}
			ranges[key] = [4]int64{r[0] + by[key], r[1] + by[key], high, r[3]}
		}
		return ranges, files
	})
	if describeErr != nil {
		return describeErr
	}
	return s.Sink.Commit(ctx, from, to, all)
}

type halving struct{ *iceberg.Sink }

func (s halving) Commit(ctx context.Context, from, to processor.Positions, all []processor.Staged) error {
	all, err := describe(all, func(ranges map[string][4]int64, files []string) (map[string][4]int64, []string) {
		return ranges, files[:(len(files)+1)/2]
	})
	if err != nil {
		return err
	}
	return s.Sink.Commit(ctx, from, to, all)
}

// forgetting knows of no rollback.
type forgetting struct{ *iceberg.Sink }

func (forgetting) Lost(processor.Source) kfs.Span { return kfs.Span{} }

func (forgetting) Gone(string) bool { return false }

// trusting does not look at the table again before a commit of its own has failed.
type trusting struct {
	*iceberg.Sink
	at processor.Positions
}

func (s *trusting) Committed(ctx context.Context) (processor.Positions, error) {
	if s.at != nil {
		return maps.Clone(s.at), nil
	}
	at, err := s.Sink.Committed(ctx)
	s.at = maps.Clone(at)
	return at, err
}

func (s *trusting) Commit(ctx context.Context, from, to processor.Positions, all []processor.Staged) error {
	err := s.Sink.Commit(ctx, from, to, all)
	if err != nil {
		s.at = nil
	} else if s.at != nil {
		maps.Copy(s.at, to)
	}
	return err
}

// wholeSink is what a sink of an Iceberg table can do.
type wholeSink interface {
	processor.Sink
	processor.Described
	processor.Buffering
	processor.Identified
	processor.Deciding
	processor.Recalling
	io.Closer
}

type deletingHanded struct{ wholeSink }

func (s deletingHanded) Commit(ctx context.Context, from, to processor.Positions, all []processor.Staged) error {
	err := s.wholeSink.Commit(ctx, from, to, all)
	if err != nil {
		_ = s.Discard(ctx, all)
	}
	return err
}

// lastLetters has commits of dead letters wait for the next commit of rows.
type lastLetters struct {
	*iceberg.Sink
	p     *simProcess
	table string
}

func (s *lastLetters) Commit(ctx context.Context, from, to processor.Positions, all []processor.Staged) error {
	if s.table == simLetters {
		s.p.letters = func(ctx context.Context) { _ = s.Sink.Commit(ctx, from, to, all) }
		return nil
	}
	letters := s.p.letters
	s.p.letters = nil
	err := s.Sink.Commit(ctx, from, to, all)
	if err == nil && letters != nil {
		letters(ctx)
	}
	return err
}

// skipping leaves out what fails.
type skipping struct {
	*iceberg.Sink
	batches []processor.Batch
}

func (s *skipping) Stage(ctx context.Context, b processor.Batch) error {
	if b.Records != nil {
		b.Records.Retain()
	}
	if s.Sink.Stage(ctx, b) != nil {
		b.Records = nil
		for _, before := range s.batches {
			if err := s.Sink.Stage(ctx, before); err != nil {
				s.batches = nil
				return err
			}
		}
		if err := s.Sink.Stage(ctx, b); err != nil {
			s.batches = nil
			return err
		}
	}
	s.batches = append(s.batches, b)
	return nil
}

func (s *skipping) Seal(ctx context.Context) (processor.Staged, error) {
	s.batches = nil
	return s.Sink.Seal(ctx)
}

// trustProperty makes the newest receipt say what the property says.
func trustProperty(meta icetable.Metadata) icetable.Metadata {
	property := meta.Properties()["firn.progress."+simJob]
	head := meta.CurrentSnapshot()
	if property == "" || head == nil {
		return meta
	}
	var p struct {
		Commit  string              `json:"commit"`
		Sources map[string][4]int64 `json:"sources"`
	}
	if json.Unmarshal([]byte(property), &p) != nil {
		return meta
	}
	ranges := map[string][4]int64{}
	for source, s := range p.Sources {
		ranges[source] = [4]int64{s[0], s[1], s[2], 0}
	}
	text, err := json.Marshal(ranges)
	if err != nil {
		return meta
	}
	ancestors, _ := icetable.AncestorsOfChecked(head.SnapshotID, meta.SnapshotByID)
	i := slices.IndexFunc(ancestors, func(a icetable.Snapshot) bool { return a.Summary != nil && a.Summary.Properties["firn.receipt"] != "" })
	if i < 0 {
		return meta
	}
	changed, err := changedSnapshots(meta, func(s map[string]any) {
		if s["snapshot-id"] == json.Number(strconv.FormatInt(ancestors[i].SnapshotID, 10)) {
			summary := s["summary"].(map[string]any)
			summary["firn.commit"], summary["firn.ranges"] = p.Commit, string(text)
		}
	})
	if err != nil {
		return meta
	}
	return changed
}

// deleteNamed deletes the files that a commit would have added.
func deleteNamed(c simClient, updates []icetable.Update) {
	l := c.p.simulation.lake
	for _, u := range updates {
		snapshot, ok := added(u)
		if !ok {
			continue
		}
		for _, path := range l.addedFiles(snapshot) {
			_ = simFiles{l: l, p: c.p, ctx: c.p.simulation.t.Context()}.Remove(path)
		}
	}
}

// added is the snapshot that an update adds.
func added(u icetable.Update) (*icetable.Snapshot, bool) {
	if u.Action() != icetable.UpdateAddSnapshot {
		return nil, false
	}
	b, err := json.Marshal(u)
	var add struct {
		Snapshot icetable.Snapshot `json:"snapshot"`
	}
	if err != nil || json.Unmarshal(b, &add) != nil {
		return nil, false
	}
	return &add.Snapshot, true
}

func mistakeNamed(t *testing.T, name string) mistake {
	i := slices.IndexFunc(zoo, func(m mistake) bool { return m.name == name })
	if i < 0 {
		if name != "" {
			t.Fatalf("there is no mistake %q", name)
		}
		return mistake{}
	}
	return zoo[i]
}
