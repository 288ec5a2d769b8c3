package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/cmd/firn/job"
	"github.com/firn-io/firn/kfs/lease"
)

func (p *program) processCommand() *cobra.Command {
	var files []string
	var settings jobSettings
	var http, until, memory string
	var etcd []string
	c := &cobra.Command{
		Use:   "process -f JOB.yaml",
		Short: "Run jobs: from the log into Iceberg tables",
		Long: `Run jobs: follow topics in the bucket and commit their records to Iceberg tables, every offset exactly once.

Jobs read the log straight from the store and need no broker. What a job has committed stands in its tables, so it can be
stopped, killed and started again anywhere.`,
		Example: `  firn process -f job.yaml
  firn process -f job.yaml --until latest        # commit what is there, then exit 0
  firn process -f a.yaml -f b.yaml --store 's3://bucket/prefix?region=eu-central-1'`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if until != "" && until != "latest" {
				return fmt.Errorf("--until %s: there is only latest", until)
			}
			settings.untilLatest = until == "latest"
			bytes, err := job.ParseSize(memory)
			if err != nil {
				return fmt.Errorf("--memory: %w", err)
			}
			settings.memoryBytes = bytes
			jobs, err := readJobs(files)
			if err != nil {
				return err
			}
			return p.process(c.Context(), jobs, settings, http, etcd)
		},
	}
	c.Flags().StringArrayVarP(&files, "file", "f", nil, "job `file`; repeatable")
	c.Flags().StringVar(&settings.store, "store", "", storeHelp+"; overrides source.store of the job files")
	c.Flags().StringVar(&settings.data, "data", defaultData, "`folder` of the catalog and the store where a job file names none")
	c.Flags().StringVar(&until, "until", "", "latest: commit what is there when the job starts, and exit")
	c.Flags().StringVar(&http, "http", "", "`address` for /healthz, /readyz and /metrics (default off)")
	c.Flags().StringSliceVar(&etcd, "etcd", nil, "`addresses` of etcd, host:port, separated by commas: of several processes with one job, one runs it and the others wait")
	c.Flags().StringVar(&memory, "memory", "512MiB", "bound of all buffers, shared by the jobs")
	c.MarkFlagRequired("file")
	return c
}

func (p *program) process(ctx context.Context, jobs []*job.Job, settings jobSettings, http string, etcd []string) (err error) {
	metrics := newMetrics()
	settings.registerer = metrics
	settings.memoryBytes /= int64(len(jobs))
	var running []*runningJob
	defer func() {
		for _, r := range running {
			err = errors.Join(err, r.Close())
		}
	}()
	for _, j := range jobs {
		r, err := p.openJob(ctx, j, settings)
		if err != nil {
			return err
		}
		running = append(running, r)
	}
	var turn inTurn = func(ctx context.Context, _ string, work func(context.Context) error) error { return work(ctx) }
	if len(etcd) > 0 {
		leases, _, err := dialLeases(etcd, etcdPrefix)
		if err != nil {
			return err
		}
		defer leases.Close()
		turn = p.turns(leases)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	if http != "" {
		status, err := listenStatus(http, metrics, jobChecks(running))
		if err != nil {
			return err
		}
		fmt.Fprintf(p.out, "  http    %-22s /healthz, /readyz, /metrics\n", status.Addr())
		httpCtx, stop := context.WithCancel(groupCtx)
		defer stop()
		group.Go(func() error { return status.Run(httpCtx) })
		return errors.Join(p.runJobs(groupCtx, running, settings.untilLatest, turn, stop), group.Wait())
	}
	return p.runJobs(ctx, running, settings.untilLatest, turn, func() {})
}

// inTurn runs a job's work when it is its turn, and gives the turn back afterwards.
type inTurn func(ctx context.Context, job string, work func(context.Context) error) error

// turns lets one of several processes run a job: the one that holds the job's lease. Work goes on should the lease be lost, for two
// that run one job do no harm; they only do it twice.
func (p *program) turns(leases *lease.Service) inTurn {
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

// runJobs runs every job to its end when its turn has come. One that fails does not stop the others.
func (p *program) runJobs(ctx context.Context, running []*runningJob, untilLatest bool, turn inTurn, done func()) error {
	defer done()
	var group errgroup.Group
	errs := make([]error, len(running))
	for i, r := range running {
		group.Go(func() error {
			if err := turn(ctx, r.name, r.pipeline.Run); err != nil {
				errs[i] = fmt.Errorf("job %s: %w", r.name, err)
				p.logger.Error("the job has ended", "job", r.name, "error", err)
			}
			return nil
		})
	}
	if !untilLatest {
		for _, r := range running {
			fmt.Fprintf(p.out, "  job     %-22s tables in %s\n", r.name, r.where)
		}
		fmt.Fprintln(p.out, "ready; stop with Ctrl-C, which commits what is in memory")
	}
	finished := make(chan struct{})
	var progress sync.WaitGroup
	if untilLatest {
		progress.Go(func() { p.reportProgress(running, finished) })
	}
	err := errors.Join(group.Wait(), errors.Join(errs...))
	close(finished)
	progress.Wait()
	if untilLatest {
		for _, r := range running {
			for _, t := range r.pipeline.Status().Tables {
				fmt.Fprintf(p.out, "job %s: %d records committed to %s\n", r.name, t.Records, t.Table)
			}
		}
	}
	return err
}

// reportProgress logs how far bounded runs have come, until they are finished.
func (p *program) reportProgress(running []*runningJob, finished <-chan struct{}) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-finished:
			return
		case <-tick.C:
		}
		for _, r := range running {
			for _, t := range r.pipeline.Status().Tables {
				p.logger.Info("progress", "job", r.name, "table", t.Table, "committed", t.Records, "behind", t.Lag)
			}
		}
	}
}

// jobChecks are the readiness checks of jobs.
func jobChecks(running []*runningJob) []check {
	var checks []check
	for _, r := range running {
		checks = append(checks, check{name: "job " + r.name, ready: r.pipeline.Ready})
	}
	return checks
}
