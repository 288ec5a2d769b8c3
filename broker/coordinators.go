package broker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/firn-io/firn/broker/api"
	"github.com/firn-io/firn/broker/cluster"
	"github.com/firn-io/firn/broker/group"
	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/kfs"
)

// coordinators are the group coordinators of the journals that this broker owns: one for each, which lives as long as the journal is
// here.
type coordinators struct {
	cluster *cluster.Cluster
	cfg     group.Config
	now     func() time.Time
	newID   func() string

	mu   sync.Mutex // guards here
	here map[*journal.Journal]*group.Coordinator
}

var _ api.Coordinators = (*coordinators)(nil)

// serve coordinates the groups of a journal until ctx ends.
func (c *coordinators) serve(ctx context.Context, j *journal.Journal) error {
	of := group.NewCoordinator(c.cfg, offsets{j}, c.cluster.State, c.now, c.newID)
	c.mu.Lock()
	c.here[j] = of
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.here, j)
	}()
	return of.Run(ctx)
}

func (c *coordinators) Coordinator(number uint32) (*group.Coordinator, error) {
	j, err := c.cluster.Journal(number)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if of, ok := c.here[j]; ok {
		return of, nil
	}
	return nil, fmt.Errorf("journal %d comes or goes: %w", number, journal.ErrNotOwner)
}

// offsets are the committed offsets in a journal.
type offsets struct{ journal *journal.Journal }

var _ group.Log = offsets{}

func (o offsets) Append(committed []kfs.GroupOffset) group.Append {
	return offsetAppend{o.journal.AppendEntries([]kfs.Entry{kfs.GroupOffsets{Offsets: committed}})}
}

func (o offsets) Offsets(name string) []kfs.GroupOffset { return o.journal.GroupOffsets(name) }

func (o offsets) Groups() []string { return o.journal.Groups() }

// offsetAppend is an append of one entry.
type offsetAppend struct{ *journal.Pending }

func (a offsetAppend) Err() error { return pending(a).Wait()[0].Err }
