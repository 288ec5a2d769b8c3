package file

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"

	"github.com/firn-io/firn/kfs/blob"
)

// pageObjects is the number of objects on a page of a List.
const pageObjects = 1000

// errStopped ends a walk whose consumer has had enough.
var errStopped = errors.New("the list was left")

// List implements blob.Store. It reads the names of the directories that can hold a key that is asked for, and looks at the files
// that it yields, at no others. The time of each page is that before the first directory was read.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Page, error] {
	return func(yield func(blob.Page, error) bool) {
		w := walk{ctx: ctx, store: s, prefix: prefix, after: after, yield: yield}
		err := w.run()
		if err != nil && !errors.Is(err, errStopped) {
			yield(blob.Page{}, fmt.Errorf("list %s: %w", prefix, err))
		}
	}
}

// walk is one List under way.
type walk struct {
	ctx           context.Context
	store         *Store
	prefix, after string
	yield         func(blob.Page, error) bool
	page          blob.Page
}

func (w *walk) run() error {
	if err := w.store.usable(w.ctx); err != nil {
		return err
	}
	now, err := w.store.now()
	if err != nil {
		return err
	}
	w.page.ServerTime = now
	dir, _ := cutLast(w.prefix)
	if dir == "" || checkKey(strings.TrimSuffix(dir, "/")) == nil {
		if err := w.directory(w.store.root, dir); err != nil {
			return err
		}
	}
	if !w.yield(w.page, nil) {
		return errStopped
	}
	return nil
}

// cutLast splits a key behind its last slash.
func cutLast(key string) (dir, name string) {
	i := strings.LastIndexByte(key, '/') + 1
	return key[:i], key[i:]
}

// directory lists the objects below dir, which is empty or ends in a slash, and lies in parent.
func (w *walk) directory(parent *os.Root, dir string) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	root := parent
	if dir != "" {
		name := strings.TrimSuffix(dir, "/")
		if parent != w.store.root {
			name = name[strings.LastIndexByte(name, '/')+1:]
		}
		var err error
		if root, err = parent.OpenRoot(name); err != nil {
			if stat, statErr := parent.Stat(name); absent(statErr) || statErr == nil && !stat.IsDir() {
				return nil
			}
			return err
		}
		defer root.Close()
	}
	names, err := w.names(root, dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, "/") {
			err = w.directory(root, dir+name)
		} else {
			err = w.object(root, dir, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// names reads a directory: what may be or hold a key that is asked for, in the order of whole keys. The name of a directory ends in a
// slash, which also sorts it as the keys below it sort.
func (w *walk) names(root *os.Root, dir string) ([]string, error) {
	f, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	begin := "" // of the names that can be asked for: in a large directory most are told by that
	if len(w.prefix) > len(dir) {
		begin = w.prefix[len(dir):]
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		switch {
		case !strings.HasPrefix(name, begin) || checkKey(name) != nil:
			continue
		case e.IsDir():
			name += "/"
		case !e.Type().IsRegular():
			continue
		}
		if w.wants(dir + name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// wants tells whether a key is asked for, or for a directory below the first, whether a key in it can be.
func (w *walk) wants(key string) bool {
	if !strings.HasPrefix(key, w.prefix) {
		return false
	}
	return key > w.after || strings.HasSuffix(key, "/") && strings.HasPrefix(w.after, key)
}

func (w *walk) object(root *os.Root, dir, name string) error {
	stat, err := root.Lstat(name)
	if absent(err) || err == nil && !stat.Mode().IsRegular() {
		return nil // gone since the directory was read
	}
	if err != nil {
		return err
	}
	if err := w.store.landed(dir+name, stat); err != nil {
		return err
	}
	if len(w.page.Objects) == pageObjects {
		if !w.yield(w.page, nil) {
			return errStopped
		}
		if err := w.ctx.Err(); err != nil {
			return err
		}
		w.page.Objects = nil
	}
	w.page.Objects = append(w.page.Objects, describe(dir+name, stat))
	return nil
}
