package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/cmd/firn/job"
)

func (p *program) processCommand() *cobra.Command {
	var files []string
	var settings jobSettings
	var http, until, memory string
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
			return p.process(c.Context(), jobs, settings, http)
		},
	}
	c.Flags().StringArrayVarP(&files, "file", "f", nil, "job `file`; repeatable")
	c.Flags().StringVar(&settings.store, "store", "", storeHelp+"; overrides source.store of the job files")
	c.Flags().StringVar(&settings.data, "data", defaultData, "`folder` of the catalog and the store where a job file names none")
	c.Flags().StringVar(&until, "until", "", "latest: commit what is there when the job starts, and exit")
	c.Flags().StringVar(&http, "http", "", "`address` for /healthz, /readyz and /metrics (default off)")
	c.Flags().StringVar(&memory, "memory", "512MiB", "bound of all buffers, shared by the jobs")
	c.MarkFlagRequired("file")
	return c
}

func (p *program) process(ctx context.Context, jobs []*job.Job, settings jobSettings, http string) (err error) {
	metrics := prometheus.NewRegistry()
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
		return errors.Join(p.runJobs(groupCtx, running, settings.untilLatest, stop), group.Wait())
	}
	return p.runJobs(ctx, running, settings.untilLatest, func() {})
}

// runJobs runs every job to its end. One that fails does not stop the others.
func (p *program) runJobs(ctx context.Context, running []*runningJob, untilLatest bool, done func()) error {
	defer done()
	var group errgroup.Group
	errs := make([]error, len(running))
	for i, r := range running {
		group.Go(func() error {
			if err := r.pipeline.Run(ctx); err != nil {
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
	return errors.Join(group.Wait(), errors.Join(errs...))
}

// jobChecks are the readiness checks of jobs.
func jobChecks(running []*runningJob) []check {
	var checks []check
	for _, r := range running {
		checks = append(checks, check{"job " + r.name, r.pipeline.Ready})
	}
	return checks
}
