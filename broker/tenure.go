package broker

import (
	"context"
	"errors"
	"sync"
)

// A tenure is the time in which this broker serves clients: from when it knows the cluster's state, by owning journal 0, until another
// broker owns that. Without the state a broker could only say wrong things: that a topic is not there, for one. So while it
// does not know who owns journal 0, clients wait; where another broker does, they are sent away at once, and find the other one
// among their bootstrap servers; and who was connected when it went to another is sent away too.
type tenure struct {
	mu      sync.Mutex      // guards what follows
	ctx     context.Context // nil between tenures
	cancel  context.CancelFunc
	changed chan struct{} // closed at the next change; nil until somebody asks
}

// look gives the context of the tenure, nil if there is none, and what is closed when that changes.
func (t *tenure) look() (context.Context, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return t.ctx, t.changed
}

// begin begins a tenure within ctx, unless it is one already, and tells so.
func (t *tenure) begin(ctx context.Context) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx != nil {
		return false
	}
	t.ctx, t.cancel = context.WithCancel(ctx)
	t.tell()
	return true
}

// end ends a tenure, if it is one, and tells so.
func (t *tenure) end() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx == nil {
		return false
	}
	t.cancel()
	t.ctx, t.cancel = nil, nil
	t.tell()
	return true
}

func (t *tenure) tell() {
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

// follow begins and ends tenures as journal 0 comes and goes, until ctx ends. A journal 0 that nobody owns for a moment changes nothing.
func (b *Broker) follow(ctx context.Context) {
	defer b.tenure.end()
	first := true
	for {
		changed := b.cluster.Changed()
		owner, owned := b.cluster.Owner(0)
		switch {
		case owned && owner.ID == b.cfg.ID && !b.cluster.State().Cluster().ID.IsZero() && b.tenure.begin(ctx):
			b.cfg.Log.Info("broker is ready", "broker", b.cfg.ID, "listen", b.Addr(), "advertised", b.Advertised(), "cluster", b.cluster.State().Cluster().ID)
			if first {
				first = false
				close(b.ready)
			}
		case owned && owner.ID != b.cfg.ID && b.tenure.end():
			b.cfg.Log.Warn("journal 0 has gone to another broker; clients are sent away", "broker", b.cfg.ID, "owner", owner.ID)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// errElsewhere sends a client away.
var errElsewhere = errors.New("journal 0 is another broker's")

// admit waits for a tenure.
func (b *Broker) admit(ctx context.Context) (context.Context, error) {
	for {
		changed := b.cluster.Changed()
		tenure, begun := b.tenure.look()
		if tenure != nil {
			return tenure, nil
		}
		if owner, ok := b.cluster.Owner(0); ok && owner.ID != b.cfg.ID {
			return nil, errElsewhere
		}
		select {
		case <-changed:
		case <-begun:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
