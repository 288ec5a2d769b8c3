package broker

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/broker/metadata"
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

// metadata is the cluster's state, and the sequence of journal 0 that it is of; 0 if that is another broker's.
func (b *Broker) metadata() (*metadata.State, uint64) {
	j, err := b.cluster.Journal(0)
	if err != nil {
		return b.cluster.State(), 0
	}
	state := j.State()
	return state, j.Sequence()
}
