package pipeline

import (
	"errors"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
	"github.com/firn-io/firn/runtime/processor"
)

func halted(reason, decide string) error { return &processor.HaltError{Reason: reason, Decide: decide} }

// final reports whether trying again cannot help: a person must look.
func final(err error) bool {
	var halt *processor.HaltError
	return errors.As(err, &halt) || errors.Is(err, kfs.ErrCorrupt) || errors.Is(err, kfs.ErrVersion) || errors.Is(err, record.ErrCorrupt)
}
