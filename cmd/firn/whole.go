package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

// whole reports whether every record has become a row or a dead letter, under the job's file and under all that the job and its backfills have
// had before.
func (j *jobTables) whole(ctx context.Context) (bool, error) {
	if !j.job.Whole() {
		return false, nil
	}
	for _, prefix := range []string{kfs.JobConfigsPrefix(j.job.Name), kfs.JobsPrefix + backfillsName(j.job.Name)} {
		for page, err := range j.store.List(ctx, prefix, "") {
			if err != nil {
				return false, fmt.Errorf("list the job files that job %s has had: %w", j.job.Name, err)
			}
			for _, o := range page.Objects {
				_, hash, ok := kfs.ParseJobConfigKey(o.Key)
				if !ok {
					continue
				}
				if whole, err := j.wasWhole(ctx, o.Key, hash); !whole || err != nil {
					return false, err
				}
			}
		}
	}
	return true, nil
}

// wasWhole is whole of a job file that was kept. One that this program cannot read any more may have left records out.
func (j *jobTables) wasWhole(ctx context.Context, key, hash string) (bool, error) {
	kept, _, err := blob.ReadAll(ctx, j.store, key, blob.All, kfs.MaxJobBytes)
	if errors.Is(err, blob.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read %s, a job file that job %s has had: %w", key, j.job.Name, err)
	}
	former, err := (&program{}).runner().ReadKept(hash, kept)
	return err == nil && former.Whole(), nil
}
