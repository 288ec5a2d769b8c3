package catalog

import "errors"

var (
	// ErrNoTable says that the table does not exist.
	ErrNoTable = errors.New("table does not exist")
	// ErrMoved says that the table's position is not where the group begins: another writer is ahead, or the table was rolled back and
	// the job is to replay. Nothing was committed; start again from the table's position.
	ErrMoved = errors.New("the position of the table has moved")
	// ErrRestage says that the staged files do not fit the table any more: its schema or partitioning changed. Nothing was committed;
	// start again from the table's position.
	ErrRestage = errors.New("staged files do not fit the table any more")
	// ErrPaused says that the table is paused, see Pause: nothing was sent, and the same group may be committed when the pause is over.
	ErrPaused = errors.New("commits wait, for the table is paused")
	// ErrForgone says that a table was not to take the place of another any more, see Catalog.Forgo.
	ErrForgone = errors.New("it was given up to put a table in the place of this one")
	// ErrReplaced says that another table is in the place of one, or sure to come there.
	ErrReplaced = errors.New("another table takes the place of this one")
	// ErrUnknownOutcome says that the catalog never told whether a commit has landed. The files of the group must stay; the table's
	// position, read again later, tells the truth.
	ErrUnknownOutcome = errors.New("outcome of the commit is unknown")
)

// HaltError says that the job cannot go on before a person has decided something.
type HaltError struct {
	Reason string // what was found
	Decide string // what to do
}

// Error implements error.
func (e *HaltError) Error() string { return e.Reason + ": " + e.Decide }
