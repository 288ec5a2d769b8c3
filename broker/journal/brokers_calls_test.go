package journal_test

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/api"
	"github.com/firn-io/firn/kfs"
)

// call is a request of a client, on its way to a broker, there, or on its way back. Those of one client to one broker are on one connection:
// they arrive, begin, and are answered in order.
type call struct {
	w       *world
	client  client
	process *process
	req     kmsg.Request
	then    func(kmsg.Response, error)
	sent    int       // the world's step
	by      time.Time // when the client gives up

	arrived bool
	work    *coroutine
	wait    func(func() bool)
	resp    kmsg.Response
	err     error
	done    bool        // there is an answer, or the connection is broken
	unsure  bool        // when it was answered leases could overlap
	faulty  bool        // the store did not answer one who reads for it
	topic   kfs.TopicID // that a Produce has appended to
}

// callTimeout is how long clients wait.
const callTimeout = 30 * time.Second

// client acts when it is its turn.
type client interface {
	act()
	// rest tells whether the client has done what it had begun; it begins nothing new.
	rest() bool
}

// send sends a request to a broker.
func (w *world) send(from client, to *process, req kmsg.Request, then func(kmsg.Response, error)) {
	if req.GetVersion() == 0 {
		req.SetVersion(req.MaxVersion())
	}
	c := &call{w: w, client: from, process: to, req: req, then: then, sent: w.steps, by: w.clock.Add(callTimeout)}
	broken := slices.ContainsFunc(w.calls, func(o *call) bool { return o.client == from && o.process == to && o.err == errBroken })
	if to.dead || broken { // which the client has not noticed yet
		c.disconnect()
	}
	w.calls = append(w.calls, c)
}

// carryCall has a call get on, or an answer arrive.
func (w *world) carryCall() {
	if len(w.calls) == 0 {
		return
	}
	i := w.rng.IntN(len(w.calls))
	c := w.calls[i]
	switch {
	case c.done:
		if !c.first(func(o *call) bool { return true }) {
			return // an earlier one is answered first
		}
		w.finish(c)
	case c.by.Before(w.clock): // the client closes the connection
		c.disconnectAll()
	case c.process.paused:
	case !c.arrived:
		if c.first(func(o *call) bool { return !o.arrived }) {
			c.arrive()
		}
	default:
		c.goOn()
	}
}

// first tells whether no earlier call of the connection is like that.
func (c *call) first(like func(*call) bool) bool {
	for _, o := range c.w.calls {
		if o == c {
			return true
		}
		if o.client == c.client && o.process == c.process && like(o) {
			return false
		}
	}
	return false
}

// finish gives the client the answer.
func (w *world) finish(c *call) {
	w.calls = slices.DeleteFunc(w.calls, func(o *call) bool { return o == c })
	c.abandon()
	w.running = c
	c.then(c.resp, c.err)
	w.running = nil
}

// arrive has the broker begin with it.
func (c *call) arrive() {
	w, p := c.w, c.process
	c.arrived = true
	of, ok := p.registry.Lookup(c.req.Key())
	if !ok {
		panic("no such API")
	}
	r := &api.Request{Body: c.req, ClientID: "client", Host: "host", Earlier: atOnce}
	w.running = c
	finish := of.Start(neverEnding, r)
	w.running = nil
	c.work = newCoroutine(func(wait func(func() bool)) {
		c.wait = wait
		if isGroups(c.req.Key()) { // what these wait for is inside the coordinator: they ask again and again
			wait(func() bool {
				c.resp, c.err = finish(over)
				return !errors.Is(c.err, context.Canceled)
			})
			return
		}
		c.resp, c.err = finish(neverEnding)
	})
	p.manage()
	c.goOn()
}

// isGroups tells whether an API hands its requests to a group, and waits there.
func isGroups(key int16) bool { return key == 8 || key >= 11 && key <= 14 || key == 68 }

// goOn lets the handler go on.
func (c *call) goOn() {
	c.w.running = c
	over := c.work.resume()
	c.w.running = nil
	if !c.process.dead {
		c.process.manage()
	}
	if over && !c.done {
		c.done = true
		c.unsure = c.w.clock.Before(c.w.unsure)
		if c.w.faults && c.w.once(c.w.rarely(150)) {
			c.disconnectAll()
		}
	}
}

// disconnectAll breaks the connection of all that are on it.
func (c *call) disconnectAll() {
	for _, o := range c.w.calls {
		if o.client == c.client && o.process == c.process {
			o.disconnect()
		}
	}
}

// disconnect breaks the connection: what became of the request its client does not know.
func (c *call) disconnect() {
	c.abandon()
	c.done, c.resp, c.err = true, nil, errBroken
}

func (c *call) abandon() {
	if c.work != nil {
		c.work.stop()
	}
}

// anyProcess is a broker that a client can reach, or nil.
func (w *world) anyProcess() *process {
	b := w.brokers[w.rng.IntN(len(w.brokers))]
	return b.process
}

// leader is the broker that somebody says has a journal; anybody if nobody knows.
func (w *world) leader(number func(*process) (uint32, bool)) *process {
	p := w.anyProcess()
	if p == nil || p.paused || w.once(20) {
		return p
	}
	n, ok := number(p)
	if !ok {
		return nil
	}
	of, _, ok := p.view.Owner(n, p.now())
	if !ok {
		return nil
	}
	for _, b := range w.brokers {
		if b.id == of.ID {
			return b.process
		}
	}
	return nil
}
