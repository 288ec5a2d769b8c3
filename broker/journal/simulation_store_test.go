package journal

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/firn-io/firn/kfs"
)

type simObject struct{ body []byte }

// simRequest is a request on its way to the store.
type simRequest struct {
	owner  *simOwner
	op     effect
	late   bool // its answer is lost already
	slow   bool // if it is late, or its sender is paused, it is so for long
	urgent bool // its key has been deleted: now it would do most harm
}

// simAnswer is an answer on its way back.
type simAnswer struct {
	owner *simOwner
	op    effect
	answered
}

// answer has an owner take an answer. Sometimes one who reads the end is paused on the way.
func (s *simulation) answer(a simAnswer) {
	if s.mistake.answer == nil || !s.mistake.answer(s, &a) {
		s.step(a.owner, a.answered)
	}
	if !a.owner.opened && len(s.owners) > 2 && s.rng.IntN(100) == 0 {
		a.owner.paused = true
		s.say("owner %d paused while it reads the end", a.owner.n)
	}
}

// slowness is how seldom a request that is late, or whose sender is paused, gets on.
func (q *simRequest) slowness() int {
	switch {
	case q.urgent:
		return 4
	case q.slow:
		return 5000
	}
	return 200
}

// ask has an owner's request set out. Sometimes the owner is paused just then, in the middle of a PUT.
func (s *simulation) ask(o *simOwner, op effect) {
	s.network = append(s.network, simRequest{owner: o, op: op, slow: s.rng.IntN(2) == 0})
	if e, ok := op.(putOp); ok {
		s.note(o, op, e.key, e.body)
		if _, _, ok := kfs.ParseObjectKey(e.key); ok && o.opened && s.rng.IntN(100) == 0 {
			o.paused = true
			s.say("owner %d paused in the middle of %s", o.n, e.key)
			s.succeed = s.rng.IntN(2) == 0
		}
	}
}

// carry has a request reach the store, or not, and its answer on its way, or not.
func (s *simulation) carry(i int) {
	q := s.network[i]
	s.network = slices.Delete(s.network, i, i+1)
	fate := s.rng.IntN(20)
	if s.calm {
		fate = s.rng.IntN(400)
	}
	if q.late {
		s.apply(q.op)
		return
	}
	if q.urgent && q.owner.paused {
		q.owner.paused = false
		s.say("owner %d goes on", q.owner.n)
	}
	number := opNumber(q.op)
	switch fate {
	case 0: // it never arrives
		s.answers = append(s.answers, simAnswer{q.owner, q.op, answered{number, result{err: errors.New("lost")}}})
	case 1: // it arrives later, when its sender has given it up
		s.answers = append(s.answers, simAnswer{q.owner, q.op, answered{number, result{err: errors.New("timed out")}}})
		q.late = true
		s.network = append(s.network, q)
	case 2: // it arrives, and the answer is lost
		s.apply(q.op)
		s.answers = append(s.answers, simAnswer{q.owner, q.op, answered{number, result{err: errors.New("no answer")}}})
	default:
		s.answers = append(s.answers, simAnswer{q.owner, q.op, answered{number, s.apply(q.op)}})
	}
}

func opNumber(e effect) uint64 {
	switch e := e.(type) {
	case putOp:
		return e.op
	case getOp:
		return e.op
	case listOp:
		return e.op
	case deleteOp:
		return e.op
	case buildOp:
		return e.op
	}
	return 0
}

// apply does an operation on the store.
func (s *simulation) apply(op effect) result {
	r := result{outcome: done, time: s.clock.UnixMilli()}
	switch e := op.(type) {
	case putOp:
		if _, ok := s.objects[e.key]; ok && !s.mistake.overwrites(e.key) {
			r.outcome = exists
			break
		}
		s.objects[e.key] = simObject{e.body}
		if first, ok := s.first[e.key]; !ok {
			s.first[e.key] = e.body
		} else {
			s.strays++
			s.say("%s is a stray (the same bytes: %v)", e.key, bytes.Equal(first, e.body))
		}
	case getOp:
		o, ok := s.objects[e.key]
		if !ok {
			r.outcome = absent
			break
		}
		off, n, err := e.rng.Resolve(int64(len(o.body)))
		if err != nil {
			s.wrong("range of %s: %v", e.key, err)
			break
		}
		r.body, r.size = o.body[off:off+n], int64(len(o.body))
	case listOp:
		for key := range s.objects {
			if strings.HasPrefix(key, e.prefix) && key > e.after {
				r.keys = append(r.keys, key)
			}
		}
		slices.Sort(r.keys)
	case deleteOp:
		delete(s.objects, e.key)
		for i := range s.network {
			q := &s.network[i]
			switch op := q.op.(type) {
			case putOp:
				q.urgent = q.urgent || op.key == e.key
			case getOp:
				q.urgent = q.urgent || op.key == e.key
			}
		}
	case buildOp:
		if e.parts[0].exact {
			s.adopted++
		}
		var failed error
		err := build(e.parts, func(sequence uint64, off, n int64) ([]byte, error) {
			o, ok := s.objects[kfs.ObjectKey(0, sequence)]
			if !ok {
				return nil, errors.New("gone")
			}
			return o.body[off : off+n], nil
		}, func(f func() error) { failed = cmp.Or(failed, f()) }, func() error { return failed })
		if err != nil {
			return result{err: err}
		}
	}
	return r
}
