package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/firn-io/firn/kfs"
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
		err := r.read(ctx)
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

// read is one session. It ends with errRewind when the job rewinds.
func (r *reader) read(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	round := r.job.enter(r.journal, cancel)
	defer func() {
		if context.Cause(ctx) == errRewind { // whatever it has interrupted
			err = errRewind
		}
	}()
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
		s.job.found(p.ID.Topic, p.ID.Partition+1) // a source without metadata tells of its partitions in no other way
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
