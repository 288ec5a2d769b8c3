package broker

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/broker/journal"
)

// attend does what goes on beside a journal while this broker owns it, until ctx ends: its groups are coordinated, its partitions trimmed
// as their topics want, and topics that are being deleted end in it.
func (b *Broker) attend(ctx context.Context, j *journal.Journal) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return b.groups.serve(ctx, j) })
	g.Go(func() error { return b.deletion.run(ctx, j) })
	g.Go(func() error { b.retention.Run(ctx, j.Number(), j); return nil })
	return g.Wait()
}
