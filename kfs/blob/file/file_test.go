package file

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/blobtest"
)

func openTemp(t *testing.T) *Store {
	t.Helper()
	return openDir(t, t.TempDir())
}

func openDir(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStore(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store { return openTemp(t) })
}

// put puts an object that the test needs.
func put(t *testing.T, s *Store, key, body string) blob.Info {
	t.Helper()
	info, err := s.Put(t.Context(), key, []byte(body), true)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// files gives the paths of everything below a directory that is no directory.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var got []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			got = append(got, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestLayout(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	put(t, s, "a/b/c", "x")
	put(t, s, "d", "y")
	if _, err := s.Put(t.Context(), "d", []byte("z"), true); !errors.Is(err, blob.ErrPrecondition) {
		t.Errorf("%v", err)
	}
	if got, want := files(t, dir), []string{clockFile, "a/b/c", "d"}; !slices.Equal(got, want) {
		t.Errorf("the directory holds %q, want %q", got, want)
	}
	if err := s.Delete(t.Context(), "a/b/c"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty directory stayed: %v", err)
	}
}

func TestOpenMakesDirectories(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a/b/c")
	put(t, openDir(t, dir), "object", "x")
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"file", "file/below"} {
		if s, err := Open(filepath.Join(dir, path)); err == nil {
			s.Close()
			t.Errorf("opened %s, which is no directory", path)
		}
	}
}

func TestKeysThatADirectoryCannotHold(t *testing.T) {
	s := openTemp(t)
	put(t, s, "a/b", "x")
	for _, key := range []string{"a", "a/b/c", "a/b/c/d", ".firn", ".firn/time", ".firn/tmp/x", "ns/.firn/x", "a/" + strings.Repeat("k", 256)} {
		for _, ifAbsent := range []bool{true, false} {
			_, err := s.Put(t.Context(), key, []byte("y"), ifAbsent)
			if err == nil || errors.Is(err, blob.ErrPrecondition) {
				t.Errorf("put %.20q, if absent %v: %v", key, ifAbsent, err)
			}
		}
	}
	body, _, err := blob.ReadAll(t.Context(), s, "a/b", blob.All, 10)
	if err != nil || string(body) != "x" {
		t.Errorf("%q, %v", body, err)
	}
}

func TestSymbolicLinksAreNotFollowedOut(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o666); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := openDir(t, dir)
	for name, target := range map[string]string{
		"abs": outside, "rel": "../" + filepath.Base(outside), "object": filepath.Join(outside, "secret"), "dangling": filepath.Join(outside, "new"),
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"abs/secret", "rel/secret", "object"} {
		if _, _, err := s.Get(t.Context(), key, blob.All); err == nil {
			t.Errorf("read %s", key)
		}
	}
	for _, key := range []string{"abs/new", "rel/new", "dangling"} {
		if _, err := s.Put(t.Context(), key, nil, true); err == nil {
			t.Errorf("wrote %s", key)
		}
	}
	for _, key := range []string{"abs/secret", "rel/secret"} {
		if err := s.Delete(t.Context(), key); err == nil {
			t.Errorf("deleted %s", key)
		}
	}
	for page, err := range s.List(t.Context(), "", "") {
		if err != nil || len(page.Objects) != 0 {
			t.Errorf("list gives %v, %v", page.Objects, err)
		}
	}
	if got := files(t, outside); !slices.Equal(got, []string{"secret"}) {
		t.Errorf("outside there is now %q", got)
	}
}

func TestOpenRemovesAbandonedFiles(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	put(t, s, "object", "x")
	for name, age := range map[string]time.Duration{"old": 2 * abandoned, "young": abandoned / 2} {
		path := filepath.Join(dir, temporary, name)
		if err := os.WriteFile(path, nil, 0o666); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-age)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	openDir(t, dir)
	if got, want := files(t, dir), []string{clockFile, temporary + "/young", "object"}; !slices.Equal(got, want) {
		t.Errorf("the directory holds %q, want %q", got, want)
	}
}

// TestDiskFull makes the file system refuse bytes in the middle of an object: in a process of its own, for the limit is the process's.
func TestDiskFull(t *testing.T) {
	const child = "FIRN_TEST_DISK_FULL"
	if os.Getenv(child) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDiskFull$")
		cmd.Env = append(os.Environ(), child+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	dir := t.TempDir()
	s := openDir(t, dir)
	put(t, s, "object", "before")
	signal.Ignore(unix.SIGXFSZ)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 4096, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	_, plain := s.Put(t.Context(), "object", make([]byte, 10_000), false)
	_, conditional := s.Put(t.Context(), "other", make([]byte, 10_000), true)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(plain, unix.EFBIG) || !errors.Is(conditional, unix.EFBIG) {
		t.Errorf("plain %v, conditional %v", plain, conditional)
	}
	if got, want := files(t, dir), []string{clockFile, "object"}; !slices.Equal(got, want) {
		t.Errorf("the directory holds %q, want %q", got, want)
	}
	body, _, err := blob.ReadAll(t.Context(), s, "object", blob.All, 10)
	if err != nil || string(body) != "before" {
		t.Errorf("%q, %v", body, err)
	}
}

// TestKill kills a process in the middle of its Puts: what it has said is there is there, and nothing is there in part.
func TestKill(t *testing.T) {
	const child = "FIRN_TEST_KILL"
	const writers, size = 4, 300_000
	if dir := os.Getenv(child); dir != "" {
		s := openDir(t, dir)
		for w := range writers {
			go func() {
				for i := 0; ; i++ {
					key := fmt.Sprintf("%d/%d", w, i)
					if _, err := s.Put(t.Context(), key, bytes.Repeat([]byte{byte(i)}, size), true); err != nil {
						panic(err)
					}
					fmt.Println("done " + key)
				}
			}()
		}
		select {} // until it is killed
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKill$")
	cmd.Env = append(os.Environ(), child+"="+dir)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	acknowledged := map[string]bool{}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if key, ok := strings.CutPrefix(lines.Text(), "done "); ok {
			acknowledged[key] = true
		}
		if len(acknowledged) == 30 {
			cmd.Process.Kill()
		}
	}
	cmd.Wait()
	s := openDir(t, dir)
	for page, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Objects {
			var w, i int
			fmt.Sscanf(o.Key, "%d/%d", &w, &i)
			body, _, err := blob.ReadAll(t.Context(), s, o.Key, blob.All, size)
			if err != nil || !bytes.Equal(body, bytes.Repeat([]byte{byte(i)}, size)) {
				t.Errorf("%s is there in part: %d bytes, %v", o.Key, len(body), err)
			}
			delete(acknowledged, o.Key)
		}
	}
	if len(acknowledged) > 0 {
		t.Errorf("lost: %v", acknowledged)
	}
}

// TestUnsyncedDirectory: an object that still has its temporary name is synced by whoever meets it, and a sync that fails ends the Store.
func TestUnsyncedDirectory(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	put(t, s, "dir/object", "x")
	if err := os.Link(filepath.Join(dir, "dir/object"), filepath.Join(dir, temporary, "still-there")); err != nil {
		t.Fatal(err)
	}
	s.dirs["dir"].file.Close() // the next sync of this directory fails
	if _, err := s.Put(t.Context(), "dir/object", nil, true); err == nil || errors.Is(err, blob.ErrPrecondition) {
		t.Errorf("relied on an object whose directory is not synced: %v", err)
	}
	for _, key := range []string{"dir/object", "absent"} {
		if _, _, err := s.Get(t.Context(), key, blob.All); err == nil || errors.Is(err, blob.ErrNotFound) {
			t.Errorf("get %s after a failed sync: %v", key, err)
		}
	}
	again := openDir(t, dir)
	if _, err := again.Put(t.Context(), "dir/object", nil, true); !errors.Is(err, blob.ErrPrecondition) {
		t.Errorf("%v", err)
	}
	if again.dirs["dir"] == nil {
		t.Error("the directory was not synced")
	}
}

// TestPutAndDeleteSync: neither is a success when the directory cannot be synced, nor when one above it cannot.
func TestPutAndDeleteSync(t *testing.T) {
	changes := map[string]func(s *Store) error{
		"put if absent": func(s *Store) error { _, err := s.Put(t.Context(), "a/new", nil, true); return err },
		"put":           func(s *Store) error { _, err := s.Put(t.Context(), "a/object", nil, false); return err },
		"delete":        func(s *Store) error { return s.Delete(t.Context(), "a/object") },
		"delete absent": func(s *Store) error { return s.Delete(t.Context(), "a/absent") },
	}
	for name, change := range changes {
		s := openTemp(t)
		put(t, s, "a/object", "x")
		s.dirs["a"].file.Close() // the next sync of this directory fails
		if err := change(s); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
		if err := change(s); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s once more: %v", name, err)
		}
	}
}

// TestModifiedAfterLanding: a writer that is paused before its object has a key leaves no object that looks old.
func TestModifiedAfterLanding(t *testing.T) {
	s := openTemp(t)
	f, temp, err := s.stage(func(f *os.File) error {
		_, err := f.Write([]byte("x"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	old := time.Now().Add(-abandoned / 2)
	if err := s.root.Chtimes(temp, old, old); err != nil {
		t.Fatal(err)
	}
	_, absent, err := s.Get(t.Context(), "object", blob.All)
	if !errors.Is(err, blob.ErrNotFound) {
		t.Fatal(err)
	}
	info, err := s.land(f, temp, "object", true)
	if err != nil {
		t.Fatal(err)
	}
	if info.Modified.Before(absent.ServerTime) {
		t.Errorf("modified at %v, but absent at %v", info.Modified, absent.ServerTime)
	}
}

// TestListLooksOnlyAtWhatItYields lays traps: looking at a file that may not be synced yet syncs its directory, and here that fails.
func TestListLooksOnlyAtWhatItYields(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	put(t, s, "journal/0000/checkpoint-1", "x")
	for _, key := range []string{"journal/0000/1", "topics/deep/down"} {
		put(t, s, key, "x")
		if err := os.Link(filepath.Join(dir, key), filepath.Join(dir, temporary, filepath.Base(key))); err != nil {
			t.Fatal(err)
		}
		s.dirs[filepath.Dir(key)].file.Close()
	}
	list := func(prefix, after string) (n int, err error) {
		for page, e := range s.List(t.Context(), prefix, after) {
			n, err = n+len(page.Objects), e
		}
		return n, err
	}
	if n, err := list("journal/0000/check", ""); n != 1 || err != nil {
		t.Errorf("by prefix: %d objects, %v", n, err)
	}
	if n, err := list("journal/", "journal/0000/1"); n != 1 || err != nil {
		t.Errorf("by after: %d objects, %v", n, err)
	}
	if _, err := list("journal/", ""); err == nil {
		t.Error("the trap is none")
	}
}

func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	put(t, openDir(t, dir), "object", "x")
	before := files(t, dir)
	s, err := OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	body, info, err := blob.ReadAll(t.Context(), s, "object", blob.All, 10)
	if err != nil || string(body) != "x" || !info.ServerTime.IsZero() {
		t.Errorf("%q at %v, %v", body, info.ServerTime, err)
	}
	if _, err := s.Put(t.Context(), "other", nil, true); !errors.Is(err, errReadOnly) {
		t.Errorf("put: %v", err)
	}
	if err := s.Delete(t.Context(), "object"); !errors.Is(err, errReadOnly) {
		t.Errorf("delete: %v", err)
	}
	for page, err := range s.List(t.Context(), "", "") {
		if err != nil || len(page.Objects) != 1 {
			t.Errorf("list: %v, %v", page.Objects, err)
		}
	}
	if after := files(t, dir); !slices.Equal(before, after) {
		t.Errorf("the directory holds %q, before %q", after, before)
	}
	if _, err := OpenReadOnly(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// TestDirectoriesHeldOpen: their number is bounded, and a directory that is another one now is synced anew.
func TestDirectoriesHeldOpen(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	for i := range 2 * maxDirs {
		put(t, s, fmt.Sprintf("%d/object", i), "x")
	}
	if len(s.dirs) != maxDirs {
		t.Errorf("%d directories are open", len(s.dirs))
	}
	put(t, s, "again/object", "x")
	before := s.dirs["again"]
	other := openDir(t, dir)
	if err := other.Delete(t.Context(), "again/object"); err != nil {
		t.Fatal(err)
	}
	put(t, other, "again/object", "y")
	put(t, s, "again/object2", "z")
	if s.dirs["again"] == before {
		t.Error("another directory was taken for the one that was met")
	}
	if err := before.file.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the former directory is still open: %v", err)
	}
}

// TestTwoStoresRace: the winner is one, whatever process it is in; here the processes are two Stores.
func TestTwoStoresRace(t *testing.T) {
	dir := t.TempDir()
	stores := []*Store{openDir(t, dir), openDir(t, dir)}
	for round := range 20 {
		key := fmt.Sprintf("%d/object", round)
		wins := make([]bool, 8)
		var done sync.WaitGroup
		for w := range wins {
			done.Go(func() {
				_, err := stores[w%2].Put(t.Context(), key, []byte{byte(w)}, true)
				wins[w] = err == nil
				if err != nil && !errors.Is(err, blob.ErrPrecondition) {
					t.Error(err)
				}
			})
		}
		done.Wait()
		body, _, err := blob.ReadAll(t.Context(), stores[0], key, blob.All, 10)
		if err != nil || !wins[body[0]] {
			t.Fatalf("%v holds %v, %v", wins, body, err)
		}
		wins[body[0]] = false
		if slices.Contains(wins, true) {
			t.Fatal("a second writer has won")
		}
	}
}

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20, 8 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			s, err := Open(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			body := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := s.Put(b.Context(), fmt.Sprintf("journal/0000/%020d.kfs", i), body, true); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
