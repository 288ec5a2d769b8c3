package inspect

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

// snapshotNeeds is what a restore point needs.
type snapshotNeeds struct {
	all      bool              // it cannot be read
	from     map[uint32]uint64 // the first object that is needed of each journal
	segments map[string]bool   // by key
}

func (n *snapshotNeeds) object(journal uint32, sequence uint64) bool {
	from, ok := n.from[journal]
	return n.all || ok && sequence >= from
}

func (n *snapshotNeeds) segment(key string) bool { return n.all || n.segments[key] }

// hold counts something that waits to be deleted for the restore points that need it, and reports whether any does.
func (u *usage) hold(bytes int64, needs func(*snapshotNeeds) bool) (held bool) {
	for i := range u.holds {
		if needs(&u.holds[i]) {
			u.Snapshots[i].Held.add(bytes)
			held = true
		}
	}
	return held
}

// snapshots reads the restore points.
func (u *usage) snapshots(ctx context.Context, rest []blob.Info) error {
	for _, o := range rest {
		if !strings.HasPrefix(o.Key, kfs.SnapshotsPrefix) {
			continue
		}
		if _, _, _, ok := kfs.ParseSnapshotStateKey(o.Key); ok {
			continue
		}
		hold, needs := SnapshotHold{Name: strings.TrimPrefix(o.Key, kfs.SnapshotsPrefix)}, snapshotNeeds{}
		name, ok := kfs.ParseSnapshotKey(o.Key)
		err := fmt.Errorf("no restore point has such a key: %w", kfs.ErrCorrupt)
		if ok {
			hold.Name = name
			err = u.snapshot(ctx, name, &hold, &needs)
		}
		switch {
		case errors.Is(err, errGone):
			continue
		case errors.Is(err, kfs.ErrCorrupt) || errors.Is(err, kfs.ErrVersion):
			hold.Err, needs.all = err.Error(), true
		case err != nil:
			return err
		}
		u.Snapshots, u.holds = append(u.Snapshots, hold), append(u.holds, needs)
	}
	return nil
}

// errGone says that a restore point was deleted since it was listed.
var errGone = errors.New("the restore point is gone")

// snapshot reads one restore point, and the states that it names.
func (u *usage) snapshot(ctx context.Context, name string, hold *SnapshotHold, needs *snapshotNeeds) error {
	body, _, err := u.get(ctx, kfs.SnapshotKey(name), blob.All)
	if errors.Is(err, blob.ErrNotFound) {
		return errGone
	}
	if err != nil {
		return err
	}
	s, err := kfs.DecodeSnapshot(body, name)
	if err != nil {
		return err
	}
	hold.Created = time.UnixMilli(s.Created).UTC()
	needs.from, needs.segments = map[uint32]uint64{}, map[string]bool{}
	for i := range s.Journals {
		j := &s.Journals[i]
		key := kfs.SnapshotStateKey(name, s.ID, j.Journal)
		body, _, err := u.get(ctx, key, blob.All)
		if errors.Is(err, blob.ErrNotFound) {
			return fmt.Errorf("%s is not there: %w", key, kfs.ErrCorrupt)
		}
		if err != nil {
			return err
		}
		state, err := j.Open(body)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		needs.from[j.Journal] = j.From
		for _, s := range state.NeededSegments() {
			needs.segments[s.Key] = true
		}
	}
	return nil
}
