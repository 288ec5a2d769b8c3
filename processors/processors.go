// Package processors names the sinks that a job can write to. The registry is a value: whoever assembles a program says what is in it.
package processors

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/firn-io/firn/runtime/processor"
)

// Table is one table of a job: what the job file says of it, and the source that it is filled from.
type Table struct {
	Name       string            // namespace.table
	Lineage    string            // of the source that it is filled from; empty if the source has none
	Partition  []string          // expressions such as day(kafka_timestamp); used when the table is made
	Properties map[string]string // of the table; used when the table is made
}

// Opener opens the sink of one table. The table need not exist. A sink that holds resources is an io.Closer.
type Opener interface {
	Open(ctx context.Context, t Table) (processor.Sink, error)
}

// Registry is the kinds of sinks by name.
type Registry map[string]Opener

// Open opens the sink of one table of the named kind.
func (r Registry) Open(ctx context.Context, kind string, t Table) (processor.Sink, error) {
	opener, ok := r[kind]
	if !ok {
		return nil, fmt.Errorf("sink %q is not known; there is %s", kind, strings.Join(slices.Sorted(maps.Keys(r)), ", "))
	}
	return opener.Open(ctx, t)
}
