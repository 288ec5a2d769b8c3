package job

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/goccy/go-yaml"

	"github.com/firn-io/firn/runtime/decode"
	"github.com/firn-io/firn/runtime/pipeline"
	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
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
func (j *Job) checkSink(r Reader) error {
	name, settings := r.Sink, plugin.Decode(j.decodeCatalog)
	if j.Sink != nil {
		name, settings = j.Sink.Kind, j.Sink.decode
	}
	kind, ok := r.Sinks[name]
	there := strings.Join(slices.Sorted(maps.Keys(r.Sinks)), ", ")
	switch {
	case name == "":
		return &fault{key: "sink", err: fmt.Errorf("say what kind of tables; there is %s", there)}
	case !ok && j.Sink != nil:
		return &fault{token: j.Sink.token, err: fmt.Errorf("there is no sink %q; there is %s", name, there)}
	case !ok:
		return fmt.Errorf("this program has no sink %q, which jobs are to have that name none; there is %s", name, there)
	case j.Sink != nil && len(j.Catalog) > 0:
		return &fault{key: "catalog", err: errors.New("goes with sink iceberg only, which a job has that names no sink")}
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

// checkSettings says what is wrong with the settings of the sink, as far as that is known without connecting to where the tables are.
func (j *Job) checkSettings() error {
	wrong := func(err error) error {
		var place yaml.Error
		switch {
		case errors.As(err, &place):
			return err
		case j.Sink != nil:
			return &fault{j.Sink.Kind, j.Sink.token, err}
		}
		return &fault{key: "catalog", err: err}
	}
	kind := j.sink.kind
	if kind.Settings != nil {
		if err := j.sink.settings(reflect.New(kind.Settings).Interface()); err != nil {
			return wrong(err)
		}
	}
	if kind.Check == nil {
		return nil
	}
	if err := kind.Check(j.sink.settings); err != nil {
		return wrong(err)
	}
	return nil
}

// checkColumns takes the columns that are known before there are records through the transforms to the tables.
func (j *Job) checkColumns() error {
	columns, err := j.Columns()
	if err != nil {
		return j.misfit(err)
	}
	template, err := j.Template()
	if err != nil {
		return &fault{key: "table.name", err: err}
	}
	if template.ByContent() && !j.sink.kind.Lists() {
		return &fault{key: "table.name", err: plugin.ErrNoListing}
	}
	if j.sink.kind.CheckTable == nil {
		return nil
	}
	if j.Inferred() {
		columns = nil // others may come
	}
	if err := j.sink.kind.CheckTable(plugin.Table{Name: template.Of("topic").Sample(), Partition: j.Table.Partition, Properties: j.Table.Properties}, columns); err != nil {
		return &fault{key: "table", err: err}
	}
	return nil
}

// CheckMachine says what the transforms of the job need of this machine and do not find.
func (j *Job) CheckMachine() (err error) {
	steps, err := j.Steps(plugin.Env{Job: j.Name, Logger: slog.New(slog.DiscardHandler), Allocator: memory.DefaultAllocator})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pipeline.CloseSteps(steps)) }()
	var errs []error
	for i, step := range steps {
		if t, ok := step.Transform.(processor.Needing); ok {
			if err := t.Missing(); err != nil {
				errs = append(errs, &fault{j.Transform[i].Kind, j.Transform[i].token, err})
			}
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return j.doc.located(errors.Join(errs...))
}

// misfit says where an error of Columns lies: at the first transform behind which there are no columns, else at the name of the table.
func (j *Job) misfit(err error) error {
	for i := range j.Transform {
		upTo := *j
		upTo.Transform, upTo.Table.Name = j.Transform[:i+1], "none.none"
		if _, err := upTo.Columns(); err != nil {
			return &fault{token: j.Transform[i].settingIn(err), err: err}
		}
	}
	return &fault{key: "table.name", err: err}
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
			return c, err
		}
		c.Declared = &declared
	}
	if j.sink != nil && j.sink.kind.Reserved != nil {
		c.Reserved = j.sink.kind.Reserved(j.Table.Partition)
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
