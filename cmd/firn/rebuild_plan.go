package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/inspect"
	"github.com/firn-io/firn/processors/iceberg/rebuild"
	"github.com/firn-io/firn/runtime/host"
	"github.com/firn-io/firn/runtime/pipeline"
	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
)

// rebuilding is a rebuild of a table of a job with its job file.
type rebuilding struct {
	*rebuild.Rebuild
	program  *program
	tables   *jobTables
	topic    string
	why      string // it is not made on a branch
	begun    bool
	auto     bool
	progress io.Writer
	settings host.Settings
	spill    plugin.Spill
}

// sampleBytes is how much of the log is looked at to find out whether the table can hold the new rows, about.
const sampleBytes = 32 << 20

// instead is what those do whose table cannot be rebuilt.
const instead = "start a job with the changed file, another name and another table.name; it reads from source.from on, and when it has caught up, readers can turn to its table"

// newRebuilding finds the table.
func (p *program) newRebuilding(ctx context.Context, j *jobTables, flags *rebuildFlags, progress io.Writer) (*rebuilding, error) {
	if j.job.Source.Format == "kafscale" {
		return nil, fmt.Errorf("buckets of KafScale are read by jobs, not by rebuilds: %s", instead)
	}
	if kind := j.job.SinkKind(); kind != "iceberg" {
		return nil, fmt.Errorf("the job writes to sink %s: rebuilds are of Iceberg tables", kind)
	}
	route, err := j.job.Route()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, instead)
	}
	topics := map[string]string{} // by table
	for _, t := range j.tables {
		for _, s := range t.Sources {
			topics[route(s.Topic)] = s.Topic
		}
	}
	table := flags.table
	if len(topics) == 1 && table == "" {
		for table = range topics {
		}
	}
	topic, ok := topics[table]
	switch {
	case len(topics) == 0:
		return nil, errors.New("the job has filled no table yet: there is nothing to rebuild")
	case table == "":
		return nil, fmt.Errorf("the job has several tables: say which with --table: %s", strings.Join(slices.Sorted(maps.Keys(topics)), ", "))
	case !ok:
		return nil, fmt.Errorf("--table %s is none of the job's tables; it has %s", table, strings.Join(slices.Sorted(maps.Keys(topics)), ", "))
	}
	b := &rebuilding{program: p, tables: j, topic: topic, progress: progress}
	if b.Rebuild, err = rebuildOf(j, table); err != nil {
		return nil, err
	}
	b.Fill, b.Starts = b.fill, map[processor.Source]int64{}
	return b, nil
}

// rebuildOf is a rebuild of a table of a job that fills nothing.
func rebuildOf(j *jobTables, table string) (*rebuild.Rebuild, error) {
	hash, err := j.job.Hash()
	if err != nil {
		return nil, err
	}
	return &rebuild.Rebuild{
		Catalog: j.catalog, Store: j.store, Job: j.job.Name, Config: hash, Writer: writerName(), Table: table, Letters: j.job.DeadLetterTable(),
	}, nil
}

// place decides where the rebuild is made: where it has been begun, or where the flag says. What is left is decided when it is known what there is to read.
func (b *rebuilding) place(ctx context.Context, flags *rebuildFlags) error {
	flag := flags.to
	begun, err := b.Begun(ctx)
	if err != nil {
		return err
	}
	if begun != "" {
		b.To = begun
		switch s, err := b.Standing(ctx); {
		case errors.Is(err, rebuild.ErrSwapped), errors.Is(err, rebuild.ErrOther):
		case err != nil:
			return err
		case !s.Begun && !flags.dry: // it has not come to its first commit
			if err := b.Abandon(ctx); err != nil {
				return err
			}
			begun, b.To = "", ""
		}
	}
	wanted := rebuild.Place(flag)
	switch {
	case flag != "auto" && wanted != rebuild.OnBranch && wanted != rebuild.InTable:
		return fmt.Errorf("--to %q: use branch, table or auto", flag)
	case flag != "auto" && begun != "" && begun != wanted:
		return fmt.Errorf("--to %s: a rebuild has been begun in a %s; go on with that, or take it away with --abandon", flag, begun)
	case begun != "":
		b.begun = true
	case flag == "auto":
		b.auto = true
	default:
		b.To = wanted
	}
	return nil
}

// tellOthers says that a rebuild was begun before, and by whom, where that one has not said that it has ended.
func (b *rebuilding) tellOthers(ctx context.Context) error {
	f, err := jobObject(ctx, b.Store, b.Name())
	switch {
	case errors.Is(err, blob.ErrNotFound):
		return nil
	case errors.Is(err, kfs.ErrCorrupt), errors.Is(err, kfs.ErrVersion): // the rebuild itself does not need it
		fmt.Fprintf(b.progress, "table %s: who else works on the rebuild is not known: %v\n", b.Table, err)
		return nil
	case err != nil:
		return fmt.Errorf("who else works on the rebuild: %w", err)
	}
	var others []string
	for _, w := range f.Workers {
		others = append(others, w.Name)
	}
	switch names := strings.Join(others, ", "); {
	case b.begun && len(others) > 0:
		fmt.Fprintf(b.progress, "table %s: this goes on with the rebuild in %s %s, at which %s is at work too, unless it was killed: two lose nothing and gain nothing, so end one of them\n", b.Table, b.To, b.name(), names)
	case b.begun:
		fmt.Fprintf(b.progress, "table %s: this goes on with the rebuild that was begun in %s %s\n", b.Table, b.To, b.name())
	case len(others) > 0:
		fmt.Fprintf(b.progress, "table %s: this takes the place of a rebuild that had not come to its first commit; %s, unless it was killed, ends with an error\n", b.Table, names)
	}
	return nil
}

// name is what the place is called.
func (b *rebuilding) name() string {
	if b.To == rebuild.InTable {
		return b.Anew()
	}
	return rebuild.Branch
}

// probe finds out whether the catalog can do what is needed, before anything is begun.
func (b *rebuilding) probe(ctx context.Context) error {
	namespace, opts := b.Table[:strings.LastIndexByte(b.Table, '.')], catalog.Options{Writer: b.Writer}
	if b.To == rebuild.InTable {
		return b.Catalog.ProbeRename(ctx, namespace, opts)
	}
	return b.Catalog.ProbeBranches(ctx, namespace, opts)
}

// plan finds what there is to be read, and refuses what cannot be done.
func (b *rebuilding) plan(ctx context.Context, s *rebuild.Standing, partial bool) ([]rebuildSource, error) {
	ends, err := inspect.ReadEnds(ctx, b.Store)
	if err != nil {
		return nil, err
	}
	all := ends.All()
	var sources []rebuildSource
	var refused []error
	for _, of := range s.Sources {
		src := of.Source
		at := slices.IndexFunc(all, func(p inspect.Partition) bool {
			return p.PartitionID == kfs.PartitionID{Topic: src.ID, Partition: src.Partition} && !p.Ended
		})
		if at < 0 {
			refused = append(refused, fmt.Errorf("%s/%d: the log has nothing of topic id %s, which the table was filled from: rows of a deleted topic cannot be made anew", src.Topic, src.Partition, src.ID))
			continue
		}
		if lost := all[at].Start - of.Table.Base; lost > 0 && of.Table.Next > of.Table.Base && !partial {
			refused = append(refused, fmt.Errorf("%s/%d: the table begins at offset %d and the log at %d: the rows of %d offsets would be lost; --partial goes without them",
				src.Topic, src.Partition, of.Table.Base, all[at].Start, min(lost, of.Table.Len())))
		}
		b.Starts[src] = all[at].Start
		sources = append(sources, rebuildSource{Topic: src.Topic, Partition: src.Partition, From: all[at].Start, Until: of.Table.Next, At: of.At, First: of.Table.Base})
	}
	if len(refused) > 0 || b.begun {
		return sources, errors.Join(refused...)
	}
	if b.why, err = b.unfit(ctx); err != nil {
		return nil, err
	}
	switch {
	case b.auto && b.why != "":
		b.To = rebuild.InTable
	case b.auto:
		b.To = rebuild.OnBranch
	case b.To == rebuild.OnBranch && b.why != "":
		return nil, fmt.Errorf("--to branch: the table cannot hold what the job file makes: %s; use --to table", b.why)
	}
	return sources, nil
}

// unfit tells why a branch of the table cannot hold the new rows, by a sample; "" if it can.
func (b *rebuilding) unfit(ctx context.Context) (string, error) {
	sample, err := inspect.TakeSample(ctx, b.Store, func(topic string) bool { return topic == b.topic }, sampleBytes)
	if err != nil {
		return "", err
	}
	reports, err := planTables(ctx, b.tables.job, sample)
	if err != nil {
		return "", err
	}
	_, t, err := b.Catalog.Account(ctx, b.Table, b.Store)
	if err != nil {
		return "", err
	}
	for _, r := range reports {
		if r.Made == nil {
			continue
		}
		if why := rebuild.Unfit(t.Metadata(), r.Made.Metadata()); why != "" {
			return why, nil
		}
	}
	return "", nil
}

// fill runs the job beside itself.
func (b *rebuilding) fill(ctx context.Context, lake *catalog.Catalog, to map[processor.Source]int64) error {
	standing, err := b.Standing(ctx)
	if err != nil {
		return err
	}
	beside := &host.Beside{Name: b.Name(), Receipts: b.Job, Spill: b.spill, To: pipeline.Offsets{b.topic: {}},
		Tables: func(env plugin.SinkEnv) (plugin.Tables, error) { return icebergFactory(lake, env), nil }}
	var spans []backfillSpan
	for _, of := range standing.Sources {
		src := of.Source
		next, ok := to[src]
		if !ok {
			continue
		}
		beside.To[b.topic][src.Partition] = next
		spans = append(spans, backfillSpan{Table: b.Table, Topic: src.Topic, ID: src.ID, Partition: src.Partition, From: b.Starts[src], Until: next, At: max(b.Starts[src], of.At)})
	}
	settings := b.settings
	settings.Beside = beside
	_, err = b.program.runBeside(ctx, b.tables.job, settings, spans, b.progress)
	return err
}

// keep puts the part of the job file that decides what records become where the job finds it, should it be changed before the job has started.
func (b *rebuilding) keep(ctx context.Context) error {
	kept, err := b.tables.job.Kept()
	if err != nil {
		return err
	}
	if _, err := b.Store.Put(ctx, kfs.JobConfigKey(b.Job, b.Config), kept, true); err != nil && !errors.Is(err, blob.ErrPrecondition) {
		return fmt.Errorf("keep the job's configuration: %w", err)
	}
	return nil
}
