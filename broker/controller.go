package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/firn-io/firn/broker/api"
	"github.com/firn-io/firn/broker/cluster"
	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
)

// controller changes the state of journal 0, where this broker owns it. It keeps no lock: changes that are wanted at a time gather into
// one flush, the journal judges each when it is sealed, and one that was overtaken is planned again.
type controller struct {
	cluster *cluster.Cluster
}

// maxPlans bounds how often a change may be overtaken.
const maxPlans = 20

func (c *controller) Change(ctx context.Context, plan func(*metadata.State) ([]kfs.Entry, error)) error {
	for range maxPlans {
		j, err := c.cluster.Journal(0)
		if err != nil {
			return api.ErrNotController
		}
		entries, err := plan(j.State())
		if err != nil || len(entries) == 0 {
			return err
		}
		results, err := j.AppendEntries(entries).Wait(ctx)
		if err != nil {
			return err
		}
		overtaken, err := judge(results)
		if err != nil {
			return err
		}
		if !overtaken {
			return c.deleted(ctx, j, entries)
		}
	}
	return metadata.ErrConflict
}

// judge tells whether a change was overtaken by another. An error means that what became of it is not known, or that it may be tried again.
func judge(results []journal.Result) (overtaken bool, err error) {
	for _, r := range results {
		switch {
		case r.Err == nil:
		case errors.Is(r.Err, journal.ErrUnavailable):
			return false, r.Err
		case errors.Is(r.Err, journal.ErrNotOwner): // it may be there nevertheless; asking the next owner tells
			return false, fmt.Errorf("%w: %v", journal.ErrUnavailable, r.Err) // a client must not take it for not done
		default:
			overtaken = true
		}
	}
	return overtaken, nil
}

// deletionWait is how long a change that deletes topics waits for their names to be free. It takes a flush or two where all journals have owners.
const deletionWait = 5 * time.Second

// deleted waits, for a while, until topics whose deletion has begun are gone. The deletion is durable, and goes on, however that ends.
func (c *controller) deleted(ctx context.Context, j *journal.Journal, entries []kfs.Entry) error {
	ctx, cancel := context.WithTimeout(ctx, deletionWait)
	defer cancel()
	for {
		changed := j.Changed()
		state := j.State()
		if !slices.ContainsFunc(entries, func(e kfs.Entry) bool {
			t, ok := e.(kfs.Topic)
			if ok && t.State == kfs.TopicDeleting {
				_, ok = state.TopicByID(t.ID)
				return ok
			}
			return false
		}) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// producerIDs hands out producer ids of a block at a time, so that few of them cost a write.
type producerIDs struct {
	controller *controller
	turn       chan struct{} // holds a token while nobody uses the fields below
	next, end  int64
}

// producerBlock is how many ids a write gives. What a stopped broker has left is not used: there are 2^63 of them.
const producerBlock = 1000

func newProducerIDs(c *controller) *producerIDs {
	p := &producerIDs{controller: c, turn: make(chan struct{}, 1)}
	p.turn <- struct{}{}
	return p
}

func (p *producerIDs) Next(ctx context.Context) (int64, error) {
	select {
	case <-p.turn:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { p.turn <- struct{}{} }()
	if p.next == p.end {
		var block kfs.ProducerIDs
		err := p.controller.Change(ctx, func(s *metadata.State) ([]kfs.Entry, error) {
			block = s.ProducerIDs(producerBlock)
			return []kfs.Entry{block}, nil
		})
		if err != nil {
			return 0, err
		}
		p.next, p.end = block.First, block.First+block.Count
	}
	p.next++
	return p.next - 1, nil
}
