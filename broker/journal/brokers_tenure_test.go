package journal_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/firn-io/firn/broker/cluster"
	"github.com/firn-io/firn/broker/group"
	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
)

// tenure is what cluster.Cluster does with one journal of one broker: it stands in for keep, ownOnce, run and serve there, and for what the broker runs
// beside a journal: its group coordinator, and the ending of topics that are being deleted.
type tenure struct {
	p      *process
	number uint32
	stage  stage
	s      *journal.Stepped // nil without one
	lease  held
	retry  time.Time // not to be taken before
	others time.Time // since when it is another broker's to own; zero if it is not
	by     time.Time // until when the stage may last
	gained bool      // the view has it
	reads  *follower // what is waited for before the journal is served
	wanted int

	coordinator *group.Coordinator
	ending      map[kfs.TopicID]*journal.Pending
	ended, told map[kfs.TopicID]bool
	again       time.Time // when to try to end a topic again
	seen        int       // of what the journal has written
}

type stage uint8

const (
	nothing    stage = iota
	opening          // it has the lease, and takes the journal over
	refreshing       // it learns what has become of the topics
	gained           // it serves, and the others are to be told
	serving
	leaving   // a last checkpoint is being written
	draining  // what waits is being written
	releasing // it gives the lease up
)

// handOver is the cluster's default for how long another must have been the one to own a journal.
const handOver = 3 * time.Second

// held is a lease.
type held struct {
	p       *process
	session int64
}

func (h held) Valid(now time.Time) bool {
	if h.p.w.mistake.leaseForEver {
		return true
	}
	return h.session != 0 && h.p.session == h.session && now.Before(h.p.until)
}

// manage does what has come to be due, and tells whether the stage has changed.
func (t *tenure) manage() bool {
	p, now := t.p, t.p.now()
	if t.s != nil {
		t.s.Take()
		t.observe()
	}
	switch t.stage {
	case nothing:
		if p.connected() && !p.leaving && !now.Before(t.retry) && p.view.Mine(t.number) &&
			p.w.leases.create(p.session, cluster.JournalKey(t.number), cluster.Ownership(p.id, -1)) {
			t.stage, t.lease, t.s, t.others = opening, held{p, p.session}, p.journal(t.number), time.Time{}
			t.seen = 0
			t.s.Start()
			return true
		}
	case opening:
		switch {
		case t.s.Halted, p.session != t.lease.session, p.leaving:
			t.drop()
			return true
		case t.s.Opened:
			t.opened()
			return true
		}
	case refreshing:
		if t.goes() {
			return true
		}
		if t.number == 0 || p.fresh(t) {
			p.view.Gain(cluster.Tenure{Journal: t.s.Journal, Lease: t.lease})
			t.stage, t.gained = gained, true
			return true
		}
	case gained:
		if t.goes() {
			return true
		}
		if p.connected() {
			p.w.leases.put(p.session, cluster.JournalKey(t.number), cluster.Ownership(p.id, t.s.Epoch()))
			t.stage = serving
			t.serve()
			return true
		}
	case serving:
		if t.goes() {
			return true
		}
		t.attend()
	case leaving:
		if t.s.Halted || !t.s.Writing() || !now.Before(t.by) {
			t.stage, t.by = draining, now.Add(journal.DrainTimeout)
			if !t.s.Halted {
				t.s.Close()
			}
			return true
		}
	case draining:
		if t.s.Halted || !now.Before(t.by) {
			t.drop()
			return true
		}
	case releasing:
		if p.session == t.lease.session && p.slot.cut && !p.leaving {
			return false
		}
		if p.session == t.lease.session && !p.slot.cut {
			p.w.leases.remove(p.session, cluster.JournalKey(t.number))
		}
		t.stage = nothing
		return true
	}
	return false
}

// opened: the journal was taken over.
func (t *tenure) opened() {
	t.p.w.Takeovers++
	t.p.w.say("broker %d owns journal %d with epoch %d at %d", t.p.id, t.number, t.s.Epoch(), t.s.Sequence())
	t.p.w.truth.opened(t)
	if m := t.p.w.mistake.takeover; m != nil {
		m(t.s)
	}
	t.stage, t.reads = refreshing, t.p.follower
	if t.number != 0 {
		t.wanted = t.p.refresh()
	}
	t.s.Serve()
}

// goes tells whether the journal is gone, or is to be given up.
func (t *tenure) goes() bool {
	p, now := t.p, t.p.now()
	if t.s.Halted {
		t.drop()
		return true
	}
	if p.view.Mine(t.number) {
		t.others = time.Time{}
	} else if t.others.IsZero() {
		t.others = now
	}
	handedOver := !t.others.IsZero() && now.Sub(t.others) >= handOver
	if p.session == t.lease.session && !p.leaving && !handedOver {
		return false
	}
	if handedOver {
		p.w.HandOvers++
	}
	p.w.say("broker %d leaves journal %d", p.id, t.number)
	t.stage, t.by = leaving, now.Add(journal.LeaveTimeout)
	t.stopServing()
	t.s.Leave()
	return true
}

// drop ends the tenure.
func (t *tenure) drop() {
	p := t.p
	if errors.Is(t.s.Err, journal.ErrFenced) {
		p.w.Fenced++
		t.retry = p.now().Add(time.Second)
	} else if t.s.Err != nil {
		p.w.wrong("broker %d, journal %d: it ends with %v", p.id, t.number, t.s.Err)
	}
	t.s.End()
	t.observe()
	t.stopServing()
	if t.gained {
		p.view.Lose(t.number)
	}
	p.w.say("broker %d has no journal %d any more: %v", p.id, t.number, t.s.Err)
	t.stage, t.gained, t.s, t.reads = releasing, false, nil, nil
}

// observe looks at what the journal has written.
func (t *tenure) observe() {
	for _, c := range t.s.Written[t.seen:] {
		t.p.w.note(c.Body, "%d committed %s", t.p.id, c.Key)
		t.p.w.truth.committed(t.p, c)
	}
	t.seen = len(t.s.Written)
	t.p.w.Checkpoints += t.s.Checkpoints
	t.s.Checkpoints = 0
}

// serve begins what runs beside a journal.
func (t *tenure) serve() {
	p := t.p
	t.coordinator = group.NewCoordinator(group.Config{}, offsets{t.s.Journal, p.w.mistake.offsetsOnHope}, p.view.State, p.now, func() string { return p.name() })
	p.coordinators[t.s.Journal] = t.coordinator
	t.ending, t.ended, t.told = map[kfs.TopicID]*journal.Pending{}, map[kfs.TopicID]bool{}, map[kfs.TopicID]bool{}
}

func (t *tenure) stopServing() {
	if t.coordinator == nil {
		return
	}
	t.coordinator.Stop()
	delete(t.p.coordinators, t.s.Journal)
	t.coordinator = nil
	for topic := range t.told {
		if t.p.connected() {
			t.p.w.leases.remove(t.p.session, cluster.EndedKey(topic, t.number))
		}
	}
}

// attend ends the topics that are being deleted, as the broker's deletion does, and tells of changes of the metadata.
func (t *tenure) attend() {
	p, state := t.p, t.p.view.State()
	if t.number == 0 && state != p.told && p.connected() {
		p.told = state
		p.w.leases.put(p.session, cluster.MetadataKey, fmt.Sprintf("%d.%d", t.s.Epoch(), t.s.Sequence()))
	}
	for topic := range t.ended {
		if _, ok := state.TopicByID(topic); !ok && (p.connected() || !t.told[topic]) {
			p.w.leases.remove(p.session, cluster.EndedKey(topic, t.number))
			delete(t.ended, topic)
			delete(t.told, topic)
		}
	}
	for _, topic := range state.Ending(t.number) {
		t.end(topic)
	}
}

func (t *tenure) end(topic *metadata.Topic) {
	p := t.p
	switch pending := t.ending[topic.ID]; {
	case t.ended[topic.ID]:
		if !t.told[topic.ID] && p.connected() {
			t.told[topic.ID] = p.w.leases.create(p.session, cluster.EndedKey(topic.ID, t.number), "")
		}
	case p.w.mistake.endedOnHope && pending != nil:
		t.ended[topic.ID] = true
	case pending != nil && isDone(pending):
		delete(t.ending, topic.ID)
		if results := resultsOf(pending); results[0].Err == nil {
			t.ended[topic.ID] = true
		} else {
			t.again = p.now().Add(time.Second)
		}
	case pending == nil && !p.now().Before(t.again):
		t.ending[topic.ID] = t.s.Journal.End(topic.ID)
		t.s.Take()
	}
}

// offsets are the committed offsets in a journal.
type offsets struct {
	j      *journal.Journal
	onHope bool // of a mistake
}

var _ group.Log = offsets{}

func (o offsets) Append(committed []kfs.GroupOffset) group.Append {
	a := offsetAppend{o.j.AppendEntries([]kfs.Entry{kfs.GroupOffsets{Offsets: committed}})}
	if o.onHope {
		return onHope{a}
	}
	return a
}

func (o offsets) Offsets(name string) []kfs.GroupOffset { return o.j.GroupOffsets(name) }
func (o offsets) Groups() []string                      { return o.j.Groups() }

type offsetAppend struct{ *journal.Pending }

func (a offsetAppend) Err() error { return resultsOf(a.Pending)[0].Err }

// onHope is an append that is durable before it is.
type onHope struct{ offsetAppend }

func (onHope) Done() <-chan struct{} { return atOnce }
func (onHope) Err() error            { return nil }

func isDone(p *journal.Pending) bool {
	select {
	case <-p.Done():
		return true
	default:
		return false
	}
}

// resultsOf are the results of what is done.
func resultsOf(p *journal.Pending) []journal.Result {
	results, err := p.Wait(neverEnding)
	if err != nil {
		panic(err)
	}
	return results
}
