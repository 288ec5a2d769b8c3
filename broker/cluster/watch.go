package cluster

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/kfs/lease"
)

// What the lease service holds of a cluster. All of it is bound to sessions.
const (
	BrokersPrefix  = "brokers/"  // {id}: a registration as JSON
	JournalsPrefix = "journals/" // {number}: an Ownership
	MetadataKey    = "metadata"  // changes when journal 0's metadata has
)

// ownership is what the lease of a journal says: who has it, and with what epoch it serves it; -1 while it takes it over.
type ownership struct {
	broker int32
	epoch  int32
}

// JournalKey is the key of a journal's lease.
func JournalKey(number uint32) string { return fmt.Sprintf("%s%04d", JournalsPrefix, number) }

// Ownership is the value of a journal's lease: the broker, and its epoch, -1 while it takes the journal over.
func Ownership(broker, epoch int32) string { return ownership{broker, epoch}.String() }

// String is the broker, and the epoch if there is one.
func (o ownership) String() string {
	if o.epoch < 0 {
		return strconv.Itoa(int(o.broker))
	}
	return fmt.Sprintf("%d %d", o.broker, o.epoch)
}

func parseOwnership(s string) (ownership, error) {
	broker, epoch, serves := strings.Cut(s, " ")
	o := ownership{epoch: -1}
	n, err := strconv.ParseInt(broker, 10, 32)
	if err != nil {
		return o, err
	}
	o.broker = int32(n)
	if serves {
		if n, err = strconv.ParseInt(epoch, 10, 32); err != nil {
			return o, err
		}
		o.epoch = int32(n)
	}
	return o, nil
}

// watch keeps the view of the others.
func (c *Cluster) watch(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	on := func(prefix string, take func([]lease.Entry)) {
		g.Go(func() error {
			for entries, err := range c.cfg.Leases.Watch(ctx, prefix) {
				if err != nil {
					return err
				}
				take(entries)
			}
			return ctx.Err()
		})
	}
	on(BrokersPrefix, func(entries []lease.Entry) { c.see(func() { c.view.SeeBrokers(entries) }) })
	on(JournalsPrefix, func(entries []lease.Entry) { c.see(func() { c.view.SeeOwners(entries) }) })
	on(EndedPrefix, func(entries []lease.Entry) { c.see(func() { c.view.SeeEnded(entries) }) })
	if !c.cfg.Alone {
		on(MetadataKey, func([]lease.Entry) { c.look() })
	}
	return g.Wait()
}
