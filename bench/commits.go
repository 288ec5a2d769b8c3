package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	manyCommits = 600
	commitsRow  = 200 // commits that a row of the table is about
)

// commits measures what a commit takes the more snapshots a table has: a job with a freshness of 100 ms commits every object.
func (b *bench) commits(ctx context.Context) (string, error) {
	rows := [][]string{{"snapshots", "commit ms", "metadata.json KiB", "CPU ms a commit"}}
	err := b.withFolder(func(dir string) error {
		job := filepath.Join(dir, "job.yaml")
		if err := os.WriteFile(job, []byte("name: commits\nsource: {topics: [trickle]}\ncommit: {freshness: 100ms}\n"), 0o644); err != nil {
			return err
		}
		s, err := b.startServer(ctx, dir, "dev", "--data", dir+"/data", "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0", "-f", job)
		if err != nil {
			return err
		}
		defer s.cmd.Process.Kill()
		producing, stopProducing := context.WithCancel(ctx)
		defer stopProducing()
		produced := make(chan error, 1)
		go func() {
			_, err := b.trickle(producing, s, 20, 3600)
			produced <- err
		}()
		last, err := s.commitsSoFar(ctx)
		if err != nil {
			return err
		}
		for last.commits < manyCommits {
			select {
			case err := <-produced:
				return fmt.Errorf("producing: %w", err)
			case <-time.After(200 * time.Millisecond):
			}
			now, err := s.commitsSoFar(ctx)
			if err != nil {
				return err
			}
			if n := now.commits - last.commits; n >= commitsRow {
				size, err := newestMetadata(dir + "/data")
				if err != nil {
					return err
				}
				rows = append(rows, []string{number(now.commits, 0), number(1000*(now.seconds-last.seconds)/n, 0), number(float64(size)/1024, 0), number(1000*(now.cpu-last.cpu)/n, 0)})
				last = now
			}
		}
		stopProducing()
		if err := <-produced; err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
		_, err = s.stop()
		return err
	})
	return table("Commits: firn dev with a freshness of 100 ms and 20 records a second; each row is the mean over the commits since the row before", rows), err
}

// progress is what a process has committed so far.
type progress struct{ commits, seconds, cpu float64 }

func (s *server) commitsSoFar(ctx context.Context) (progress, error) {
	used, err1 := s.used()
	samples, err2 := s.metrics(ctx)
	return progress{sum(samples, "firn_pipeline_commit_seconds_count"), sum(samples, "firn_pipeline_commit_seconds_sum"), used.Seconds()}, errors.Join(err1, err2)
}

// newestMetadata is the size of the metadata file that was written last below a folder.
func newestMetadata(dir string) (size int64, err error) {
	var newest time.Time
	err = filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if ok, _ := filepath.Match("*.metadata.json", filepath.Base(path)); err == nil && ok && info.ModTime().After(newest) {
			newest, size = info.ModTime(), info.Size()
		}
		return err
	})
	return size, err
}
