package journal

import (
	"errors"
	"fmt"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
)

// simClient is a client that has one request under way at a time, and repeats it, there or elsewhere, until it knows what became of it.
type simClient interface {
	// next gives the client's next request, to be sent to an owner, and what takes its answer.
	next(s *simulation, o *simOwner) (*request, func([]Result))
	state() *simWaiting
}

// simWaiting is what a client waits for.
type simWaiting struct {
	request *request // nil: for nothing
	at      *simOwner
}

func (w *simWaiting) state() *simWaiting { return w }

// simTruth is what clients were told of a partition.
type simTruth struct {
	acked          map[int64]string // by offset
	trimmed, asked int64            // log starts
}

// send has a client send to some owner that it believes in, if it is not waiting; now and then although it is.
func (s *simulation) send(c simClient) {
	w := c.state()
	if w.request != nil && !w.at.dead && s.rng.IntN(50) > 0 {
		return
	}
	var open []*simOwner
	for _, o := range s.owners {
		if o.serves() {
			open = append(open, o)
		}
	}
	if len(open) == 0 {
		return
	}
	o := open[s.rng.IntN(len(open))]
	r, then := c.next(s, o)
	w.request, w.at = r, o
	o.waits[r] = func(results []Result) {
		if w.request != r {
			return // the client has gone elsewhere
		}
		w.request = nil
		then(results)
	}
	s.step(o, arrived{[]*request{r}})
}

// simProducer is an idempotent producer of one partition.
type simProducer struct {
	simWaiting
	producer  int64
	partition int32
	sequence  int32
	last      int64 // the offset of the batch before; -1 if there is none
}

// next sends the next batch, or once more the one before.
func (c *simProducer) next(s *simulation, o *simOwner) (*request, func([]Result)) {
	sequence := c.sequence
	if c.last >= 0 && s.rng.IntN(10) == 0 {
		sequence--
	}
	value := fmt.Sprintf("%d #%d", c.producer, sequence)
	b := batch(s.t, 1, "events", c.partition, &record.Producer{ID: c.producer, Sequence: sequence}, 0, value)
	h, err := record.ParseHeader(b.Records)
	if err != nil {
		s.t.Fatal(err)
	}
	return &request{batches: []gatheredBatch{{Batch: b, headers: []record.Header{h}}}, bytes: int64(len(b.Records))}, func(results []Result) {
		r, truth := results[0], &s.truth[c.partition]
		s.say("owner %d answers %q: %d %v", o.n, value, r.Base, r.Err)
		switch {
		case r.Err == nil && sequence < c.sequence:
			s.again++
			if r.Base != c.last {
				s.wrong("owner %d: %q, sent again, is at %d, but was acknowledged at %d", o.n, value, r.Base, c.last)
			}
		case r.Err == nil:
			s.acks++
			if v, twice := truth.acked[r.Base]; twice {
				s.wrong("offset %d of partition %d is %q and %q", r.Base, c.partition, v, value)
			}
			truth.acked[r.Base] = value
			c.last = r.Base
			c.sequence++
		case errors.Is(r.Err, ErrNotOwner), errors.Is(r.Err, ErrUnavailable):
		case errors.Is(r.Err, ErrOutOfOrderSequence) && o.stale(s):
		default:
			s.wrong("owner %d: %q: %v", o.n, value, r.Err)
		}
	}
}

// stale tells whether somebody else has taken over since.
func (o *simOwner) stale(s *simulation) bool {
	_, ok := s.first[kfs.ObjectKey(0, o.core.state.next())]
	return ok
}

// simGroup commits offsets of a group: 1, 2, 3, …
type simGroup struct {
	simWaiting
	committed int64 // known to be
	asked     int64
}

const simGroupName = "readers"

func (c *simGroup) next(s *simulation, o *simOwner) (*request, func([]Result)) {
	at := c.committed + 1
	c.asked = max(c.asked, at)
	offsets := kfs.GroupOffsets{Offsets: []kfs.GroupOffset{{Group: simGroupName, Topic: "events", Offset: at, LeaderEpoch: -1}}}
	return &request{entries: []kfs.Entry{offsets}, bytes: 1}, func(results []Result) {
		s.say("owner %d answers commit %d: %v", o.n, at, results[0].Err)
		if err := results[0].Err; err == nil {
			s.commits++
			c.committed = at
		} else if !errors.Is(err, ErrNotOwner) && !errors.Is(err, ErrUnavailable) {
			s.wrong("owner %d: commit %d: %v", o.n, at, err)
		}
	}
}

// trim has an owner trim a partition, so that objects are released.
func (s *simulation) trim(o *simOwner) {
	if !o.serves() {
		return
	}
	id := id(1, int32(s.rng.IntN(simPartitions)))
	p, ok := o.core.index.partitions[id]
	if !ok {
		return
	}
	truth, at := &s.truth[id.Partition], p.start+s.rng.Int64N(p.next-p.start+1)
	truth.asked = max(truth.asked, at)
	r := &request{entries: []kfs.Entry{kfs.Trim{Topic: id.Topic, Partition: id.Partition, LogStart: at}}, bytes: 1}
	o.waits[r] = func(results []Result) {
		s.say("owner %d answers trim of %d to %d: %v", o.n, id.Partition, at, results[0].Err)
		if results[0].Err == nil {
			s.trims++
			truth.trimmed = max(truth.trimmed, at)
		}
	}
	s.step(o, arrived{[]*request{r}})
}
