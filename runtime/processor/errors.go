package processor

import "errors"

// ErrMoved is a sink's answer to a Commit whose from is not the table's position.
var ErrMoved = errors.New("the position of the table has moved: another writer is ahead")

// HaltError says that a job, or one of its sources, cannot go on before a person has decided something.
type HaltError struct {
	Reason string // what was found
	Decide string // what to do
}

// Error implements error.
func (e *HaltError) Error() string { return e.Reason + ": " + e.Decide }
