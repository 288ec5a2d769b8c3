// Package blob is the object-store seam: the only way in which Firn touches durable storage.
//
// A Store is strongly consistent: a GET or LIST that begins after a PUT or DELETE has returned sees it. Put-if-absent has exactly one
// winner per key, whatever happens. Every answer carries the store's own clock (Info.ServerTime), also "not found" and "precondition
// failed": the rules of the journal measure time on that clock alone.
//
// An error that is neither ErrNotFound nor ErrPrecondition means that the outcome is unknown: a Put may or may not have landed, and
// may land later. Callers read the truth before they decide. Implementations may retry reads; they never retry a conditional Put in a
// way that hides from the caller that an earlier try may be the object that is in its way.
package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"
	"unicode/utf8"
)

// Store is an object store, or a prefix of one. It is safe for concurrent use.
// Keys are those that CheckKey accepts, and are used as they are: no cleaning, no escaping. Every method refuses another key before it
// does anything. The prefix and the after of a List may be any UTF-8; a prefix that no key can begin with lists nothing.
type Store interface {
	// Get reads an object or a part of it. The caller closes the reader; Info.Size is the size of the whole object, also for a range.
	// A suffix longer than the object gives all of it. A Range that begins at or behind the end gives ErrRange.
	// ErrNotFound comes with Info.ServerTime.
	Get(ctx context.Context, key string, r Range) (io.ReadCloser, Info, error)
	// Put writes an object whole. With ifAbsent it writes only if no object has the key, else ErrPrecondition (with Info.ServerTime).
	// Success means durable. The store does not keep body after it returned.
	Put(ctx context.Context, key string, body []byte, ifAbsent bool) (Info, error)
	// List yields the objects whose keys begin with prefix and are greater than after, in byte order of keys, a page at a time.
	// An empty answer is one empty page, so that its ServerTime is known. The first error ends the sequence. A page is the caller's own;
	// walking the sequence again lists again.
	List(ctx context.Context, prefix, after string) iter.Seq2[Page, error]
	// Delete removes an object; one that is not there is no error.
	Delete(ctx context.Context, key string) error
}

// Copier is an optional power of a Store: copying objects into it without moving bytes through the caller. See Copy.
type Copier interface {
	// Copy makes the object to, or overwrites it, from the object key of the store from, which may be the same one; ErrNotFound (with
	// Info.ServerTime) if there is none. Info.Size may be zero: not every store tells it. errors.ErrUnsupported says that from is no store
	// that this one can copy from, and that nothing was done.
	Copy(ctx context.Context, from Store, key, to string) (Info, error)
}

// Info describes an object, or only the moment of an answer.
type Info struct {
	Key        string
	Size       int64     // bytes of the whole object
	Version    string    // opaque; changes when the object does (S3: ETag)
	Modified   time.Time // by the store's clock
	ServerTime time.Time // the store's clock when it answered; zero only for a store that is opened read-only
}

// Page is one answer to a List.
type Page struct {
	Objects    []Info // without ServerTime
	ServerTime time.Time
}

// MaxKey is the greatest length of a key, in bytes, with every Prefix in front of it.
const MaxKey = 1024

// CheckKey says why a key is not one that every kind of store can hold: keys are UTF-8 without control characters, at most MaxKey
// bytes, and elements between slashes, none of which is empty, "." or "..".
func CheckKey(key string) error {
	switch {
	case key == "":
		return errors.New("an object key is empty")
	case len(key) > MaxKey:
		return fmt.Errorf("object key %.40q… has %d bytes, more than %d", key, len(key), MaxKey)
	case !utf8.ValidString(key):
		return fmt.Errorf("object key %q is not UTF-8", key)
	}
	for i := range len(key) {
		if key[i] < ' ' || key[i] == 0x7f {
			return fmt.Errorf("object key %q has a control character", key)
		}
	}
	for element := range strings.SplitSeq(key, "/") {
		if element == "" || element == "." || element == ".." {
			return fmt.Errorf("object key %q has the element %q", key, element)
		}
	}
	return nil
}

// Range selects bytes of an object. The zero value is the whole object.
type Range struct {
	Off    int64 // first byte
	Len    int64 // number of bytes; 0 means to the end
	Suffix int64 // if > 0: the last Suffix bytes, and Off and Len are not used
}

// All is the whole object.
var All = Range{}

// Bytes is n bytes from off. n must be positive.
func Bytes(off, n int64) Range { return Range{Off: off, Len: n} }

// Last is the last n bytes, or all of a shorter object.
func Last(n int64) Range { return Range{Suffix: n} }

// Resolve turns the range into [off, off+n) of an object of size bytes, cut at its end.
// It gives ErrRange when the range begins at or behind the end of a non-empty selection.
func (r Range) Resolve(size int64) (off, n int64, err error) {
	switch {
	case r.Suffix > 0:
		n = min(r.Suffix, size)
		return size - n, n, nil
	case r.Off < 0 || r.Len < 0:
		return 0, 0, fmt.Errorf("range %d+%d: %w", r.Off, r.Len, ErrRange)
	case r == All:
		return 0, size, nil
	case r.Off >= size:
		return 0, 0, fmt.Errorf("range from %d of an object of %d bytes: %w", r.Off, size, ErrRange)
	case r.Len == 0:
		return r.Off, size - r.Off, nil
	}
	return r.Off, min(r.Len, size-r.Off), nil
}

// What callers branch on. Any other error of a Put means that the outcome is unknown.
var (
	ErrNotFound     = errors.New("object not found")
	ErrPrecondition = errors.New("object exists already")
	ErrRange        = errors.New("range lies outside the object")
)

// ReadAll gets an object, or a range of it, into memory. Objects larger than limit bytes (of the selected range) are refused before they are read.
func ReadAll(ctx context.Context, s Store, key string, r Range, limit int64) ([]byte, Info, error) {
	body, info, err := s.Get(ctx, key, r)
	if err != nil {
		return nil, info, err
	}
	defer body.Close()
	_, n, err := r.Resolve(info.Size)
	if err != nil {
		return nil, info, fmt.Errorf("get %s: %w", key, err)
	}
	if n > limit {
		return nil, info, fmt.Errorf("get %s: %d bytes are more than the %d allowed here", key, n, limit)
	}
	buf := make([]byte, n)
	if _, err := io.ReadFull(body, buf); err != nil {
		return nil, info, fmt.Errorf("get %s: %w", key, err)
	}
	return buf, info, nil
}

// Copy makes the object to of the store into from the object key of the store from: inside the stores if into is a Copier that can.
// Otherwise the bytes go through memory, and objects larger than limit bytes are refused. As with any Copier, Info.Size may be zero.
func Copy(ctx context.Context, from Store, key string, into Store, to string, limit int64) (Info, error) {
	if c, ok := into.(Copier); ok {
		if err := CheckKey(key); err != nil {
			return Info{}, err
		}
		store, name := behind(from, key)
		info, err := c.Copy(ctx, store, name, to)
		if !errors.Is(err, errors.ErrUnsupported) {
			return info, err
		}
	}
	body, info, err := ReadAll(ctx, from, key, All, limit)
	if err != nil {
		return info, err
	}
	return into.Put(ctx, to, body, false)
}
