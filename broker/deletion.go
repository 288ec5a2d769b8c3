package broker

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/broker/cluster"
	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/lease"
)

// deletion finishes the deletion of topics that lie on several journals. Journal 0 says that a topic is being deleted; the owner of each
// journal that holds a part ends it there, durably, and tells so; then the owner of journal 0 frees the name.
type deletion struct {
	cluster    *cluster.Cluster
	controller *controller
	log        *slog.Logger
}

// deletionPause is between two tries of what has failed.
const deletionPause = time.Second

// run does the part of one journal while this broker owns it, until ctx ends.
func (d *deletion) run(ctx context.Context, j *journal.Journal) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		e := &ender{d.cluster, j, map[kfs.TopicID]bool{}, map[kfs.TopicID]*lease.Held{}}
		defer e.close(ctx)
		return d.repeat(ctx, e.step)
	})
	if j.Number() == 0 {
		g.Go(func() error { return d.repeat(ctx, d.free) })
	}
	return g.Wait()
}

// repeat does something at each change of the cluster's view, and again after a pause when it has failed.
func (d *deletion) repeat(ctx context.Context, do func(context.Context, *metadata.State) error) error {
	for {
		changed := d.cluster.Changed()
		err := do(ctx, d.cluster.State())
		retry := time.NewTimer(deletionPause)
		pause := retry.C
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, journal.ErrNotOwner), errors.Is(err, lease.ErrLost):
			return nil // the next owner goes on
		case err != nil:
			d.log.Warn("deleting topics", "error", err, "retry", deletionPause)
		default:
			pause = nil
		}
		select {
		case <-changed:
		case <-pause:
		case <-ctx.Done():
		}
		retry.Stop()
	}
}

// ender ends in one journal what is being deleted.
type ender struct {
	cluster *cluster.Cluster
	journal *journal.Journal
	ended   map[kfs.TopicID]bool        // durably
	told    map[kfs.TopicID]*lease.Held // and said so
}

func (e *ender) step(ctx context.Context, s *metadata.State) error {
	for topic := range e.ended {
		if _, ok := s.TopicByID(topic); ok {
			continue
		}
		if err := e.takeBack(ctx, topic); err != nil {
			return err
		}
		delete(e.ended, topic)
	}
	for _, t := range s.Ending(e.journal.Number()) {
		if err := e.end(ctx, t.ID); err != nil {
			return err
		}
	}
	return nil
}

func (e *ender) end(ctx context.Context, topic kfs.TopicID) error {
	if !e.ended[topic] {
		results, err := e.journal.End(topic).Wait(ctx)
		if err == nil {
			err = results[0].Err
		}
		if err != nil {
			return err
		}
		e.ended[topic] = true
	}
	if e.told[topic] != nil {
		return nil
	}
	held, told, err := e.cluster.TellEnded(ctx, topic, e.journal.Number())
	if told {
		e.told[topic] = held
	}
	return err
}

func (e *ender) takeBack(ctx context.Context, topic kfs.TopicID) error {
	held := e.told[topic]
	if held == nil {
		return nil
	}
	if err := held.Release(ctx); err != nil {
		return err
	}
	delete(e.told, topic)
	return nil
}

// close takes everything back: the next owner says it itself.
func (e *ender) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deletionPause)
	defer cancel()
	for topic := range e.told {
		_ = e.takeBack(ctx, topic) // what is left goes with the session, and says nothing wrong until then
	}
}

// free frees the names of topics that every journal has ended.
func (d *deletion) free(ctx context.Context, s *metadata.State) error {
	for _, t := range s.Ended(d.cluster.Ended) {
		err := d.controller.Change(ctx, func(s *metadata.State) ([]kfs.Entry, error) { return s.FreeTopic(t.ID), nil })
		if err != nil {
			return err
		}
	}
	return nil
}
