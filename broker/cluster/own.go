package cluster

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/lease"
)

const (
	fencedPause    = time.Second     // before a journal that another has taken without the lease is tried again
	damagedPause   = time.Minute     // before a journal that a person has to look at is tried again
	releaseTimeout = 2 * time.Second // of a lease that is given up; then it ends with its session
	handOverAfter  = 3 * time.Second // the default of Config.HandOver
)

// keepAll keeps every journal that there is, and those that come.
func (c *Cluster) keepAll(ctx context.Context, s *lease.Session) error {
	g, ctx := errgroup.WithContext(ctx)
	for kept := uint32(0); ; {
		changed := c.Changed()
		journals := max(1, c.State().Cluster().Journals)
		for number := kept; number < journals; number++ {
			g.Go(func() error { return c.keep(ctx, s, number) })
		}
		kept = max(kept, journals)
		select {
		case <-changed:
		case <-ctx.Done():
			return g.Wait()
		}
	}
}

// keep owns a journal whenever it is this broker's to own, until ctx ends.
func (c *Cluster) keep(ctx context.Context, s *lease.Session, number uint32) error {
	for {
		if err := c.until(ctx, func() bool { return c.view.Mine(number) }); err != nil {
			return err
		}
		err := c.ownOnce(ctx, s, number)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			continue
		case c.cfg.Alone:
			return err
		}
		var pause *time.Timer
		switch {
		case errors.Is(err, journal.ErrFenced):
			c.cfg.Log.Warn("journal is gone to another owner although its lease was here; trying again", "journal", number, "err", err)
			pause = time.NewTimer(fencedPause)
		case number != 0 && (errors.Is(err, kfs.ErrCorrupt) || errors.Is(err, kfs.ErrVersion)):
			c.cfg.Log.Error("journal is damaged, and not served; the others are", "journal", number, "err", err, "retry", damagedPause)
			pause = time.NewTimer(damagedPause)
		default:
			return err
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
	}
}

// whileMine gives a context that ends when a journal has been another broker's to own for so long, or at once if this broker has stepped out, and
// a function that ends it and waits.
func (c *Cluster) whileMine(ctx context.Context, number uint32, patience time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		for c.until(ctx, func() bool { return !c.view.Mine(number) }) == nil {
			waiting, stop := context.WithTimeout(ctx, patience)
			back := false
			late := c.until(waiting, func() bool { back = c.view.Mine(number); return back || c.reacher.says == out }) != nil
			stop()
			if late || !back {
				return
			}
		}
	}()
	return ctx, func() {
		cancel()
		<-done
	}
}

// ownOnce waits for a journal's lease and runs the journal while it has it. It returns nil when the journal was handed over, or became another's
// before it was here.
func (c *Cluster) ownOnce(ctx context.Context, s *lease.Session, number uint32) error {
	waiting, stop := c.whileMine(ctx, number, 0)
	held, err := s.Acquire(waiting, JournalKey(number), Ownership(c.cfg.Self.ID, -1))
	given := waiting.Err() != nil
	stop()
	if err != nil {
		if given && ctx.Err() == nil {
			return nil
		}
		return err
	}
	defer func() {
		if err := release(ctx, held); err != nil {
			c.cfg.Log.Warn("lease of a journal is left to end by itself", "journal", number, "err", err)
		}
	}()
	turn, stop := c.whileMine(ctx, number, c.cfg.HandOver)
	defer stop()
	err = c.take(turn, s, number, held)
	if ctx.Err() == nil && turn.Err() != nil && errors.Is(err, context.Canceled) {
		c.cfg.Log.Info("journal is handed over", "journal", number)
		return nil
	}
	return err
}

// take takes over a journal of which the lease is here, and runs it until ctx ends.
func (c *Cluster) take(ctx context.Context, s *lease.Session, number uint32, held *lease.Held) error {
	journals := uint32(1)
	if number == 0 {
		var err error
		if journals, err = c.journals(ctx); err != nil {
			return err
		}
	}
	j, err := c.cfg.Open(ctx, number, journals)
	if err != nil {
		return err
	}
	return c.run(ctx, s, Tenure{j, held})
}

// release gives a lease up. While the session lives nobody else has the journal before that, so it waits for a lease service that is away; when
// ctx has ended, which the session does not outlive, only for a while.
func release(ctx context.Context, held *lease.Held) error {
	if err := held.Release(ctx); err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	return held.Release(ctx)
}

// run serves a journal that was taken over until ctx ends.
func (c *Cluster) run(ctx context.Context, s *lease.Session, t Tenure) error {
	j := t.Journal
	g, running := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := j.Run(running); err != nil {
			return err
		}
		return context.Canceled // whatever runs beside it ends too
	})
	g.Go(func() error { return c.serve(running, s, t) })
	err := g.Wait()
	c.see(func() { c.view.Lose(j.Number()) })
	return err
}

// serve makes a journal known and does what runs beside it.
func (c *Cluster) serve(ctx context.Context, s *lease.Session, t Tenure) error {
	j := t.Journal
	// The journal may be ahead of what is known of journal 0: a topic that has ended here must not be served as a live one.
	if j.Number() != 0 {
		if err := c.Refresh(ctx); err != nil {
			return err
		}
	}
	c.see(func() { c.view.Gain(t) })
	if err := s.Put(ctx, JournalKey(j.Number()), Ownership(c.cfg.Self.ID, j.Epoch())); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	if c.cfg.Serve != nil {
		g.Go(func() error { return c.cfg.Serve(ctx, j) })
	}
	if j.Number() == 0 {
		g.Go(func() error { return c.lead(ctx, s, j) })
	}
	return g.Wait()
}

// Owns are the numbers of the journals that are here.
func (c *Cluster) Owns() []uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.view.owned))
}
