// Package file is a directory as an object store: the embedded default, for one machine.
//
// A key is the path of a file below the directory, one to one, so that a bucket and a directory are copied into each other with stock
// tools. Several processes may use one directory at the same time. An object appears whole and durable or not at all: its bytes are
// written to a temporary file and synced, then link(2) (put if absent, one winner) or rename(2) gives the file its key, then the
// directory is synced, and only then is the Put a success. Whoever meets an object before that last step, another process included,
// finishes the step before it relies on the object.
//
// The store has one clock for all processes, that of the file system: it is read by touching a file that they share. An object's
// Modified is touched again after it has its key, so that a writer that was paused in between leaves no object that looks old.
//
// What a directory cannot do that a bucket can: hold both the object "a" and the object "a/b", keys with an element of more than 255
// bytes, and an element ".firn", where temporary files and the clock are. Such a Put is an error. On a file system that ignores case,
// keys that differ in nothing else are one. Symbolic links are not listed and are never followed out of the directory.
package file

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/firn-io/firn/kfs/blob"
)

const (
	private    = ".firn"           // the element that no key has
	temporary  = private + "/tmp"  // files on their way to a key
	clockFile  = private + "/time" // touched to know the time
	maxElement = 255               // bytes of a key's element

	// abandoned is the age at which a temporary file has no writer any more.
	abandoned = time.Hour
	// landing is the age below which an object with a second link may still wait for its directory's sync.
	landing = time.Minute
)

// Store is a directory as a blob.Store. Its methods wait for the disk; a context is looked at before and not while they do.
type Store struct {
	root  *os.Root
	clock *os.File // nil: read-only
	nonce string   // in the names of this Store's temporary files
	temps atomic.Uint64

	mu   sync.Mutex            // guards what follows
	dirs map[string]*syncedDir // at most maxDirs
	lost error                 // a directory's sync has failed, so what is on the disk is not known any more
}

var _ blob.Store = (*Store)(nil)

// Open makes the directory if it is missing, and removes temporary files that were left behind.
func Open(dir string) (*Store, error) {
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("directory store: %w", err)
	}
	s, err := open(dir)
	if err != nil {
		return nil, err
	}
	if err := s.prepare(); err != nil {
		s.Close()
		return nil, fmt.Errorf("directory store %s: %w", dir, err)
	}
	return s, nil
}

// makeDir makes a directory, and those above it, so that they are there after a crash too.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := os.Open(parent)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// OpenReadOnly opens a directory, which must exist, and never writes to it, not even to read its clock: ServerTime is zero in every
// answer. It is enough to look at objects, and not enough for anything that rests on time. Put and Delete are refused.
func OpenReadOnly(dir string) (*Store, error) {
	return open(dir)
}

func open(dir string) (*Store, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("directory store: %w", err)
	}
	return &Store{root: root, nonce: rand.Text(), dirs: map[string]*syncedDir{}}, nil
}

func (s *Store) prepare() error {
	if err := s.root.MkdirAll(temporary, 0o777); err != nil {
		return err
	}
	clock, err := s.root.OpenFile(clockFile, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	s.clock = clock
	if err := s.syncChain("."); err != nil {
		return err
	}
	return s.clean()
}

// clean removes the temporary files of writers that are gone. One that only slept finds its file missing and fails.
func (s *Store) clean() error {
	now, err := s.now()
	if err != nil {
		return err
	}
	dir, err := s.root.Open(temporary)
	if err != nil {
		return err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := temporary + "/" + e.Name()
		info, err := s.root.Lstat(name)
		if err != nil || now.Sub(info.ModTime()) < abandoned {
			continue
		}
		if err := s.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Close releases what the Store holds open. Readers that Get returned stay usable.
func (s *Store) Close() error {
	s.mu.Lock()
	for name, d := range s.dirs {
		s.drop(name, d)
	}
	s.mu.Unlock()
	var err error
	if s.clock != nil {
		err = s.clock.Close()
	}
	return errors.Join(err, s.root.Close())
}

// Get implements blob.Store.
func (s *Store) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Info, error) {
	if err := errors.Join(s.usable(ctx), checkKey(key)); err != nil {
		return nil, blob.Info{}, fmt.Errorf("get %s: %w", key, err)
	}
	f, info, err := s.get(key)
	// The clock is read after the object, so that what was seen is never younger than the time that is given for it.
	now, timeErr := s.now()
	info.Key, info.ServerTime = key, now
	if timeErr != nil {
		err = timeErr
	}
	var off, n int64
	if err == nil {
		off, n, err = r.Resolve(info.Size)
	}
	if err != nil {
		if f != nil {
			f.Close()
		}
		return nil, info, fmt.Errorf("get %s: %w", key, err)
	}
	return object{io.NewSectionReader(f, off, n), f}, info, nil
}

// object is a part of an open file.
type object struct {
	*io.SectionReader
	file *os.File
}

func (o object) Close() error { return o.file.Close() }

func (s *Store) get(key string) (*os.File, blob.Info, error) {
	f, err := s.root.Open(key)
	if absent(err) {
		return nil, blob.Info{}, blob.ErrNotFound
	}
	if err != nil {
		return nil, blob.Info{}, err
	}
	stat, err := f.Stat()
	if err == nil && !stat.Mode().IsRegular() {
		err = blob.ErrNotFound
	}
	if err == nil {
		err = s.landed(key, stat)
	}
	if err != nil {
		f.Close()
		return nil, blob.Info{}, err
	}
	return f, describe(key, stat), nil
}

// absent tells whether an error of opening a key means that there is no such object: a path that goes through a file is one such.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
}

// landed makes sure that an object that was found is one that stays. Its writer removes the temporary name, the second link, after it
// has synced the directory; while that link is there, the finder syncs the directory itself.
func (s *Store) landed(key string, stat fs.FileInfo) error {
	if s.clock == nil || links(stat) < 2 {
		return nil
	}
	now, err := s.now()
	if err != nil || now.Sub(stat.ModTime()) > landing {
		return err
	}
	return s.syncParent(key)
}

// usable says why an operation cannot begin.
func (s *Store) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

func checkKey(key string) error {
	if err := blob.CheckKey(key); err != nil {
		return err
	}
	for element := range strings.SplitSeq(key, "/") {
		switch {
		case element == private:
			return fmt.Errorf("the name %q is the directory store's own", private)
		case len(element) > maxElement:
			return fmt.Errorf("the name %.40q… has %d bytes, a directory store takes %d", element, len(element), maxElement)
		}
	}
	return nil
}

// now reads the clock. A read-only store has none and gives zero.
func (s *Store) now() (time.Time, error) {
	if s.clock == nil {
		return time.Time{}, nil
	}
	if err := touch(s.clock); err != nil {
		return time.Time{}, fmt.Errorf("reading the store's clock: %w", err)
	}
	stat, err := s.clock.Stat()
	if err != nil {
		return time.Time{}, fmt.Errorf("reading the store's clock: %w", err)
	}
	return stat.ModTime(), nil
}

func describe(key string, stat fs.FileInfo) blob.Info {
	version := fmt.Sprintf("%x-%x-%x", inode(stat), stat.ModTime().UnixNano(), stat.Size())
	return blob.Info{Key: key, Size: stat.Size(), Version: version, Modified: stat.ModTime()}
}
