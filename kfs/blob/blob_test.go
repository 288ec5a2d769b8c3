package blob_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/blobtest"
)

func TestMemory(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store { return blob.NewMemory(nil) })
}

// copying is a Store that copies by itself, and says how often.
type copying struct {
	blob.Store
	copies int
}

func (c *copying) Copy(ctx context.Context, from blob.Store, key, to string) (blob.Info, error) {
	if from != blob.Store(c) {
		return blob.Info{}, errors.ErrUnsupported
	}
	c.copies++
	return blob.Copy(ctx, c.Store, key, c.Store, to, 1<<20)
}

func TestPrefixKeepsTheCopier(t *testing.T) {
	below := &copying{Store: blob.NewMemory(nil)}
	blobtest.Run(t, func(t *testing.T) blob.Store {
		below = &copying{Store: blob.NewMemory(nil)}
		return blob.Prefix(below, "a/")
	})
	below.copies = 0
	s := blob.Prefix(below, "b/")
	if _, err := s.Put(t.Context(), "from", []byte("x"), true); err != nil {
		t.Fatal(err)
	}
	info, err := blob.Copy(t.Context(), s, "from", s, "to", 0)
	if err != nil || info.Key != "to" || below.copies != 1 {
		t.Errorf("%+v, %v, %d copies", info, err, below.copies)
	}
	if _, err := blob.Copy(t.Context(), s, "from", s, "../to", 0); err == nil || below.copies != 1 {
		t.Errorf("a copy has left the prefix: %v", err)
	}
	plain := blob.Prefix(below.Store, "b/")
	if _, ok := plain.(blob.Copier); ok {
		t.Error("a prefix of a store that cannot copy says that it can")
	}
	if _, err := blob.Copy(t.Context(), plain, "from", plain, "to", 0); err == nil {
		t.Error("more than the limit went through memory")
	}
}

// short gives fewer bytes than it says.
type short struct{ blob.Store }

func (s short) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Info, error) {
	body, info, err := s.Store.Get(ctx, key, r)
	info.Size++
	return body, info, err
}

func TestReadAllOfAShortBody(t *testing.T) {
	m := blob.NewMemory(nil)
	if _, err := m.Put(t.Context(), "object", []byte("hello"), true); err != nil {
		t.Fatal(err)
	}
	if got, _, err := blob.ReadAll(t.Context(), short{m}, "object", blob.All, 100); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%q, %v", got, err)
	}
}

// FuzzCheckKey: what is accepted cannot leave a directory, and is taken apart and put together again.
func FuzzCheckKey(f *testing.F) {
	for _, seed := range []string{"", "a", "a/b", "/", "a/", "a//b", ".", "..", "a/../b", "a/.hidden", "a\x00b", "é", "\xff", "a\nb", strings.Repeat("a", 1025)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if blob.CheckKey(key) != nil {
			return
		}
		if key == "" || len(key) > blob.MaxKey || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\ufffd' && !strings.Contains(key, "\ufffd") }) {
			t.Errorf("accepted %q", key)
		}
		if padded := "/" + key + "/"; strings.Contains(padded, "//") || strings.Contains(padded, "/./") || strings.Contains(padded, "/../") {
			t.Errorf("accepted %q", key)
		}
		if blob.CheckKey("prefix/"+key) != nil && len(key)+7 <= blob.MaxKey {
			t.Errorf("%q is legal, and not below a prefix", key)
		}
	})
}

// FuzzResolve: a range that is resolved lies in the object, and is as long as was asked where there are so many bytes.
func FuzzResolve(f *testing.F) {
	f.Add(int64(0), int64(0), int64(0), int64(0))
	f.Add(int64(3), int64(4), int64(0), int64(5))
	f.Add(int64(0), int64(0), int64(9), int64(5))
	f.Add(int64(-1), int64(1<<62), int64(0), int64(5))
	f.Add(int64(1<<62), int64(1<<62), int64(0), int64(1<<63-1))
	f.Fuzz(func(t *testing.T, off, length, suffix, size int64) {
		if size < 0 {
			return
		}
		r := blob.Range{Off: off, Len: length, Suffix: suffix}
		at, n, err := r.Resolve(size)
		if err != nil {
			if !errors.Is(err, blob.ErrRange) {
				t.Errorf("%+v of %d: %v", r, size, err)
			}
			return
		}
		if at < 0 || n < 0 || at > size || n > size-at {
			t.Fatalf("%+v of %d is %d+%d", r, size, at, n)
		}
		switch {
		case suffix > 0 && (n != min(suffix, size) || at+n != size):
			t.Errorf("%+v of %d is %d+%d", r, size, at, n)
		case suffix <= 0 && (at != off || length == 0 && at+n != size || length > 0 && n != min(length, size-at)):
			t.Errorf("%+v of %d is %d+%d", r, size, at, n)
		}
	})
}
