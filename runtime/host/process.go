package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/runtime/job"
)

// Turn runs the work of a job when it is its turn.
type Turn func(context.Context, Task) error

// Task is the work of a job.
type Task struct {
	Job     string
	Run     string                      // tells bounded runs to different ends apart; "" if it has none
	Resolve func(context.Context) error // finds where a bounded run ends; without it Work does. It may be called again
	Work    func(context.Context) error
}

// Session is jobs that are open and ready to run.
type Session struct {
	Jobs    []*Job
	Bounded bool // they end by themselves
	run     func(context.Context, Turn) error
}

// Run runs the jobs until each has ended, or ctx has. A nil turn is: at once.
func (s Session) Run(ctx context.Context, turn Turn) error {
	if turn == nil {
		turn = func(ctx context.Context, task Task) error { return task.Work(ctx) }
	}
	return s.run(ctx, turn)
}

// Command is the command `process`: it runs job files.
func (p *Program) Command() *cobra.Command {
	var files []string
	var settings Settings
	var until, memory string
	var check, schema bool
	c := &cobra.Command{
		Use:   "process -f JOB.yaml",
		Short: "Run jobs: from the log into tables",
		Long: `Run jobs: follow topics in the bucket and commit their records to tables, every offset exactly once.

Jobs read the log straight from the store and need no broker. What a job has committed stands in its tables, so it can be
stopped, killed and started again anywhere. Interrupted, it commits what it holds. It exits with 0 when everything that it was
asked for is committed, else with 1.

With --until a run is bounded: it commits up to an end and exits, as a Kubernetes Job does. The end of every partition is found when
the run begins, so it waits for nothing, and what is committed already stays as it is: a second run has nothing to do.
  latest                       behind the last record that is there
  2026-01-31T12:00:00Z         likewise, but before a partition's first record of that time or later; the time must be past
  events:0=1200,events:1=900   before these offsets, which must be there; partitions that are not named are left alone
  @offsets.json                offsets from a file: {"events": {"0": 1200, "1": 900}}`,
		Example: `  firn process -f job.yaml
  firn process -f job.yaml --until latest        # commit what is there, then exit 0
  firn process -f job.yaml --until 2026-01-31T12:00:00Z
  firn process -f job.yaml --until events:0=1200,events:1=900
  firn process -f job.yaml --check               # say what the job would do, and connect to nothing
  firn process --schema > job.schema.json        # of job files, for editors
  firn process -f a.yaml -f b.yaml --store 's3://bucket/prefix?region=eu-central-1'`,
		Args:         cobra.NoArgs,
		SilenceUsage: true, SilenceErrors: true, // whoever runs the command says what went wrong, once
		RunE: func(c *cobra.Command, _ []string) error {
			if schema {
				_, err := p.Out.Write(job.JSONSchema())
				return err
			}
			if len(files) == 0 {
				return errors.New("no job file was given: use -f")
			}
			if c.Flags().Changed("until") { // an empty one is no end, and not to run without: a script has not set its variable
				end, err := job.ParseUntil(until, os.ReadFile)
				if err != nil {
					return fmt.Errorf("--until: %w", err)
				}
				settings.Until = end
			}
			bytes, err := job.ParseSize(memory)
			if err != nil {
				return fmt.Errorf("--memory: %w", err)
			}
			jobs, err := p.Read(files)
			if err != nil {
				return err
			}
			settings.MemoryBytes = bytes / int64(len(jobs))
			if check {
				return p.Check(jobs, settings)
			}
			return p.Run(c.Context(), jobs, settings)
		},
	}
	c.Flags().StringArrayVarP(&files, "file", "f", nil, "job `file`; repeatable")
	c.Flags().StringVar(&settings.Store, "store", "", StoreHelp+"; overrides source.store of the job files")
	c.Flags().StringVar(&settings.Data, "data", DefaultData, "`folder` of the catalog and the store where a job file names none")
	c.Flags().StringVar(&until, "until", "", "where to end: latest, a time, offsets like events:0=1200 or @offsets.json; then commit and exit")
	c.Flags().BoolVar(&settings.DecideAnew, "decide-anew", false, "where another job file has decided a part of what the tables do not all have, and cannot be used any more, let this one decide")
	c.Flags().StringVar(&memory, "memory", "512MiB", "bound of all buffers, shared by the jobs")
	c.Flags().BoolVar(&check, "check", false, "check the job files, print what they would do, and connect to nothing")
	c.Flags().BoolVar(&schema, "schema", false, "print the JSON Schema of job files")
	return c
}

const (
	// DefaultData is the folder of what nothing else is said about.
	DefaultData = "firn-data"
	// StoreHelp says how stores are written.
	StoreHelp = "where the log is: s3://bucket/prefix?endpoint=…&region=…, file:///dir or a folder"
)

// Run runs jobs until each has ended, or ctx has. One that fails does not stop the others.
func (p *Program) Run(ctx context.Context, jobs []*job.Job, settings Settings) (err error) {
	var running []*Job
	defer func() {
		for _, r := range running {
			err = errors.Join(err, r.Close())
		}
	}()
	for _, j := range jobs {
		r, err := p.Open(ctx, j, settings)
		if !settings.Until.Bounded() && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return nil // a signal has ended the start: nothing runs yet
		}
		if err != nil {
			return err
		}
		running = append(running, r)
	}
	s := Session{running, settings.Until.Bounded(), func(ctx context.Context, turn Turn) error {
		return p.runAll(ctx, running, settings.Until.Bounded(), turn)
	}}
	if p.Around != nil {
		return p.Around(ctx, s)
	}
	return s.Run(ctx, nil)
}

func (p *Program) runAll(ctx context.Context, running []*Job, bounded bool, turn Turn) error {
	var group errgroup.Group
	errs := make([]error, len(running))
	for i, r := range running {
		group.Go(func() error {
			if err := turn(ctx, r.Task()); err != nil {
				errs[i] = fmt.Errorf("job %s: %w", r.Name, err)
				p.logger().Error("the job has ended", "job", r.Name, "error", err)
			}
			return nil
		})
	}
	if !bounded {
		for _, r := range running {
			fmt.Fprintf(p.Out, "  job     %-22s tables in %s\n", r.Name, r.Place)
		}
		fmt.Fprintln(p.Out, "ready; stop with Ctrl-C, which commits what is in memory")
	}
	finished := make(chan struct{})
	var progress sync.WaitGroup
	progress.Go(func() { p.report(running, bounded, finished) })
	err := errors.Join(group.Wait(), errors.Join(errs...))
	close(finished)
	progress.Wait()
	if bounded {
		for _, r := range running {
			for _, t := range r.Pipeline.Status().Tables {
				fmt.Fprintf(p.Out, "job %s: %d records committed to %s\n", r.Name, t.Records, t.Table)
			}
		}
	}
	return err
}

// report tells how far jobs have come until they are finished: on one line of a terminal, else in the log.
func (p *Program) report(running []*Job, bounded bool, finished <-chan struct{}) {
	every := time.Minute
	if bounded {
		every = 10 * time.Second
	}
	if p.Terminal {
		every = time.Second
		defer fmt.Fprint(p.Out, "\r\x1b[K")
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	said := map[[2]string]int64{} // by job and table
	for {
		select {
		case <-finished:
			return
		case <-tick.C:
		}
		var line []string
		for _, r := range running {
			for _, t := range r.Pipeline.Status().Tables {
				of := [2]string{r.Name, t.Table}
				if !p.Terminal && (said[of] != t.Records || t.Lag > 0) {
					p.logger().Info("progress", "job", r.Name, "table", t.Table, "committed", t.Records, "behind", t.Lag)
				}
				said[of] = t.Records
				line = append(line, fmt.Sprintf("%s: %d committed, %d behind", t.Table, t.Records, t.Lag))
			}
		}
		if p.Terminal {
			fmt.Fprintf(p.Out, "\r\x1b[K%s", cut(strings.Join(line, " · "), 120))
		}
	}
}

// cut is the first characters of a line.
func cut(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
