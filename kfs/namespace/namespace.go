// Package namespace says whether a namespace may be used: one that is being filled by a restore may not, by anybody, neither to read nor to write.
package namespace

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

// ErrRestoring says that a namespace is being filled from a restore point.
var ErrRestoring = errors.New("the store is being filled by a restore")

// Usable is nil if a namespace may be used, ErrRestoring if not yet, and another error if the store does not tell. It costs a GET.
func Usable(ctx context.Context, store blob.Store) error {
	body, _, err := blob.ReadAll(ctx, store, kfs.RestoringKey, blob.All, kfs.MaxRestoringBytes)
	switch {
	case errors.Is(err, blob.ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("is the store being restored? %w", err)
	}
	return Refusal(body)
}

// Refusal is the ErrRestoring that the object at kfs.RestoringKey means, and says what to do; nil if the restore has ended.
func Refusal(body []byte) error {
	r, err := kfs.DecodeRestoring(body)
	switch {
	case err != nil:
		return fmt.Errorf("%w, and %s cannot be read: %w", ErrRestoring, kfs.RestoringKey, err)
	case r.Ended:
		return nil
	}
	return fmt.Errorf("%w: from restore point %s of cluster %s, since %s; wait for firn restore to end, or run it again if it has ended early", ErrRestoring, r.Snapshot, r.Source, time.UnixMilli(r.Began).UTC().Format(time.RFC3339))
}
