package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing/cryptotest"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/work"
)

// The processes of some seeds are workers that share the job (package work): each reads the partitions that it has claimed, and hands
// what it has staged to the committer of its table. In other seeds each believes to be alone.

// gather makes the processes of a simulation workers.
func (s *simulation) gather() {
	s.leases, s.groups, s.handed = newSimLeases(s), map[string]string{}, map[string]int{}
}

// named is a key of the bucket as the trace has it. The id of a group is drawn, and of two that a worker hands over at one moment either may be
// first to draw it: so a group is named by its table, of which a worker hands over one at a time, and numbered. What is put tells the table.
func (s *simulation) named(key string, put []byte) string {
	name, ok := strings.CutPrefix(key, work.GroupsPrefix(simJob))
	if !ok {
		return key
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.groups[name]; ok || put == nil {
		return known
	}
	var group struct{ Table string }
	_, body, _ := bytes.Cut(put, []byte("\n"))
	if err := json.Unmarshal(body, &group); err != nil {
		s.t.Fatal(err)
	}
	worker, _, _ := strings.Cut(name, "/")
	of := fmt.Sprintf("%s of %s", group.Table, worker)
	s.groups[name] = fmt.Sprintf("group %d for %s", s.handed[of], of)
	s.handed[of]++
	return s.groups[name]
}

// share makes a process one of the workers, and says how it runs its job and opens its tables.
func (p *simProcess) share(cfg *Config) (run func(context.Context, *Job) error, open simOpener) {
	s := p.simulation
	cfg.ID = p.name()
	if s.leases == nil {
		return func(ctx context.Context, job *Job) error { return job.Run(ctx) }, func(ctx context.Context, table string, properties map[string]string, lineage kfs.TopicID) (processor.Sink, error) {
			return p.openSink(ctx, table, properties, lineage, true)
		}
	}
	cryptotest.SetGlobalRandom(s.t, s.seed<<8|uint64(p.n)) // the worker's id is made of it
	p.ear = newSimEar()
	member, err := work.New(work.Config{Job: simJob, Hash: cfg.Hash, Leases: p.ear.memory.Service("", 0), Store: cfg.Store, Name: p.name(), Logger: cfg.Logger})
	if err != nil {
		s.t.Fatal(err)
	}
	share := newSimShare(member)
	p.member, cfg.Assignment = member, share
	for _, key := range s.leases.news(p) {
		s.leases.tell(p, key)
	}
	open = func(ctx context.Context, table string, properties map[string]string, lineage kfs.TopicID) (processor.Sink, error) {
		own := true // and later ones are those with which it commits for others
		sink, err := member.Wrap(ctx, table, func(ctx context.Context) (processor.Sink, error) {
			defer func() { own = false }()
			return p.openSink(ctx, table, properties, lineage, own)
		})
		if err == nil && s.mistake.wrap != nil {
			return s.mistake.wrap(sink), nil
		}
		return sink, err
	}
	run = func(ctx context.Context, job *Job) error {
		return member.Run(ctx, func(ctx context.Context) error {
			following, stop := context.WithCancel(ctx)
			var follower sync.WaitGroup
			follower.Go(func() { share.follow(following, p) })
			defer follower.Wait()
			defer stop()
			return job.Run(ctx)
		})
	}
	return run, open
}

// simShare is what a worker reads, as it learns of it: when the scheduler says so. All its tables and readers go by it, and which of them is
// first must not be left to chance.
type simShare struct {
	*work.Member

	mu      sync.Mutex // guards what follows
	turn    uint64
	reads   func(kfs.PartitionID) bool
	changed chan struct{}
}

func newSimShare(member *work.Member) *simShare {
	s := &simShare{Member: member, changed: make(chan struct{})}
	s.turn, s.reads, _ = member.Share()
	return s
}

// Share implements Assignment.
func (s *simShare) Share() (uint64, func(kfs.PartitionID) bool, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.turn, s.reads, s.changed
}

// follow lets the worker learn of its share until ctx has ended.
func (s *simShare) follow(ctx context.Context, p *simProcess) {
	news := func() bool {
		turn, _, _ := s.Member.Share()
		return turn > s.turn // which nobody else changes
	}
	for !p.stop(ctx, "share", news).gone {
		s.mu.Lock()
		s.turn, s.reads, _ = s.Member.Share()
		close(s.changed)
		s.changed = make(chan struct{})
		s.mu.Unlock()
	}
}

// loseLease ends the session of a worker, which learns of it later.
func (s *simulation) loseLease(p *simProcess) {
	if p == nil || p.member == nil {
		return
	}
	s.Leases++
	s.say("the lease of %d is over", p.n)
	p.ear.memory.Expire(p.self())
}

// logged is where a process logs.
func (p *simProcess) logged() *slog.Logger {
	return slog.New(slog.NewTextHandler(simWriter{p}, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
}
