package health

import (
	"time"
)

// The numbers that the judgement goes by.
const (
	unavailableAfter = 5 * time.Second   // without any answer, though some were waited for
	slowAfter        = time.Second       // a request is slow, beyond what its bytes take
	slowBytes        = 4 << 20           // bytes a second that a store of usual speed moves
	leastBytes       = 1 << 20           // bytes a second that one moves that is there at all: what is on its way for that long is no silence
	window           = 30 * time.Second  // what is remembered
	slots            = 15                // parts of the window
	slotLength       = window / slots    //
	degradedShare    = 0.2               // of the requests in the window are bad
	recoveredShare   = degradedShare / 2 // and so many when it is over
	leastBad         = 3                 // fewer bad requests are no sign of anything
	maxPending       = 10_000            // requests under way that are watched; more are not noted
)

// outcome is how a request ended.
type outcome uint8

const (
	answered  outcome = iota // also with "not found" or "precondition failed"
	failed                   // an error, or no answer in time
	abandoned                // nobody waited for the answer any more: it says nothing
)

// judge is the state machine. The zero value is ready. It is not safe for concurrent use.
type judge struct {
	last     uint64
	pending  map[uint64]request // requests that are under way
	answered time.Time          // the last answer, or part of one
	failures int                // since then
	trouble  time.Time          // when the first of those was begun
	window   [slots]slot
	degraded bool
}

// request is one that is under way.
type request struct {
	begun time.Time
	bytes int64 // that it moves, as far as that is known
}

// moving is how long so many bytes take at a rate.
func moving(bytes, rate int64) time.Duration {
	return time.Duration(float64(bytes) / float64(rate) * float64(time.Second))
}

// isSlow tells whether a request that ends at now, or goes on, takes longer than a store of usual speed does.
func (r request) isSlow(now time.Time) bool {
	return now.Sub(r.begun) > slowAfter+moving(r.bytes, slowBytes)
}

// slot is a part of the window.
type slot struct {
	number     int64 // of the slot since the zero time: a slot with another one is over
	total, bad int
}

// begin notes a request that sends so many bytes, and numbers it.
func (j *judge) begin(now time.Time, bytes int64) uint64 {
	j.last++
	if len(j.pending) < maxPending {
		if j.pending == nil {
			j.pending = map[uint64]request{}
		}
		j.pending[j.last] = request{now, bytes}
	}
	return j.last
}

// progress notes that so many bytes of an answer have come.
func (j *judge) progress(now time.Time, id uint64, bytes int64) {
	r, noted := j.pending[id]
	if !noted {
		return
	}
	r.bytes += bytes
	j.pending[id] = r
	j.answered = now
}

// end notes how a request ended.
func (j *judge) end(now time.Time, id uint64, how outcome) {
	r, noted := j.pending[id]
	delete(j.pending, id)
	if !noted || how == abandoned {
		return
	}
	s := j.slot(now)
	s.total++
	if how == failed {
		s.bad++
		if j.failures++; j.failures == 1 || r.begun.Before(j.trouble) {
			j.trouble = r.begun
		}
		return
	}
	if r.isSlow(now) {
		s.bad++
	}
	j.answered, j.failures = now, 0
}

func (j *judge) slot(now time.Time) *slot {
	number := now.UnixNano() / int64(slotLength)
	s := &j.window[number%slots]
	if s.number != number {
		*s = slot{number: number}
	}
	return s
}

// state is what it comes to.
func (j *judge) state(now time.Time) State {
	if since := j.silentSince(); !since.IsZero() && now.Sub(since) >= unavailableAfter {
		j.degraded = true // what comes next is no better than that
		return Unavailable
	}
	total, bad := 0, 0
	oldest := now.UnixNano()/int64(slotLength) - slots
	for _, s := range j.window {
		if s.number > oldest {
			total, bad = total+s.total, bad+s.bad
		}
	}
	for _, r := range j.pending {
		if r.isSlow(now) {
			total, bad = total+1, bad+1
		}
	}
	share := degradedShare
	if j.degraded {
		share = recoveredShare
	}
	j.degraded = (bad >= leastBad || j.degraded && bad > 0) && float64(bad) >= share*float64(total)
	if j.degraded {
		return Degraded
	}
	return Healthy
}

// silentSince is since when requests have been sent that nobody answered, while no other was answered either; zero if all is well.
func (j *judge) silentSince() time.Time {
	var since time.Time
	if j.failures >= leastBad {
		since = j.trouble
	}
	for _, r := range j.pending {
		if sent := r.begun.Add(moving(r.bytes, leastBytes)); since.IsZero() || sent.Before(since) {
			since = sent
		}
	}
	if !since.IsZero() && since.Before(j.answered) {
		since = j.answered
	}
	return since
}
