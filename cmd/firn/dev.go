package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/broker"
	"github.com/firn-io/firn/kfs/blob/open"
	"github.com/firn-io/firn/kfs/lease"
	"github.com/firn-io/firn/runtime/host"
)

// dev is what firn dev is asked for.
type dev struct {
	brokerFlags
	data, store, http string
	files             []string
}

func (p *program) devCommand() *cobra.Command {
	var d dev
	c := &cobra.Command{
		Use:   "dev",
		Short: "Run everything in one process: broker, store, catalog and jobs",
		Long: `Run everything in one process, with nothing to configure: a Kafka broker, a folder as object store, an Iceberg catalog in SQLite,
etcd, and a job that turns every topic into a table of its name. All files are below one folder; remove it to start anew.`,
		Example: `  firn dev
  firn dev --data /tmp/try --kafka 127.0.0.1:0
  firn dev -f job.yaml`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return p.dev(c.Context(), d) },
	}
	d.register(c, "1GiB")
	c.Flags().StringVar(&d.data, "data", defaultData, "`folder` of everything")
	c.Flags().StringVar(&d.store, "store", "", storeHelp+" (default the folder store below --data)")
	c.Flags().StringVar(&d.http, "http", "127.0.0.1:9644", "`address` for /healthz, /readyz and /metrics; port 0 takes any free one")
	c.Flags().StringArrayVarP(&d.files, "file", "f", nil, "job `file` in place of the default job; repeatable")
	return c
}

func (p *program) dev(ctx context.Context, d dev) (err error) {
	memory, err := d.parse()
	if err != nil {
		return err
	}
	history, err := d.history.parse()
	if err != nil {
		return err
	}
	jobs, err := readJobs(d.files)
	if err != nil {
		return err
	}
	if d.data, err = filepath.Abs(d.data); err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	var closers []func() error // in order of opening; closed in reverse
	defer func() {
		for i := len(closers) - 1; i >= 0; i-- {
			err = errors.Join(err, closers[i]())
		}
	}()
	lock, err := lockFolder(d.data)
	if err != nil {
		return err
	}
	closers = append(closers, lock.Close)
	given := d.store // overrides the stores of job files; the default does not
	if d.store == "" {
		d.store = "file://" + filepath.Join(d.data, "store")
	}
	space, err := open.Store(ctx, d.store) // broker and jobs refuse one that is being restored
	if err != nil {
		return unlessEnded(ctx, err)
	}
	etcd, err := startEtcd(ctx, filepath.Join(d.data, "etcd"))
	if err != nil {
		return unlessEnded(ctx, err)
	}
	closers = append(closers, func() error { etcd.Close(); return nil })
	leases, err := lease.Dial(lease.Config{Endpoints: []string{etcd.Addr()}, Prefix: etcdPrefix})
	if err != nil {
		return err
	}
	closers = append(closers, leases.Close)

	metrics := newMetrics()
	runner := p.runner()
	runner.Metrics = metrics
	settings := host.Settings{Data: d.data, Store: given, MemoryBytes: memory / 2 / int64(len(jobs))}
	var running []*host.Job
	for _, j := range jobs {
		r, err := runner.Open(ctx, j, settings)
		if err != nil {
			return unlessEnded(ctx, err)
		}
		running = append(running, r)
		closers = append(closers, r.Close)
	}
	secure, err := d.secure()
	if err != nil {
		return err
	}
	b, err := broker.New(broker.Config{
		Store: space, TLS: secure, StoreName: storeName(d.store), Leases: leases, Alone: true, Listen: d.kafka, Partitions: d.partitions, AutoCreate: true,
		MemoryBytes: memory / 2, HoldLimit: d.hold, History: history, Log: p.logger, Metrics: metrics,
	})
	if err != nil {
		return err
	}
	status, err := listenStatus(d.http, metrics, append(jobChecks(running), brokerChecks(b)...))
	if err != nil {
		stopped, cancel := context.WithCancel(ctx)
		cancel()
		return errors.Join(err, b.Run(stopped)) // which closes its listener
	}
	return p.runDev(ctx, b, status, running, []line{
		{"kafka", b.Addr().String(), "any Kafka client; topics are created when they are used"},
		{"http", status.Addr(), "/healthz, /readyz, /metrics"},
		{"etcd", etcd.Addr(), "leases; empty at each start"},
		{"store", d.store, "the log"},
	}, d.data)
}

// unlessEnded is the error of a step of the start, nil if a signal has ended that: nothing runs yet.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// runDev runs the parts until ctx ends. The broker stops first; then the jobs commit what they have read. What they have not read yet is in
// the store and comes at the next start.
func (p *program) runDev(ctx context.Context, b *broker.Broker, status *statusServer, running []*host.Job, lines []line, data string) error {
	group, groupCtx := errgroup.WithContext(ctx)
	jobsCtx, stopJobs := context.WithCancel(context.WithoutCancel(ctx))
	defer stopJobs()
	group.Go(func() error {
		defer stopJobs()
		return onlyBroker(b.Run(groupCtx))
	})
	group.Go(func() error { return status.Run(groupCtx) })
	for _, r := range running {
		lines = append(lines, line{"job", r.Name, "tables in " + r.Place})
		group.Go(func() error {
			if err := r.Pipeline.Run(jobsCtx); err != nil {
				return fmt.Errorf("job %s: %w", r.Name, err)
			}
			return nil
		})
	}
	group.Go(func() error {
		select {
		case <-b.Ready():
		case <-groupCtx.Done():
			return nil
		}
		p.banner("firn dev: everything in one process", lines)
		fmt.Fprintf(p.out, `ready; stop with Ctrl-C

What to type next, in another terminal:

  echo '{"hello": "world"}' | kcat -b %s -t greetings -P
  python3 -c 'from pyiceberg.catalog import load_catalog; print(load_catalog("default", type="sql", uri="sqlite:///%s").load_table("default.greetings").scan().to_arrow())'

`, b.Addr(), filepath.Join(data, "catalog.db"))
		return nil
	})
	return group.Wait()
}
