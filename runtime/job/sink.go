package job

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/runtime/decode"
	"github.com/firn-io/firn/runtime/pipeline"
	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/route"
	"github.com/firn-io/firn/runtime/schema"
)

// sink is the kind of a job's tables and how its settings are read.
type sink struct {
	name     string
	kind     plugin.Sink
	settings plugin.Decode
}

// checkSink finds the kind of the job's tables.
func (j *Job) checkSink(file string, r Reader) error {
	name, at, settings := r.Sink, file, plugin.Decode(j.decodeCatalog)
	if j.Sink != nil {
		name, at, settings = j.Sink.Kind, fmt.Sprintf("%s:%d:%d", file, j.Sink.line, j.Sink.column), j.Sink.decode
	}
	kind, ok := r.Sinks[name]
	there := strings.Join(slices.Sorted(maps.Keys(r.Sinks)), ", ")
	switch {
	case name == "":
		return fmt.Errorf("sink: say what kind of tables; there is %s", there)
	case !ok:
		return fmt.Errorf("%s: there is no sink %q; there is %s", at, name, there)
	case j.Sink != nil && len(j.Catalog) > 0:
		return errors.New("catalog: goes with sink iceberg only, which a job has that names no sink")
	}
	j.sink = &sink{name, kind, settings}
	return nil
}

// decodeCatalog reads the settings of a sink from where the file has them if it names no sink.
func (j *Job) decodeCatalog(into any) error {
	properties, ok := into.(*map[string]string)
	if !ok {
		return fmt.Errorf("the settings of the sink are %T, not properties", into)
	}
	*properties = maps.Clone(j.Catalog)
	return nil
}

// SinkKind is the kind of the job's tables.
func (j *Job) SinkKind() string { return j.sink.name }

// OpenTables connects to where the tables of the job are.
func (j *Job) OpenTables(ctx context.Context, env plugin.SinkEnv) (plugin.Tables, error) {
	return j.sink.kind.Open(ctx, j.sink.settings, env)
}

// CheckTables says what is wrong with the tables as far as that is known without connecting to where they are.
func (j *Job) CheckTables() error {
	template, err := j.Template()
	if err != nil || j.sink.kind.Check == nil {
		return err
	}
	return j.sink.kind.Check(j.sink.settings, plugin.Table{Name: template.Of("topic").Sample(), Partition: j.Table.Partition, Properties: j.Table.Properties})
}

// Decoding is the decode section as the decoder takes it.
func (j *Job) Decoding() (decode.Config, error) {
	c := decode.Config{}
	if j.Decode.Key.Format == "string" {
		c.Key = decode.StringKey
	}
	if j.Decode.Value.Format == "raw" {
		c.Value = decode.Raw
	}
	if j.Decode.Value.Schema != "inferred" {
		declared, err := schema.ParseFields(j.Decode.Value.Schema)
		if err != nil {
			return c, fmt.Errorf("decode.value.schema: %w", err)
		}
		c.Declared = &declared
	}
	return c, c.Validate()
}

// Columns takes the columns that are known before there are records through the transforms. The result is nil if one of them does not tell.
func (j *Job) Columns() (columns *arrow.Schema, err error) {
	decoding, err := j.Decoding()
	if err != nil {
		return nil, err
	}
	steps, err := j.Steps(plugin.Env{Job: j.Name, Logger: slog.New(slog.DiscardHandler), Allocator: memory.DefaultAllocator})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, pipeline.CloseSteps(steps)) }()
	template, err := j.Template()
	if err != nil {
		return nil, err
	}
	steps = append(steps, pipeline.Step{Name: "table.name", Transform: route.NewStep(template.Of("topic"), nil, memory.DefaultAllocator)})
	return pipeline.Columns(steps, decoding)
}

// Pipeline is the policy as the pipeline takes it.
func (e Errors) Pipeline() pipeline.Policy {
	return map[string]pipeline.Policy{"dead_letter": pipeline.DeadLetter, "skip": pipeline.Skip, "halt": pipeline.Halt}[e.Policy]
}

// Whole reports whether every record becomes a row or a dead letter, in one of the tables where there are several.
func (j *Job) Whole() bool {
	keeps := func(s Step) bool { return s.kind != nil && s.kind.Keeps }
	return j.Errors.Policy == "dead_letter" && !slices.ContainsFunc(j.Transform, func(s Step) bool { return !keeps(s) })
}
