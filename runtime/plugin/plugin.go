// Package plugin says what kinds of transforms and sinks a program knows, by the names that job files call them. The registries are values:
// whoever assembles a program says what is in them.
//
//	plugin.Transforms{"mask": plugin.NewTransform(func(s maskSettings, env plugin.Env) (processor.Transform, error) {…})}
package plugin

import (
	"log/slog"
	"reflect"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/runtime/processor"
)

// Env is what a job gives to the transforms of one table.
type Env struct {
	Job       string
	Table     string
	Logger    *slog.Logger
	Allocator memory.Allocator // of Arrow buffers
}

// Decode reads the settings of a job file into a value with yaml tags, strictly: what does not belong there is an error that names its place.
type Decode func(into any) error

// Transform is a kind of transform.
type Transform struct {
	Settings reflect.Type // what Open decodes; the job file's JSON Schema is made from it
	// Open makes a transform for one table. It does no I/O: a job file is checked by it.
	Open func(settings Decode, env Env) (processor.Transform, error)
	// Keeps says that it leaves out no row that it does not reject. A table is held against that.
	Keeps bool
}

// SettingError is an error about one of several settings of a transform, such as the name of a column: a job file's reader says where that
// stands. Open may give it, and Columns of processor.Typed.
type SettingError struct {
	Setting string // as it stands in the file
	Err     error
}

// Error implements error.
func (e *SettingError) Error() string { return e.Err.Error() }

// Unwrap gives what is wrong.
func (e *SettingError) Unwrap() error { return e.Err }

// Transforms are kinds of transforms by the key that names them in a job file.
type Transforms map[string]Transform

// Keeping is the kind, of which it is known that it leaves out no row that it does not reject.
func (t Transform) Keeping() Transform {
	t.Keeps = true
	return t
}

// NewTransform is a kind whose settings are a value of type S.
func NewTransform[S any](open func(settings S, env Env) (processor.Transform, error)) Transform {
	return Transform{
		Settings: reflect.TypeFor[S](),
		Open: func(settings Decode, env Env) (processor.Transform, error) {
			var s S
			if err := settings(&s); err != nil {
				return nil, err
			}
			return open(s, env)
		},
	}
}
