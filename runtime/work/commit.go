package work

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/processor"
)

const (
	// answerPatience is how long a worker waits for a committer; then it commits itself, and for distrust does not ask that one again.
	answerPatience = 3 * time.Second
	distrust       = 10 * time.Second
	// gather is how long a committer waits for groups of others when one comes, so that they make one commit.
	gather = 100 * time.Millisecond
	// maxMerged bounds the groups of one commit.
	maxMerged = 64
	// commitTries is how often a committer begins anew because somebody else has committed.
	commitTries = 3
)

// commit makes a group visible: through the table's committer, or directly where there is nobody else, the committer is this worker's own
// sink, or does not do it.
func (m *Member) commit(ctx context.Context, table string, inner processor.Sink, from, to processor.Positions, staged []processor.Staged) error {
	g := &group{job: m.cfg.Job, config: m.cfg.Hash, table: table, from: from, to: to, staged: staged}
	v := yourself
	switch by, alone := m.committer(table); {
	case alone || len(to) == 0:
	case by == m.id:
		v = m.queueOwn(ctx, g)
	default:
		v = m.handOver(ctx, by, g)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch v {
	case committed:
		return nil
	case moved:
		return fmt.Errorf("commit to table %s by its committer: %w", table, processor.ErrMoved)
	}
	return inner.Commit(ctx, from, to, staged)
}

// committer is the worker that commits to a table. alone says that there is nobody to share the work with, as far as is known, or that
// the committer did not answer lately.
func (m *Member) committer(table string) (by string, alone bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	by = m.exchange.committer(table)
	others := len(m.exchange.workers) > 1
	return by, !others || by == "" || m.leaving || time.Now().Before(m.distrusted[by])
}

// queueOwn commits a group of this worker together with those of others.
func (m *Member) queueOwn(ctx context.Context, g *group) verdict {
	wait := make(chan verdict, 1)
	if !m.enqueue(request{g, func(v verdict) { wait <- v }}) {
		return yourself
	}
	select {
	case v := <-wait:
		return v
	case <-ctx.Done():
		return yourself
	}
}

// handOver puts a group where the committer reads it, tells it, and waits for its answer.
func (m *Member) handOver(ctx context.Context, by string, g *group) (v verdict) {
	object, err := g.encode()
	if err != nil {
		m.cfg.Logger.Debug("a group does not travel", "table", g.table, "err", err)
		return yourself
	}
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	id := rand.Text()
	key := groupKey(m.cfg.Job, m.id, id)
	if _, err := m.cfg.Store.Put(ctx, key, object, true); err != nil {
		m.cfg.Logger.Warn("a group is not handed over", "key", key, "err", err)
		return yourself
	}
	defer func() { m.metrics.handed.WithLabelValues(string(v)).Inc() }()
	wait := make(chan verdict, 1)
	m.mu.Lock()
	m.waits[id] = wait
	m.apply(m.exchange.step(handing{handed{ID: id, Table: g.table, Size: int64(len(object)), CRC: crc32.Checksum(object, castagnoli)}}))
	m.mu.Unlock()
	v = yourself
	silent := false
	select {
	case v = <-wait:
	case <-ctx.Done():
		silent = errors.Is(ctx.Err(), context.DeadlineExceeded) // else this worker ends
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if silent {
		m.cfg.Logger.Warn("the table's committer did not answer; committing without it", "table", g.table, "committer", by, "patience", answerPatience)
		now := time.Now()
		maps.DeleteFunc(m.distrusted, func(_ string, until time.Time) bool { return until.Before(now) })
		m.distrusted[by] = now.Add(distrust)
	}
	delete(m.waits, id)
	m.apply(m.exchange.step(takenBack{id}))
	if m.spawn != nil {
		m.spawn(func(ctx context.Context) { m.dropGroup(ctx, key) })
	}
	return v
}

// dropGroup deletes a group's object, which nobody waits for any more. One that stays is swept.
func (m *Member) dropGroup(ctx context.Context, key string) {
	if err := m.cfg.Store.Delete(ctx, key); err != nil && ctx.Err() == nil {
		m.cfg.Logger.Debug("a group is left to be swept", "key", key, "err", err)
	}
}

// take reads a group of another worker and queues it. m.mu is held.
func (m *Member) take(t take) {
	judgeLocked := func(v verdict) {
		m.metrics.taken.WithLabelValues(string(v)).Inc()
		m.apply(m.exchange.step(judged{t.of, v}))
	}
	judge := func(v verdict) {
		m.mu.Lock()
		defer m.mu.Unlock()
		judgeLocked(v)
	}
	if m.spawn == nil || m.lane(t.handed.Table) == nil {
		judgeLocked(yourself)
		return
	}
	m.spawn(func(ctx context.Context) {
		g, err := m.readGroup(ctx, t)
		if err != nil {
			m.cfg.Logger.Warn("a group of another worker is left to it", "table", t.handed.Table, "err", err)
			judge(yourself)
			return
		}
		if !m.enqueue(request{g, judge}) {
			judge(yourself)
		}
	})
}

func (m *Member) readGroup(ctx context.Context, t take) (*group, error) {
	key := groupKey(m.cfg.Job, t.of.worker, t.of.id)
	object, _, err := blob.ReadAll(ctx, m.cfg.Store, key, blob.All, maxGroupBytes)
	if err != nil {
		return nil, err
	}
	if sum := crc32.Checksum(object, castagnoli); int64(len(object)) != t.handed.Size || sum != t.handed.CRC {
		return nil, fmt.Errorf("%s has %d bytes and CRC %08x, its worker says %d and %08x", key, len(object), sum, t.handed.Size, t.handed.CRC)
	}
	g, err := decodeGroup(object)
	if err == nil && (g.job != m.cfg.Job || g.table != t.handed.Table || g.config != m.cfg.Hash) {
		err = fmt.Errorf("it is of job %s, configuration %s, and table %s", g.job, g.config, g.table)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return g, nil
}

// lane is how one table's groups are committed here, one commit after the other, by a sink of its own.
type lane struct {
	member *Member
	table  string

	// Member.mu guards these.
	open    func(context.Context) (processor.Sink, error)
	queue   []request
	running bool

	// These belong to the goroutine that runs it.
	sink  processor.Sink
	known processor.Positions // where the table stands; nil if it has to be read
}

// request is a group that waits for its commit. judge is called once, without a lock.
type request struct {
	*group
	judge func(verdict)
}

// enqueue adds a request to its table's lane and runs the lane. It reports whether there is one that runs.
func (m *Member) enqueue(r request) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.lanes[r.table]
	if m.spawn == nil || l == nil {
		return false
	}
	l.queue = append(l.queue, r)
	if !l.running {
		l.running = true
		m.spawn(l.run)
	}
	return true
}

// run commits until nothing is queued.
func (l *lane) run(ctx context.Context) {
	sleep(ctx, gather)
	for {
		l.member.mu.Lock()
		n := min(len(l.queue), maxMerged)
		batch := slices.Clone(l.queue[:n])
		l.queue = slices.Delete(l.queue, 0, n)
		l.running = n > 0
		open := l.open
		l.member.mu.Unlock()
		if n == 0 {
			return
		}
		l.commit(ctx, open, batch)
	}
}

// commit makes one commit of a batch, and answers. What goes wrong, the workers learn when they commit themselves.
func (l *lane) commit(ctx context.Context, open func(context.Context) (processor.Sink, error), batch []request) {
	defer func() {
		for _, r := range batch {
			r.judge(yourself)
		}
	}()
	fresh := false // whether known was read for this batch
	for range commitTries {
		if err := l.load(ctx, open, &fresh); err != nil {
			l.member.cfg.Logger.Warn("groups are left to their workers", "table", l.table, "err", err)
			return
		}
		sum, taken := admit(l.known, groupsOf(batch))
		if slices.Contains(taken, false) {
			if !fresh {
				l.known = nil
				continue
			}
			batch = onlyTaken(batch, taken)
		}
		if len(batch) == 0 {
			return
		}
		err := l.sink.Commit(ctx, sum.from, sum.to, sum.staged)
		if err == nil {
			for source, next := range sum.to {
				l.known[source] = next
			}
			l.member.metrics.merged.Inc()
			for _, r := range batch {
				r.judge(committed)
			}
			batch = nil
			return
		}
		l.known, fresh = nil, false
		if !errors.Is(err, processor.ErrMoved) {
			l.member.cfg.Logger.Warn("groups are left to their workers", "table", l.table, "err", err)
			return
		}
	}
}

// load opens the sink and reads where the table stands, as far as that is needed.
func (l *lane) load(ctx context.Context, open func(context.Context) (processor.Sink, error), fresh *bool) (err error) {
	if l.sink == nil {
		if l.sink, err = open(ctx); err != nil {
			return err
		}
	}
	if l.known != nil {
		return nil
	}
	known, err := l.sink.Committed(ctx)
	if err != nil {
		return err
	}
	if known == nil {
		known = processor.Positions{}
	}
	l.known, *fresh = known, true
	return nil
}

func groupsOf(batch []request) []*group {
	groups := make([]*group, len(batch))
	for i := range batch {
		groups[i] = batch[i].group
	}
	return groups
}

// onlyTaken gives the requests that were taken, and answers the others.
func onlyTaken(batch []request, taken []bool) (rest []request) {
	for i, r := range batch {
		if taken[i] {
			rest = append(rest, r)
		} else {
			r.judge(moved)
		}
	}
	return rest
}

// closeLanes closes the sinks of lanes, none of which runs any more.
func (m *Member) closeLanes() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var errs []error
	for _, table := range sortedKeys(m.lanes) {
		if c, ok := m.lanes[table].sink.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}
