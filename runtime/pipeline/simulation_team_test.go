package pipeline

import (
	"context"
	"log/slog"
	"testing/cryptotest"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/lease"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/work"
)

// The processes of some seeds are workers that share the job (package work): each reads the partitions that it has claimed, and hands
// what it has staged to the committer of its table. In other seeds each believes to be alone.

// gather makes the processes of a simulation workers.
func (s *simulation) gather() {
	s.leases = lease.NewMemory()
	cryptotest.SetGlobalRandom(s.t, s.seed) // which ids of workers and groups are made of
}

// share makes a process one of the workers, and says how it runs its job.
func (p *simProcess) share(cfg *Config) (run func(context.Context, *Job) error) {
	s := p.simulation
	if s.leases == nil {
		return func(ctx context.Context, job *Job) error { return job.Run(ctx) }
	}
	member, err := work.New(work.Config{Job: simJob, Hash: cfg.Hash, Leases: s.leases.Service("", 0), Store: cfg.Store, Name: p.name(), Logger: cfg.Logger})
	if err != nil {
		s.t.Fatal(err)
	}
	p.member, cfg.Assignment = member, member
	wrap := func(ctx context.Context, table string, lineage kfs.TopicID) (processor.Sink, error) {
		own := true // and later ones are those with which it commits for others
		sink, err := member.Wrap(ctx, table, func(ctx context.Context) (processor.Sink, error) {
			defer func() { own = false }()
			return p.openSink(ctx, table, lineage, own)
		})
		if err == nil && s.mistake.wrap != nil {
			return s.mistake.wrap(sink), nil
		}
		return sink, err
	}
	cfg.OpenSink = wrap
	cfg.OpenDeadLetters = func(ctx context.Context, lineage kfs.TopicID) (processor.Sink, error) {
		return wrap(ctx, simLetters, lineage)
	}
	return func(ctx context.Context, job *Job) error { return member.Run(ctx, job.Run) }
}

// loseLease ends the session of a worker, which learns of it later.
func (s *simulation) loseLease(p *simProcess) {
	if p == nil || p.member == nil {
		return
	}
	s.Leases++
	s.say("the lease of %d is over", p.n)
	s.leases.Expire("jobs/" + simJob + "/workers/" + p.member.Self())
}

// logged is where a process logs.
func (p *simProcess) logged() *slog.Logger {
	return slog.New(slog.NewTextHandler(simWriter{p}, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
}
