package kfs

import (
	"errors"
	"fmt"
	"hash/crc32"
)

// What callers branch on, with errors.Is. Both mean: stop here, and never go past it.
var (
	// ErrCorrupt says that bytes are damaged or were never an object of this format.
	ErrCorrupt = errors.New("corrupt")
	// ErrVersion says that the bytes may be well, but need a newer reader: an unknown version, flag or required field. The error names it.
	ErrVersion = errors.New("unknown version")
)

// corrupt makes an ErrCorrupt that says what was found where.
func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrCorrupt, fmt.Errorf(format, args...))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum is the CRC-32C (Castagnoli) of b, the only checksum of the format.
func Checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }
