package journal

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/firn-io/firn/broker/metadata"
)

// followEvery is how often a follower looks for news that nobody told it of. An idle follower costs 60 GETs an hour, and every 15 minutes
// two LISTs more.
const followEvery = time.Minute

// Follower knows the cluster's metadata where another broker owns journal 0. It writes nothing. All methods are safe for concurrent use.
type Follower struct {
	journal *Journal // never opened: its loop only reads
	news    func(*metadata.State, uint64)

	mu      sync.Mutex      // guards what follows
	asked   []chan struct{} // who waits for a reading that begins from now on
	reading []chan struct{} // who waits for the one that is under way
	over    bool
}

// NewFollower makes a follower of journal 0. cfg needs a Store. news is called, by one goroutine, each time when everything was read that
// was there when the reading began, with the state that it adds up to and the last sequence: before the journal has begun, the zero state.
func NewFollower(cfg Config, news func(s *metadata.State, sequence uint64)) (*Follower, error) {
	cfg.Journal, cfg.Metrics = 0, nil // the metrics are the owner's
	j, err := newJournal(cfg)
	if err != nil {
		return nil, err
	}
	j.shell.init(context.Background())
	return &Follower{journal: j, news: news}, nil
}

// Run follows until ctx ends, and returns nil, or until the journal is damaged. It is called once.
func (f *Follower) Run(ctx context.Context) error {
	j := f.journal
	defer f.close()
	for how := event(followed{}); ; how = (looked{}) {
		f.read(how)
		for !j.shell.halted && !j.shell.atEnd {
			if j.turn(ctx.Done(), false) != nil {
				return nil
			}
		}
		if j.shell.halted {
			return fmt.Errorf("following journal 0: %w", j.shell.err)
		}
		f.tell()
		idle := time.NewTimer(followEvery)
		select {
		case <-j.shell.woken:
		case <-idle.C:
		case <-ctx.Done():
			idle.Stop()
			return nil
		}
		idle.Stop()
	}
}

// read begins a reading.
func (f *Follower) read(how event) {
	f.mu.Lock()
	f.reading, f.asked = append(f.reading, f.asked...), nil
	f.mu.Unlock()
	f.journal.shell.atEnd = false
	f.journal.step(how)
}

// tell says what was read.
func (f *Follower) tell() {
	f.news(f.journal.core.state.metadata, f.journal.core.state.sequence)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, done := range f.reading {
		close(done)
	}
	f.reading = nil
}

// Look makes the follower read on, soon.
func (f *Follower) Look() { f.journal.shell.notify() }

// Refresh returns when everything was read, and told, that was there when it was called. Its error is that of ctx, or ErrUnavailable if
// the follower has stopped.
func (f *Follower) Refresh(ctx context.Context) error {
	done := make(chan struct{})
	if !f.ask(done) {
		return errStopped
	}
	f.Look()
	select {
	case <-done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if !f.ask(nil) {
		return errStopped
	}
	return nil
}

var errStopped = fmt.Errorf("the follower of journal 0 has stopped: %w", ErrUnavailable)

// ask adds somebody who waits, unless nil, and tells whether the follower runs.
func (f *Follower) ask(done chan struct{}) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if done != nil && !f.over {
		f.asked = append(f.asked, done)
	}
	return !f.over
}

// close wakes who waits, and waits for the goroutines.
func (f *Follower) close() {
	f.mu.Lock()
	f.over = true
	for _, done := range append(f.reading, f.asked...) {
		close(done)
	}
	f.reading, f.asked = nil, nil
	f.mu.Unlock()
	f.journal.close()
}
