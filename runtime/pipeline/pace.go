package pipeline

import "time"

// pace decides when a table commits. It is a value without clock or timers.
//
// A record should be visible freshness after its object was sealed, so the commit begins as much earlier as commits have taken lately.
type pace struct {
	freshness time.Duration

	cost  time.Duration // smoothed time of a commit, from its beginning to its success
	swing time.Duration // smoothed distance from cost
	due   time.Time     // when the next commit begins; zero while there is nothing to commit
	old   bool          // something of what is to be committed is history
}

// add notes, at now, records of an object that was sealed at created and read at read.
func (p *pace) add(created, read, now time.Time) {
	due := now.Add(p.freshness)
	history := !created.After(read.Add(-p.freshness)) // nobody waits for it, so larger commits are better
	p.old = p.old || history
	if !history {
		margin := min(p.cost+2*p.swing, p.freshness*3/4) + p.freshness/20
		if p.cost == 0 { // none was made yet
			margin = p.freshness / 4
		}
		due = earlier(due, created.Add(p.freshness-margin))
	}
	p.by(due)
}

// by makes a commit due at that time at the latest.
func (p *pace) by(due time.Time) {
	if p.due.IsZero() || due.Before(p.due) {
		p.due = due
	}
}

// begin takes note that a commit holds all that was added.
func (p *pace) begin() { p.due, p.old = time.Time{}, false }

// took notes how long a commit took.
func (p *pace) took(d time.Duration) {
	if p.cost == 0 {
		p.cost, p.swing = d, d/4
		return
	}
	off := (d - p.cost).Abs()
	p.cost += (d - p.cost) / 8
	p.swing += (off - p.swing) / 4
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
