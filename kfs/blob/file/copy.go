package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/firn-io/firn/kfs/blob"
)

var _ blob.Copier = (*Store)(nil)

// Copy implements blob.Copier, from any directory store. The kernel copies the bytes, or shares them where the file system can; the copy is a file
// of its own either way, so that a disk's damage to one is not the other's.
func (s *Store) Copy(ctx context.Context, from blob.Store, key, to string) (blob.Info, error) {
	if err := errors.Join(s.admitWrite(ctx, to), checkKey(key)); err != nil {
		return blob.Info{}, fmt.Errorf("copy %s to %s: %w", key, to, err)
	}
	f, ok := from.(*Store)
	if !ok {
		return blob.Info{}, fmt.Errorf("copy %s to %s: from another kind of store: %w", key, to, errors.ErrUnsupported)
	}
	if err := f.usable(ctx); err != nil {
		return blob.Info{}, fmt.Errorf("copy %s to %s: %w", key, to, err)
	}
	info, err := s.copy(f, key, to)
	now, timeErr := s.now()
	if timeErr != nil {
		err = timeErr
	}
	if err != nil {
		return blob.Info{Key: key, ServerTime: now}, fmt.Errorf("copy %s to %s: %w", key, to, err)
	}
	info.ServerTime = now
	return info, nil
}

func (s *Store) copy(from *Store, key, to string) (blob.Info, error) {
	source, _, err := from.get(key)
	if err != nil {
		return blob.Info{}, err
	}
	defer source.Close()
	f, temp, err := s.stage(func(f *os.File) error {
		_, err := io.Copy(f, source)
		return err
	})
	if err != nil {
		return blob.Info{}, err
	}
	defer f.Close()
	return s.land(f, temp, to, false)
}
