package journal

import (
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
)

// request is one call of Append or AppendEntries.
type request struct {
	batches []gatheredBatch
	entries []kfs.Entry
	bytes   int64
	pending *Pending
	then    func([]Result) // in place of pending: of the core's own requests
	force   bool           // an object is written although the request needs none

	arrived  time.Time // when the core took it
	results  []Result  // as sealed
	answered bool
}

// gatheredBatch is a Batch with the headers of its record batches.
type gatheredBatch struct {
	Batch
	headers []record.Header
	err     error // it is no record batch
}

func (b *gatheredBatch) id() kfs.PartitionID {
	return kfs.PartitionID{Topic: b.Topic, Partition: b.Partition}
}

// producerKey names a producer in a partition.
type producerKey struct {
	partition kfs.PartitionID
	producer  int64
}

// expectation is where a producer that is not known has to begin, because an earlier batch of it was turned away: without it, the
// batches that followed the lost one would be taken for a beginning.
type expectation struct {
	epoch    int16
	sequence int32
}

// maxExpected bounds the expectations; they are dropped together beyond it.
const maxExpected = 10_000

// take gathers requests.
func (c *core) take(now time.Time, requests []*request) {
	for _, r := range requests {
		r.arrived = now
		if c.phase == stopped || c.closing {
			c.answer(r, r.all(ErrNotOwner))
			continue
		}
		if c.unreachable {
			c.expect(r)
			c.answer(r, r.all(ErrUnavailable))
			continue
		}
		c.gathered = append(c.gathered, r)
		c.gatheredBytes += r.bytes
	}
}

// reach notes whether the store answers. While it does not, whoever waits or comes is told so at once, and may come again. The flight stays on its way,
// for its key is open; who comes again with a batch of it is judged when that is decided.
func (c *core) reach(ok bool) {
	c.unreachable = !ok
	if ok {
		return
	}
	if c.flight != nil {
		c.failAll(c.flight.requests, ErrUnavailable)
	}
	for _, r := range c.gathered {
		c.expect(r)
	}
	c.failAll(c.gathered, ErrUnavailable)
	c.gathered, c.gatheredBytes = nil, 0
}

// flushDue is when what is gathered is to be written.
func (c *core) flushDue() (time.Time, bool) {
	if c.flight != nil || c.end != nil || len(c.gathered) == 0 {
		return time.Time{}, false
	}
	first := c.gathered[0].arrived
	if c.closing || c.gatheredBytes >= c.objectBytes {
		return first, true
	}
	due := first.Add(c.gather)
	if next := c.lastFlush.Add(c.flushInterval); next.After(due) {
		due = next
	}
	return due, true
}

// tryFlush writes what is gathered when its time has come. An owner who has long known nothing of the end reads it first.
func (c *core) tryFlush(now time.Time) {
	for c.phase == owning {
		due, ok := c.flushDue()
		if !ok || due.After(now) {
			return
		}
		if now.Sub(c.knownAt) > renewAfter {
			c.renew(now)
			return
		}
		c.flush(now)
	}
}

// deadline is when the first waiter has waited long enough.
func (c *core) deadline() (at time.Time, ok bool) {
	if c.flight != nil {
		for _, r := range c.flight.requests {
			if !r.answered {
				return r.arrived.Add(c.appendTimeout), true
			}
		}
	}
	if len(c.gathered) > 0 {
		return c.gathered[0].arrived.Add(c.appendTimeout), true
	}
	return at, false
}

// expire fails those who have waited long enough, and with them whatever else of their producers is gathered: a batch must not be
// written when the one before it was turned away. The flight itself stays on its way, for its key is open.
func (c *core) expire(now time.Time) {
	if at, ok := c.deadline(); !ok || at.After(now) {
		return
	}
	late := func(r *request) bool { return !r.answered && !r.arrived.Add(c.appendTimeout).After(now) }
	lost := map[producerKey]bool{}
	if c.flight != nil {
		for _, r := range c.flight.requests {
			if late(r) {
				r.producers(lost)
				c.answer(r, r.all(ErrUnavailable))
			}
		}
	}
	kept := c.gathered[:0]
	for _, r := range c.gathered {
		if late(r) || r.hasAny(lost) {
			r.producers(lost)
			c.expect(r)
			c.gatheredBytes -= r.bytes
			c.answer(r, r.all(ErrUnavailable))
			continue
		}
		kept = append(kept, r)
	}
	clear(c.gathered[len(kept):])
	c.gathered = kept
}

// expect notes where the producers of a request that is turned away have to go on.
func (c *core) expect(r *request) {
	for i := range r.batches {
		b := &r.batches[i]
		for j := range b.headers {
			h := &b.headers[j]
			key := producerKey{b.id(), h.ProducerID}
			if !h.HasProducer() {
				continue
			}
			if have, ok := c.expected[key]; ok && have.epoch >= h.ProducerEpoch {
				continue
			}
			if len(c.expected) >= maxExpected {
				clear(c.expected)
			}
			c.expected[key] = expectation{h.ProducerEpoch, h.BaseSequence}
		}
	}
}

// forgetExpected drops expectations that a committed segment has met.
func (c *core) forgetExpected(s *kfs.Segment) {
	for i := range s.Producers {
		delete(c.expected, producerKey{s.ID(), s.Producers[i].ProducerID})
	}
}

// answer answers a request.
func (c *core) answer(r *request, results []Result) {
	r.answered = true
	if r.then != nil {
		r.then(results)
		return
	}
	c.emit(reply{r, results})
}

func (c *core) failAll(requests []*request, err error) {
	for _, r := range requests {
		if !r.answered {
			c.answer(r, r.all(err))
		}
	}
}

// withLogStart is a request's results with the log starts of this moment.
func (c *core) withLogStart(r *request) []Result {
	for i := range r.batches {
		if p, ok := c.index.partitions[r.batches[i].id()]; ok {
			r.results[i].LogStart = p.start
		}
	}
	return r.results
}

// all is the same error for every part of a request.
func (r *request) all(err error) []Result {
	results := make([]Result, len(r.batches)+len(r.entries))
	for i := range results {
		results[i] = failed(err)
	}
	return results
}

// producers adds the request's producers to set.
func (r *request) producers(set map[producerKey]bool) {
	for i := range r.batches {
		for j := range r.batches[i].headers {
			if h := &r.batches[i].headers[j]; h.HasProducer() {
				set[producerKey{r.batches[i].id(), h.ProducerID}] = true
			}
		}
	}
}

// hasAny reports whether the request has a batch of one of the producers.
func (r *request) hasAny(set map[producerKey]bool) bool {
	if len(set) == 0 {
		return false
	}
	for i := range r.batches {
		for j := range r.batches[i].headers {
			if set[producerKey{r.batches[i].id(), r.batches[i].headers[j].ProducerID}] {
				return true
			}
		}
	}
	return false
}
