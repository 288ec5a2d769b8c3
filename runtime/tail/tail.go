// Package tail follows one journal of a namespace: it gives every object once, in order, as soon as the object is there.
//
// A tailer polls. At the end of a journal a poll is one GET, whatever the number of topics and partitions; while objects come, the
// next ones are asked for at the same time, without waiting. What it gives has been held against everything that the format
// promises: the chain of checksums, sequences, epochs, and offsets without gap or overlap. What breaks a promise ends the reading, of
// one partition where only that is touched, else of the journal. A tailer never chooses between two truths, never goes past damage,
// and writes nothing.
//
//	t := tail.New(tail.Config{Store: store, Match: func(topic string) bool { return topic == "events" }})
//	err := t.Open(ctx)                       // what the newest checkpoint says
//	err = t.Seek(ctx, positions)             // where reading begins
//	for {
//		o, err := t.Next(ctx)                // blocks
//		…
//		o.Release()
//	}
//
// Segments follows a bucket of KafScale in the same way.
package tail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/namespace"
)

// ErrReleased says that the next object may be deleted by now: read on with a new tailer, which finds the records in segments.
var ErrReleased = errors.New("the object was released")

// Budget bounds the bytes of objects in memory. Acquire blocks until n bytes are free. Requests are granted in the order in which they
// were made. A *semaphore.Weighted is one, if no object is larger than it.
type Budget interface {
	Acquire(ctx context.Context, n int64) error
	Release(n int64)
}

// Config says what is followed.
type Config struct {
	Store   blob.Store              // at the namespace's root
	Journal uint32                  // the journal's number
	Match   func(topic string) bool // whose records are wanted; nil: nobody's, only entries
	// Wants says which partitions of these topics; nil: all. Of objects that hold much else only parts are read: the manifest, and what is
	// wanted in at most four ranges, if it is less than half.
	Wants func(kfs.PartitionID) bool
	// AtEnd, unless nil, is called by Next whenever the journal has no further object and Next is about to wait for one. end is one past the last
	// offset of a partition; 0 where the journal says nothing of it, -1 where that is not known or its topic has ended. An error is Next's.
	AtEnd  func(ctx context.Context, end func(kfs.PartitionID) int64) error
	Budget Budget           // nil: no bound but the read-ahead of 8 objects
	Logger *slog.Logger     // nil: silent
	Now    func() time.Time // nil: time.Now
	Jitter func() float64   // in [0, 1), spreads the polls of many tailers; nil: none
}

// Object is one object of the log. The caller owns it and must release it.
type Object struct {
	Key      string
	Manifest *kfs.Manifest // nil for a settled segment
	Pieces   []Piece       // of the wanted topics, in the object's order
	Size     int64         // bytes of the whole object
	Read     time.Time     // when it was read, by Config.Now

	release func()
}

// Release gives the object's memory back to the budget. Records must not be used any more.
func (o *Object) Release() {
	if o.release != nil {
		o.release()
		o.release = nil
	}
}

// Piece is the record batches of one partition in an object.
type Piece struct {
	Topic   string
	ID      kfs.PartitionID
	Span    kfs.Span
	Created time.Time // when the object was sealed, by its writer's clock
	Latest  int64     // the largest timestamp of its records, Unix milliseconds; of a settled segment that of the journal's entry
	Ref     kfs.Ref   // where the batches lie
	Records []byte    // the batches, back to back; the bytes match their checksum; nil with Err
	Err     error     // why the partition cannot be read from here on (kfs.ErrCorrupt); the object's other pieces are sound
}

// Tailer follows one journal. It is used by one goroutine.
type Tailer struct {
	cfg        Config
	checkpoint *kfs.Checkpoint
	since      time.Time                 // the store's time of the list that named it
	ends       map[kfs.PartitionID]int64 // where reading ends of partitions, if anywhere

	core    *core
	todo    effect
	settled []settled // to be given before the journal
	object  *Object   // the one that the core checks
	flights []*flight // GETs of the next object and of those behind it, in order
	// manifests says that only the ends of objects are read: no records.
	manifests bool
	shape     shape // of the objects that were read last, if not all partitions are wanted
	waiting   bool  // whether "waits for the first object" was logged
}

// New makes a tailer. Nothing is read before Open.
func New(cfg Config) *Tailer {
	cfg = cfg.withDefaults()
	cfg.Logger = cfg.Logger.With("journal", cfg.Journal)
	return &Tailer{cfg: cfg}
}

func (cfg Config) withDefaults() Config {
	if cfg.Match == nil {
		cfg.Match = func(string) bool { return false }
	}
	if cfg.Budget == nil {
		cfg.Budget = unbounded{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Jitter == nil {
		cfg.Jitter = func() float64 { return 0.5 }
	}
	return cfg
}

type unbounded struct{}

func (unbounded) Acquire(context.Context, int64) error { return nil }
func (unbounded) Release(int64)                        {}

// Next gives the next object and blocks until there is one. An error that is kfs.ErrCorrupt or kfs.ErrVersion is final: it names the
// object, and Next gives it again. ErrReleased asks for a new tailer. Any other error is a passing one of the store or of ctx: the
// next call goes on at the same place. Reads ahead
// outlive the call; Close ends them.
func (t *Tailer) Next(ctx context.Context) (*Object, error) {
	if len(t.settled) > 0 {
		return t.nextSettled(ctx)
	}
	for {
		if d, ok := t.todo.(deliver); ok {
			o := t.object
			if o.Manifest.Sequence == 0 && t.checkpoint == nil {
				if err := t.begun(ctx); err != nil {
					return nil, err
				}
			}
			o.fault(d.faults)
			t.object, t.todo = nil, t.core.step(waited{})
			return o, nil
		}
		e, err := t.do(ctx, t.todo)
		if err != nil {
			return nil, err
		}
		t.todo = t.core.step(e)
	}
}

// Sequence is the sequence of the next object of the journal.
func (t *Tailer) Sequence() uint64 { return t.core.chain.next }

// Backlog is the number of settled segments that come before the journal's next object.
func (t *Tailer) Backlog() int { return len(t.settled) }

// Close ends reads ahead and waits for them.
func (t *Tailer) Close() { t.land() }

// do carries an effect out.
func (t *Tailer) do(ctx context.Context, todo effect) (event, error) {
	switch todo := todo.(type) {
	case list:
		t.land()
		l, err := t.list(ctx, todo.objects)
		if err == nil && l.anyObject && !l.any && t.core.chain.next == 0 { // not the journal's first
			err = t.begun(ctx)
		}
		return l, err
	case load:
		c, err := t.load(ctx, todo.sequence)
		if errors.Is(err, blob.ErrNotFound) { // newer ones were written meanwhile
			return t.list(ctx, false)
		}
		return loaded{c}, err
	case get:
		return t.get(ctx, todo.ahead)
	case wait:
		if t.core.chain.next == 0 && !t.waiting {
			t.waiting = true
			t.cfg.Logger.Info("the journal is empty; waiting for a broker to write its first object")
		}
		if t.cfg.AtEnd != nil {
			if err := t.cfg.AtEnd(ctx, t.core.chain.end); err != nil {
				return nil, err
			}
		}
		return waited{}, t.pause(ctx, todo.d)
	case released:
		return nil, fmt.Errorf("%s: %w", kfs.ObjectKey(t.cfg.Journal, t.core.chain.next), ErrReleased)
	case stop:
		t.land()
		return nil, todo.err
	}
	panic(fmt.Sprintf("tail: no such effect: %T", todo))
}

// begun makes sure of a journal that was empty, and is not any more, that a broker has begun it and no restore: such a journal is to be opened anew
// when it is there.
func (t *Tailer) begun(ctx context.Context) error {
	err := namespace.Usable(ctx, t.cfg.Store)
	if err == nil {
		var l listed
		if l, err = t.list(ctx, false); err == nil && !l.any {
			return nil
		}
	}
	if err == nil || errors.Is(err, namespace.ErrRestoring) {
		t.land()
		t.todo = released{}
	}
	if err == nil {
		err = fmt.Errorf("journal %d was empty and has a checkpoint now: %w", t.cfg.Journal, ErrReleased)
	}
	return err
}

// pause waits for four fifths of d and a random part of the rest.
func (t *Tailer) pause(ctx context.Context, d time.Duration) error {
	return pauseFor(ctx, d, t.cfg.Jitter)
}

func pauseFor(ctx context.Context, d time.Duration, jitter func() float64) error {
	timer := time.NewTimer(d*4/5 + time.Duration(jitter()*float64(d/5)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// get reads the next object. It becomes t.object.
func (t *Tailer) get(ctx context.Context, ahead int) (event, error) {
	next := t.core.chain.next
	for n := len(t.flights); n <= ahead; n++ {
		t.flights = append(t.flights, t.fly(ctx, next+uint64(n)))
	}
	f := t.flights[0]
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	t.flights = t.flights[1:]
	switch {
	case errors.Is(f.err, blob.ErrNotFound):
		higher := t.land()
		if f.info.ServerTime.IsZero() {
			return nil, errNoTime
		}
		return absent{higher: higher, serverTime: f.info.ServerTime}, nil
	case f.err != nil:
		t.land()
		return nil, f.err
	case f.info.ServerTime.IsZero():
		f.release()
		t.land()
		return nil, errNoTime
	}
	if err := f.openTail(); err != nil {
		f.release()
		t.land()
		return stopped(t, fmt.Errorf("%s: %w", f.key, err))
	}
	t.object = t.open(f)
	return read{f.manifest, f.crc, f.info.ServerTime}, nil
}

// stopped makes err the answer to this and all later calls.
func stopped(t *Tailer, err error) (event, error) {
	t.todo = stop{err}
	return nil, err
}

// open makes an object of what was read. The bytes of wanted segments are checked.
func (t *Tailer) open(f *flight) *Object {
	m := f.manifest
	o := &Object{Key: f.key, Manifest: m, Size: f.info.Size, Read: t.cfg.Now(), release: f.release}
	for i := range m.Segments {
		s := &m.Segments[i]
		if !t.wanted(s) {
			continue
		}
		p := Piece{Topic: s.Name, ID: s.ID(), Span: s.Span, Created: time.UnixMilli(m.Created), Latest: s.MaxTimestamp, Ref: s.Ref(f.key), Records: f.records(s)}
		if err := s.Check(p.Records); err != nil {
			p.Records, p.Err = nil, fmt.Errorf("%s: %w", f.key, err)
		}
		o.Pieces = append(o.Pieces, p)
	}
	if t.cfg.Wants != nil {
		t.shape.add(m, f.info.Size, t.wants(m))
	}
	return o
}

// fault takes the records of segments that must not be read.
func (o *Object) fault(faults map[int]error) {
	for i, err := range faults {
		id := o.Manifest.Segments[i].ID()
		for j := range o.Pieces {
			if p := &o.Pieces[j]; p.ID == id {
				p.Records, p.Err = nil, err
			}
		}
	}
}

// fly begins the GET of an object of the journal.
func (t *Tailer) fly(ctx context.Context, sequence uint64) *flight {
	partial, end := t.shape.partial(), t.shape.tail
	return launch(ctx, kfs.ObjectKey(t.cfg.Journal, sequence), t.flights, func(ctx context.Context, f *flight, before <-chan struct{}) error {
		switch {
		case t.manifests:
			return f.runTail(ctx, t.cfg.Store)
		case partial:
			return f.runParts(ctx, t.cfg.Store, t.cfg.Budget, before, end, t.wants)
		}
		return f.run(ctx, t.cfg.Store, t.cfg.Budget, before)
	})
}

// land ends all flights and reports whether one of them had found its object.
func (t *Tailer) land() (found bool) {
	found = land(t.flights)
	t.flights = nil
	if t.object != nil {
		t.object.Release()
		t.object = nil
	}
	return found
}
