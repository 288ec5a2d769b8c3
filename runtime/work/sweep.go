package work

import (
	"context"
	"fmt"
	"time"
)

const (
	sweepEvery = time.Hour
	groupLife  = time.Hour // a group waits for seconds; what is older was left by a worker that died
	maxSwept   = 1000      // in one sweep
)

// keepSweeping removes groups that dead workers have left, at the begin and each hour.
func (m *Member) keepSweeping(ctx context.Context) {
	for {
		if err := m.sweep(ctx); err != nil && ctx.Err() == nil {
			m.cfg.Logger.Warn("groups that nobody waits for are swept later", "err", err)
		}
		if !sleep(ctx, sweepEvery) {
			return
		}
	}
}

// sweep removes old groups. Only the descriptions go: the files that they name may be in the table.
func (m *Member) sweep(ctx context.Context) error {
	swept := 0
	for page, err := range m.cfg.Store.List(ctx, GroupsPrefix(m.cfg.Job), "") {
		if err != nil {
			return fmt.Errorf("list groups: %w", err)
		}
		for _, o := range page.Objects {
			if page.ServerTime.IsZero() || page.ServerTime.Sub(o.Modified) < groupLife {
				continue
			}
			if swept++; swept > maxSwept {
				return nil
			}
			if err := m.cfg.Store.Delete(ctx, o.Key); err != nil {
				return fmt.Errorf("delete %s: %w", o.Key, err)
			}
		}
	}
	return nil
}
