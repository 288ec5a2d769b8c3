package processor

import (
	"errors"
	"fmt"
)

// ErrMoved is a sink's answer to a Commit whose from is not the table's position.
var ErrMoved = errors.New("the position of the table has moved: another writer is ahead")

// HaltError says that a job, or one of its sources, cannot go on before a person has decided something.
type HaltError struct {
	Reason string // what was found
	Decide string // what to do
}

// Error implements error.
func (e *HaltError) Error() string { return e.Reason + ": " + e.Decide }

// StuckError says that a transform or a sink cannot go on before something around the job has changed, without the job being started again: a
// record has come, a program is in its place. The job gives it the same span again and tells meanwhile that it is stuck. A bounded run, which
// waits for nothing, ends with it.
type StuckError struct {
	Reason string // what was found
	Mend   string // what would help
	// Records says that other records of the log, before or behind these, may be what is missing. A bounded run ends when it has none to add.
	Records bool
}

// Error implements error.
func (e *StuckError) Error() string { return e.Reason + ": " + e.Mend }

// PanicError is what the runtime makes of a panic of a plug-in. What the call has done before is not known.
type PanicError struct {
	Call  string // whose panic it was: the plug-in, the method, and where it has one the span
	Value any    // what it has panicked with
}

// Error implements error.
func (e *PanicError) Error() string { return fmt.Sprintf("%s panicked: %v", e.Call, e.Value) }
