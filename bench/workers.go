package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	workersPartitions = 8
	workersRounds     = 16 // so many times the megabytes of other measurements: two workers share them, and starting is not what is measured
	workersPoll       = 50 * time.Millisecond
	workersLimit      = 5 * time.Minute
)

// workers measures how long one process, and two that share the job, take for a log that lies ready, each on one thread of Go: from the
// start of the processes until everything is committed.
func (b *bench) workers(ctx context.Context) (string, error) {
	rows := [][]string{{"workers", "MB of JSON", "wall s", "MB/s", "MB / CPU s", "MB/s of one"}}
	err := b.withFolder(func(dir string) error {
		if err := b.fillPartitions(ctx, dir); err != nil {
			return err
		}
		total := b.total() * workersRounds
		one := 0.0
		for _, n := range []int{1, 2} {
			var walls, used []float64
			for i := range b.runs {
				wall, cpu, err := b.share(ctx, filepath.Join(dir, fmt.Sprintf("%d-%d", n, i)), filepath.Join(dir, "store"), n)
				if err != nil {
					return err
				}
				walls, used = append(walls, wall.Seconds()), append(used, cpu.Seconds())
			}
			rate := total / median(walls)
			if n == 1 {
				one = rate
			}
			rows = append(rows, []string{strconv.Itoa(n), number(total, 0), number(median(walls), 1), number(rate, 0), number(total/median(used), 0), number(rate/one, 2)})
		}
		return nil
	})
	return table(fmt.Sprintf("Workers: firn process at GOMAXPROCS=1, alone and two sharing a job, zstd, %d partitions, a directory as the store", workersPartitions), rows), err
}

// fillPartitions makes the log.
func (b *bench) fillPartitions(ctx context.Context, dir string) error {
	s, err := b.startBroker(ctx, dir)
	if err != nil {
		return err
	}
	defer s.cmd.Process.Kill()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.where["kafka"]))
	if err != nil {
		return err
	}
	defer client.Close()
	created, err := kadm.NewClient(client).CreateTopics(ctx, workersPartitions, 1, nil, "bench")
	if err := errors.Join(err, created.Error()); err != nil {
		return err
	}
	if err := b.fill(ctx, s, zstd, b.rounds()*workersRounds, "bench"); err != nil {
		return err
	}
	_, err = s.stop()
	return err
}

// share runs a job with n workers until everything is committed, and gives how long that took and the processor time of all of them, their
// ends included.
func (b *bench) share(ctx context.Context, dir, store string, n int) (wall, used time.Duration, err error) {
	if err := os.MkdirAll(filepath.Join(dir, "etcd"), 0o755); err != nil {
		return 0, 0, err
	}
	job := filepath.Join(dir, "job.yaml")
	// A name of its own: nothing was committed before, and no other run's object is read.
	if err := os.WriteFile(job, fmt.Appendf(nil, "name: %s\nsource: {topics: [bench]}\n", "bench-"+filepath.Base(dir)), 0o644); err != nil {
		return 0, 0, err
	}
	etcd, err := b.startServer(ctx, filepath.Join(dir, "etcd"), "dev", "--data", filepath.Join(dir, "etcd"), "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0")
	if err != nil {
		return 0, 0, err
	}
	defer etcd.stop()
	began := time.Now()
	var workers []*server
	for range n {
		w, err := b.startServerIn(ctx, []string{"GOMAXPROCS=1"}, dir, "process", "-f", job, "--store", "file://"+store, "--data", dir, "--etcd", etcd.where["etcd"], "--http", "127.0.0.1:0")
		if err != nil {
			return 0, 0, err
		}
		defer w.cmd.Process.Kill()
		workers = append(workers, w)
	}
	if err := b.committed(ctx, workers, float64(b.rounds()*workersRounds*len(b.lines))); err != nil {
		return 0, 0, err
	}
	wall = time.Since(began)
	for _, w := range workers {
		cpu, err := w.stop()
		if err != nil {
			return 0, 0, err
		}
		used += cpu
	}
	return wall, used, nil
}

// committed waits until the workers have committed so many records between them.
func (b *bench) committed(ctx context.Context, workers []*server, records float64) error {
	ctx, cancel := context.WithTimeout(ctx, workersLimit)
	defer cancel()
	tick := time.NewTicker(workersPoll)
	defer tick.Stop()
	for {
		done := 0.0
		for _, w := range workers {
			samples, err := w.metrics(ctx)
			if err != nil {
				return err
			}
			done += sum(samples, "firn_pipeline_records_total")
		}
		if done >= records {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%.0f of %.0f records are committed: %w", done, records, context.Cause(ctx))
		}
	}
}
