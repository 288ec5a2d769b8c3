package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/kfs/lease"
)

// What the lease service holds of a cluster. All of it is bound to sessions.
const (
	brokersPrefix  = "brokers/"  // {id}: a Broker as JSON
	journalsPrefix = "journals/" // {number}: an ownership
	metadataKey    = "metadata"  // changes when journal 0's metadata has
)

// ownership is what the lease of a journal says: who has it, and with what epoch it serves it; -1 while it takes it over.
type ownership struct {
	broker int32
	epoch  int32
}

func journalKey(number uint32) string { return fmt.Sprintf("%s%04d", journalsPrefix, number) }

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
	on(brokersPrefix, func(entries []lease.Entry) {
		brokers := c.parseBrokers(entries)
		c.see(func() { c.brokers, c.watched = brokers, true })
	})
	on(journalsPrefix, func(entries []lease.Entry) {
		owners := c.parseOwners(entries)
		c.see(func() { c.owners = owners })
	})
	on(endedPrefix, func(entries []lease.Entry) {
		ended := c.parseEnded(entries)
		c.see(func() { c.ended = ended })
	})
	if !c.cfg.Alone {
		on(metadataKey, func([]lease.Entry) { c.look() })
	}
	return g.Wait()
}

func (c *Cluster) parseBrokers(entries []lease.Entry) []Broker {
	brokers := []Broker{c.cfg.Self}
	for _, e := range entries {
		var b Broker
		if err := json.Unmarshal([]byte(e.Value), &b); err != nil {
			c.cfg.Log.Warn("a broker's registration cannot be read", "key", e.Key, "err", err)
			continue
		}
		if b.ID != c.cfg.Self.ID {
			brokers = append(brokers, b)
		}
	}
	slices.SortFunc(brokers, func(a, b Broker) int { return int(a.ID) - int(b.ID) })
	return brokers
}

func (c *Cluster) parseOwners(entries []lease.Entry) map[uint32]ownership {
	owners := make(map[uint32]ownership, len(entries))
	for _, e := range entries {
		number, err := strconv.ParseUint(strings.TrimPrefix(e.Key, journalsPrefix), 10, 32)
		o, oerr := parseOwnership(e.Value)
		if err != nil || oerr != nil {
			c.cfg.Log.Warn("the lease of a journal cannot be read", "key", e.Key, "value", e.Value)
			continue
		}
		owners[uint32(number)] = o
	}
	return owners
}
