// Package catalogtest has what tests of commits need: a catalog in memory that honours pins, a wrapper that makes any catalog fail in
// the ways in which catalogs fail, and one suite for every catalog.
package catalogtest

import "github.com/firn-io/firn/catalog/memory"

// Fake is a catalog in memory, its tables' files included. It is safe for concurrent use.
type Fake = memory.Catalog

// NewFake makes a catalog without tables.
func NewFake() *Fake { return memory.New() }
