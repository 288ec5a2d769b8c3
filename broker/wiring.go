package broker

import (
	"context"
	"fmt"

	"github.com/firn-io/firn/broker/api"
	"github.com/firn-io/firn/broker/cluster"
	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/kfs"
)

// view is the cluster as the handlers see it.
type view struct{ *cluster.Cluster }

var _ api.Cluster = view{}

func (v view) Self() api.Broker { return api.Broker(v.Cluster.Self()) }

// Brokers are this one and those that own a journal: the others do not serve clients (see tenure).
func (v view) Brokers() []api.Broker {
	owners := map[int32]bool{v.Cluster.Self().ID: true}
	for number := range v.State().Cluster().Journals {
		if owner, ok := v.Cluster.Owner(number); ok {
			owners[owner.ID] = true
		}
	}
	var brokers []api.Broker
	for _, b := range v.Cluster.Brokers() {
		if owners[b.ID] {
			brokers = append(brokers, api.Broker(b))
		}
	}
	return brokers
}

func (v view) Owner(number uint32) (api.Owner, bool) {
	b, ok := v.Cluster.Owner(number)
	owner := api.Owner{Broker: b.ID, Epoch: -1}
	if j, err := v.Cluster.Journal(number); err == nil {
		owner.Epoch = j.Epoch()
	}
	return owner, ok
}

// owned are the journals that this broker owns.
type owned struct{ cluster *cluster.Cluster }

var _ api.Journals = owned{}

func (o owned) Journal(number uint32) (api.Journal, error) {
	j, err := o.cluster.Journal(number)
	if err != nil {
		return nil, err
	}
	return log{j, o.cluster}, nil
}

// log is a journal as the handlers see it. Two of the same journal are equal.
type log struct {
	*journal.Journal
	cluster *cluster.Cluster
}

var _ api.Journal = log{}

func (l log) Append(batches []journal.Batch) api.Append { return pending{l.Journal.Append(batches)} }

func (l log) Trim(trim kfs.Trim) api.Append {
	return pending{l.Journal.AppendEntries([]kfs.Entry{trim})}
}

// Serving is nil while this broker has the journal, by a lease that is valid.
func (l log) Serving() error {
	j, err := l.cluster.Journal(l.Number())
	if err == nil && j != l.Journal {
		err = fmt.Errorf("journal %d was taken over anew: %w", l.Number(), journal.ErrNotOwner)
	}
	return err
}

// pending is an append, which a journal answers in any case.
type pending struct{ *journal.Pending }

func (p pending) Wait() []journal.Result {
	<-p.Done()
	results, err := p.Pending.Wait(context.Background())
	if err != nil {
		panic(fmt.Sprintf("broker: an append that is done has no results: %v", err))
	}
	return results
}
