package snapshot

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

const (
	defaultParallel = 16
	// maxCopying bounds the bytes of the copies that are under way, for where a store cannot copy by itself they are in memory; a larger object is
	// copied alone.
	maxCopying = 256 << 20
	// maxCopied bounds an object: no part of the format writes larger ones.
	maxCopied = math.MaxInt32
)

// item is an object that is to be copied.
type item struct {
	key  string
	size int64 // 0: it is not known, as of an index
}

// itemsOf are the objects that a state needs.
func itemsOf(c *kfs.Checkpoint) (items []item) {
	for p, s := range c.NeededSegments() {
		items = append(items, item{s.Key, s.Length}, item{kfs.IndexKey(p.Topic, p.Name, p.Partition, s.Span.Base), 0})
	}
	for i := range c.Objects {
		items = append(items, item{kfs.ObjectKey(c.Journal, c.Objects[i].Sequence), c.Objects[i].Size})
	}
	return items
}

// isThere reports whether a place holds it.
func (it item) isThere(sizes map[string]int64) bool {
	size, ok := sizes[it.key]
	return ok && (size == it.size || it.size == 0)
}

// copyAll copies what is not there yet.
func (r *Restore) copyAll(ctx context.Context) error {
	var mu sync.Mutex // guards progress
	progress := Progress{Objects: len(r.items)}
	var left []item
	for _, it := range r.items {
		progress.Bytes += it.size
		if it.isThere(r.there) {
			progress.Copied++
			progress.CopiedBytes += it.size
			continue
		}
		left = append(left, it)
	}
	budget := semaphore.NewWeighted(maxCopying)
	g, copying := errgroup.WithContext(ctx)
	g.SetLimit(r.cfg.Parallel)
	for _, it := range left {
		weight := min(it.size, maxCopying)
		if budget.Acquire(copying, weight) != nil {
			break // a copy has failed, or ctx has ended
		}
		g.Go(func() error {
			defer budget.Release(weight)
			if err := r.copy(copying, it); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			progress.Copied++
			progress.CopiedBytes += it.size
			r.cfg.Progress(progress)
			return nil
		})
	}
	return errors.Join(g.Wait(), context.Cause(ctx))
}

// copy copies an object, again a few times if that fails: twice comes to the same.
func (r *Restore) copy(ctx context.Context, it item) error {
	return again(ctx, func() error {
		_, err := blob.Copy(ctx, r.cfg.From, it.key, r.cfg.Into, it.key, maxCopied)
		if errors.Is(err, blob.ErrNotFound) {
			return fmt.Errorf("%s, which the restore point needs, is not there: was the restore point deleted? %w", it.key, err)
		}
		return err
	})
}

// again does something until it succeeds, a few times. What is not there, or is not as it should be, does not get better by that.
func again(ctx context.Context, do func() error) error {
	var last error
	for try := range tries {
		if try > 0 {
			if err := pause(ctx, try); err != nil {
				return errors.Join(last, err)
			}
		}
		if last = do(); last == nil || errors.Is(last, blob.ErrNotFound) || errors.Is(last, ErrNotEmpty) {
			return last
		}
	}
	return last
}

// readAgain reads an object, again a few times if that fails.
func readAgain(ctx context.Context, store blob.Store, key string, limit int64) (body []byte, info blob.Info, err error) {
	err = again(ctx, func() error {
		body, info, err = blob.ReadAll(ctx, store, key, blob.All, limit)
		return err
	})
	return body, info, err
}
