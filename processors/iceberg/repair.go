package iceberg

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
)

// ErrRowsThere says that the table has some of the rows already that a repair was to bring in. Nothing was committed.
var ErrRowsThere = catalog.ErrRowsThere

// Repair takes the place of Commit for rows whose offsets the job has accounted for without them. offsets are those of the staged rows, in
// order; one batch of each source was staged, whose span begins at the first and ends behind the last. The position stays where it is.
//
// Errors: ErrRowsThere; processor.ErrMoved where the job has not accounted for an offset, or where the staged files do not fit the table any
// more: nothing was committed. After any other the outcome may be unknown, and RowsOf tells.
func (s *Sink) Repair(ctx context.Context, sealed processor.Staged, offsets map[processor.Source][]int64) error {
	return s.add(ctx, sealed, offsets, false)
}

// Amend implements processor.Recalling. Letters that are resolved do not count as there: their rows were, and are not any more. Errors are
// those of Repair; a *processor.HaltError where the dead-letter table begins behind an offset: a rollback of the other tables has reached
// back to where nothing was accounted for.
func (s *Sink) Amend(ctx context.Context, sealed processor.Staged, offsets map[processor.Source][]int64) error {
	err := s.add(ctx, sealed, offsets, true)
	if errors.Is(err, catalog.ErrUnaccounted) {
		return fmt.Errorf("%w", &processor.HaltError{
			Reason: fmt.Sprintf("a record that was a row is none now, and the dead-letter table %s begins behind it: %v", s.spec.Name, err),
			Decide: "start the job with the configuration that it had",
		})
	}
	return err
}

// add is Repair of rows, or of dead letters.
func (s *Sink) add(ctx context.Context, sealed processor.Staged, offsets map[processor.Source][]int64, letters bool) error {
	if err := s.repair(ctx, sealed, offsets, letters); err != nil {
		s.stale = true
		return asProcessor(err)
	}
	return nil
}

func (s *Sink) repair(ctx context.Context, sealed processor.Staged, offsets map[processor.Source][]int64, letters bool) error {
	p, err := parseStaged(sealed.Data)
	if err != nil {
		return err
	}
	r := catalog.Repair{Offsets: map[string][]kfs.Span{}}
	for source, all := range offsets {
		key := SourceKey(source)
		if r.Offsets[key] = runs(all); p.Ranges[key].Rows != int64(len(all)) {
			return fmt.Errorf("repair: %d rows of %s were staged for %d offsets", p.Ranges[key].Rows, key, len(all))
		}
	}
	if len(p.Ranges) != len(offsets) {
		return fmt.Errorf("repair: rows of %d sources were staged, offsets of %d are given", len(p.Ranges), len(offsets))
	}
	r.Fits = func(meta table.Metadata) error { return errors.Join(p.fresh(s.now()), p.fits(meta)) }
	r.Absent = func(ctx context.Context, t *table.Table) error {
		for source, all := range offsets {
			there, err := s.rowsOf(ctx, t, source, all, letters)
			if err != nil {
				return err
			}
			if len(there) > 0 {
				return fmt.Errorf("%s offset %d: %w", SourceKey(source), there[0], ErrRowsThere)
			}
		}
		return nil
	}
	if r.Files, err = s.files(ctx, []*staged{p}); err != nil {
		return err
	}
	return s.committer.Repair(ctx, r)
}

// runs are offsets, which are in order, as spans.
func runs(offsets []int64) []kfs.Span {
	var spans []kfs.Span
	for _, at := range slices.Compact(slices.Clone(offsets)) {
		if n := len(spans); n > 0 && spans[n-1].Next == at {
			spans[n-1].Next++
		} else {
			spans = append(spans, kfs.Span{Base: at, Next: at + 1})
		}
	}
	return spans
}
