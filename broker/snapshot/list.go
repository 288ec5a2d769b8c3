package snapshot

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

// Found is a restore point that List has found.
type Found struct {
	Name     string
	Snapshot *kfs.Snapshot // nil if it cannot be read
	Err      error         // why: until it is mended or deleted, nothing of the namespace is deleted
}

// List reads the restore points, in order of name.
func List(ctx context.Context, store blob.Store) ([]Found, error) {
	var all []Found
	for page, err := range store.List(ctx, kfs.SnapshotsPrefix, "") {
		if err != nil {
			return nil, fmt.Errorf("listing the restore points: %w", err)
		}
		for _, o := range page.Objects {
			if _, _, _, ok := kfs.ParseSnapshotStateKey(o.Key); ok {
				continue
			}
			name, ok := kfs.ParseSnapshotKey(o.Key)
			if !ok {
				name = strings.TrimPrefix(o.Key, kfs.SnapshotsPrefix)
				all = append(all, Found{Name: name, Err: fmt.Errorf("no restore point has the key %s: %w", o.Key, kfs.ErrCorrupt)})
				continue
			}
			s, err := Read(ctx, store, name)
			if errors.Is(err, ErrNotFound) {
				continue // it was deleted meanwhile
			}
			if err != nil && !errors.Is(err, kfs.ErrCorrupt) && !errors.Is(err, kfs.ErrVersion) {
				return nil, err
			}
			all = append(all, Found{name, s, err})
		}
	}
	return all, nil
}

// Read reads a restore point. Errors are ErrNotFound, kfs.ErrCorrupt, kfs.ErrVersion, or the store's.
func Read(ctx context.Context, store blob.Store, name string) (*kfs.Snapshot, error) {
	if err := kfs.ValidateSnapshotName(name); err != nil {
		return nil, err
	}
	body, _, err := blob.ReadAll(ctx, store, kfs.SnapshotKey(name), blob.All, kfs.MaxSnapshotBytes)
	switch {
	case errors.Is(err, blob.ErrNotFound):
		return nil, fmt.Errorf("restore point %s: %w", name, ErrNotFound)
	case err != nil:
		return nil, fmt.Errorf("restore point %s: %w", name, err)
	}
	s, err := kfs.DecodeSnapshot(body, name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kfs.SnapshotKey(name), err)
	}
	return s, nil
}

// Delete deletes a restore point, also one that cannot be read, and what the making of one of its name may have left. What it held is released. It
// may be done again; ErrNotFound says that there was nothing.
func Delete(ctx context.Context, store blob.Store, name string) error {
	if err := kfs.ValidateSnapshotName(name); err != nil {
		return err
	}
	s, err := Read(ctx, store, name)
	there := !errors.Is(err, ErrNotFound)
	switch {
	case !there, errors.Is(err, kfs.ErrCorrupt), errors.Is(err, kfs.ErrVersion):
	case err != nil:
		return err
	}
	if there {
		if err := store.Delete(ctx, kfs.SnapshotKey(name)); err != nil {
			return err
		}
	}
	if s != nil {
		for i := range s.Journals {
			if err := store.Delete(ctx, kfs.SnapshotStateKey(name, s.ID, s.Journals[i].Journal)); err != nil {
				return err
			}
		}
	}
	left, err := leftStates(ctx, store, name, kfs.TopicID{})
	if err != nil {
		return err
	}
	if !there && len(left) == 0 {
		return fmt.Errorf("restore point %s: %w", name, ErrNotFound)
	}
	return deleteAll(ctx, store, left)
}

// removeStates removes what makings of a restore point have left, but for those of one.
func removeStates(ctx context.Context, store blob.Store, name string, but kfs.TopicID) error {
	left, err := leftStates(ctx, store, name, but)
	if err != nil {
		return err
	}
	return deleteAll(ctx, store, left)
}

// leftStates are the keys of states below a name that no making can still be about to name: it would come too late.
func leftStates(ctx context.Context, store blob.Store, name string, but kfs.TopicID) (keys []string, err error) {
	for page, err := range store.List(ctx, kfs.SnapshotStatesPrefix(name), "") {
		if err != nil {
			return nil, err
		}
		for _, o := range page.Objects {
			_, id, _, ok := kfs.ParseSnapshotStateKey(o.Key)
			if ok && id != but && page.ServerTime.Sub(o.Modified) > journal.Limit {
				keys = append(keys, o.Key)
			}
		}
	}
	return keys, nil
}

func deleteAll(ctx context.Context, store blob.Store, keys []string) error {
	for _, key := range keys {
		if err := store.Delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}
