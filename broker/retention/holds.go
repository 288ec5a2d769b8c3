package retention

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

const (
	// holdsAge is how old what is known of the jobs may be. So reading them costs 6 LISTs an hour and, for each job that commits, 6 GETs;
	// nothing while no record is due.
	holdsAge = 10 * time.Minute
	// maxJobs bounds the jobs of a namespace. With more of them nothing is trimmed that a job could need.
	maxJobs = 10_000
)

// holds are what the registered jobs still need, as of one reading of their objects.
type holds struct {
	read  time.Time // by our clock
	ahead int64     // of our clock is the store's, milliseconds
	jobs  []jobHold
}

// jobHold is one job's.
type jobHold struct {
	job     string
	version string // of its object
	from    func(topic string, id kfs.PartitionID) (int64, bool)
	err     error // why the object cannot be understood: the job holds everything
}

// from is the first offset of a partition that a job may still read, and which job that is: nobody if none does.
func (h *holds) from(topic string, id kfs.PartitionID) (from int64, job string) {
	from = nobody
	for i := range h.jobs {
		j := &h.jobs[i]
		at, ok := int64(0), true
		if j.err == nil {
			at, ok = j.from(topic, id)
		}
		if ok && at < from {
			from, job = at, j.job
		}
	}
	return from, job
}

// read reads the objects of all jobs that have changed since before, which may be nil.
func (k *Keeper) read(ctx context.Context, before *holds) (*holds, error) {
	known := map[string]jobHold{}
	if before != nil {
		for _, j := range before.jobs {
			known[j.job] = j
		}
	}
	h := &holds{read: k.cfg.Now()}
	seen := time.Time{}
	for page, err := range k.cfg.Store.List(ctx, kfs.JobsPrefix, "") {
		if err != nil {
			return nil, fmt.Errorf("listing the jobs: %w", err)
		}
		if seen.IsZero() {
			seen = page.ServerTime
		}
		for _, o := range page.Objects {
			name, ok := kfs.ParseJobKey(o.Key)
			if !ok {
				continue
			}
			if len(h.jobs) == maxJobs {
				return nil, fmt.Errorf("more than %d jobs are registered below %s: delete the objects of those that are gone", maxJobs, kfs.JobsPrefix)
			}
			j, ok := known[name]
			if !ok || j.err != nil || j.version != o.Version {
				j = k.readJob(ctx, name, o.Version)
			}
			h.jobs = append(h.jobs, j)
		}
	}
	if seen.IsZero() {
		return nil, errors.New("listing the jobs: the store's answer has no time")
	}
	h.ahead = seen.UnixMilli() - h.read.UnixMilli()
	return h, nil
}

// readJob reads the object of one job.
func (k *Keeper) readJob(ctx context.Context, name, version string) jobHold {
	h := jobHold{job: name, version: version}
	body, _, err := blob.ReadAll(ctx, k.cfg.Store, kfs.JobKey(name), blob.All, kfs.MaxJobBytes)
	var j *kfs.Job
	if err == nil {
		j, err = kfs.DecodeJob(body)
	}
	if err == nil && j.Name != name {
		err = fmt.Errorf("it says that it is of job %q: %w", j.Name, kfs.ErrCorrupt)
	}
	if err != nil {
		h.err = err
		k.cfg.Log.Error("the object of a job cannot be read: records of every topic are kept for it; mend it, or delete it if there is no such job",
			"key", kfs.JobKey(name), "err", err)
		return h
	}
	h.from = j.Holds()
	return h
}

// holds gives what the jobs need, read not longer than holdsAge ago. Several journals share one reading.
func (k *Keeper) holds(ctx context.Context) (*holds, error) {
	select {
	case k.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-k.turn }()
	before := k.known.Load()
	if before != nil && k.cfg.Now().Sub(before.read) < holdsAge {
		return before, nil
	}
	h, err := k.read(ctx, before)
	if err != nil {
		return nil, err
	}
	unreadable := 0
	for i := range h.jobs {
		if h.jobs[i].err != nil {
			unreadable++
		}
	}
	k.metrics.unreadable.Set(float64(unreadable))
	k.cfg.Log.Log(ctx, slog.LevelDebug, "read what jobs need", "jobs", len(h.jobs), "unreadable", unreadable)
	k.known.Store(h)
	return h, nil
}
