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

	"github.com/firn-io/firn/runtime/pipeline"
	"github.com/firn-io/firn/runtime/plugin"
)

// Step is one transform of a job: its kind, and settings that the kind reads.
type Step struct {
	Kind     string
	settings ast.Node
	kind     *plugin.Transform // nil: there is none of that name
	line     int
	column   int
}

// UnmarshalYAML takes a map with one key.
func (s *Step) UnmarshalYAML(node ast.Node) error {
	m, ok := node.(ast.MapNode)
	if !ok {
		return errors.New("a transform is written as one key with its settings, like drop: [password]")
	}
	entries := m.MapRange()
	if !entries.Next() {
		return errors.New("a transform is written as one key with its settings, like drop: [password]")
	}
	key := entries.Key()
	s.Kind, s.settings = key.GetToken().Value, entries.Value()
	s.line, s.column = key.GetToken().Position.Line, key.GetToken().Position.Column
	if entries.Next() {
		return fmt.Errorf("a transform has one key; write %s and %s as two steps, with a - before each", s.Kind, entries.Key().GetToken().Value)
	}
	return nil
}

// String is the step as it stands in the file.
func (s Step) String() string { return s.Kind + ": " + s.settings.String() }

// decode reads the settings.
func (s Step) decode(into any) error { return yaml.NodeToValue(s.settings, into, yaml.Strict()) }

// checkSteps finds the kinds of the steps and tries their settings.
func (j *Job) checkSteps(file string, known plugin.Transforms) error {
	var errs []error
	for i := range j.Transform {
		s := &j.Transform[i]
		at := fmt.Sprintf("%s:%d:%d", file, s.line, s.column)
		kind, ok := known[s.Kind]
		if !ok {
			names := slices.Sorted(maps.Keys(known))
			err := fmt.Errorf("%s: there is no transform %q", at, s.Kind)
			if near := nearest(s.Kind, names); near != "" {
				err = fmt.Errorf("%w: did you mean %q?", err, near)
			} else {
				err = fmt.Errorf("%w; there are %s", err, strings.Join(names, ", "))
			}
			errs = append(errs, err)
			continue
		}
		s.kind = &kind
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	steps, err := j.Steps(plugin.Env{Job: j.Name, Logger: slog.New(slog.DiscardHandler), Allocator: memory.DefaultAllocator})
	var settings *settingsError
	if errors.As(err, &settings) {
		return settings.located(file)
	}
	return errors.Join(err, pipeline.CloseSteps(steps))
}

// settingsError is an error of a step's settings.
type settingsError struct {
	step *Step
	err  error
}

func (e *settingsError) Error() string { return e.step.Kind + ": " + e.err.Error() }
func (e *settingsError) Unwrap() error { return e.err }

func (e *settingsError) located(file string) error {
	var place yaml.Error
	if errors.As(e.err, &place) {
		return located(file, e.err)
	}
	return fmt.Errorf("%s:%d:%d: %w", file, e.step.line, e.step.column, e)
}

// Steps makes the transforms for one table.
func (j *Job) Steps(env plugin.Env) ([]pipeline.Step, error) {
	var steps []pipeline.Step
	for i := range j.Transform {
		s := &j.Transform[i]
		t, err := s.kind.Open(s.decode, env)
		if err != nil {
			return nil, errors.Join(&settingsError{s, err}, pipeline.CloseSteps(steps))
		}
		steps = append(steps, pipeline.Step{Name: fmt.Sprintf("%d (%s)", i+1, s.Kind), Transform: t})
	}
	return steps, nil
}
