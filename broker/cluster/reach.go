package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/firn-io/firn/kfs/lease"
)

// A broker whose own way to the object store is broken must not keep journals that others could serve. But where the store answers nobody it
// helps nobody to move them, and they would be pushed around when it is back. So a broker that has lost the store says so at once; all others
// then ask the store until they know whether they have lost it too; and only when it has been lost for a while, and another broker has not,
// does the broker step out: its journals are the others' to own. It comes back when the store has answered it for a while.

const (
	// stepOutAfter is how long a broker has lost the store before it steps out: longer than the others take to find that they have lost it too.
	stepOutAfter = 15 * time.Second
	// comeBackAfter is how long the store must have answered a broker that had lost it: longer than brokers differ in finding that it is back.
	comeBackAfter = 30 * time.Second
)

// reach is whether a broker reaches the object store, as it tells the others.
type reach string

const (
	reaching reach = ""
	lost     reach = "lost" // nothing has come of it yet
	out      reach = "out"  // it owns no journals
)

// reacher decides what a broker says of itself. The zero value reaches the store.
type reacher struct {
	says  reach
	since time.Time // when it last began to be reached, or not to be
	ok    bool
}

// step takes what the broker finds now. othersReach tells that another live broker has not lost the store.
func (r *reacher) step(now time.Time, ok, othersReach bool) {
	if ok != r.ok || r.since.IsZero() {
		r.ok, r.since = ok, now
	}
	switch {
	case r.says == reaching && !ok:
		r.says = lost
	case r.says == lost && !ok && othersReach && now.Sub(r.since) >= stepOutAfter:
		r.says = out
	case r.says != reaching && ok && now.Sub(r.since) >= comeBackAfter:
		r.says = reaching
	}
}

// eligible are the brokers that journals are spread over: those that have not stepped out, or all if all have.
func (v *View) eligible() []int32 {
	var all, in []int32
	for _, b := range v.brokers {
		all = append(all, b.ID)
		if v.reaches[b.ID] != out {
			in = append(in, b.ID)
		}
	}
	if len(in) == 0 {
		return all
	}
	return in
}

// othersReach tells that another live broker has not lost the store.
func (v *View) othersReach() bool {
	return slices.ContainsFunc(v.brokers, func(b Broker) bool { return b.ID != v.self.ID && v.reaches[b.ID] == reaching })
}

// doubted tells that some live broker has lost the store.
func (v *View) doubted() bool {
	return slices.ContainsFunc(v.brokers, func(b Broker) bool { return v.reaches[b.ID] != reaching })
}

// SetReachable says whether the object store answers this broker; it is called about once a second. ask tells that some broker has lost the
// store, so that everyone is to make sure of it.
func (c *Cluster) SetReachable(ok bool) (ask bool) {
	if c.cfg.Alone {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	before, self := c.reacher.says, c.cfg.Self.ID
	c.reacher.step(c.cfg.Now(), ok, c.view.othersReach())
	if says := c.reacher.says; says != before {
		c.view.reaches[self] = says
		c.tell()
		switch says {
		case lost:
			c.cfg.Log.Warn("this broker does not reach the object store; if others do, it will give its journals up", "after", stepOutAfter)
		case out:
			c.cfg.Log.Error("this broker does not reach the object store, and others do: it gives its journals up")
		case reaching:
			c.cfg.Log.Info("this broker reaches the object store again, and takes part")
		}
	}
	return c.view.doubted()
}

// registration is what a broker tells the others of itself.
type registration struct {
	Broker
	Store reach `json:"store,omitempty"`
}

// registered is this broker's registration now.
func (c *Cluster) registered() (string, error) {
	c.mu.Lock()
	r := registration{c.cfg.Self, c.reacher.says}
	c.mu.Unlock()
	value, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("cluster: %w", err)
	}
	return string(value), nil
}

// keepRegistered tells the others what has changed of this broker since told.
func (c *Cluster) keepRegistered(ctx context.Context, s *lease.Session, told string) error {
	for {
		changed := c.Changed()
		value, err := c.registered()
		if err != nil {
			return err
		}
		if value != told {
			if err := s.Put(ctx, c.registrationKey(), value); err != nil {
				return err
			}
			told = value
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
