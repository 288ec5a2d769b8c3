package inspect

import (
	"context"
	"errors"
	"slices"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

// maxHole is how many missing objects a walk keeps account of; behind a longer hole it begins anew.
const maxHole = 1 << 16

// reach deals with what lies before the object with that sequence: the beginning of the walk, or a hole.
func (v *Verifier) reach(ctx context.Context, w *walk, sequence uint64) error {
	if len(w.seen) == 0 {
		return v.begin(ctx, w, sequence)
	}
	expected := w.first + uint64(len(w.seen))
	if sequence == expected {
		return nil
	}
	if live, err := v.live(ctx, w); err != nil || sequence <= live {
		if err == nil {
			err = v.beginAnew(ctx, w, sequence)
		}
		return err
	}
	v.find(kfs.ObjectKey(w.journal, expected), 0, "a hole: objects %d to %d are missing, %d is there", expected, sequence-1, sequence)
	w.forget()
	if err := v.checkpointsBelow(ctx, w, sequence); err != nil {
		return err
	}
	w.forget()
	if sequence-expected > maxHole {
		w.first, w.seen = sequence, nil
	} else {
		w.seen = append(w.seen, make([]trace, sequence-expected)...)
	}
	return nil
}

// begin starts the walk at the first object, with what a checkpoint says of the one before.
func (v *Verifier) begin(ctx context.Context, w *walk, sequence uint64) error {
	w.first, w.complete = sequence, sequence == 0
	if sequence == 0 {
		return nil
	}
	if len(w.checkpoints) == 0 {
		v.find(kfs.ObjectKey(w.journal, sequence-1), 0, "the journal begins with object %d, and no checkpoint covers what is missing", sequence)
	}
	if err := v.checkpointsBelow(ctx, w, sequence); err != nil {
		return err
	}
	if w.newest == nil || w.newest.Sequence+1 != sequence {
		w.forget()
	}
	return nil
}

// live is the first object that must be there, by the newest checkpoint that can be read; 0 if there is none.
func (v *Verifier) live(ctx context.Context, w *walk) (uint64, error) {
	newest := w.newest
	for _, sequence := range slices.Backward(w.checkpoints) {
		body, _, err := blob.ReadAll(ctx, v.Store, kfs.CheckpointKey(w.journal, sequence), blob.All, maxObject)
		if errors.Is(err, blob.ErrNotFound) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if c, err := kfs.DecodeCheckpoint(body); err == nil { // if not, the walk finds it
			newest = c
			break
		}
	}
	if newest == nil {
		return 0, nil
	}
	live := newest.Sequence + 1
	if len(newest.Objects) > 0 {
		live = newest.Objects[0].Sequence
	}
	if len(newest.Pages) > 0 {
		live = newest.Pages[0].First
	}
	for _, r := range newest.Released {
		if r.First <= live && live <= r.Last {
			live = r.Last + 1
		}
	}
	return live, nil
}

// beginAnew starts the walk at an object before which others are deleted. What was met before it is a remnant, which means nothing: a writer that had
// slept put it where another's object had been deleted, or what lies between goes just now.
func (v *Verifier) beginAnew(ctx context.Context, w *walk, sequence uint64) error {
	w.seen, w.partitions, w.settled, w.known = nil, map[kfs.PartitionID]*progress{}, nil, false
	return v.begin(ctx, w, sequence)
}
