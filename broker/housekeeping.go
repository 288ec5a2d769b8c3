package broker

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/broker/journal"
)

// History is what becomes of old records. Zero values are the defaults of package journal.
type History struct {
	SettleBytes int64         // of a partition that become a segment at once; at most a sixteenth of the memory
	SettleAge   time.Duration // after which records become a segment however few they are
	Grace       time.Duration // what nobody needs any more is deleted after it; at least 2 h
}

func (h *History) validate() error {
	if h.SettleBytes < 0 || h.SettleAge < 0 {
		return fmt.Errorf("settling %d bytes, or after %v", h.SettleBytes, h.SettleAge)
	}
	if h.Grace != 0 && h.Grace < journal.MinGrace {
		return fmt.Errorf("grace of %v: want %v at least", h.Grace, journal.MinGrace)
	}
	return nil
}

// attend does what goes on beside a journal while this broker owns it, until ctx ends: its groups are coordinated, its partitions trimmed
// as their topics want, and topics that are being deleted end in it.
func (b *Broker) attend(ctx context.Context, j *journal.Journal) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return b.groups.serve(ctx, j) })
	g.Go(func() error { return b.deletion.run(ctx, j) })
	g.Go(func() error { b.retention.Run(ctx, j.Number(), j); return nil })
	return g.Wait()
}
