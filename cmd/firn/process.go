package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/kfs/lease"
	"github.com/firn-io/firn/runtime/host"
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
the table once. Bounded runs take turns instead: one runs to its end, and the next one
waits for it, as it does for processes that share the job.`
	c.Flags().StringVar(&http, "http", "", "`address` for /healthz, /readyz and /metrics (default off)")
	c.Flags().StringSliceVar(&etcd, "etcd", nil, "`addresses` of etcd, host:port, separated by commas: processes with the same job share its work")
	metrics := newMetrics()
	c.PreRunE = func(*cobra.Command, []string) (err error) {
		runner.Logger, runner.Metrics = p.logger, metrics
		if len(etcd) > 0 {
			runner.Name = processName()
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

// around runs jobs beside a server that tells their status. Bounded runs take turns with other processes; others share the work.
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

// turns lets one of several processes run a job to its end: the one that holds the job's lease, when no worker is there. Work goes on should
// the lease be lost, for two that run one job do no harm; they only do it twice.
func (p *program) turns(leases *lease.Service) host.Turn {
	return func(ctx context.Context, job string, work func(context.Context) error) error {
		session, err := leases.Open(ctx)
		if err != nil {
			return waited(ctx, err)
		}
		_, first, err := session.TryAcquire(ctx, "jobs/"+job, "")
		if err == nil && !first {
			p.logger.Info("another process runs the job; waiting for it to end", "job", job)
			_, err = session.Acquire(ctx, "jobs/"+job, "")
		}
		if err == nil {
			err = p.withoutWorkers(ctx, leases, job)
		}
		if err != nil {
			return errors.Join(waited(ctx, err), session.Close())
		}
		return errors.Join(work(ctx), session.Close())
	}
}

// withoutWorkers waits until no worker of a job is left.
func (p *program) withoutWorkers(ctx context.Context, leases *lease.Service, job string) error {
	for there, err := range leases.Watch(ctx, "jobs/"+job+"/workers/") {
		if err != nil || len(there) == 0 {
			return err
		}
		p.logger.Info("the job has workers that run on; waiting for them to end", "job", job, "workers", len(there))
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
