package main

import (
	"context"
	"errors"
	"fmt"

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
	c.Flags().StringVar(&http, "http", "", "`address` for /healthz, /readyz and /metrics (default off)")
	c.Flags().StringSliceVar(&etcd, "etcd", nil, "`addresses` of etcd, host:port, separated by commas: of several processes with one job, one runs it and the others wait")
	metrics := newMetrics()
	c.PreRun = func(*cobra.Command, []string) { runner.Logger, runner.Metrics = p.logger, metrics }
	runner.Around = func(ctx context.Context, s host.Session) error { return p.around(ctx, s, metrics, http, etcd) }
	return c
}

// around runs jobs in turn with other processes, beside a server that tells their status.
func (p *program) around(ctx context.Context, s host.Session, metrics prometheus.Gatherer, http string, etcd []string) error {
	var turn host.Turn
	if len(etcd) > 0 {
		leases, _, err := dialLeases(etcd, etcdPrefix)
		if err != nil {
			return err
		}
		defer leases.Close()
		turn = p.turns(leases)
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

// turns lets one of several processes run a job: the one that holds the job's lease. Work goes on should the lease be lost, for two
// that run one job do no harm; they only do it twice.
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
		if err != nil {
			return errors.Join(waited(ctx, err), session.Close())
		}
		return errors.Join(work(ctx), session.Close())
	}
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
