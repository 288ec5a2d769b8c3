package journal_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

// store is the object store and the network before it, which delays, loses, repeats late and reorders.
type store struct {
	w       *world
	objects map[string][]byte
	first   map[string][]byte // the first object that a key ever had: the truth
	strays  map[string]bool   // keys that were written again after they had been deleted
	network []transfer
	answers []transfer
}

// transfer is an operation on its way to the store, or an answer on its way back.
type transfer struct {
	process *process
	op      *journal.Operation
	answer  journal.Answer
	late    bool // its answer is lost already
	slow    bool // if it is late, or its sender is paused, it is so for long
	urgent  bool // its key has been deleted: now it would do most harm
}

func newStore(w *world) *store {
	return &store{w: w, objects: map[string][]byte{}, first: map[string][]byte{}, strays: map[string]bool{}}
}

// ask has an operation set out. Sometimes the broker is paused just then, in the middle of a PUT.
func (s *store) ask(p *process, op *journal.Operation) {
	w := s.w
	s.network = append(s.network, transfer{process: p, op: op, slow: w.once(2)})
	if op.Put {
		w.note(op.Body, "%d puts %s", p.id, op.Key)
		if op.JournalObject && !op.Takeover && w.faults && w.once(w.rarely(200)) {
			p.pause(w.once(4))
			p.long = w.brisk && w.once(2)
		}
	}
}

// rarely is n, or more where faults are seldom.
func (w *world) rarely(n int) int {
	if w.calm {
		return 4 * n
	}
	return n
}

// slowness is how seldom a transfer that is late, or whose sender is paused, gets on.
func (q *transfer) slowness() int {
	switch {
	case q.urgent:
		return 4
	case q.slow:
		return 3000
	}
	return 100
}

// carry has an operation reach the store, or not, and its answer on its way, or not.
func (s *store) carry() {
	if len(s.network) == 0 {
		return
	}
	for range 4 { // who is slow does not hold the others up
		i := s.w.rng.IntN(len(s.network))
		if q := &s.network[i]; !q.late && !q.process.paused || s.w.once(q.slowness()) {
			s.carryOne(i)
			return
		}
	}
}

func (s *store) carryOne(i int) {
	w, q := s.w, s.network[i]
	s.network = slices.Delete(s.network, i, i+1)
	if q.late || q.process.dead {
		if q.late || w.once(2) { // what a dead broker sent may arrive, or not
			s.apply(q.op)
		}
		return
	}
	if q.urgent && q.process.paused {
		q.process.resume()
	}
	fate := 3
	if w.faults {
		fate = w.rng.IntN(w.rarely(60))
	}
	switch fate {
	case 0: // it never arrives
		q.answer = journal.Answer{Err: errors.New("lost")}
	case 1: // it arrives later, when its sender has given it up
		late := q
		late.late = true
		s.network = append(s.network, late)
		q.answer = journal.Answer{Err: errors.New("timed out")}
	case 2: // it arrives, and the answer is lost
		s.apply(q.op)
		q.answer = journal.Answer{Err: errors.New("no answer")}
	default:
		q.answer = s.apply(q.op)
	}
	s.answers = append(s.answers, q)
}

// deliver has a broker take an answer.
func (s *store) deliver() {
	if len(s.answers) == 0 {
		return
	}
	i := s.w.rng.IntN(len(s.answers))
	a := s.answers[i]
	if a.process.paused && !a.process.dead {
		return
	}
	s.answers = slices.Delete(s.answers, i, i+1)
	if a.process.dead {
		return
	}
	if m := s.w.mistake.answer; m != nil && m(s.w, &a) {
		return
	}
	a.op.Owner.Answer(a.op, a.answer)
	a.process.manage()
	if a.op.Get && s.w.faults && !a.op.Owner.Opened && s.w.once(s.w.rarely(400)) { // while it reads the end
		a.process.pause(false)
	}
}

// apply does an operation.
func (s *store) apply(op *journal.Operation) journal.Answer {
	w := s.w
	a := journal.Answer{Time: w.clock.UnixMilli()}
	switch {
	case op.Put:
		if _, ok := s.objects[op.Key]; ok && !w.mistake.overwrites(op.Key) {
			a.Exists = true
			break
		}
		s.objects[op.Key] = op.Body
		if first, ok := s.first[op.Key]; !ok {
			s.first[op.Key] = op.Body
			if isSegment(op.Key) {
				w.Settled++
			}
		} else {
			w.Strays++
			s.strays[op.Key] = true
			w.say("%s is a stray (the same bytes: %v)", op.Key, bytes.Equal(first, op.Body))
		}
	case op.Get:
		body, ok := s.objects[op.Key]
		if !ok {
			a.Absent = true
			break
		}
		off, n, err := op.Range.Resolve(int64(len(body)))
		if err != nil {
			w.wrong("range of %s: %v", op.Key, err)
			break
		}
		a.Body, a.Size = body[off:off+n], int64(len(body))
	case op.List:
		a.Keys = s.list(op.Prefix, op.After)
	case op.Delete:
		s.remove(op.Key)
	case op.Build:
		if err := op.Make(func(key string) ([]byte, bool) { b, ok := s.objects[key]; return b, ok }); err != nil {
			a.Err = err
		}
	}
	return a
}

func (s *store) list(prefix, after string) []string {
	var keys []string
	for key := range s.objects {
		if strings.HasPrefix(key, prefix) && key > after {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// remove deletes an object, and makes those hurry whom that may harm.
func (s *store) remove(key string) {
	if _, ok := s.objects[key]; ok {
		s.w.Swept++
		s.w.say("%s is deleted", key)
	}
	delete(s.objects, key)
	for i := range s.network {
		if q := &s.network[i]; q.op.Key == key && (q.op.Put || q.op.Get) {
			q.urgent = true
		}
	}
}

// isObject tells whether a key is that of a journal object.
func isObject(key string) bool {
	_, _, ok := kfs.ParseObjectKey(key)
	return ok
}

func isSegment(key string) bool { return strings.HasPrefix(key, kfs.SegmentsPrefix) }

// reading is the store as readers of records see it, who read at once or not at all.
type reading struct{ s *store }

var _ blob.Store = reading{}

var errReading = errors.New("the store does not answer")

func (r reading) Get(_ context.Context, key string, rng blob.Range) (io.ReadCloser, blob.Info, error) {
	w := r.s.w
	info := blob.Info{Key: key, ServerTime: w.clock}
	if w.faults && w.once(w.rarely(50)) {
		if w.running != nil {
			w.running.faulty = true
		}
		return nil, info, errReading
	}
	body, ok := r.s.objects[key]
	if !ok {
		return nil, info, blob.ErrNotFound
	}
	off, n, err := rng.Resolve(int64(len(body)))
	if err != nil {
		return nil, info, err
	}
	info.Size = int64(len(body))
	return io.NopCloser(bytes.NewReader(body[off : off+n])), info, nil
}

func (r reading) Put(context.Context, string, []byte, bool) (blob.Info, error) {
	panic("readers do not write")
}

func (r reading) Delete(context.Context, string) error { panic("readers do not delete") }

func (r reading) List(context.Context, string, string) iter.Seq2[blob.Page, error] {
	panic("readers of records do not list")
}
