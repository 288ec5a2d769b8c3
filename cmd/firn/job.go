package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/cmd/firn/job"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/processors/transform"
	"github.com/firn-io/firn/runtime/decode"
	"github.com/firn-io/firn/runtime/pipeline"
	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/schema"
)

// defaultCatalog is the catalog's name where a job file names none. It is also what pyiceberg takes when it is given none.
const defaultCatalog = "default"

// jobSettings are what the command line says about jobs.
type jobSettings struct {
	data        string // the folder of the embedded catalog and the default store
	store       string // --store; overrides source.store
	memoryBytes int64
	untilLatest bool
	registerer  prometheus.Registerer
}

// runningJob is a job with what it holds open.
type runningJob struct {
	name     string
	pipeline *pipeline.Job
	where    string // of its tables, for people
	closers  []io.Closer
}

// Close releases what the job holds open.
func (r *runningJob) Close() error {
	var errs []error
	for _, c := range r.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// readJobs reads job files, or gives the default job if there are none.
func readJobs(paths []string) ([]*job.Job, error) {
	if len(paths) == 0 {
		return []*job.Job{job.Default()}, nil
	}
	reader := job.Reader{Getenv: os.LookupEnv, Transforms: transform.Kinds()}
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

// openJob turns a job file into a pipeline that can run.
func (p *program) openJob(ctx context.Context, j *job.Job, s jobSettings) (opened *runningJob, err error) {
	r := &runningJob{name: j.Name}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("job %s: %w", j.Name, err), r.Close())
		}
	}()
	store, err := openStore(ctx, cmp.Or(s.store, j.Source.Store, filepath.Join(s.data, "store")))
	if err != nil {
		return nil, err
	}
	if c, ok := store.(io.Closer); ok {
		r.closers = append(r.closers, c)
	}
	decoding, err := decodeConfig(j.Decode)
	if err != nil {
		return nil, err
	}
	lake, where, err := openCatalog(ctx, j.Catalog, s.data)
	if err != nil {
		return nil, err
	}
	r.where = where
	r.closers = append(r.closers, lake)
	tables, err := p.sinks(j, lake, store, s.memoryBytes)
	if err != nil {
		return nil, err
	}
	if err := tables.check(ctx); err != nil {
		return nil, err
	}
	if err := checkTransforms(j, decoding); err != nil {
		return nil, err
	}
	start, err := j.Source.Start()
	if err != nil {
		return nil, err
	}
	r.pipeline, err = pipeline.New(pipeline.Config{
		Name: j.Name, Store: store,
		Topics: j.Source.Topics, Pattern: j.Source.Pattern, From: start,
		Decode: decoding, Errors: policies[j.Errors.Policy],
		OpenTransforms: func(table string) ([]pipeline.Step, error) {
			return j.Steps(plugin.Env{Job: j.Name, Table: table, Logger: p.logger.With("job", j.Name, "table", table), Allocator: memory.DefaultAllocator})
		},
		Route:           pipeline.Template(j.Table.Name),
		OpenSink:        tables.open,
		OpenDeadLetters: tables.openDeadLetters,
		Freshness:       time.Duration(j.Commit.Freshness), FileSize: int64(j.Commit.FileSize),
		MemoryBytes: s.memoryBytes, UntilLatest: s.untilLatest,
		Logger: p.logger.With("job", j.Name), Registerer: prometheus.WrapRegistererWith(prometheus.Labels{"job": j.Name}, s.registerer),
	})
	return r, err
}

var policies = map[string]pipeline.Policy{"dead_letter": pipeline.DeadLetter, "skip": pipeline.Skip, "halt": pipeline.Halt}

func decodeConfig(d job.Decode) (decode.Config, error) {
	c := decode.Config{}
	if d.Key.Format == "string" {
		c.Key = decode.StringKey
	}
	if d.Value.Format == "raw" {
		c.Value = decode.Raw
	}
	if d.Value.Schema != "inferred" {
		declared, err := schema.ParseFields(d.Value.Schema)
		if err != nil {
			return c, fmt.Errorf("decode.value.schema: %w", err)
		}
		c.Declared = &declared
	}
	return c, c.Validate()
}

// checkTransforms goes through the steps with the columns that are known before there is data.
func checkTransforms(j *job.Job, decoding decode.Config) (err error) {
	steps, err := j.Steps(plugin.Env{Job: j.Name, Logger: slog.New(slog.DiscardHandler), Allocator: memory.DefaultAllocator})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pipeline.CloseSteps(steps)) }()
	_, err = pipeline.Columns(steps, decoding)
	return err
}

// openCatalog opens the catalog of a job file, or the one below the data folder if it names none. where tells people about it.
func openCatalog(ctx context.Context, properties map[string]string, data string) (c *catalog.Catalog, where string, err error) {
	if len(properties) == 0 {
		abs, err := filepath.Abs(data)
		if err != nil {
			return nil, "", err
		}
		properties = map[string]string{
			"type": "sqlite", "uri": "sqlite:///" + filepath.Join(abs, "catalog.db"), "warehouse": "file://" + filepath.Join(abs, "warehouse"),
		}
	}
	rest := map[string]string{}
	for k, v := range properties {
		if k != "type" && k != "name" {
			rest[k] = v
		}
	}
	c, err = catalog.Open(ctx, catalog.Config{Type: properties["type"], Name: cmp.Or(properties["name"], defaultCatalog), Properties: rest})
	return c, properties["uri"], err
}

// sinks opens the tables of one job.
type sinks struct {
	job     *job.Job
	factory *iceberg.Factory
}

func (p *program) sinks(j *job.Job, lake *catalog.Catalog, store blob.Store, memoryBytes int64) (*sinks, error) {
	var writer [8]byte
	if _, err := rand.Read(writer[:]); err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return &sinks{j, iceberg.New(iceberg.Config{
		Catalog: lake,
		Options: catalog.Options{
			Job: j.Name, Writer: fmt.Sprintf("%s-%s", host, hex.EncodeToString(writer[:])), Config: configHash(j), Store: store,
		},
		FileBytes:   int64(j.Commit.FileSize),
		MemoryBytes: memoryBytes / 4,
	})}, nil
}

// configHash tells apart what spans become: two jobs with the same hash decode and route alike.
func configHash(j *job.Job) string {
	what := fmt.Appendf(nil, "%q %q %q %v %q", j.Table.Name, j.Decode.Key.Format, j.Decode.Value.Format, j.Decode.Value.Schema, j.Errors.Policy)
	for _, step := range j.Transform {
		what = fmt.Appendf(what, " %q", step)
	}
	h := sha256.Sum256(what)
	return hex.EncodeToString(h[:8])
}

// check opens the table that a topic would have, so that a job file that names no possible table fails before there is data.
func (s *sinks) check(ctx context.Context) error {
	sink, err := s.open(ctx, pipeline.Template(s.job.Table.Name)("topic"), kfs.TopicID{})
	if c, ok := sink.(io.Closer); ok && err == nil {
		err = c.Close()
	}
	return err
}

func (s *sinks) open(ctx context.Context, table string, lineage kfs.TopicID) (processor.Sink, error) {
	return s.factory.Open(ctx, processors.Table{Name: table, Lineage: lineageOf(lineage), Partition: s.job.Table.Partition, Properties: s.job.Table.Properties})
}

// openDeadLetters opens {namespace}.{job}_dead_letter, beside the job's tables.
func (s *sinks) openDeadLetters(ctx context.Context, lineage kfs.TopicID) (processor.Sink, error) {
	return s.factory.Open(ctx, processors.Table{Name: s.job.DeadLetterTable(), Lineage: lineageOf(lineage)})
}

// lineageOf is a lineage as receipts have it.
func lineageOf(id kfs.TopicID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}
