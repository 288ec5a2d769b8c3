package file

import (
	"fmt"
	"os"
	"path"
)

// maxDirs bounds the directories that a Store holds open.
const maxDirs = 128

// syncedDir is an open directory that is known to be reachable from the root after a crash. It is held open because that keeps its
// inode from being given to another directory of the same name, which might not be.
type syncedDir struct {
	file *os.File
	stat os.FileInfo
	uses int  // Store.mu guards it
	gone bool // Store.mu guards it; closed when uses is 0
}

// syncParent syncs the directory of a key. Where that is gone, because somebody has deleted all that was in it, what has to be durable
// is its removal.
func (s *Store) syncParent(key string) error {
	for dir := path.Dir(key); ; dir = path.Dir(dir) {
		if err := s.sync(dir); !absent(err) || dir == "." {
			return err
		}
	}
}

// sync makes what was done in a directory durable, and the directory itself. It fails with ErrNotExist if there is none. After another
// failure the Store refuses every operation: the kernel reports a lost write once, and a later sync that succeeds says nothing of it.
func (s *Store) sync(dir string) error {
	stat, err := s.root.Stat(dir)
	if err != nil {
		return err
	}
	d := s.hold(dir, stat)
	if d == nil {
		if d, err = s.meet(dir); err != nil {
			return err
		}
	}
	defer s.release(d)
	return s.flush(d.file)
}

func (s *Store) flush(dir *os.File) error {
	err := dir.Sync()
	if err == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost == nil {
		s.lost = fmt.Errorf("the disk has failed under the directory store, start again to find out what it holds: %w", err)
	}
	return s.lost
}

// hold returns the directory if it was met before and is still the same one.
func (s *Store) hold(dir string, stat os.FileInfo) *syncedDir {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.dirs[dir]
	if d == nil {
		return nil
	}
	if !os.SameFile(d.stat, stat) {
		s.drop(dir, d)
		return nil
	}
	d.uses++
	return d
}

// meet opens a directory and syncs those above it, so that it will be found again.
func (s *Store) meet(dir string) (*syncedDir, error) {
	f, err := s.root.Open(dir)
	if err != nil {
		return nil, err
	}
	d := &syncedDir{file: f, uses: 1}
	if d.stat, err = f.Stat(); err != nil {
		f.Close()
		return nil, err
	}
	if dir != "." {
		if err := s.syncChain(path.Dir(dir)); err != nil {
			f.Close()
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.dirs[dir]; old != nil {
		s.drop(dir, old)
	}
	if len(s.dirs) == maxDirs {
		for name, old := range s.dirs { // any one
			s.drop(name, old)
			break
		}
	}
	s.dirs[dir] = d
	return d, nil
}

// syncChain syncs a directory and all above it.
func (s *Store) syncChain(dir string) error {
	for {
		f, err := s.root.Open(dir)
		if err != nil {
			return err
		}
		err = s.flush(f)
		f.Close()
		if err != nil || dir == "." {
			return err
		}
		dir = path.Dir(dir)
	}
}

// drop forgets a directory, and closes it when its last user has released it. The caller holds s.mu.
func (s *Store) drop(name string, d *syncedDir) {
	delete(s.dirs, name)
	d.gone = true
	if d.uses == 0 {
		d.file.Close()
	}
}

func (s *Store) release(d *syncedDir) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.uses--
	if d.gone && d.uses == 0 {
		d.file.Close()
	}
}
