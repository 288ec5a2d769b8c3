package catalog

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/firn-io/firn/kfs"
)

// attempt is one group on its way into a table: the commit protocol without I/O, clock or randomness. Every step takes what happened
// and gives the one thing to do next.
//
//	load ──▶ not ours to take, or a person must decide ──▶ moved, restage, halt
//	  ▲ │
//	  │ └──▶ the job has no receipt here ──▶ send the start receipt ──┐
//	  │ └──▶ positions fit ──▶ send the group ──▶ the reply is good ──┼──▶ done
//	  │                                              any error       │
//	  └──────────────────────────────────────────────────────────────┘
//
// After an error of any kind the table decides: our commit id is in the ancestry (it landed), or the head is not the pinned snapshot
// any more (it never will), or neither (send the very same request again: of requests with one pin at most one lands).
type attempt struct {
	job      string
	config   string // of the job; empty is not compared
	commit   string
	lineage  string
	ranges   map[string]Advance
	beside   func(map[string]int64) error // Group.Beside
	letters  map[string]Mark              // Group.Letters
	known    map[string]int64             // positions that were seen before
	uuid     string                       // the table's uuid that was seen before, or empty
	replay   bool                         // on_rollback: replay
	rewrite  bool                         // replace files and leave the position alone
	lost     bool                         // the records of the ranges are gone
	repair   map[string][]kfs.Span        // add rows of these offsets and leave the position alone; nil if that is not what is asked
	maxSends int                          // of one request
	maxLoads int                          // in all

	inFlight Kind  // the kind of the request whose outcome is not known, or empty
	pin      int64 // the head that it pins
	sequence int64 // the table's last sequence number when it was made
	sends    int
	loads    int
	waits    int
	view     *view
	pos      position
	last     error // the newest error, to tell when giving up
}

// event is what happened. Exactly one field is set, or none for the beginning and the end of a wait.
type event struct {
	loaded  *view            // the table was loaded
	highs   map[string]int64 // the greatest offsets in the table's files were read
	replied bool             // the catalog accepted the request
	failed  error            // the last effect ended with an error
	unsent  error            // the request could not be built: it was not sent
	void    bool             // there is nothing to send
	refused error            // there never will be
}

// effect is what to do next.
type effect struct {
	do   verb
	kind Kind     // send: what
	pin  int64    // send: on which head; 0 for none
	base position // send: the position that the request advances
	try  int      // wait: how often there was a wait before
	err  error    // stop: why; nil is success
}

type verb string

const (
	doLoad   verb = "load"
	doHighs  verb = "read highs"
	doSend   verb = "send"
	doResend verb = "send again"
	doWait   verb = "wait"
	doStop   verb = "stop"
)

// step advances the protocol.
func (a *attempt) step(ev event) effect {
	switch {
	case ev.loaded != nil:
		a.view = ev.loaded
		return a.look()
	case ev.highs != nil:
		if err := a.pos.prove(ev.highs); err != nil {
			return a.stop(err)
		}
		return a.admit()
	case ev.replied:
		return a.replied()
	case ev.void, ev.refused != nil:
		a.inFlight = ""
		return a.stop(ev.refused)
	case ev.unsent != nil:
		a.last, a.inFlight = ev.unsent, ""
		return a.wait()
	case ev.failed != nil:
		a.last = ev.failed
		return a.wait()
	}
	return a.load()
}

// load asks for the table, unless that was done too often.
func (a *attempt) load() effect {
	if a.loads >= a.maxLoads {
		return a.giveUp()
	}
	a.loads++
	return effect{do: doLoad}
}

// wait backs off before the table is loaded again.
func (a *attempt) wait() effect {
	a.waits++
	return effect{do: doWait, try: a.waits - 1}
}

// look decides what became of a request in flight, then what to do with the group.
func (a *attempt) look() effect {
	if a.uuid != "" && a.uuid != a.view.table && a.view.rebuilt != nil {
		return a.stop(&HaltError{
			Reason: fmt.Sprintf("the table was made anew by a rebuild and is table %s now", a.view.table),
			Decide: "give the job the job file of the rebuild",
		})
	}
	if a.uuid != "" && a.uuid != a.view.table {
		return a.stop(&HaltError{
			Reason: fmt.Sprintf("the table is %s, the job has known it as %s: it was dropped and created again", a.view.table, a.uuid),
			Decide: "bring the old table back; or, to fill this one anew, " + forget(a.job),
		})
	}
	if a.inFlight != "" {
		switch {
		case a.view.landed(a.id(a.inFlight)):
			if a.inFlight != KindStart {
				return a.stop(nil)
			}
		case a.view.head == a.pin && a.view.sequence == a.sequence:
			if a.sends >= a.maxSends {
				return a.giveUp()
			}
			a.sends++
			return effect{do: doResend, kind: a.inFlight, pin: a.pin}
		}
		// It landed, or its pin is gone and it never will; or another branch of the table has got a snapshot since, with the sequence number that the
		// request has for its own. Then it is made anew, under the same pin, so that one of the two lands at most.
		a.inFlight = ""
	}
	pos, err := a.view.position(a.job)
	if err != nil {
		return a.stop(err)
	}
	a.pos, a.pos.since = pos, a.view.since()
	if err := cmp.Or(a.foreign(), a.apart(), a.replaced()); err != nil {
		return a.stop(err)
	}
	if len(pos.unproven) > 0 {
		return effect{do: doHighs}
	}
	return a.admit()
}

// foreign halts where the table belongs to another source or another job.
func (a *attempt) foreign() error {
	if a.lineage != "" && a.pos.lineage != "" && a.lineage != a.pos.lineage {
		return &HaltError{
			Reason: fmt.Sprintf("the table was filled from lineage %s, the source now is lineage %s: the source was restored or replaced", a.pos.lineage, a.lineage),
			Decide: "offsets of the two may mean different records: choose another table; or drop this one, " + forget(a.job) + " to fill it anew",
		}
	}
	for _, stream := range streams(a.ranges) {
		if other, ok := a.view.foreign[stream]; ok {
			return &HaltError{
				Reason: fmt.Sprintf("job %s has filled this table from %s already", other, stream),
				Decide: "every record would be in the table twice: choose another table, or continue under that job's name",
			}
		}
	}
	return nil
}

// apart halts where a job and its backfills, which share streams, would account for an offset twice.
func (a *attempt) apart() error {
	for _, other := range slices.Sorted(maps.Keys(a.view.family)) {
		for _, source := range slices.Sorted(maps.Keys(a.ranges)) {
			theirs, ok := a.view.family[other][source]
			if span := (kfs.Span{Base: theirs.First, Next: theirs.Next}); ok && span.Overlaps(a.ranges[source].Span) {
				return &HaltError{
					Reason: fmt.Sprintf("source %s: job %s has accounted for %s of it in this table, and job %s brings %s", source, other, span, a.job, a.ranges[source].Span),
					Decide: fmt.Sprintf("records would be in the table twice: leave those offsets to %s; or, if its rows are gone, remove the table property %s%s", other, progressPrefix, other),
				}
			}
		}
	}
	return nil
}

// replaced halts a job that knows nothing of a rebuild: it would go on with rows as they were before.
func (a *attempt) replaced() error {
	if by := a.view.sealed; by != "" {
		return &HaltError{
			Reason: "the table is being replaced by " + by + ", which was made anew of the log",
			Decide: "finish that with firn rebuild, then start the job with the job file of the rebuild; or give it up with firn rebuild --abandon",
		}
	}
	r := a.view.rebuilt
	if r == nil || a.config == "" || a.config == r.Config {
		return nil
	}
	_, last := a.view.newest(a.job, func(r *Receipt) bool { return len(r.Ranges) > 0 })
	if last == nil || last.Commit != r.Commit {
		return nil // the job has gone on under the configuration of the rebuild, and may change it as ever
	}
	return &HaltError{
		Reason: fmt.Sprintf("the table was rebuilt with another job file, of configuration %s; this one's is %s", r.Config, a.config),
		Decide: fmt.Sprintf("start the job with the job file of the rebuild; or, to go on with this one all the same, remove the table property %s%s", rebuiltPrefix, a.job),
	}
}

// forget is how a person makes a job forget what it has seen of its tables.
func forget(job string) string {
	return fmt.Sprintf("stop the job, delete jobs/%s.json from the source's store and start it again", job)
}

// admit sends the group if every range begins at the running position.
func (a *attempt) admit() effect {
	if source, now, before, ok := a.pos.movedBack(a.known); ok {
		if a.replay {
			return a.stop(fmt.Errorf("source %s went back from %d to %d: %w", source, before, now, ErrMoved))
		}
		return a.stop(&HaltError{
			Reason: fmt.Sprintf("the table's position of source %s went back from %d to %d: the table was rolled back, or the catalog lost a commit", source, before, now),
			Decide: "roll the table forward and start the job again; or, to bring the rows in again, " + forget(a.job),
		})
	}
	if source, at, ok := a.pos.admits(a.ranges); !ok {
		return a.stop(fmt.Errorf("source %s stands at %d, the group begins at %d: %w", source, at.Next, a.ranges[source].Span.Base, ErrMoved))
	}
	if source, ok := a.pos.knows(a.ranges); a.lost && !ok {
		return a.stop(fmt.Errorf("source %s has no position: %w", source, ErrMoved))
	}
	if a.beside != nil {
		if err := a.beside(a.pos.nexts()); err != nil {
			return a.stop(err)
		}
	}
	if a.view.mismatch != nil {
		return a.stop(fmt.Errorf("%w: %w", ErrRestage, a.view.mismatch))
	}
	if source, ok := a.pos.passed(a.repair); !ok {
		return a.stop(fmt.Errorf("source %s, job %s: %w", source, a.job, ErrUnaccounted))
	}
	kind := a.kind()
	switch {
	case a.rewrite:
		kind = KindReplace
	case a.repair != nil:
		kind = KindRepair
	case a.lost:
		kind = KindLoss
	case len(a.ranges) == 0:
		return a.stop(nil)
	case !a.pos.started:
		kind = KindStart
	case kind == "":
		return a.stop(nil)
	}
	if a.view.paused != nil && a.sends == 0 { // who has sent goes on: its outcome may not be known
		return a.stop(fmt.Errorf("%w %s; the swap of the rebuild ends it, and so does firn rebuild --abandon", ErrPaused, a.view.paused))
	}
	a.inFlight, a.pin, a.sequence, a.sends = kind, a.view.head, a.view.sequence, 1
	return effect{do: doSend, kind: kind, pin: a.pin, base: a.pos}
}

// kind is what the group itself becomes: nothing if it advances no source that has a position already.
func (a *attempt) kind() Kind {
	kind := Kind("")
	for source, r := range a.ranges {
		_, known := a.pos.sources[source]
		switch {
		case r.Rows > 0:
			return KindData
		case !r.Span.Empty() || !known:
			kind = KindEmpty
		}
	}
	return kind
}

// replied ends the attempt, or goes on to the group after its start receipt: that one is not believed before it was seen.
func (a *attempt) replied() effect {
	if a.inFlight == KindStart {
		return a.load()
	}
	return a.stop(nil)
}

// id is the commit id of a request of this attempt.
func (a *attempt) id(kind Kind) string {
	if kind == KindStart {
		return a.commit + "/start"
	}
	return a.commit
}

// receipt is the receipt of a request of this attempt.
func (a *attempt) receipt(kind Kind) Receipt {
	r := Receipt{Job: a.job, Kind: kind, Commit: a.id(kind), Lineage: cmp.Or(a.lineage, a.pos.lineage), Ranges: a.ranges, Repaired: a.repair, Letters: a.letters}
	if kind == KindStart {
		r.Letters = nil
		r.Ranges = make(map[string]Advance, len(a.ranges))
		for source, at := range a.ranges {
			r.Ranges[source] = Advance{Span: kfs.Span{Base: at.Span.Base, Next: at.Span.Base}, High: -1}
		}
	}
	return r
}

// giveUp fails loudly; it says whether something may still land.
func (a *attempt) giveUp() effect {
	if a.inFlight != "" {
		return a.stop(fmt.Errorf("%w after %d tries: %w", ErrUnknownOutcome, a.sends, a.last))
	}
	return a.stop(fmt.Errorf("commit given up after loading the table %d times: %w", a.loads, a.last))
}

func (a *attempt) stop(err error) effect { return effect{do: doStop, err: err} }
