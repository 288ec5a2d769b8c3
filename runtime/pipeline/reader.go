package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/tail"
)

// openPatience is how long a reader waits for tables to open. Those that take longer get their records by a rewind.
const openPatience = 3 * time.Second

// reader follows one journal and offers its records to the workers.
type reader struct {
	job     *Job
	journal uint32
	end     *tail.End // where the journal ended when the job began, if that matters
	bounds  *bounds   // where its partitions end in a bounded run
	log     *slog.Logger
}

// session is a reader's way from one rewind to the next.
type session struct {
	*reader
	tailer follower
	gives  func(kfs.PartitionID) bool    // what the tailer gives
	feeds  map[*table]*feed              // as they were when the session met them; nil if there was none
	passed map[*table]bool               // tables that have missed records in this session
	fresh  map[kfs.PartitionID]bool      // began in this session, and nothing of them was read
	open   map[kfs.PartitionID]bool      // of a bounded run: partitions that have not come to their end; nil if that is not known
	named  map[*table][]processor.Source // that the checkpoint names and that have a position
	before map[string]known              // what the job's object says of tables; that of the job's start, unless others write it
	gone   map[kfs.PartitionID]bool      // of topics that by the checkpoint have ended
	short  shortness

	portion portion // of a bounded run
}

// run reads until ctx has ended, or the journal cannot be read any more.
func (r *reader) run(ctx context.Context) {
	for failures := 0; ctx.Err() == nil; {
		began := r.job.cfg.Now()
		round, rewound := r.job.enter()
		err := r.read(ctx, round, rewound)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errRewind), errors.Is(err, tail.ErrReleased):
			failures = 0
			continue
		case final(err):
			err = stays(decidable(err))
			r.log.Error("the journal cannot be read on", "err", err)
			r.job.metrics.halt("", "journal")
			r.job.journalHalted(r.journal, err)
			return
		}
		if r.job.cfg.Now().Sub(began) > time.Minute {
			failures = 0
		}
		wait := r.job.backoff(failures)
		failures++
		r.job.metrics.retries.WithLabelValues("").Inc()
		r.log.Warn("reading again", "err", err, "in", wait)
		if !sleep(ctx, wait) {
			return
		}
	}
}

var errRewind = errors.New("tables need records that have passed")

// read is one session. It ends with errRewind when rewound is closed.
func (r *reader) read(ctx context.Context, round uint64, rewound <-chan struct{}) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer func() {
		if context.Cause(ctx) == errRewind { // whatever it has interrupted
			err = errRewind
		}
	}()
	stop := make(chan struct{})
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		select {
		case <-rewound:
			cancel(errRewind)
		case <-stop:
		}
	}()
	defer func() { close(stop); <-watching }()

	if err := r.resolve(ctx); err != nil {
		return err
	}
	s := &session{reader: r, feeds: map[*table]*feed{}, passed: map[*table]bool{}, fresh: map[kfs.PartitionID]bool{}, open: r.bounds.remaining(), before: r.job.before,
		short: shortness{unsure: map[*feed][]kfs.PartitionID{}, seen: map[kfs.PartitionID]bool{}}}
	s.tailer, s.gives = r.job.follow(r.journal, s.caughtUp)
	defer s.tailer.Close()
	if err := s.start(ctx); err != nil {
		return err
	}
	s.divide()
	for failures := 0; ; {
		if s.complete() {
			if err := s.boundedAtEnd(ctx); err != nil {
				return err
			}
			r.job.reached(r.journal, round, s.portion)
			<-ctx.Done()
			return context.Cause(ctx)
		}
		if err := s.pause(ctx); err != nil {
			return err
		}
		o, err := s.tailer.Next(ctx)
		switch {
		case err == nil:
			failures = 0
			if err := s.dispatch(ctx, o); err != nil {
				return err
			}
		case ctx.Err() != nil || final(err) || errors.Is(err, tail.ErrReleased):
			return err
		default:
			wait := r.job.backoff(failures)
			failures++
			r.job.metrics.retries.WithLabelValues("").Inc()
			r.log.Warn("reading again", "err", err, "in", wait)
			if !sleep(ctx, wait) {
				return context.Cause(ctx)
			}
		}
	}
}

// caughtUp is the tailer's Config.AtEnd: all that the journal has was offered.
func (s *session) caughtUp(ctx context.Context, end func(kfs.PartitionID) int64) error {
	for _, f := range s.feeds {
		if f != nil {
			f.sayAtEnd()
		}
	}
	return s.atEnd(ctx, end)
}

// complete reports whether a bounded run needs nothing more of the journal.
func (s *session) complete() bool {
	switch {
	case s.bounds == nil:
		return false
	case s.open != nil && len(s.open) == 0:
		return true
	}
	return s.tailer.Sequence() >= s.bounds.sequence && s.tailer.Backlog() == 0
}

// start learns from the checkpoint, waits for the tables that it names, and seeks their positions. Where the job's object did not say yet
// what is needed, it is written first and the checkpoint read again: what retention has taken meanwhile shows now.
func (s *session) start(ctx context.Context) error {
	for {
		if err := s.tailer.Open(ctx); err != nil {
			return err
		}
		offsets, err := s.positions(ctx, s.tailer.Checkpoint())
		if err != nil {
			return err
		}
		again, err := s.job.register(ctx, s.named)
		if err != nil {
			return err
		}
		if !again {
			if s.bounds != nil {
				s.tailer.Until(s.bounds.ends())
			}
			return s.tailer.Seek(ctx, offsets)
		}
	}
}

// positions gives the offsets at which the partitions are to be read that a checkpoint knows, which may be nil.
func (s *session) positions(ctx context.Context, c *kfs.Checkpoint) (map[kfs.PartitionID]int64, error) {
	var all []kfs.PartitionState
	if c != nil {
		for _, e := range c.Metadata {
			if err := s.job.learn(e); err != nil {
				return nil, err
			}
		}
		all = c.Partitions
	}
	if s.job.cfg.From.Latest {
		all = s.end.Complete(all)
	}
	var wanted []*kfs.PartitionState
	s.gone = map[kfs.PartitionID]bool{}
	for i := range all {
		p := &all[i]
		if p.Ended {
			s.gone[p.ID()] = true
			s.job.finish(map[kfs.PartitionID]int64{p.ID(): saidAll}) // what is left of it, nobody needs to read
		}
		if !s.job.wanted(p.Name) || p.Ended || s.bounds.passed(p.Name, p.ID(), 0) {
			delete(s.open, p.ID())
			continue
		}
		s.job.table(p.Name) // all open at the same time
		wanted = append(wanted, p)
	}
	s.meet(ctx, wanted)
	starts, err := s.starts(ctx, wanted)
	if err != nil {
		return nil, err
	}
	offsets := map[kfs.PartitionID]int64{}
	s.named = map[*table][]processor.Source{}
	for _, p := range wanted {
		t := s.job.table(p.Name)
		if t == nil {
			delete(s.open, p.ID())
			continue
		}
		f := s.feeds[t]
		if f == nil {
			s.miss(t)
			continue
		}
		if !f.reads(p.ID()) {
			continue
		}
		at, begun := f.known(p.ID())
		if !begun {
			var ok bool
			if at, ok = starts[p.ID()]; !ok {
				continue // behind the checkpoint, perhaps
			}
		}
		if s.bounds.passed(p.Name, p.ID(), at) {
			delete(s.open, p.ID())
			if end, _ := s.bounds.end(p.Name, p.ID()); !begun && at == p.LogStart && end < at && s.bounds.until.Offsets != nil {
				if err := s.offerFault(ctx, f, p, kfs.Span{Base: end, Next: at}, s.bounds.trimmed(p)); err != nil {
					return nil, err
				}
			}
			continue
		}
		if !begun {
			s.begin(t, f, p.Name, p.ID(), at)
			_, given := s.job.cfg.From.Offsets.of(p.Name, p.Partition)
			s.fresh[p.ID()] = !given
		}
		s.named[t] = append(s.named[t], processor.Source{Topic: p.Name, ID: p.Topic, Partition: p.Partition})
		if at < p.LogStart && s.fresh[p.ID()] { // trimmed before the job's object said that it is needed: it begins behind that
			at = p.LogStart
			f.move(p.ID(), at)
		}
		if at < p.LogStart {
			delete(s.open, p.ID())
			gone := kfs.Span{Base: at, Next: p.LogStart}
			if err := s.offerFault(ctx, f, p, gone, lost(gone)); err != nil {
				return nil, err
			}
			continue
		}
		offsets[p.ID()] = at
		t.note(func(st *tableStatus) { st.there(sourceAt(p), s.bounds.ahead(p)) })
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return offsets, nil
}

// meet waits for the tables of partitions.
func (s *session) meet(ctx context.Context, wanted []*kfs.PartitionState) {
	patient, cancel := context.WithTimeout(ctx, openPatience)
	defer cancel()
	for _, p := range wanted {
		t := s.job.table(p.Name)
		if t == nil {
			continue
		}
		if _, known := s.feeds[t]; !known {
			s.feeds[t] = t.await(patient)
		}
	}
}

// begin gives a source its first position.
func (s *session) begin(t *table, f *feed, topic string, id kfs.PartitionID, at int64) {
	at = f.position(id, at)
	t.note(func(st *tableStatus) {
		st.began(processor.Source{Topic: topic, ID: id.Topic, Partition: id.Partition}, at)
	})
}

// offerFault tells the worker that the next records of a partition are gone.
func (s *session) offerFault(ctx context.Context, f *feed, p *kfs.PartitionState, gone kfs.Span, fault error) error {
	err := f.offer(ctx, item{source: sourceAt(p), span: gone, piece: gone, fault: fault})
	if errors.Is(err, errClosed) {
		return nil
	}
	return err
}

// sourceAt is the source of a checkpoint's partition.
func sourceAt(p *kfs.PartitionState) processor.Source {
	return processor.Source{Topic: p.Name, ID: p.Topic, Partition: p.Partition}
}

// starts is where partitions begin of which the table has no position. One that is not in the answer begins behind the checkpoint.
func (s *session) starts(ctx context.Context, wanted []*kfs.PartitionState) (map[kfs.PartitionID]int64, error) {
	starts := map[kfs.PartitionID]int64{}
	from := s.job.cfg.From
	if from.Latest && s.job.cfg.shared() { // whoever has read a partition before this process has said where it began, before it read
		var err error
		if s.before, err = s.job.filedNow(ctx); err != nil {
			return nil, err
		}
	}
	var found map[kfs.PartitionID]int64
	if !from.At.IsZero() {
		var ids []kfs.PartitionID
		for _, p := range wanted {
			ids = append(ids, p.ID())
		}
		var err error
		if found, err = s.tailer.OffsetsAt(ctx, from.At, ids); err != nil {
			return nil, err
		}
	}
	for _, p := range wanted {
		at := p.LogStart
		switch {
		case from.Latest:
			if began, ok := s.job.began(s.before, p.Name, p.ID()); ok {
				at = max(at, began)
			} else {
				at = max(at, s.end.Partitions[p.ID()].Span.Next)
			}
		case from.Offsets != nil:
			if given, ok := from.Offsets.of(p.Name, p.Partition); ok {
				at = given
			}
		case !from.At.IsZero():
			offset, ok := found[p.ID()]
			if !ok {
				continue
			}
			at = offset
		}
		starts[p.ID()] = at
	}
	return starts, nil
}

// pause waits while tables begin anew and no other takes records: a rewind follows.
func (s *session) pause(ctx context.Context) error {
	waiting := false
	for t, f := range s.feeds {
		if f != nil && f.alive() {
			return nil
		}
		waiting = waiting || t.ended() == nil
	}
	if !waiting {
		return nil
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// dispatch offers what an object holds. It takes ownership of the object.
func (s *session) dispatch(ctx context.Context, o *tail.Object) error {
	all := &shared{object: o}
	all.uses.Add(1)
	defer all.release()
	// What entries before the checkpoint said is in it, and after a restore it says better: they may name the cluster that was restored.
	if c := s.tailer.Checkpoint(); o.Manifest != nil && (c == nil || o.Manifest.Sequence > c.Sequence) {
		for _, e := range o.Manifest.Entries {
			if err := s.job.learn(e); err != nil {
				return err
			}
		}
	}
	for i := range o.Pieces {
		if err := s.piece(ctx, o, &o.Pieces[i], all); err != nil {
			return err
		}
	}
	if o.Manifest != nil {
		for _, e := range o.Manifest.Entries {
			if ended, ok := e.(kfs.Ended); ok {
				if err := s.endTopic(ctx, ended.Topic); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// piece offers the records of one partition.
func (s *session) piece(ctx context.Context, o *tail.Object, p *tail.Piece, all *shared) error {
	span, last, cutErr := s.bounds.cut(p)
	if span.Empty() && last {
		delete(s.open, p.ID)
		return nil
	}
	t := s.job.table(p.Topic)
	if t == nil {
		delete(s.open, p.ID)
		return nil
	}
	f, known := s.feeds[t]
	if !known {
		patient, cancel := context.WithTimeout(ctx, openPatience)
		f = t.await(patient)
		cancel()
		s.feeds[t] = f
	}
	if f == nil {
		s.miss(t)
		return nil
	}
	if s.gone[p.ID] { // in an object that is read for others' sake: it counts as trimmed, and nothing that was trimmed before is missed
		if next, ok := f.known(p.ID); !ok || span.Base > next {
			return nil
		}
	}
	if !f.reads(p.ID) {
		s.job.cfg.Assignment.Found(p.ID.Topic, p.ID.Partition+1) // a source without metadata tells of its partitions in no other way
		return nil
	}
	it := item{source: processor.Source{Topic: p.Topic, ID: p.ID.Topic, Partition: p.ID.Partition}, span: span, piece: p.Span, records: p.Records,
		key: o.Key, created: p.Created, read: o.Read, fault: errors.Join(p.Err, cutErr), object: all}
	if _, ok := f.known(p.ID); !ok {
		start, ok, err := s.firstOffset(p)
		if !ok && err == nil {
			return nil
		}
		it.fault = errors.Join(it.fault, err)
		s.begin(t, f, p.Topic, p.ID, start)
	}
	if next, _ := f.known(p.ID); span.Next > next {
		t.note(func(st *tableStatus) { st.there(it.source, span.Next) })
	}
	for bite := range it.bites(biteBytes) {
		all.uses.Add(1)
		if err := f.offer(ctx, bite); errors.Is(err, errClosed) {
			s.miss(t)
			return nil
		} else if err != nil {
			return err
		}
	}
	if last || it.fault != nil {
		delete(s.open, p.ID)
	}
	return nil
}

// firstOffset is where a partition begins of which p is the first to be read that may count; ok is false if it does not.
func (s *session) firstOffset(p *tail.Piece) (offset int64, ok bool, err error) {
	from := s.job.cfg.From
	switch {
	case from.Latest:
		if began, ok := s.job.began(s.before, p.Topic, p.ID); ok {
			return max(p.Span.Base, began), true, nil
		}
		return max(p.Span.Base, s.end.Partitions[p.ID].Span.Next), true, nil
	case from.Offsets != nil:
		if at, given := from.Offsets.of(p.Topic, p.ID.Partition); given {
			return at, true, nil
		}
		return p.Span.Base, true, nil
	case from.At.IsZero() || p.Err != nil:
		return p.Span.Base, true, nil
	}
	return record.OffsetAt(p.Records, 0, from.At.UnixMilli())
}

// miss notes that a table did not get what it should have.
func (s *session) miss(t *table) {
	if !s.passed[t] {
		s.passed[t] = true
		t.miss()
	}
}

// endTopic tells the worker that a topic's records end here: those of this journal. Of a topic that journal 0 has not told of yet nothing is
// read that is not read again.
func (s *session) endTopic(ctx context.Context, id kfs.TopicID) error {
	topic, ok := s.job.topicOf(id)
	if !ok {
		return nil
	}
	t := s.job.table(topic.Name)
	f, known := s.feeds[t]
	if !known && t != nil {
		patient, cancel := context.WithTimeout(ctx, openPatience)
		f = t.await(patient)
		cancel()
		s.feeds[t] = f
	}
	if t == nil {
		return nil
	}
	if f == nil {
		s.miss(t)
		return nil
	}
	for p, journal := range topic.Journals {
		of := kfs.PartitionID{Topic: id, Partition: int32(p)}
		if journal != s.journal || !s.gives(of) || !f.reads(of) {
			continue
		}
		if err := f.offer(ctx, item{source: processor.Source{Topic: topic.Name, ID: id, Partition: int32(p)}, ended: true}); errors.Is(err, errClosed) {
			s.miss(t)
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}
