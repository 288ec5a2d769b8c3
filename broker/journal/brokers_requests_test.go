package journal_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/api"
	"github.com/firn-io/firn/broker/group"
	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
)

var (
	neverEnding = context.Background()
	over        = ended()
	atOnce      = closed()
	errBroken   = errors.New("the connection is broken")
)

// ended is a context with which those who wait only look.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// coroutine runs something that waits now and then.
type coroutine struct {
	next  func() (func() bool, bool)
	stop  func()
	ready func() bool // what it waits for; nil before it has begun
	over  bool
}

// unwinding ends a coroutine whose waiting has no end.
type unwinding struct{}

func newCoroutine(do func(wait func(func() bool))) *coroutine {
	c := new(coroutine)
	c.next, c.stop = iter.Pull(func(yield func(func() bool) bool) {
		defer func() {
			if r := recover(); r != nil && r != (unwinding{}) {
				panic(r)
			}
		}()
		do(func(ready func() bool) {
			for !ready() {
				if !yield(ready) {
					panic(unwinding{})
				}
			}
		})
	})
	return c
}

// resume goes on, if that makes sense, and tells whether it is over.
func (c *coroutine) resume() bool {
	if c.over || c.ready != nil && !c.ready() {
		return c.over
	}
	ready, more := c.next()
	c.ready, c.over = ready, !more
	return c.over
}

// task is a change of journal 0 that a broker makes by itself.
type task struct {
	*coroutine
	done func()
}

func (p *process) runTasks() {
	for _, t := range slices.Clone(p.tasks) {
		if t.resume() {
			p.tasks = slices.DeleteFunc(p.tasks, func(o *task) bool { return o == t })
			t.done()
		}
	}
}

func (p *process) abandonTasks() {
	for _, t := range p.tasks {
		t.stop()
	}
	p.tasks = nil
	for _, t := range p.tenures {
		if t.s != nil {
			t.s.End()
		}
	}
	if p.follower != nil {
		p.follower.End()
	}
}

// free frees the names of topics that every journal has ended, as the broker's deletion does.
func (p *process) free() {
	if t := p.tenures[0]; p.freeing || t.stage != serving {
		return
	}
	told := p.view.Ended
	if p.w.mistake.freeEarly {
		told = func(kfs.TopicID, uint32) bool { return true }
	}
	ended := p.view.State().Ended(told)
	if len(ended) == 0 {
		return
	}
	id := ended[0].ID
	t := &task{done: func() { p.freeing = false }}
	p.freeing = true
	t.coroutine = newCoroutine(func(wait func(func() bool)) {
		c := controller{p, wait}
		if err := c.Change(neverEnding, func(s *metadata.State) ([]kfs.Entry, error) { return s.FreeTopic(id), nil }); err != nil {
			again := p.now().Add(time.Second)
			wait(func() bool { return !p.now().Before(again) })
		}
	})
	p.tasks = append(p.tasks, t)
}

// controller stands in for the broker's: it plans, appends, and plans again what was overtaken.
type controller struct {
	p    *process
	wait func(func() bool)
}

var _ api.Controller = controller{}

func (c controller) Change(_ context.Context, plan func(*metadata.State) ([]kfs.Entry, error)) error {
	for range 20 {
		j, err := c.p.view.Journal(0, c.p.now())
		if err != nil {
			return api.ErrNotController
		}
		entries, err := plan(j.State())
		if err != nil || len(entries) == 0 {
			return err
		}
		pending := j.AppendEntries(entries)
		c.wait(func() bool { return isDone(pending) })
		overtaken := false
		for _, r := range resultsOf(pending) {
			switch {
			case r.Err == nil:
			case errors.Is(r.Err, journal.ErrUnavailable):
				return r.Err
			case errors.Is(r.Err, journal.ErrNotOwner):
				return fmt.Errorf("%w: %v", journal.ErrUnavailable, r.Err)
			default:
				overtaken = true
			}
		}
		if !overtaken {
			return nil
		}
	}
	return metadata.ErrConflict
}

// backend is what the handlers of a process stand on. Whoever waits is the call that runs.
type backend struct{ p *process }

var (
	_ api.Cluster      = backend{}
	_ api.Journals     = backend{}
	_ api.Controller   = backend{}
	_ api.ProducerIDs  = backend{}
	_ api.Forwarder    = backend{}
	_ api.Coordinators = backend{}
)

func newRegistry(p *process) *api.Registry {
	b := backend{p}
	clock := func() int64 { return p.now().UnixMilli() }
	topics := api.Backend{
		Cluster: b, Journals: b, Controller: b, ProducerIDs: b, Forwarder: b, Clock: clock, Log: slog.New(slog.DiscardHandler),
		NewID: func() (id kfs.TopicID) { p.Read(id[:]); return id }, NewSessionID: func() int32 { return -1 },
	}
	groups := api.Groups{Cluster: b, Coordinators: b, Clock: clock, OffsetsTopic: func(context.Context) {}}
	return api.NewRegistry(append(topics.APIs(), groups.APIs()...)...)
}

func (p *process) name() string {
	var id [8]byte
	p.Read(id[:])
	return hex.EncodeToString(id[:])
}

func (b backend) State() *metadata.State { return b.p.view.State() }
func (b backend) Self() api.Broker       { return api.Broker{ID: b.p.id, Host: "host", Port: 9092} }

func (b backend) Brokers() []api.Broker {
	var all []api.Broker
	for _, of := range b.p.view.Brokers() {
		all = append(all, api.Broker(of))
	}
	return all
}

func (b backend) Owner(number uint32) (api.Owner, bool) {
	of, epoch, ok := b.p.view.Owner(number, b.p.now())
	return api.Owner{Broker: of.ID, Epoch: epoch}, ok
}

func (b backend) Journal(number uint32) (api.Journal, error) {
	j, err := b.p.view.Journal(number, b.p.now())
	if err != nil {
		return nil, err
	}
	return log{j, b.p}, nil
}

func (b backend) Change(ctx context.Context, plan func(*metadata.State) ([]kfs.Entry, error)) error {
	return controller{b.p, b.p.w.running.wait}.Change(ctx, plan)
}

func (b backend) Next(ctx context.Context) (id int64, err error) {
	err = b.Change(ctx, func(s *metadata.State) ([]kfs.Entry, error) {
		id = s.NextProducerID()
		return []kfs.Entry{s.ProducerIDs(1)}, nil
	})
	return id, err
}

// Forward sends nobody on: who does not meet the controller here looks for it.
func (b backend) Forward(context.Context, kmsg.Request) (kmsg.Response, bool, error) {
	if _, err := b.p.view.Journal(0, b.p.now()); err != nil {
		return nil, false, api.ErrNotController
	}
	return nil, true, nil
}

func (b backend) Coordinator(number uint32) (*group.Coordinator, error) {
	j, err := b.p.view.Journal(number, b.p.now())
	if err != nil {
		return nil, err
	}
	if of, ok := b.p.coordinators[j]; ok {
		return of, nil
	}
	return nil, journal.ErrNotOwner
}

// log is a journal as the handlers see it.
type log struct {
	*journal.Journal
	p *process
}

var _ api.Journal = log{}

func (l log) Append(batches []journal.Batch) api.Append {
	l.p.w.truth.appended(batches)
	return pending{l.Journal.Append(batches), l.p}
}

func (l log) Trim(trim kfs.Trim) api.Append {
	return pending{l.Journal.AppendEntries([]kfs.Entry{trim}), l.p}
}

func (l log) Serving() error {
	j, err := l.p.view.Journal(l.Number(), l.p.now())
	if err == nil && j != l.Journal {
		err = journal.ErrNotOwner
	}
	return err
}

type pending struct {
	*journal.Pending
	p *process
}

func (a pending) Wait() []journal.Result {
	a.p.w.running.wait(func() bool { return isDone(a.Pending) })
	return resultsOf(a.Pending)
}
