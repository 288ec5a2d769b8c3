package host

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob/file"
	"github.com/firn-io/firn/runtime/pipeline"
	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// counter is a sink that stores positions, and whose first Commit panics when all is done.
type counter struct {
	processor.Sink
	at        processor.Positions
	committed *atomic.Int32
}

func (c counter) Open(context.Context, plugin.Table) (processor.Sink, error) { return c, nil }

func (c counter) Committed(context.Context) (processor.Positions, error) {
	return maps.Clone(c.at), nil
}
func (c counter) Stage(context.Context, processor.Batch) error   { return nil }
func (c counter) Seal(context.Context) (processor.Staged, error) { return processor.Staged{}, nil }
func (c counter) Commit(_ context.Context, _, to processor.Positions, _ []processor.Staged) error {
	maps.Copy(c.at, to)
	if c.committed.Add(1) == 1 {
		panic("landed")
	}
	return nil
}

// picky is a transform that panics over partition 1.
type picky struct{}

func (picky) Apply(_ context.Context, b processor.Batch) (processor.Batch, error) {
	if b.Source.Partition == 1 {
		panic("poison")
	}
	return b, nil
}

// TestPanicsOfPlugins: the plug-ins of a job file are guarded. The sink's commit is found to have landed, and the transform's partition halts.
func TestPanicsOfPlugins(t *testing.T) {
	dir := t.TempDir()
	store, err := file.Open(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	events := tailtest.Topic("events", 2, 0)
	values := strings.Split("0123456789", "")
	j := tailtest.Journal{Store: store}
	j.Append(t, []kfs.Entry{kfs.Cluster{ID: kfs.TopicID{9}, Lineage: kfs.TopicID{8}, Journals: 1}, events})
	j.Append(t, nil, tailtest.Values(events, 0, values...), tailtest.Values(events, 1, values...))
	path := filepath.Join(dir, "job.yaml")
	text := "name: test\nsource: {topics: [events]}\ntransform: [{picky: {}}]\nsink: {counter: {}}\nerrors: {policy: halt}\ndecode: {value: {format: raw}}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sink := counter{at: processor.Positions{}, committed: new(atomic.Int32)}
	log := new(strings.Builder)
	p := Program{
		Transforms: plugin.Transforms{"picky": plugin.NewTransform(func(struct{}, plugin.Env) (processor.Transform, error) { return picky{}, nil })},
		Sinks: plugin.Sinks{"counter": plugin.NewSink(func(context.Context, struct{}, plugin.SinkEnv) (plugin.Tables, error) {
			return sink, nil
		})},
		Logger: slog.New(slog.NewTextHandler(log, nil)),
	}
	jobs, err := p.Read([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	job, err := p.Open(t.Context(), jobs[0], Settings{Data: dir, MemoryBytes: 64 << 20, Until: pipeline.Until{Latest: true}})
	if err != nil {
		t.Fatal(err)
	}
	err = job.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "transform 1 (picky): picky.Apply of events/1 [0, 10) panicked: poison") {
		t.Error(err)
	}
	if err := job.Close(); err != nil {
		t.Error(err)
	}
	if at := sink.at[processor.Source{Topic: "events", ID: events.ID}]; at != 10 || len(sink.at) != 1 || sink.committed.Load() != 1 {
		t.Errorf("positions %v after %d commits", sink.at, sink.committed.Load())
	}
	for _, want := range []string{"counter.Commit of events/0 [0, 10) panicked: landed", "host.counter.Commit(", "host.picky.Apply("} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not have %q", want)
		}
	}
	if t.Failed() {
		t.Log(log)
	}
}
