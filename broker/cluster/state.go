package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/lease"
)

// gatherBrokers is for how long nobody may have come before the brokers of a new cluster are counted.
const gatherBrokers = 3 * time.Second

// State is the cluster's metadata as this broker knows it: of journal 0 while that is here, else as the follower last read it. It never goes
// back. The zero state means that nothing is known yet, or that there is no cluster.
func (c *Cluster) State() *metadata.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.view.State()
}

// StateAt is State, and a sequence of journal 0 that it is not newer than.
func (c *Cluster) StateAt() (*metadata.State, uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.view.StateAt()
}

// Refresh returns when State shows all that was durable when it was called. Its error is that of ctx.
func (c *Cluster) Refresh(ctx context.Context) error {
	for {
		c.mu.Lock()
		_, here := c.view.owned[0]
		f, changed := c.follower, c.changed
		c.mu.Unlock()
		if here {
			return nil
		}
		if f != nil {
			if err := f.Refresh(ctx); err == nil || ctx.Err() != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// look has the follower look for news.
func (c *Cluster) look() {
	c.mu.Lock()
	f := c.follower
	c.mu.Unlock()
	if f != nil {
		f.Look()
	}
}

// followState follows journal 0 whenever it is not here.
func (c *Cluster) followState(ctx context.Context) error {
	for {
		if err := c.until(ctx, func() bool { _, here := c.view.owned[0]; return !here }); err != nil {
			return err
		}
		if err := c.followOnce(ctx); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// followOnce follows journal 0 until it is here.
func (c *Cluster) followOnce(ctx context.Context) error {
	c.mu.Lock()
	tenures := c.view.Tenures()
	c.mu.Unlock()
	f, err := c.cfg.Follow(func(s *metadata.State, sequence uint64) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.view.News(tenures, s, sequence) {
			c.tell()
		}
	})
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	c.see(func() { c.follower = f })
	defer c.see(func() { c.follower = nil })
	following, stop := context.WithCancel(ctx)
	defer stop()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		defer stop()
		c.until(following, func() bool { return c.view.Tenures() != tenures }) // its error is that following has ended
	}()
	err = f.Run(following)
	stop()
	<-watched
	return err
}

// journals is how many journals a new cluster is to have. Where that is not said it counts the brokers, once it is known that the cluster
// is a new one.
func (c *Cluster) journals(ctx context.Context) (uint32, error) {
	switch {
	case c.cfg.Journals > 0:
		return c.cfg.Journals, nil
	case c.cfg.Alone:
		return 1, nil
	}
	if err := c.until(ctx, func() bool { return c.view.read || c.view.Tenures() > 0 }); err != nil {
		return 0, err
	}
	for n := 0; c.State().Cluster().ID.IsZero(); {
		brokers := len(c.Brokers())
		if brokers == n {
			return uint32(n), nil
		}
		n = brokers
		quiet, cancel := context.WithTimeout(ctx, gatherBrokers)
		c.until(quiet, func() bool { return len(c.view.Brokers()) != n }) // its error is that it is quiet
		cancel()
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	return 1, nil // there is a cluster: nobody asks
}

// lead is what the owner of journal 0 does beside: it lets the number of journals grow, and tells of changes.
func (c *Cluster) lead(ctx context.Context, s *lease.Session, j *journal.Journal) error {
	if err := c.grow(ctx, j); err != nil {
		return err
	}
	for n := 0; ; n++ {
		changed := j.Changed()
		c.see(func() {})
		if !c.cfg.Alone {
			if err := s.Put(ctx, MetadataKey, fmt.Sprintf("%d.%d", j.Epoch(), n)); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// grow gives the cluster as many journals as are configured, if it has fewer.
func (c *Cluster) grow(ctx context.Context, j *journal.Journal) error {
	for {
		grown := j.State().Cluster()
		if grown.Journals >= c.cfg.Journals {
			return nil
		}
		c.cfg.Log.Info("the cluster gets more journals, for new topics and partitions", "journals", grown.Journals, "will be", c.cfg.Journals)
		grown.Journals = c.cfg.Journals
		results, err := j.AppendEntries([]kfs.Entry{grown}).Wait(ctx)
		if err != nil {
			return err
		}
		if err := results[0].Err; err != nil && !errors.Is(err, journal.ErrUnavailable) {
			return err
		}
	}
}
