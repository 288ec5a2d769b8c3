package pipeline

import (
	"errors"
	"fmt"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
	"github.com/firn-io/firn/runtime/processor"
)

func halted(reason, decide string) error { return &processor.HaltError{Reason: reason, Decide: decide} }

// decidable says what to do about an error that is final and does not say so itself: what is stored is damaged, or newer than this program.
func decidable(err error) error {
	var halt *processor.HaltError
	switch {
	case errors.As(err, &halt):
		return err
	case errors.Is(err, kfs.ErrVersion):
		return fmt.Errorf("%w: run a newer firn", err)
	case !errors.Is(err, kfs.ErrCorrupt) && !errors.Is(err, record.ErrCorrupt):
		return err
	}
	return fmt.Errorf("%w: nothing behind it is read. Restore the object from a copy or an older version in the bucket, and hold it against `firn kfs verify`; if there is none, have the log let go of its records, by DeleteRecords up to behind them, and run firn accept-loss", err)
}

// stays says of what has halted that it does not go on by itself when its cause is gone.
func stays(err error) error {
	return fmt.Errorf("%w. Then start the job again; until then this stays halted", err)
}

// errWaitsForNothing is why a bounded run does not try again what a job without an end does.
var errWaitsForNothing = errors.New("a bounded run does not wait for that")

// final reports whether trying again cannot help: a person must look.
func final(err error) bool {
	var halt *processor.HaltError
	return errors.As(err, &halt) || errors.Is(err, kfs.ErrCorrupt) || errors.Is(err, kfs.ErrVersion) || errors.Is(err, record.ErrCorrupt) || errors.Is(err, errWaitsForNothing)
}
