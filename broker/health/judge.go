package health

import (
	"time"
)

// The numbers that the judgement goes by.
const (
	unavailableAfter = 5 * time.Second   // without any answer, though some were waited for
	slowAfter        = time.Second       // a request is slow, beyond what its bytes take
	slowBytes        = 4 << 20           // bytes a second that a store of usual speed moves
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
	pending  map[uint64]time.Time // when requests that are under way were begun
	answered time.Time            // the last answer
	failures int                  // since then
	trouble  time.Time            // when the first of those was begun
	window   [slots]slot
	degraded bool
}

// slot is a part of the window.
type slot struct {
	number     int64 // of the slot since the zero time: a slot with another one is over
	total, bad int
}

// begin notes a request and numbers it.
func (j *judge) begin(now time.Time) uint64 {
	j.last++
	if len(j.pending) < maxPending {
		if j.pending == nil {
			j.pending = map[uint64]time.Time{}
		}
		j.pending[j.last] = now
	}
	return j.last
}

// end notes how a request ended that moved so many bytes.
func (j *judge) end(now time.Time, id uint64, bytes int64, how outcome) {
	begun, noted := j.pending[id]
	delete(j.pending, id)
	if !noted || how == abandoned {
		return
	}
	s := j.slot(now)
	s.total++
	if how == failed {
		s.bad++
		if j.failures++; j.failures == 1 || begun.Before(j.trouble) {
			j.trouble = begun
		}
		return
	}
	if now.Sub(begun) > slowAfter+time.Duration(bytes)*time.Second/slowBytes {
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
	for _, begun := range j.pending {
		if now.Sub(begun) > slowAfter {
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
	for _, begun := range j.pending {
		if since.IsZero() || begun.Before(since) {
			since = begun
		}
	}
	if !since.IsZero() && since.Before(j.answered) {
		since = j.answered
	}
	return since
}
