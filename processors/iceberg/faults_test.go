package iceberg

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/catalogtest"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/runtime/processor"
)

func awake(ctx context.Context, _ time.Duration) error { return ctx.Err() }

// drive does what a runtime does: ask for the position, stage what follows it, seal, commit, and begin anew after any error. It ends
// when the table stands at commits*size, and gives the number of errors.
func drive(t *testing.T, s *Sink, mem memory.Allocator, commits, size int64) (failures int) {
	t.Helper()
	for {
		if failures > 20 {
			t.Fatal("the run does not end")
		}
		at, err := s.Committed(t.Context())
		if err != nil {
			failures++
			continue
		}
		for next := at[source0]; next < commits*size; next += size {
			if err := once(t, s, mem, next, next+size); err != nil {
				failures++
				break
			}
		}
		if at, err = s.Committed(t.Context()); err == nil && at[source0] == commits*size {
			return failures
		}
	}
}

// once brings one span into the table. From the second on the records have another column, from the third on that one is double.
func once(t *testing.T, s *Sink, mem memory.Allocator, base, next int64) error {
	half := base + (next-base)/2
	for _, span := range []kfs.Span{{Base: base, Next: half}, {Base: half, Next: next}} {
		b := events(mem, source0, span.Base, span.Next)
		if base >= next-base {
			var values []string
			for offset := span.Base; offset < span.Next; offset++ {
				values = append(values, fmt.Sprint(offset))
			}
			b.Records.Release()
			cdi := arrow.PrimitiveTypes.Int64
			if base >= 2*(next-base) {
				cdi = arrow.PrimitiveTypes.Float64
			}
			b = quakes(t, mem, cdi, span.Base, values...)
		}
		err := s.Stage(t.Context(), b)
		b.Records.Release()
		if err != nil {
			return err
		}
	}
	sealed, err := s.Seal(t.Context())
	if err != nil {
		return err
	}
	return s.Commit(t.Context(), processor.Positions{source0: base}, processor.Positions{source0: next}, []processor.Staged{sealed})
}

// walk lets every operation of a run, or one of oneOf, fail in every way; afterwards a reader finds each offset once.
func walk(t *testing.T, open func(t *testing.T) catalog.Client, commits int64) {
	run := func(t *testing.T, inject func(catalogtest.Op) catalogtest.Fault) *catalogtest.Faulty {
		client := open(t)
		faulty := catalogtest.NewFaulty(client, inject)
		table := processors.Table{Name: "default.events", Partition: []string{"day(kafka_timestamp)"}}
		awaken := func(c *Config) { c.Options.Sleep = awake }
		s, mem := openSink(t, catalog.New(faulty), table, awaken)
		const size = 4
		drive(t, s, mem, commits, size)
		faulty.Settle()
		reader, _ := openSink(t, catalog.New(client), table, awaken)
		wantOffsets(t, reader, map[int64]int64{0: commits * size})
		return faulty
	}
	for n, op := range run(t, nil).Trace() {
		if n%oneOf != 0 {
			continue
		}
		name, _, _ := strings.Cut(op, " assert")
		for _, fault := range catalogtest.Faults {
			t.Run(fmt.Sprintf("%03d %s %s", n, name, fault), func(t *testing.T) {
				run(t, func(op catalogtest.Op) catalogtest.Fault {
					if op.N == n {
						return fault
					}
					return catalogtest.None
				})
			})
		}
	}
}

func TestFaultsOnFake(t *testing.T) {
	walk(t, func(*testing.T) catalog.Client { return catalogtest.NewFake() }, 3)
}

func TestFaultsOnSQLite(t *testing.T) {
	walk(t, newSQLite, 1)
}

func newSQLite(t *testing.T) catalog.Client { return catalogtest.NewSQLite(t) }
