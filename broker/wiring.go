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

func (v view) Brokers() []api.Broker {
	live := v.Cluster.Brokers()
	brokers := make([]api.Broker, len(live))
	for i, b := range live {
		brokers[i] = api.Broker(b)
	}
	return brokers
}

func (v view) Owner(number uint32) (api.Owner, bool) {
	b, epoch, ok := v.Cluster.Owner(number)
	return api.Owner{Broker: b.ID, Epoch: epoch}, ok
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

// Trim commits a trim that says which sequence of journal 0 it rests on: one that the metadata it was decided by are not newer than.
func (l log) Trim(trim kfs.Trim) api.Append {
	_, trim.Metadata = l.cluster.StateAt()
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
