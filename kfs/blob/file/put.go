package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/firn-io/firn/kfs/blob"
)

var errReadOnly = errors.New("the directory store is open for reading only")

// maxTries bounds how often a Put makes its directory anew while deletes of the last object in it remove it.
const maxTries = 100

// Put implements blob.Store. It costs two syncs, of the file and of its directory, and one more for each directory above that this
// Store has not met yet.
func (s *Store) Put(ctx context.Context, key string, body []byte, ifAbsent bool) (blob.Info, error) {
	if err := s.admitWrite(ctx, key); err != nil {
		return blob.Info{}, fmt.Errorf("put %s: %w", key, err)
	}
	info, err := s.put(key, body, ifAbsent)
	// As in Get, the time that is given is not before what happened.
	now, timeErr := s.now()
	if timeErr != nil {
		err = timeErr
	}
	if err != nil {
		return blob.Info{Key: key, ServerTime: now}, fmt.Errorf("put %s: %w", key, err)
	}
	info.ServerTime = now
	return info, nil
}

func (s *Store) admitWrite(ctx context.Context, key string) error {
	if s.clock == nil {
		return errReadOnly
	}
	return errors.Join(s.usable(ctx), checkKey(key))
}

func (s *Store) put(key string, body []byte, ifAbsent bool) (blob.Info, error) {
	f, temp, err := s.stage(func(f *os.File) error {
		_, err := f.Write(body)
		return err
	})
	if err != nil {
		return blob.Info{}, err
	}
	defer f.Close()
	return s.land(f, temp, key, ifAbsent)
}

// stage makes a file that has no key yet, and lets write fill it.
func (s *Store) stage(write func(*os.File) error) (*os.File, string, error) {
	temp := fmt.Sprintf("%s/%s-%d", temporary, s.nonce, s.temps.Add(1))
	f, err := s.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, "", err
	}
	if err = write(f); err == nil {
		err = f.Sync()
	}
	if err != nil {
		f.Close()
		s.root.Remove(temp)
		return nil, "", err
	}
	return f, temp, nil
}

// land gives the staged file f its key and makes that durable.
func (s *Store) land(f *os.File, temp, key string, ifAbsent bool) (blob.Info, error) {
	if err := s.name(temp, key, ifAbsent); err != nil {
		s.root.Remove(temp) // else the next Open does it
		return blob.Info{}, err
	}
	if err := touch(f); err != nil {
		return blob.Info{}, err
	}
	if err := s.syncParent(key); err != nil {
		return blob.Info{}, err
	}
	stat, err := f.Stat()
	if err != nil {
		return blob.Info{}, err
	}
	// The temporary name goes last: while it is there, others know that the object's directory may not be synced.
	if err := s.root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return blob.Info{}, err
	}
	return describe(key, stat), nil
}

// name gives the file temp its key.
func (s *Store) name(temp, key string, ifAbsent bool) error {
	give := s.root.Rename
	if ifAbsent {
		give = s.root.Link
	}
	var err error
	for range maxTries {
		err = give(temp, key)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, fs.ErrNotExist):
			err = s.root.MkdirAll(path.Dir(key), 0o777)
		case errors.Is(err, fs.ErrExist):
			err = s.inTheWay(key, ifAbsent)
		}
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("a directory store cannot hold an object below another object: %w", err)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return fmt.Errorf("its directory was removed %d times while it was written: %w", maxTries, err)
}

// inTheWay looks at what has the key already. It returns nil if that was an empty directory, or is gone.
func (s *Store) inTheWay(key string, ifAbsent bool) error {
	stat, err := s.root.Stat(key)
	switch {
	case absent(err):
		return nil
	case err != nil:
		return err
	case stat.Mode().IsRegular() && ifAbsent:
		if err := s.landed(key, stat); err != nil {
			return err
		}
		return blob.ErrPrecondition
	case stat.IsDir():
		err := s.unlink(key, unix.AT_REMOVEDIR)
		if err == nil || absent(err) {
			return nil
		}
		return fmt.Errorf("a directory store cannot hold an object above other objects: %w", err)
	}
	return fmt.Errorf("the file of that name is no object but %s", stat.Mode().Type())
}

// unlink removes one name, and never a directory unless flags say so.
func (s *Store) unlink(key string, flags int) error {
	dir, err := s.root.Open(path.Dir(key))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Unlinkat(int(dir.Fd()), path.Base(key), flags); err != nil {
		return &fs.PathError{Op: "unlink", Path: key, Err: err}
	}
	return nil
}

// Delete implements blob.Store. Directories that it leaves empty go too.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := s.admitWrite(ctx, key); err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	if err := s.delete(key); err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	return nil
}

func (s *Store) delete(key string) error {
	if err := s.unlink(key, 0); err != nil && !absent(err) && !s.isDirectory(key) {
		return err
	}
	// Also if it was gone already: the one that removed it may not have synced yet.
	if err := s.syncParent(key); err != nil {
		return err
	}
	for dir := path.Dir(key); dir != "."; dir = path.Dir(dir) {
		if err := s.unlink(dir, unix.AT_REMOVEDIR); err != nil && !absent(err) {
			break // not empty, mostly; a directory that stays does no harm
		}
	}
	return nil
}

func (s *Store) isDirectory(key string) bool {
	stat, err := s.root.Lstat(key)
	return err == nil && stat.IsDir()
}
