package broker

import (
	"context"
	"errors"
)

// A broker serves clients from when it knows the cluster's state and somebody serves journal 0. Without the state it could only say wrong
// things: that a topic is not there, for one. From then on it serves, whatever becomes of the lease service: what it owns no more it does not
// answer for, and it says so.

// announce closes ready when the broker may serve.
func (b *Broker) announce(ctx context.Context) {
	for {
		changed := b.cluster.Changed()
		if id := b.cluster.State().Cluster().ID; !id.IsZero() {
			if _, _, ok := b.cluster.Owner(0); ok {
				b.cfg.Log.Info("broker is ready", "broker", b.cfg.ID, "listen", b.Addr(), "advertised", b.Advertised(), "cluster", id)
				close(b.ready)
				return
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// errElsewhere sends a client away.
var errElsewhere = errors.New("this broker does not know the state of the cluster yet, and there are others")

// admit lets a client wait until the broker is ready; where other brokers live it is sent away at once, for they may be ready.
func (b *Broker) admit(ctx context.Context) (context.Context, error) {
	for {
		changed := b.cluster.Changed()
		select {
		case <-b.ready:
			return ctx, nil
		default:
		}
		if len(b.cluster.Brokers()) > 1 {
			return nil, errElsewhere
		}
		select {
		case <-b.ready:
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
