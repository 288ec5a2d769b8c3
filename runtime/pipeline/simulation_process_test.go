package pipeline

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/catalogtest"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/work"
)

const (
	simJob     = "job"
	simLetters = "db.job_dead_letter"
)

// simProcess is a process that runs the job.
type simProcess struct {
	simulation *simulation
	n          int
	job        *Job
	cancel     context.CancelFunc
	done       chan struct{}
	dead       bool // it was killed: nothing that it does has any effect
	paused     bool

	seen    map[string]int            // of each table, the newest version that it has seen
	member  *work.Member              // nil where each process believes to be alone
	ear     *simEar                   // and how it hears of others
	file    string                    // its job file
	letters func(ctx context.Context) // of a mistake: a commit of dead letters that is put off

	mu     sync.Mutex                  // guards what follows; one event may wake several workers
	shown  map[string]map[string]int64 // of each table, the greatest positions that it has seen
	lives  map[string]simLife          // of the tables of each topic
	opened map[string]int              // sinks, of each table
}

// start starts a process, unless there are many.
func (s *simulation) start() {
	if len(s.alive()) >= simAlive || len(s.processes) >= simProcesses && !s.calm {
		return
	}
	p := &simProcess{simulation: s, n: len(s.processes), done: make(chan struct{}), seen: map[string]int{}, shown: map[string]map[string]int64{}, lives: map[string]simLife{}, opened: map[string]int{}}
	for name, t := range s.lake.tables {
		p.seen[name] = t.seen
	}
	cfg := Config{Name: simJob, Store: simStore{p}, Topics: []string{"events", "orders"}, Route: template("db.{topic}"),
		Jitter: p.drawJitter, Grace: 3 * time.Second, Logger: p.logged()}
	if s.seed%2 == 0 {
		cfg.FileSize = 400
	}
	p.configure(&cfg)
	run, open := p.share(&cfg)
	cfg.OpenSink = func(ctx context.Context, table string, lineage kfs.TopicID) (processor.Sink, error) {
		return open(ctx, table, nil, lineage)
	}
	cfg.OpenDeadLetters = func(ctx context.Context, lineage kfs.TopicID) (processor.Sink, error) {
		return open(ctx, simLetters, nil, lineage)
	}
	if s.routed {
		p.route(&cfg, open)
	}
	job, err := New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	p.job, job.drive = job, p.drive
	ctx, cancel := context.WithCancel(s.t.Context())
	p.cancel = cancel
	s.processes = append(s.processes, p)
	s.say("%d starts", p.n)
	go func() {
		defer close(p.done)
		_ = run(ctx, job) // not bounded: it is nil
	}()
}

func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// simWriter takes what a process logs: to read, it is no part of the trace.
type simWriter struct{ p *simProcess }

func (w simWriter) Write(line []byte) (int, error) {
	s := w.p.simulation
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.verbose {
		fmt.Fprintf(&s.trace, "%12s      %d: %s", time.Since(s.began), w.p.n, line)
	}
	if strings.Contains(string(line), processor.ErrMoved.Error()) {
		s.Moved++
	}
	return len(line), nil
}

// ended reports whether the process has come to its end by itself, or has been killed.
func (p *simProcess) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// kill ends a process where it stands.
func (s *simulation) kill(p *simProcess) {
	if p == nil {
		return
	}
	s.Kills++
	s.say("%d is killed", p.n)
	if p.member != nil { // nobody gives its lease back
		p.ear.memory.Leave(p.self())
	}
	s.mu.Lock()
	p.dead = true
	s.mu.Unlock()
	p.cancel()
	// What waits for the scheduler with a context of its own goes, too.
	for {
		s.mu.Lock()
		var at *simStop
		for _, o := range s.stops {
			if o.process == p {
				at = o
			}
		}
		if at == nil {
			s.mu.Unlock()
			break
		}
		for i, o := range s.stops {
			if o == at {
				s.stops = append(s.stops[:i:i], s.stops[i+1:]...)
				break
			}
		}
		s.mu.Unlock()
		at.wake <- simTurn{gone: true}
	}
}

// end kills everybody and waits for them.
func (s *simulation) end() {
	for _, p := range s.processes {
		if !p.dead {
			s.kill(p)
		}
	}
	for _, p := range s.processes {
		<-p.done
	}
	if s.leases != nil {
		s.leases.close()
	}
}

func (p *simProcess) name() string { return fmt.Sprint(p.n) }

// draw is chance that whoever draws at a moment for the same purpose gets alike: one moment may wake several workers, in any order.
func (p *simProcess) draw(what string) [32]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%d %d %s", p.simulation.seed, p.n, what))
}

func (p *simProcess) drawJitter() float64 {
	at := p.draw(fmt.Sprint("jitter ", time.Now().UnixNano()))
	return rand.New(rand.NewChaCha8(at)).Float64()
}

// drive is the loop of a worker: (*worker).run, but the scheduler decides what comes first.
func (p *simProcess) drive(w *worker, ctx, last context.Context) error {
	p.stop(ctx, "attach "+w.table.name, nil) // one answer may let several workers begin
	w.attach()
	for {
		p.remember(w)
		if mistaken := p.simulation.mistake.work; mistaken != nil {
			mistaken(w)
		}
		over, share, _ := w.table.job.memory.pressure(w.table)
		m := w.next(over, share, len(w.feed.items))
		if m.commit {
			if err := w.begin(last, m.forced); err != nil {
				return err
			}
			continue
		}
		w.rest()
		choices := func() (all []string) {
			if m.items && len(w.feed.items) > 0 {
				all = append(all, "item")
			}
			if len(w.result) > 0 {
				all = append(all, "result")
			}
			if !m.until.IsZero() && !w.cfg.Now().Before(m.until) {
				all = append(all, "time")
			}
			if isClosed(w.reassigned) {
				all = append(all, "reassigned")
			}
			return all
		}
		turn := p.stop(ctx, "work "+w.table.name, func() bool { return len(choices()) > 0 })
		if ctx.Err() != nil {
			return w.finale(last)
		}
		var err error
		all := choices()
		switch all[turn.n%uint64(len(all))] {
		case "item":
			p.simulation.log.sort(w.feed.items)
			err = w.accept(last, <-w.feed.items)
		case "result":
			err = w.finish(<-w.result)
		case "time":
			err = w.wake(last)
		case "reassigned":
			err = w.reassign(last)
		}
		if err != nil {
			return err
		}
	}
}

// openSink opens the sink of a table. own says that what it commits is the process's own.
func (p *simProcess) openSink(ctx context.Context, name string, properties map[string]string, lineage kfs.TopicID, own bool) (processor.Sink, error) {
	sink, err := p.openIceberg(ctx, name, properties, lineage, own)
	switch {
	case err != nil:
		return nil, err
	case p.simulation.mistake.sink != nil:
		return p.simulation.mistake.sink(p, name, sink), nil
	}
	return p.keeping(name, sink, own)
}

// openIceberg opens the sink of a table as cmd/firn does it.
func (p *simProcess) openIceberg(ctx context.Context, name string, properties map[string]string, lineage kfs.TopicID, own bool) (*iceberg.Sink, error) {
	s := p.simulation
	random := rand.NewChaCha8(p.draw(fmt.Sprint("sink ", p.opens(name), " of ", name)))
	spec := processors.Table{Name: name, DeadLetters: name == simLetters, Lineage: lineage.String(), Properties: map[string]string{"write.parquet.compression-codec": "uncompressed"}}
	maps.Copy(spec.Properties, properties)
	if name == "db.events" && s.seed%5 == 0 {
		spec.Partition = []string{"kafka_partition"}
	}
	if told := s.mistake.open; told != nil {
		told(&spec)
	}
	sink, err := iceberg.New(iceberg.Config{Catalog: catalog.New(simClient{p: p, own: own}), Options: p.options(random)}).Open(ctx, spec)
	if err != nil {
		return nil, err
	}
	return sink.(*iceberg.Sink), nil
}

// opens counts a sink of a table, and is how many there are with it.
func (p *simProcess) opens(name string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opened[name]++
	return p.opened[name]
}

// options are what a process tells catalogs of itself.
func (p *simProcess) options(random io.Reader) catalog.Options {
	return catalog.Options{Job: simJob, Writer: p.name(), Config: p.file, Store: simStore{p}, Rand: random}
}

// keeping is a sink that does its table's upkeep after every second commit, of some seeds after each, and leaves little: an Iceberg sink does it
// after a hundred.
type keeping struct {
	*iceberg.Sink
	committer *catalog.Committer
	commits   int
	every     int // after so many
}

func (p *simProcess) keeping(name string, sink *iceberg.Sink, own bool) (processor.Sink, error) {
	p.mu.Lock()
	opened := p.opened[name]
	p.mu.Unlock()
	opts := p.options(rand.NewChaCha8(p.draw(fmt.Sprint("upkeep ", opened, " of ", name))))
	client, every := simClient{p: p, own: own}, 2
	opts.Upkeep = catalog.Upkeep{Manifests: 2, Snapshots: 3, Age: time.Minute}
	if p.simulation.seed%3 == 1 {
		client.slow, every, opts.Upkeep.Manifests = true, 1, 1
	}
	committer, err := catalog.New(client).Committer(name, opts)
	if err != nil {
		return nil, err
	}
	return &keeping{Sink: sink, committer: committer, every: every}, nil
}

// Commit implements processor.Sink.
func (k *keeping) Commit(ctx context.Context, from, to processor.Positions, all []processor.Staged) error {
	if err := k.Sink.Commit(ctx, from, to, all); err != nil {
		return err
	}
	if k.commits++; k.commits%k.every == 0 {
		_ = k.committer.Upkeep(ctx) // what it has not done it does later
	}
	return nil
}

// simStore is the bucket as a process sees it.
type simStore struct{ p *simProcess }

var _ blob.Store = simStore{}

var (
	errSimLost = errors.New("the connection was reset")
	errSimGone = errors.New("the process is dead")
)

// do carries an operation out when the scheduler says so.
func (st simStore) do(ctx context.Context, label string, run func() error) error {
	turn := st.p.stop(ctx, label, nil)
	switch {
	case turn.gone:
		return errSimGone
	case turn.fault == catalogtest.None:
		return run()
	case turn.fault != catalogtest.FailBefore && turn.fault != catalogtest.Late:
		_ = run()
	}
	return errSimLost
}

// Get implements blob.Store.
func (st simStore) Get(ctx context.Context, key string, r blob.Range) (body io.ReadCloser, info blob.Info, err error) {
	if key == kfs.RestoringKey { // several readers ask for it at the same time; nobody restores
		return st.p.simulation.store.Get(ctx, key, r)
	}
	err = st.do(ctx, "get "+st.p.simulation.named(key, nil), func() (err error) {
		body, info, err = st.p.simulation.store.Get(ctx, key, r)
		return err
	})
	if errors.Is(err, errSimLost) {
		info = blob.Info{}
	}
	return body, info, err
}

// Put implements blob.Store.
func (st simStore) Put(ctx context.Context, key string, body []byte, ifAbsent bool) (info blob.Info, err error) {
	err = st.do(ctx, "put "+st.p.simulation.named(key, body), func() (err error) {
		if info, err = st.p.simulation.store.Put(ctx, key, body, ifAbsent); err == nil {
			if strings.HasPrefix(key, work.GroupsPrefix(simJob)) {
				st.p.simulation.Handed++
			}
			st.p.simulation.checkFiled(key, body)
		}
		return err
	})
	return info, err
}

// List implements blob.Store.
func (st simStore) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Page, error] {
	return func(yield func(blob.Page, error) bool) {
		if err := st.do(ctx, "list "+prefix, func() error { return nil }); err != nil {
			yield(blob.Page{}, err)
			return
		}
		for page, err := range st.p.simulation.store.List(ctx, prefix, after) {
			if !yield(page, err) {
				return
			}
		}
	}
}

// Delete implements blob.Store.
func (st simStore) Delete(ctx context.Context, key string) error {
	return st.do(ctx, "delete "+st.p.simulation.named(key, nil), func() error { return st.p.simulation.store.Delete(ctx, key) })
}
