// Package host runs the jobs of job files. It is what `firn process` does, and what a program with sinks and transforms of its own does:
//
//	program := host.Program{Transforms: transform.Kinds(), Sinks: plugin.Sinks{"mine": plugin.NewSink(openMine)}, …}
//	err := program.Command().ExecuteContext(ctx)
//
// A Program is a value: what it knows is what its maker put in.
package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob/open"
	"github.com/firn-io/firn/kfs/lease"
	"github.com/firn-io/firn/kfs/namespace"
	"github.com/firn-io/firn/runtime/job"
	"github.com/firn-io/firn/runtime/pipeline"
	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/route"
	"github.com/firn-io/firn/runtime/work"
)

// Program is what a program that runs jobs is made of.
type Program struct {
	Transforms plugin.Transforms
	Sinks      plugin.Sinks
	Sink       string                               // the kind of sink of job files that name none; "" if they must
	Getenv     func(string) (string, bool)          // resolves ${NAME} in job files
	ReadFile   func(string) ([]byte, error)         // resolves ${file:…}; os.ReadFile if nil
	Out        io.Writer                            // for people
	Terminal   bool                                 // Out is one
	Logger     *slog.Logger                         // default: silent
	Metrics    prometheus.Registerer                // default: none
	Leases     *lease.Service                       // shared by the processes that work on the same jobs; nil: this one is alone
	Name       string                               // of this process, for people
	Around     func(context.Context, Session) error // runs the session, with whatever belongs around it; default: the session alone
}

// Settings are what a command line says about jobs.
type Settings struct {
	Data        string         // the folder of what job files say no place for
	Store       string         // overrides source.store
	MemoryBytes int64          // of each job
	Until       pipeline.Until // commit up to there, and end
	Beside      *Beside        // in place of the job itself; Until is not looked at
	DecideAnew  bool           // what another job file has begun is finished by the present one, where that file cannot be had
}

// Beside brings in spans beside the job, under a name of its own.
type Beside struct {
	Name     string           // where the store knows it: one that job files cannot have
	Receipts string           // the job in the tables' receipts
	From     pipeline.Offsets // of the same partitions as To; nil: the earliest records
	To       pipeline.Offsets
	Tables   func(plugin.SinkEnv) (plugin.Tables, error) // that rows go to; nil: those of the job file
	Spill    plugin.Spill                                // rows are committed by so many bytes
}

// Job is a job that is open.
type Job struct {
	Name     string
	Place    string // of its tables, for people
	Pipeline *pipeline.Job
	member   *work.Member // nil if no other process works on it
	closers  []io.Closer
}

// Task is the job's work, as a Turn gets it.
func (j *Job) Task() Task {
	return Task{Job: j.Name, Run: j.Pipeline.RunName(), Resolve: j.Pipeline.Resolve, Work: j.Run}
}

// Run runs the job, as one of its workers if it may have several.
func (j *Job) Run(ctx context.Context) error {
	if j.member == nil {
		return j.Pipeline.Run(ctx)
	}
	return j.member.Run(ctx, j.Pipeline.Run)
}

// Close releases what the job holds open.
func (j *Job) Close() error {
	var errs []error
	for _, c := range j.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// Default is the job that runs without a job file: every topic becomes a table of its name.
func (p *Program) Default() (*job.Job, error) { return p.reader().Default() }

func (p *Program) reader() job.Reader {
	return job.Reader{Getenv: p.Getenv, ReadFile: p.ReadFile, Transforms: p.Transforms, Sinks: p.Sinks, Sink: p.Sink}
}

// Read reads job files. Jobs must have names of their own.
func (p *Program) Read(paths []string) ([]*job.Job, error) {
	reader := p.reader()
	var jobs []*job.Job
	names := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("job file: %w", err)
		}
		j, err := reader.Parse(path, text)
		if err != nil {
			return nil, err
		}
		if other, ok := names[j.Name]; ok {
			return nil, fmt.Errorf("%s and %s are both job %q: a job's name must be its own", other, path, j.Name)
		}
		names[j.Name] = path
		jobs = append(jobs, j)
	}
	return jobs, nil
}

// Open makes a job ready to run. It connects to the store and to where the tables are.
func (p *Program) Open(ctx context.Context, j *job.Job, s Settings) (opened *Job, err error) {
	r := &Job{Name: j.Name}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("job %s: %w", j.Name, err), r.Close())
		}
	}()
	logger := p.logger().With("job", j.Name)
	store, err := open.Store(ctx, StoreOf(j, s))
	if err != nil {
		return nil, err
	}
	r.own(store)
	if err := namespace.Usable(ctx, store); errors.Is(err, namespace.ErrRestoring) { // other errors are met again, and waited for, where the job reads
		return nil, err
	}
	cfg, err := config(j, s)
	if err != nil {
		return nil, err
	}
	receipts, spill := j.Name, plugin.Spill{}
	openTables := func(env plugin.SinkEnv) (plugin.Tables, error) { return j.OpenTables(ctx, env) }
	if s.Beside != nil {
		receipts, spill = s.Beside.Receipts, s.Beside.Spill
		if s.Beside.Tables != nil {
			openTables = s.Beside.Tables
		}
	}
	tables, err := openTables(plugin.SinkEnv{
		Job: receipts, Config: cfg.Hash, Data: s.Data, Store: store, FileBytes: int64(j.Commit.FileSize), MemoryBytes: s.MemoryBytes / 4, Spill: spill,
		Logger: logger, Allocator: memory.DefaultAllocator,
	})
	if err != nil {
		return nil, err
	}
	r.own(tables)
	if placed, ok := tables.(plugin.Placed); ok {
		r.Place = placed.Place()
	}
	template, err := j.Template()
	if err != nil {
		return nil, err
	}
	plain := guarded(tables, j.SinkKind(), logger)
	openTable := opener(j, plain)
	// A job file that names no possible table fails before there is data.
	sink, err := openTable(ctx, template.Of("topic").Sample(), nil, kfs.TopicID{})
	if c, ok := sink.(io.Closer); ok && err == nil {
		err = c.Close()
	}
	if err != nil {
		return nil, err
	}
	made := route.NewTables(j.Table.Max, j.DeadLetterTable())
	of := newRoutes(template, made)
	cfg.Store, cfg.Logger, cfg.Route, cfg.Process = store, logger, of.name, p.Name
	if template.ByContent() {
		cfg.Fills = of.fills
	}
	if p.Metrics != nil {
		cfg.Registerer = prometheus.WrapRegistererWith(prometheus.Labels{"job": j.Name}, p.Metrics)
	}
	if p.Leases != nil {
		if r.member, err = p.member(&cfg); err != nil {
			return nil, err
		}
		cfg.Assignment = r.member
	}
	if cfg.OpenSink, err = of.openSink(tables, openTable, r.member, j.Inferred(), logger); err != nil {
		return nil, err
	}
	openLetters := shared(r.member, func(ctx context.Context, table string, _ map[string]string, lineage kfs.TopicID) (processor.Sink, error) {
		return plain(ctx, plugin.Table{Name: table, Lineage: lineageOf(lineage), DeadLetters: true})
	})
	cfg.OpenDeadLetters = func(ctx context.Context, lineage kfs.TopicID) (processor.Sink, error) {
		return openLetters(ctx, j.DeadLetterTable(), nil, lineage)
	}
	cfg.OpenTransforms = of.steps(openTransforms(j, logger))
	cfg.Former = func(hash string, kept []byte) (*pipeline.Form, error) {
		return p.form(hash, kept, j.Name, cfg.Decode.Reserved, made, logger)
	}
	r.Pipeline, err = pipeline.New(cfg)
	return r, err
}

// own closes v with the job, if it is to be closed.
func (j *Job) own(v any) {
	if c, ok := v.(io.Closer); ok {
		j.closers = append(j.closers, c)
	}
}

// ReadKept reads the part of a job file that was kept under a hash: job.Reader.ParseKept tells what the result has.
func (p *Program) ReadKept(hash string, kept []byte) (*job.Job, error) {
	if err := job.CheckKept(hash, kept); err != nil {
		return nil, err
	}
	return p.reader().ParseKept(kept)
}

// form is how a job file that was kept makes rows of records. The names that are reserved are those of the tables, which it does not know.
func (p *Program) form(hash string, kept []byte, name string, reserved []string, tables *route.Tables, logger *slog.Logger) (*pipeline.Form, error) {
	j, err := p.ReadKept(hash, kept)
	if err != nil {
		return nil, err
	}
	j.Name = name
	decoding, err := j.Decoding()
	if err != nil {
		return nil, err
	}
	decoding.Reserved = reserved
	template, err := j.Template()
	if err != nil {
		return nil, err
	}
	of := newRoutes(template, tables)
	return &pipeline.Form{Decode: decoding, OpenTransforms: of.steps(openTransforms(j, logger)), Route: of.name, Errors: j.Errors.Pipeline()}, nil
}

// StoreOf is where a job's log is.
func StoreOf(j *job.Job, s Settings) string {
	return cmp.Or(s.Store, j.Source.Store, filepath.Join(s.Data, "store"))
}

// config is what the pipeline of a job is told by its file.
func config(j *job.Job, s Settings) (pipeline.Config, error) {
	decoding, err := j.Decoding()
	if err != nil {
		return pipeline.Config{}, err
	}
	start, err := j.Source.Start()
	if err != nil {
		return pipeline.Config{}, err
	}
	kept, err := j.Kept()
	if err != nil {
		return pipeline.Config{}, err
	}
	hash, err := j.Hash()
	if err != nil {
		return pipeline.Config{}, err
	}
	cfg := pipeline.Config{
		Name: j.Name, KafScale: j.Source.Format == "kafscale", Topics: j.Source.Topics, Pattern: j.Source.Pattern, From: start,
		Decode: decoding, Errors: j.Errors.Pipeline(),
		Freshness: time.Duration(j.Commit.Freshness), FileSize: int64(j.Commit.FileSize),
		MemoryBytes: s.MemoryBytes, Until: s.Until, Hash: hash, Kept: kept, DecideAnew: s.DecideAnew,
	}
	if b := s.Beside; b != nil {
		cfg.Name, cfg.From, cfg.Until = b.Name, pipeline.Start{Offsets: b.From}, pipeline.Until{Offsets: b.To}
		cfg.Freshness, cfg.FileSize = besideFreshness, max(cfg.FileSize, b.Spill.Bytes)
	}
	return cfg, nil
}

// besideFreshness is how long rows beside the job may wait for others, to share their files.
const besideFreshness = 10 * time.Minute

// lineageOf is a lineage as sinks are told it.
func lineageOf(id kfs.TopicID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}

func (p *Program) logger() *slog.Logger {
	if p.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return p.Logger
}
