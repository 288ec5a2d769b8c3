package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/namespace"
)

// restarts bounds how often a read of the end begins anew because a checkpoint vanished under it.
const restarts = 3

// endRead is a read of the journal's end: the newest checkpoint by LIST, GETs along the chain to the first key that is not there, and
// a LIST behind it. Its time is that of the first LIST.
type endRead struct {
	fresh   bool // from the newest checkpoint; else from the last object of the state
	tail    bool // only GETs, within LIMIT of an earlier read
	window  uint64
	time    int64
	tries   int
	met     func(time.Time, *object) bool // takes an object of the chain; false ends the read
	then    func(time.Time)               // the end is reached
	again   func(time.Time)               // the read took too long to be believed
	next    uint64                        // the sequence that is taken next
	asked   uint64                        // the sequence that is read next
	waiting map[uint64]chainObject
	behind  bool // something that is not there is looked behind; other answers do not count meanwhile
}

// chainObject is an answer that waits for its turn.
type chainObject struct {
	object *object // nil: there is none
	at     int64   // the store's clock
	err    error
}

// readEnd begins a read of the end. With fresh it rebuilds the state from the newest checkpoint where that lies behind our own last object;
// without, such a checkpoint is met like an object of another owner, for only an owner writes one.
func (c *core) readEnd(e endRead) {
	c.end = &e
	c.findCheckpoint()
}

func (c *core) findCheckpoint() {
	e := c.end
	c.list(kfs.CheckpointPrefix(c.journal), "", false, func(now time.Time, r result) {
		e.time = r.time
		var sequences []uint64
		for _, key := range r.keys {
			if j, sequence, ok := kfs.ParseCheckpointKey(key); ok && j == c.journal {
				sequences = append(sequences, sequence)
			}
		}
		slices.Sort(sequences)
		n := len(sequences)
		switch {
		case n == 0 || c.state.begun && sequences[n-1] <= c.state.sequence:
			c.followChain(now)
		case e.fresh:
			slices.Reverse(sequences)
			c.loadCheckpoint(now, sequences[:min(n, 2)], nil)
		default:
			c.end = nil
			c.fenced(now, fmt.Sprintf("checkpoint %d lies behind our last object %d", sequences[n-1], c.state.sequence))
		}
	})
}

// loadCheckpoint loads the first of the given checkpoints that is well. damage is what was wrong with those before.
func (c *core) loadCheckpoint(now time.Time, sequences []uint64, damage error) {
	if len(sequences) == 0 {
		c.damaged(fmt.Errorf("no checkpoint of journal %d can be read: %w", c.journal, damage))
		return
	}
	key := kfs.CheckpointKey(c.journal, sequences[0])
	failed := func(now time.Time, err error) {
		err = fmt.Errorf("%s: %w", key, err)
		if errors.Is(err, kfs.ErrVersion) {
			c.damaged(err)
			return
		}
		c.log(slog.LevelError, "checkpoint is damaged, trying the one before", "err", err)
		if damage != nil {
			err = fmt.Errorf("%w; %w", damage, err)
		}
		c.loadCheckpoint(now, sequences[1:], err)
	}
	c.read(key, blob.All, maxMeta, func(now time.Time, r result) {
		if r.outcome == absent {
			c.vanished(key, r.time)
			return
		}
		ck, err := kfs.DecodeCheckpoint(r.body)
		if err == nil && (ck.Journal != c.journal || ck.Sequence != sequences[0]) {
			err = fmt.Errorf("it says that it is checkpoint %d of journal %d: %w", ck.Sequence, ck.Journal, kfs.ErrCorrupt)
		}
		if err != nil {
			failed(now, err)
			return
		}
		c.loadPages(now, ck, nil, failed)
	})
}

// vanished begins the read anew: a checkpoint or page that was listed is gone, because newer ones took its place.
func (c *core) vanished(key string, at int64) {
	if !c.end.tooLate(at) {
		c.end.tries++
	}
	if c.end.tries > restarts {
		c.damaged(fmt.Errorf("%s is named but not there: %w", key, kfs.ErrCorrupt))
		return
	}
	c.findCheckpoint()
}

// loadPages reads the pages that a checkpoint names, some at a time, then makes the state.
func (c *core) loadPages(now time.Time, ck *kfs.Checkpoint, pages []*kfs.Page, failed func(time.Time, error)) {
	if c.phase == following {
		c.loadMetadata(now, ck, failed)
		return
	}
	if len(pages) == len(ck.Pages) {
		s, err := load(c.journal, ck, pages, c.index, c.end.time)
		if err != nil {
			failed(now, err)
			return
		}
		c.state = s
		if c.phase == reading {
			s.unpage(pages)
		}
		c.followChain(now)
		return
	}
	refs := ck.Pages[len(pages):]
	refs = refs[:min(len(refs), chainReads)]
	some := make([]*kfs.Page, len(refs))
	left, over := len(refs), false
	for i, ref := range refs {
		key := kfs.PageKey(c.journal, ref.First, ref.Last)
		c.read(key, blob.All, maxMeta, func(now time.Time, r result) {
			if over {
				return
			}
			if r.outcome == absent {
				over = true
				c.vanished(key, r.time)
				return
			}
			page, err := openPage(c.journal, ref, r.body)
			if err != nil {
				over = true
				failed(now, fmt.Errorf("%s: %w", key, err))
				return
			}
			some[i] = page
			if left--; left == 0 {
				c.loadPages(now, ck, append(pages, some...), failed)
			}
		})
	}
}

func openPage(journal uint32, ref kfs.PageRef, body []byte) (*kfs.Page, error) {
	if crc := kfs.MetaChecksum(body); int64(len(body)) != ref.Length || crc != ref.CRC {
		return nil, fmt.Errorf("%d bytes with CRC %08x, the checkpoint says %d with %08x: %w", len(body), crc, ref.Length, ref.CRC, kfs.ErrCorrupt)
	}
	page, err := kfs.DecodePage(body)
	if err != nil {
		return nil, err
	}
	if page.Journal != journal || page.First != ref.First || page.Last != ref.Last {
		return nil, fmt.Errorf("it says that it is page [%d, %d] of journal %d: %w", page.First, page.Last, page.Journal, kfs.ErrCorrupt)
	}
	return page, nil
}

// followChain reads on behind the last object of the state: many at a time where there is some way to go; one at a time for an owner, who
// expects nothing there, and for a follower until it finds something.
func (c *core) followChain(now time.Time) {
	e := c.end
	e.window = 1
	if e.fresh && c.phase != following {
		e.window = chainReads
	}
	e.next, e.asked, e.waiting = c.state.next(), c.state.next(), map[uint64]chainObject{}
	c.askChain(e)
}

func (c *core) askChain(e *endRead) {
	for e.asked < e.next+e.window {
		sequence := e.asked
		e.asked++
		c.readObject(sequence, func(now time.Time, o *object, at int64, err error) {
			if c.end != e || e.behind || sequence < e.next {
				return // the read is over, or went on without this answer
			}
			e.waiting[sequence] = chainObject{o, at, err}
			c.takeChain(now, e)
		})
	}
}

// takeChain takes the answers whose turn has come.
func (c *core) takeChain(now time.Time, e *endRead) {
	for c.end == e {
		answer, ok := e.waiting[e.next]
		switch {
		case !ok:
			c.askChain(e)
			return
		case e.tooLate(answer.at):
			c.readAgain(now, e, answer.at)
			return
		case answer.err != nil:
			c.damaged(answer.err)
			return
		case answer.object == nil && e.tail:
			c.end = nil
			e.then(now)
			return
		case answer.object == nil:
			c.lookBehind(e)
			return
		}
		delete(e.waiting, e.next)
		e.next++
		if c.phase == following {
			e.window = min(2*e.window, chainReads)
		}
		if !e.met(now, answer.object) {
			return
		}
	}
}

// lookBehind makes sure that a key that is not there is the end and not a hole.
func (c *core) lookBehind(e *endRead) {
	missing := e.next
	e.behind, e.waiting = true, map[uint64]chainObject{}
	c.list(kfs.JournalPrefix(c.journal), kfs.ObjectKey(c.journal, missing), true, func(now time.Time, r result) {
		higher, found := uint64(0), false
		for _, key := range r.keys {
			if j, sequence, ok := kfs.ParseObjectKey(key); ok && j == c.journal {
				higher, found = sequence, true
				break
			}
		}
		if !found {
			c.reached(now, e, r.time)
			return
		}
		c.readObject(missing, func(now time.Time, o *object, at int64, err error) {
			if o == nil && err == nil {
				err = fmt.Errorf("%s is not there, but object %d is: %w", kfs.ObjectKey(c.journal, missing), higher, kfs.ErrCorrupt)
			}
			e.behind, e.asked = false, missing+1
			e.waiting[missing] = chainObject{o, at, err}
			c.takeChain(now, e)
		})
	})
}

// reached ends the read, if its last answer may be believed.
func (c *core) reached(now time.Time, e *endRead, last int64) {
	if e.tooLate(last) {
		c.readAgain(now, e, last)
		return
	}
	c.end = nil
	c.learn(now, e.time)
	e.then(now)
}

// tooLate reports whether an answer of that store time comes too late to be believed: what was live at the time of the read may be
// deleted by then, and what is there may be a stray.
func (e *endRead) tooLate(at int64) bool { return at-e.time > limit.Milliseconds() }

func (c *core) readAgain(now time.Time, e *endRead, at int64) {
	c.log(slog.LevelWarn, "reading the end took too long to be believed, reading it again", "took", time.Duration(at-e.time)*time.Millisecond)
	e.again(now)
}

// damaged stops: what is wrong with the journal is for a person to look at.
func (c *core) damaged(err error) {
	c.end = nil
	c.stop(fmt.Errorf("journal %d: %w", c.journal, err))
}

// fenced stops: another owner has taken the journal over.
func (c *core) fenced(_ time.Time, how string) {
	c.log(slog.LevelWarn, "another owner has taken the journal over", "how", how)
	c.stop(fmt.Errorf("journal %d: %s: %w", c.journal, how, ErrFenced))
}

// takeOver reads the end, and puts an object with the next epoch there. Where another was first it begins again from what it knows.
func (c *core) takeOver(now time.Time) {
	c.readEnd(endRead{fresh: true, met: c.adopt, then: c.claim, again: func(now time.Time) {
		c.state = newState(c.journal, c.index) // what was read may have been strays
		c.takeOver(now)
	}})
}

// adopt takes an object of the chain into the state of an owner to be.
func (c *core) adopt(_ time.Time, o *object) bool {
	if err := c.state.apply(o.manifest, o.crc, o.size, o.time); err != nil {
		c.damaged(fmt.Errorf("%s: %w", kfs.ObjectKey(c.journal, o.manifest.Sequence), err))
		return false
	}
	return true
}

// claim puts the takeover object, or finds that an earlier try was in time. While the key of that try is still open, the same bytes
// go there again.
func (c *core) claim(now time.Time) {
	if f := c.flight; f != nil {
		switch {
		case c.state.begun && c.state.sequence == f.sequence && c.state.crc == f.crc:
			c.flight = nil
			c.own(now)
			return
		case c.state.next() == f.sequence:
			c.after(now, f.tries, c.send)
			return
		}
	}
	m := &kfs.Manifest{
		Journal: c.journal, Sequence: c.state.next(), Created: now.UnixMilli(), Epoch: c.state.epoch + 1, Writer: c.writer, Previous: c.state.crc,
	}
	if !c.state.begun {
		m.Entries = c.bootstrap
	}
	body, crc, err := kfs.Seal(m, nil)
	if err != nil {
		c.damaged(fmt.Errorf("takeover: %w", err))
		return
	}
	c.flight = &flight{sequence: m.Sequence, key: kfs.ObjectKey(c.journal, m.Sequence), body: body, crc: crc, manifest: m}
	c.send(now)
}

// own begins service. A journal that is new must not be one that a restore has put there meanwhile: a restore looks for what is not its own
// before it ends, so one of the two sees the other.
func (c *core) own(now time.Time) {
	if c.state.sequence > 0 {
		c.serve(now)
		return
	}
	c.unlessRestoring(func(time.Time) {
		c.list(kfs.CheckpointPrefix(c.journal), "", true, func(now time.Time, r result) {
			if len(r.keys) > 0 {
				c.fenced(now, fmt.Sprintf("%s is there, but the journal was new: it was restored meanwhile", r.keys[0]))
				return
			}
			c.serve(now)
		})
	})
}

func (c *core) serve(time.Time) {
	c.phase = owning
	c.emit(opened{c.state.epoch})
}

// unlessRestoring goes on if the namespace is not being filled by a restore, and stops otherwise.
func (c *core) unlessRestoring(then func(time.Time)) {
	c.read(kfs.RestoringKey, blob.All, kfs.MaxRestoringBytes, func(now time.Time, r result) {
		if r.outcome != absent {
			if err := namespace.Refusal(r.body); err != nil {
				c.end = nil
				c.stop(fmt.Errorf("journal %d: %w", c.journal, err))
				return
			}
		}
		then(now)
	})
}
