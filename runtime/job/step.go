package job

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/firn-io/firn/runtime/pipeline"
	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/spelling"
)

// Step is one transform of a job, or its sink: the kind, and settings that the kind reads.
type Step struct {
	Kind     string
	settings ast.Node
	kind     *plugin.Transform // nil: there is none of that name
	token    *token.Token      // where the kind stands
}

// UnmarshalYAML takes a map with one key.
func (s *Step) UnmarshalYAML(node ast.Node) error {
	m, ok := node.(ast.MapNode)
	if !ok {
		return wrongAt(node, "transforms and sinks are written as one key with its settings, like drop: [password]")
	}
	entries := m.MapRange()
	if !entries.Next() {
		return wrongAt(node, "transforms and sinks are written as one key with its settings, like drop: [password]")
	}
	s.token, s.settings = entries.Key().GetToken(), entries.Value()
	s.Kind = s.token.Value
	if entries.Next() {
		return wrongAt(entries.Key(), "%s stands beside %s: a transform, or a sink, has one key; begin another step with a - of its own", entries.Key().GetToken().Value, s.Kind)
	}
	return nil
}

// String is the step as it stands in the file.
func (s Step) String() string { return s.Kind + ": " + s.settings.String() }

// decode reads the settings.
func (s Step) decode(into any) error { return yaml.NodeToValue(s.settings, into, yaml.Strict()) }

// Open makes the transform for one table.
func (s *Step) Open(env plugin.Env) (processor.Transform, error) { return s.kind.Open(s.decode, env) }

// checkSteps finds the kinds of the steps and tries their settings.
func (j *Job) checkSteps(known plugin.Transforms) error {
	var errs []error
	for i := range j.Transform {
		s := &j.Transform[i]
		if s.token == nil { // null
			errs = append(errs, &fault{key: fmt.Sprintf("transform[%d]", i), err: errors.New("transforms are written as one key with its settings, like drop: [password]")})
			continue
		}
		kind, ok := known[s.Kind]
		if !ok {
			names := slices.Sorted(maps.Keys(known))
			err := fmt.Errorf("there is no transform %q", s.Kind)
			if near := spelling.Nearest(s.Kind, names); near != "" {
				err = fmt.Errorf("%w: did you mean %q?", err, near)
			} else {
				err = fmt.Errorf("%w; there are %s", err, strings.Join(names, ", "))
			}
			errs = append(errs, &fault{token: s.token, err: err})
			continue
		}
		s.kind = &kind
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	steps, err := j.Steps(plugin.Env{Job: j.Name, Logger: slog.New(slog.DiscardHandler), Allocator: memory.DefaultAllocator})
	return errors.Join(err, pipeline.CloseSteps(steps))
}

// Steps makes the transforms for one table.
func (j *Job) Steps(env plugin.Env) ([]pipeline.Step, error) {
	var steps []pipeline.Step
	for i := range j.Transform {
		s := &j.Transform[i]
		t, err := s.Open(env)
		if err != nil {
			return nil, errors.Join(&fault{s.Kind, s.settingIn(err), err}, pipeline.CloseSteps(steps))
		}
		steps = append(steps, pipeline.Step{Name: fmt.Sprintf("%d (%s)", i+1, s.Kind), Transform: t})
	}
	return steps, nil
}
