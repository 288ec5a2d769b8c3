package journal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/firn-io/firn/broker/metadata"
	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

const (
	ioTimeout    = 15 * time.Second // of one store operation, but for large bodies; then its outcome is unknown
	leaveTimeout = 2 * time.Second  // of a last checkpoint when Run's context has ended
	drainTimeout = 5 * time.Second  // of writing what waits when Run's context has ended
	answerBuffer = 64               // answers that wait for the loop; more operations than that are never on their way
)

// shell is what the loop needs to carry out the core's effects.
type shell struct {
	ctx     context.Context // of store operations: outlives Run's, so that the last flush can end
	cancel  context.CancelFunc
	running sync.WaitGroup // store operations
	answers chan answered
	woken   chan struct{} // appends wait in the inbox
	open    int           // operations on their way; the loop's own
	builds  bool          // it has the process's turn to make segments; of the operation on its way, else the loop's
	opened  bool
	atEnd   bool // a follower has read to the end
	halted  bool
	err     error
}

func (s *shell) init(ctx context.Context) {
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.answers, s.woken = make(chan answered, answerBuffer), make(chan struct{}, 1)
}

// notify wakes the loop.
func (s *shell) notify() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// takeOver runs the core until it owns the journal and nothing is on its way.
func (j *Journal) takeOver(ctx context.Context) error {
	j.step(started{})
	for !j.shell.halted && (!j.shell.opened || j.shell.open > 0) {
		if err := j.turn(ctx.Done(), false); err != nil {
			return fmt.Errorf("journal %d: taking over: %w", j.cfg.Journal, context.Cause(ctx))
		}
	}
	return j.shell.err
}

var errDone = errors.New("done")

// serve runs the core until it has stopped.
func (j *Journal) serve(ctx context.Context) error {
	j.step(running{})
	for !j.shell.halted && j.turn(ctx.Done(), true) == nil {
	}
	if j.core.unreachable {
		return j.shell.err // nobody waits any more, and what is on its way tells nobody when it arrives
	}
	j.leave(context.WithoutCancel(ctx))
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if !j.shell.halted {
		requests, _ := j.collect()
		j.step(arrived{requests})
		j.step(closed{})
	}
	for !j.shell.halted && j.turn(drain.Done(), true) == nil {
	}
	return j.shell.err
}

// leave makes it short for the next owner: a checkpoint is written while appends are still taken.
func (j *Journal) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	if !j.shell.halted {
		j.step(leaving{})
	}
	for !j.shell.halted && j.core.upkeep.writing != nil && j.turn(ctx.Done(), true) == nil {
	}
}

// turn waits for one event and takes it. It returns errDone when done is closed.
func (j *Journal) turn(done <-chan struct{}, appends bool) error {
	var due <-chan time.Time
	if at := j.core.wake(); !at.IsZero() {
		wait := time.NewTimer(max(0, at.Sub(j.cfg.Now())))
		defer wait.Stop()
		due = wait.C
	}
	woken := j.shell.woken
	if !appends {
		woken = nil
	}
	select {
	case a := <-j.shell.answers:
		j.shell.open--
		j.step(a)
	case <-woken:
		requests, reachable := j.collect()
		if reachable == j.core.unreachable { // that has changed
			j.step(reached{reachable})
		}
		j.step(arrived{requests})
	case <-due:
		j.step(tick{})
	case <-done:
		return errDone
	}
	return nil
}

// collect empties the inbox, and tells whether the store is to be reached.
func (j *Journal) collect() (requests []*request, reachable bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	requests = j.inbox
	j.inbox = nil
	return requests, !j.unreachable
}

// step feeds the core and carries out what it wants.
func (j *Journal) step(ev event) {
	for _, e := range j.core.Step(j.cfg.Now(), ev) {
		j.carryOut(e)
	}
}

func (j *Journal) carryOut(e effect) {
	switch e := e.(type) {
	case putOp:
		j.metrics.put(j.cfg.Journal, e.key)
		j.do(e.op, timeFor(int64(len(e.body))), func(ctx context.Context) result {
			info, err := j.cfg.Store.Put(ctx, e.key, e.body, true)
			return answerOf(info, err)
		})
	case getOp:
		j.metrics.gets.Inc()
		j.do(e.op, timeFor(e.expected), func(ctx context.Context) result {
			body, info, err := blob.ReadAll(ctx, j.cfg.Store, e.key, e.rng, e.atMost)
			r := answerOf(info, err)
			r.body, r.size = body, info.Size
			return r
		})
	case listOp:
		j.metrics.lists.Inc()
		j.do(e.op, ioTimeout, func(ctx context.Context) result { return listKeys(ctx, j.cfg.Store, e) })
	case deleteOp:
		j.do(e.op, ioTimeout, func(ctx context.Context) result {
			if err := j.cfg.Store.Delete(ctx, e.key); err != nil {
				return result{err: err}
			}
			return result{outcome: done}
		})
	case buildOp:
		j.build(e)
	case deleted:
		j.metrics.deletes.Inc()
		j.log.Debug("deleted", "key", e.key)
	case passEnded:
		j.endBuild()
	case committed:
		j.commit(e)
	case reply:
		j.mu.Lock()
		j.pendingBytes -= e.request.bytes
		j.mu.Unlock()
		j.metrics.appendSeconds.Observe(j.cfg.Now().Sub(e.request.arrived).Seconds())
		e.request.pending.finish(e.results)
	case checkpointWritten:
		j.metrics.checkpoints.Inc()
		j.log.Info("checkpoint written", "sequence", e.sequence, "took", e.took)
	case opened:
		j.opened(e)
	case caughtUp:
		j.shell.atEnd = true
	case halted:
		j.shell.halted, j.shell.err = true, e.err
	case logged:
		j.log.Log(context.Background(), e.level, e.text, e.args...)
	}
}

// timeFor is how long an operation may take that moves so many bytes: a large one longer, for a store of 1 MiB a second is still one.
func timeFor(bytes int64) time.Duration { return ioTimeout + time.Duration(bytes>>20)*time.Second }

// do carries out a store operation on a goroutine of its own.
func (j *Journal) do(op uint64, within time.Duration, operation func(context.Context) result) {
	j.shell.open++
	j.shell.running.Go(func() {
		ctx, cancel := context.WithTimeout(j.shell.ctx, within)
		defer cancel()
		r := operation(ctx)
		select {
		case j.shell.answers <- answered{op, r}:
		case <-j.shell.ctx.Done():
		}
	})
}

// buildReads bounds the GETs of a build at a time.
const buildReads = 8

// build makes segments on a goroutine of its own, one pass at a time in the process.
func (j *Journal) build(e buildOp) {
	j.shell.open++
	j.shell.running.Go(func() {
		r := result{outcome: done}
		if err := j.buildParts(j.shell.ctx, e.parts); err != nil {
			r = result{err: err}
		}
		select {
		case j.shell.answers <- answered{e.op, r}:
		case <-j.shell.ctx.Done():
		}
	})
}

func (j *Journal) buildParts(ctx context.Context, parts []*part) error {
	if !j.shell.builds {
		if err := j.memory.beginBuild(ctx); err != nil {
			return err
		}
		j.shell.builds = true
	}
	var group errgroup.Group
	group.SetLimit(buildReads)
	return build(parts, func(sequence uint64, off, n int64) ([]byte, error) {
		if object, ok := j.memory.cache.get(cacheKey{journal: j.cfg.Journal, sequence: sequence}); ok {
			return object[off : off+n], nil
		}
		ctx, cancel := context.WithTimeout(ctx, timeFor(n))
		defer cancel()
		j.metrics.gets.Inc()
		key := kfs.ObjectKey(j.cfg.Journal, sequence)
		body, _, err := blob.ReadAll(ctx, j.cfg.Store, key, blob.Bytes(off, n), n)
		if err == nil && int64(len(body)) != n {
			err = fmt.Errorf("%d bytes from %d on, where %d were expected: %w", len(body), off, n, kfs.ErrCorrupt)
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", key, err)
		}
		return body, nil
	}, group.Go, group.Wait)
}

// endBuild gives the turn back, if it is here.
func (j *Journal) endBuild() {
	if j.shell.builds {
		j.shell.builds = false
		j.memory.endBuild()
	}
}

// errNoTime is what an answer without the store's clock comes to: nothing may rest on it.
var errNoTime = errors.New("the store's answer has no time")

// answerOf is what a store's answer means to the core.
func answerOf(info blob.Info, err error) result {
	r := result{outcome: done, time: info.ServerTime.UnixMilli()}
	switch {
	case errors.Is(err, blob.ErrNotFound):
		r.outcome = absent
	case errors.Is(err, blob.ErrPrecondition):
		r.outcome = exists
	case err != nil:
		return result{err: err}
	}
	if info.ServerTime.IsZero() {
		return result{err: errNoTime}
	}
	return r
}

func listKeys(ctx context.Context, store blob.Store, e listOp) result {
	var r result
	for page, err := range store.List(ctx, e.prefix, e.after) {
		if err != nil {
			return result{err: err}
		}
		if r.outcome == unknown {
			if r = answerOf(blob.Info{ServerTime: page.ServerTime}, nil); r.outcome == unknown {
				return r
			}
		}
		for _, o := range page.Objects {
			r.keys = append(r.keys, o.Key)
		}
		if e.first {
			break
		}
	}
	if r.outcome == unknown {
		r.err = errors.New("the store gave no page")
	}
	return r
}

// opened publishes the state that was taken over.
func (j *Journal) opened(e opened) {
	s := j.core.state
	j.shell.opened = true
	j.epoch.Store(e.epoch)
	j.sequence.Store(s.sequence)
	j.state.Store(s.metadata)
	j.groups.reset(s.groups)
	j.log.Info("journal taken over", "epoch", e.epoch, "sequence", s.sequence, "partitions", len(j.index.partitions))
}

// commit publishes an object that has just been committed.
func (j *Journal) commit(e committed) {
	m := e.manifest
	j.memory.cache.put(cacheKey{journal: m.Journal, sequence: m.Sequence}, e.body)
	j.sequence.Store(m.Sequence)
	if len(m.Entries) > 0 {
		j.publish(j.core.state.metadata)
		j.groups.apply(m.Entries)
	}
	j.metrics.committed(m, len(e.body))
	j.watchers.notify(changedBy(m))
	for _, e := range m.Entries {
		if e, ok := e.(kfs.Ended); ok {
			j.watchers.notifyTopic(e.Topic)
		}
	}
}

// publish lets callers see the metadata, and tells who waits for a change.
func (j *Journal) publish(s *metadata.State) {
	if j.state.Swap(s) == s {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	close(j.changed)
	j.changed = make(chan struct{})
}

// changedBy lists the partitions whose offsets an object changes.
func changedBy(m *kfs.Manifest) []kfs.PartitionID {
	ids := make([]kfs.PartitionID, 0, len(m.Segments))
	for i := range m.Segments {
		ids = append(ids, m.Segments[i].ID())
	}
	for _, e := range m.Entries {
		if e, ok := e.(kfs.Trim); ok {
			ids = append(ids, kfs.PartitionID{Topic: e.Topic, Partition: e.Partition})
		}
	}
	return ids
}

// close answers what still waits and waits for the goroutines.
func (j *Journal) close() {
	j.mu.Lock()
	j.closed = true
	requests := j.inbox
	j.inbox = nil
	j.mu.Unlock()
	for _, r := range requests {
		r.pending.finish(r.all(ErrNotOwner))
	}
	if j.core.phase != stopped { // the last flush took too long
		j.core.out = nil
		j.core.stop(nil)
		for _, e := range j.core.out {
			j.carryOut(e)
		}
	}
	j.shell.cancel()
	j.shell.running.Wait()
	j.endBuild()
	j.watchers.end()
	j.metrics.unregister()
}
