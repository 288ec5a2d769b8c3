package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/kfs/lease"
	"github.com/firn-io/firn/runtime/host"
	"github.com/firn-io/firn/runtime/work"
)

func (p *program) processCommand() *cobra.Command {
	var http string
	var etcd []string
	runner := p.runner()
	c := runner.Command()
	c.Long += `

With --etcd, processes that run the same job share it. Each reads some of the partitions; they are spread anew within seconds when a process
comes, ends or dies. One process commits to a table for all of them. Sinks that are not Iceberg tables commit in each process. etcd holds
nothing but who is alive and who does what: without it, or should two processes take themselves for the only one, each offset still gets into
the table once. Bounded runs with the same --until share the work likewise; each exits when all of them together have committed what was
there when it began, and with 1 if any of it has halted. Runs with another --until, or without one, they do not join but wait for.`
	c.Flags().StringVar(&http, "http", "", "`address` for /healthz, /readyz and /metrics (default off)")
	c.Flags().StringSliceVar(&etcd, "etcd", nil, "`addresses` of etcd, host:port, separated by commas: processes with the same job share its work")
	metrics := newMetrics()
	c.PreRunE = func(c *cobra.Command, _ []string) (err error) {
		runner.Logger, runner.Metrics = p.logger, metrics
		if check, _ := c.Flags().GetBool("check"); len(etcd) > 0 && !check {
			runner.Leases, _, err = dialLeases(etcd, etcdPrefix)
		}
		return err
	}
	runner.Around = func(ctx context.Context, s host.Session) error { return p.around(ctx, s, metrics, http, runner.Leases) }
	return c
}

// processName tells this process from others, for people.
func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}

// around runs jobs beside a server that tells their status. Bounded runs take turns with those to another end.
func (p *program) around(ctx context.Context, s host.Session, metrics prometheus.Gatherer, http string, leases *lease.Service) error {
	var turn host.Turn
	if leases != nil {
		defer leases.Close()
		if s.Bounded {
			turn = p.turns(leases)
		}
	}
	if http == "" {
		return s.Run(ctx, turn)
	}
	status, err := listenStatus(http, metrics, jobChecks(s.Jobs))
	if err != nil {
		return err
	}
	fmt.Fprintf(p.out, "  http    %-22s /healthz, /readyz, /metrics\n", status.Addr())
	group, groupCtx := errgroup.WithContext(ctx)
	httpCtx, stop := context.WithCancel(groupCtx)
	defer stop()
	group.Go(func() error { return status.Run(httpCtx) })
	err = s.Run(groupCtx, turn)
	stop()
	return errors.Join(err, group.Wait())
}

// turns lets processes run a job that have the same end, and others when they have ended. Work goes on should the lease be lost, for two that
// run one job do no harm; they only do it twice.
func (p *program) turns(leases *lease.Service) host.Turn {
	return func(ctx context.Context, task host.Task) error {
		for {
			session, err := leases.Open(ctx)
			if err != nil {
				return waited(ctx, err)
			}
			err = p.enter(ctx, leases, session, task)
			again := errors.Is(err, lease.ErrLost) && ctx.Err() == nil
			if err == nil {
				err = task.Work(ctx)
			} else {
				err = waited(ctx, err)
			}
			p.leave(session, task.Job)
			if !again {
				return err
			}
		}
	}
}

// leave ends a session. What the run has committed is committed: without etcd, others wait until the session ends by itself.
func (p *program) leave(session *lease.Session, job string) {
	if err := session.Close(); err != nil {
		p.logger.Warn("leaving the job to the others, who wait until the lease is over", "job", job, "err", err)
	}
}

// enter waits until nobody runs the job to another end, and finds where this run ends: one process does after the other, so that the ends of
// one are nowhere behind those of another and somewhere else before them.
func (p *program) enter(ctx context.Context, leases *lease.Service, session *lease.Session, task host.Task) error {
	held, err := session.Acquire(ctx, "jobs/"+task.Job, "")
	if err != nil {
		return err
	}
	runs := "jobs/" + task.Job + "/present/"
	own := runs + task.Run + "/"
	if err := p.without(ctx, leases, task.Job, work.WorkersPrefix(task.Job), ""); err != nil {
		return err
	}
	if err := p.without(ctx, leases, task.Job, runs, own); err != nil {
		return err
	}
	if err := task.Resolve(ctx); err != nil {
		return err
	}
	if err := session.Put(ctx, own+rand.Text(), processName()); err != nil {
		return err
	}
	return held.Release(ctx)
}

// without waits until there are no keys with a prefix, but for those with another one.
func (p *program) without(ctx context.Context, leases *lease.Service, job, prefix, but string) error {
	for there, err := range leases.Watch(ctx, prefix) {
		if err != nil {
			return err
		}
		there = slices.DeleteFunc(there, func(e lease.Entry) bool { return but != "" && strings.HasPrefix(e.Key, but) })
		if len(there) == 0 {
			return nil
		}
		p.logger.Info("other processes run the job to another end, or without one; waiting for them to end", "job", job, "processes", len(there))
	}
	return ctx.Err()
}

// waited is the error of waiting for a lease: none if the wait was given up on purpose.
func waited(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("lease of the job: %w", err)
}

// jobChecks are the readiness checks of jobs.
func jobChecks(running []*host.Job) []check {
	var checks []check
	for _, r := range running {
		checks = append(checks, check{name: "job " + r.Name, ready: r.Pipeline.Ready})
	}
	return checks
}
