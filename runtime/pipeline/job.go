package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/tail"
)

// Job runs one job. Run may be called once.
type Job struct {
	cfg        Config
	match      func(topic string) bool
	metrics    *metrics
	objects    *objectBudget
	memory     *rowMemory
	letters    *letterBox    // nil unless dead letters have a table, or may have had one
	flushBytes int64         // what a decoder holds before its rows are staged
	done       chan struct{} // closed when all that was there is committed, or cannot be
	outcome    error         // what cannot be; set before that

	ends     map[uint32]*tail.End // of the journals, as Resolve has found them; nil without it
	journals uint32               // how many there were

	before map[string]known // what the job had committed to tables before this process; set before anything else runs

	filing chan struct{} // holds a token while the job's object is made and written; what follows belongs to whoever put it there
	filed  []byte        // the object as it is in the store, as far as is known
	said   []byte        // what this process had to say of it when it merged it last with what others say
	merged time.Time     // when that was
	others namesakes     // where no other process is known to run the job

	leaving bool // nothing runs any more; set before the last write

	work  sync.WaitGroup                                   // readers and workers
	drive func(w *worker, ctx, last context.Context) error // (*worker).run; a simulation, which leaves nothing to chance, has its own

	mu      sync.Mutex        // guards what follows
	lineage kfs.TopicID       // of the source, as journal 0 or the job's object says it; zero if not known
	tables  map[string]*table // by topic
	names   map[string]string // the topic of each table
	halts   []error           // collisions and journals
	apart   error             // another job of this name runs; nil if none is known of
	readers map[uint32]readerState
	turns   map[uint32]uint64         // of the share that the reader of each journal takes, where processes share the job
	live    map[string]kfs.Topic      // that there were when a run until offsets began
	topics  map[kfs.TopicID]kfs.Topic // of the job, as journal 0 has said it last
	ended   map[kfs.PartitionID]bool  // that are known to be committed to the ends of their topics
	over    map[kfs.TopicID]bool      // topics all of whose partitions are
	drained chan struct{}             // closed when every reader of a bounded run is at its end; another one after a rewind

	portions map[uint32]portion                    // of the readers of a bounded run that are at their ends
	round    uint64                                // counts rewinds
	sessions map[uint32]context.CancelCauseFunc    // end what the reader of each journal has begun, at the next one
	spawn    func(func(ctx, last context.Context)) // starts a goroutine of Run
}

// readerState is how far the reader of a journal is.
type readerState uint8

const (
	reading    readerState = iota + 1
	atEnd                  // of what a bounded run takes
	unreadable             // for good
)

// New makes a job. Nothing is read or opened before Run.
func New(cfg Config) (*Job, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("job %s: %w", cfg.Name, err)
	}
	cfg.setDefaults()
	match, err := kfs.MatchTopics(cfg.Topics, cfg.Pattern)
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg.Registerer, cfg.Name)
	if err != nil {
		return nil, err
	}
	rows := cfg.MemoryBytes - cfg.MemoryBytes/objectsShare
	j := &Job{cfg: cfg, match: match, metrics: m, objects: newObjectBudget(cfg.MemoryBytes / objectsShare), memory: newRowMemory(rows),
		flushBytes: max(1<<20, min(16<<20, rows/8)), done: make(chan struct{}), drained: make(chan struct{}), portions: map[uint32]portion{}, topics: map[kfs.TopicID]kfs.Topic{}, ended: map[kfs.PartitionID]bool{}, over: map[kfs.TopicID]bool{},
		tables: map[string]*table{}, names: map[string]string{}, readers: map[uint32]readerState{}, turns: map[uint32]uint64{}, sessions: map[uint32]context.CancelCauseFunc{}, filing: make(chan struct{}, 1),
		drive: (*worker).run}
	if cfg.Errors == DeadLetter || cfg.OpenDeadLetters != nil && cfg.Former != nil {
		j.letters = newLetterBox(&cfg, func(ctx context.Context) (processor.Sink, error) { return cfg.OpenDeadLetters(ctx, j.sourceLineage()) })
	}
	return j, nil
}

// Run works until ctx has ended; then it commits what was decoded, within Config.Grace, and returns nil. A bounded run returns
// when all is committed up to where it ends. What has halted is an error of a bounded run; else Status and metrics tell.
func (j *Job) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	last, cancelLast := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelLast()
	if err := j.remember(ctx); err != nil {
		if j.cfg.Until.Bounded() {
			return err
		}
		return nil
	}
	j.writeStatus(ctx) // before anything is read: from now on retention waits for the job
	j.mu.Lock()
	j.spawn = func(run func(ctx, last context.Context)) { j.work.Go(func() { run(ctx, last) }) }
	j.readJournal(0)
	j.mu.Unlock()
	var status sync.WaitGroup
	status.Go(func() { j.keepStatus(ctx) })
	status.Go(func() { j.keepFollowing(ctx) })
	status.Go(func() { j.listen(ctx) })

	select {
	case <-ctx.Done():
	case <-j.done:
		cancel(errDone)
	}
	grace := time.AfterFunc(j.cfg.Grace, cancelLast)
	defer grace.Stop()
	j.work.Wait()
	status.Wait()
	j.measureLag()
	j.leaving = true
	j.writeStatus(last)
	if j.letters != nil {
		if err := j.letters.close(); err != nil {
			j.cfg.Logger.Warn("closing the dead-letter table", "err", err)
		}
	}
	if !j.cfg.Until.Bounded() {
		return nil
	}
	if errors.Is(context.Cause(ctx), errDone) {
		j.tellAbsent()
		return j.outcome
	}
	s := j.Status()
	return errors.Join(context.Cause(ctx), s.haltErrors())
}

// RunName is Until.Name of the job.
func (j *Job) RunName() string { return j.cfg.Until.Name() }

var errDone = errors.New("everything is committed")

// remember reads what the job had committed before, and keeps what it is told to keep, as long as it takes.
func (j *Job) remember(ctx context.Context) (err error) {
	for failures := 0; ; failures++ {
		var file *kfs.Job
		j.before, file, err = j.readFile(ctx)
		if err == nil {
			err = j.keep(ctx)
		}
		if err == nil {
			j.lineage = file.Lineage
			j.meetFile(file)
			return nil
		}
		wait := j.backoff(failures)
		j.cfg.Logger.Warn("reading what the job had committed before, and keeping its configuration", "err", err, "in", wait)
		if !sleep(ctx, wait) {
			return context.Cause(ctx)
		}
	}
}

// follower follows a part of the log: a *tail.Tailer a journal, a *tail.Segments a bucket of KafScale.
type follower interface {
	Open(ctx context.Context) error
	Checkpoint() *kfs.Checkpoint
	OffsetsAt(ctx context.Context, at time.Time, partitions []kfs.PartitionID) (map[kfs.PartitionID]int64, error)
	Until(ends map[kfs.PartitionID]int64)
	Seek(ctx context.Context, offsets map[kfs.PartitionID]int64) error
	Next(ctx context.Context) (*tail.Object, error)
	Sequence() uint64
	Backlog() int
	Close()
}

var _, _ follower = (*tail.Tailer)(nil), (*tail.Segments)(nil)

// follow makes a follower of a journal, and tells which partitions it gives. atEnd is Config.AtEnd of a tailer.
func (j *Job) follow(journal uint32, atEnd func(context.Context, func(kfs.PartitionID) int64) error) (f follower, gives func(kfs.PartitionID) bool) {
	cfg := j.tailConfig(journal)
	cfg.AtEnd = atEnd
	if gives = cfg.Wants; gives == nil {
		gives = func(kfs.PartitionID) bool { return true }
	}
	if j.cfg.KafScale {
		return tail.NewSegments(cfg), gives
	}
	return tail.New(cfg), gives
}

func (j *Job) readEnd(ctx context.Context, journal uint32, since time.Time) (tail.End, error) {
	if j.cfg.KafScale {
		return tail.ReadSegmentsEnd(ctx, j.tailConfig(journal), since)
	}
	return tail.ReadEnd(ctx, j.tailConfig(journal), since)
}

func (j *Job) tailConfig(journal uint32) tail.Config {
	cfg := tail.Config{Store: j.cfg.Store, Journal: journal, Match: j.wanted, Budget: j.objects, Logger: j.cfg.Logger, Now: j.cfg.Now, Jitter: j.cfg.Jitter}
	if j.cfg.shared() { // a life of a table with another share begins behind this, and with a rewind
		cfg.Wants = j.wants(journal)
	}
	return cfg
}

// wanted reports whether this run takes records of a topic: of those that the job reads, all but what a run until offsets leaves out.
func (j *Job) wanted(topic string) bool {
	return j.match(topic) && (j.cfg.Until.Offsets == nil || j.cfg.Until.Offsets[topic] != nil)
}

// readJournal starts the reader of a journal, unless there is one. j.mu is held.
func (j *Job) readJournal(journal uint32) {
	if _, ok := j.readers[journal]; ok {
		return
	}
	j.readers[journal] = reading
	r := &reader{job: j, journal: journal, log: j.cfg.Logger.With("journal", journal)}
	j.spawn(func(ctx, _ context.Context) { r.run(ctx) })
}

// learn takes note of an entry of journal 0: of journals, and of topics, whose tables open before records come. A source with another lineage
// is another source, or an older state of this one: offsets do not mean the same there.
func (j *Job) learn(e kfs.Entry) error {
	switch e := e.(type) {
	case kfs.Cluster:
		j.mu.Lock()
		defer j.mu.Unlock()
		if !j.lineage.IsZero() && j.lineage != e.Lineage {
			return halted(fmt.Sprintf("the source has lineage %s, this job has read lineage %s: it was restored or replaced", e.Lineage, j.lineage),
				"give the job new tables, or move its tables to where the restored source begins and delete "+kfs.JobKey(j.cfg.Name))
		}
		j.lineage = e.Lineage
		for k := range e.Journals {
			j.readJournal(k)
		}
	case kfs.Topic:
		switch {
		case !j.wanted(e.Name):
		case j.meetTopic(e):
			j.found(e.ID, int32(len(e.Journals)))
			j.table(e.Name)
		}
	}
	return nil
}

// sourceLineage is the lineage of the source. It is known before any topic is: what journal 0 begins with says it.
func (j *Job) sourceLineage() kfs.TopicID {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lineage
}

// table finds the table of a topic and starts its worker; nil if it has none because of a collision.
func (j *Job) table(topic string) *table {
	j.mu.Lock()
	defer j.mu.Unlock()
	if t, ok := j.tables[topic]; ok {
		return t
	}
	name := j.cfg.Route(topic)
	first, taken := j.names[strings.ToLower(name)]
	if !taken {
		first = j.filler(name)
	}
	if first != "" && first != topic {
		err := stays(halted(fmt.Sprintf("topics %s and %s would both go to table %s", first, topic, name), "give them jobs of their own, with different tables"))
		j.cfg.Logger.Error("a topic has no table", "topic", topic, "err", err)
		j.metrics.halt(name, "table")
		j.halts = append(j.halts, err)
		j.tables[topic] = nil
		return nil
	}
	j.names[strings.ToLower(name)] = topic
	t := newTable(j, name, topic)
	j.tables[topic] = t
	j.spawn(t.run)
	return t
}

// openTables are the tables that there are. j.mu is held.
func (j *Job) openTables() []*table {
	var all []*table
	for _, t := range j.tables {
		if t != nil {
			all = append(all, t)
		}
	}
	return all
}

// enter begins a session of a journal's reader, in a round. When the next round begins, end ends it, at once: no reader goes on meanwhile.
func (j *Job) enter(journal uint32, end context.CancelCauseFunc) (round uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sessions[journal] = end
	return j.round
}

// rewind makes all readers begin anew, each at the least position that a table wants.
func (j *Job) rewind() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.round++
	for _, end := range j.sessions {
		end(errRewind)
	}
	if isClosed(j.drained) {
		j.drained = make(chan struct{})
	}
	for k, state := range j.readers {
		if state == atEnd {
			j.readers[k] = reading
		}
	}
}

// drains is a channel that is closed when all that a bounded run takes was read.
func (j *Job) drains() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.drained
}

// reached notes that a journal was read to its end in a round.
func (j *Job) reached(journal uint32, round uint64, p portion) {
	j.mu.Lock()
	if round == j.round {
		j.readers[journal], j.portions[journal] = atEnd, p
	}
	j.mu.Unlock()
	j.settled()
}

// journalHalted notes that a journal cannot be read any more.
func (j *Job) journalHalted(journal uint32, err error) {
	j.mu.Lock()
	j.halts = append(j.halts, fmt.Errorf("journal %d: %w", journal, err))
	j.readers[journal] = unreadable
	delete(j.portions, journal)
	j.mu.Unlock()
	j.settled()
}

// settled ends a bounded run when all that was there is committed. It is called whenever that may have become true.
func (j *Job) settled() {
	if !j.cfg.Until.Bounded() {
		return
	}
	j.mu.Lock()
	round, tables, s := j.round, j.openTables(), Status{Halted: slices.Clone(j.halts)}
	reached := !slices.Contains(slices.Collect(maps.Values(j.readers)), reading)
	if reached && !isClosed(j.drained) {
		close(j.drained)
	}
	j.mu.Unlock()
	if !reached {
		return
	}
	for _, t := range tables {
		one, settled := t.look()
		if !settled {
			return
		}
		s.Tables = append(s.Tables, one)
	}
	elsewhere, ok := j.agreed(round, s.Tables)
	if !ok {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.round == round && !isClosed(j.done) {
		j.outcome = errors.Join(s.haltErrors(), elsewhere)
		close(j.done)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// backoff is how long to wait after so many failures: 100 ms doubling to 15 s, less up to a half.
func (j *Job) backoff(failures int) time.Duration {
	wait := min(100*time.Millisecond<<min(failures, 10), 15*time.Second)
	return wait/2 + time.Duration(j.cfg.Jitter()*float64(wait/2))
}

// sleep waits and reports whether it was not interrupted.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
