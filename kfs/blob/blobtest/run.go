// Package blobtest holds what every blob.Store is tested with: one conformance suite, a Store that fails where it is told to, and a
// Store that writes down what it is asked.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/firn-io/firn/kfs/blob"
)

// Run tests all that the documentation of blob.Store promises. open gives an empty store; what it holds open it closes with t.Cleanup.
// except names tests that a server that is not ours is known to fail; a caller says why.
func Run(t *testing.T, open func(t *testing.T) blob.Store, except ...string) {
	tests := []struct {
		name string
		test func(t *testing.T, s blob.Store)
	}{
		{"Get", testGet},
		{"GetRange", testGetRange},
		{"Empty", testEmpty},
		{"NotFound", testNotFound},
		{"Put", testPut},
		{"PutIfAbsent", testPutIfAbsent},
		{"PutKeepsNothing", testPutKeepsNothing},
		{"PutRace", testPutRace},
		{"Delete", testDelete},
		{"DeleteAndPut", testDeleteAndPut},
		{"DeleteMakesRoom", testDeleteMakesRoom},
		{"Keys", testKeys},
		{"IllegalKeys", testIllegalKeys},
		{"List", testList},
		{"ListOrder", testListOrder},
		{"ListPages", testListPages},
		{"ListStops", testListStops},
		{"ServerTime", testServerTime},
		{"Big", testBig},
		{"Cancelled", testCancelled},
		{"Prefix", testPrefix},
		{"Copy", testCopy},
	}
	for _, test := range tests {
		if i := slices.Index(except, test.name); i >= 0 {
			except = slices.Delete(slices.Clone(except), i, i+1)
			continue
		}
		t.Run(test.name, func(t *testing.T) { test.test(t, open(t)) })
	}
	if len(except) > 0 {
		t.Errorf("there are no tests %q", except)
	}
}

func testGet(t *testing.T, s blob.Store) {
	put := mustPut(t, s, "dir/object", "hello")
	body, info, err := s.Get(t.Context(), "dir/object", blob.All)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		t.Fatal(err)
	}
	if string(got) != "hello" {
		t.Errorf("got %q", got)
	}
	if info.Key != "dir/object" || info.Size != 5 || info.Version == "" || info.Version != put.Version {
		t.Errorf("get says %+v, put said %+v", info, put)
	}
	if put.Key != "dir/object" || put.Size != 5 {
		t.Errorf("put says %+v", put)
	}
	if d := info.Modified.Sub(put.ServerTime).Abs(); d > tolerance {
		t.Errorf("modified %v, put answered at %v", info.Modified, put.ServerTime)
	}
}

func testGetRange(t *testing.T, s blob.Store) {
	const whole = "0123456789"
	mustPut(t, s, "object", whole)
	tests := []struct {
		r    blob.Range
		want string
	}{
		{blob.All, whole},
		{blob.Bytes(0, 1), "0"},
		{blob.Bytes(0, 10), whole},
		{blob.Bytes(3, 4), "3456"},
		{blob.Bytes(9, 1), "9"},
		{blob.Bytes(8, 100), "89"},
		{blob.Range{Off: 4}, "456789"},
		{blob.Last(1), "9"},
		{blob.Last(10), whole},
		{blob.Last(11), whole},
		{blob.Last(1 << 40), whole},
	}
	for _, test := range tests {
		got, info, err := blob.ReadAll(t.Context(), s, "object", test.r, 100)
		if err != nil || string(got) != test.want || info.Size != int64(len(whole)) {
			t.Errorf("%+v: %q of %d bytes, %v; want %q", test.r, got, info.Size, err, test.want)
		}
	}
	for _, r := range []blob.Range{blob.Bytes(10, 1), blob.Bytes(11, 5), {Off: 10}, {Off: -1, Len: 3}, {Len: -1}} {
		body, _, err := s.Get(t.Context(), "object", r)
		if err == nil {
			body.Close()
		}
		if !errors.Is(err, blob.ErrRange) {
			t.Errorf("%+v: %v, want ErrRange", r, err)
		}
	}
}

func testEmpty(t *testing.T, s blob.Store) {
	mustPut(t, s, "empty", "")
	for _, r := range []blob.Range{blob.All, blob.Last(1), blob.Last(1000)} {
		got, info, err := blob.ReadAll(t.Context(), s, "empty", r, 0)
		if err != nil || len(got) != 0 || info.Size != 0 {
			t.Errorf("%+v: %q of %d bytes, %v", r, got, info.Size, err)
		}
	}
	if _, _, err := s.Get(t.Context(), "empty", blob.Bytes(0, 1)); !errors.Is(err, blob.ErrRange) {
		t.Errorf("a byte of an empty object: %v, want ErrRange", err)
	}
	if _, err := s.Put(t.Context(), "empty", nil, true); !errors.Is(err, blob.ErrPrecondition) {
		t.Errorf("an empty object does not stand in the way: %v", err)
	}
}

func testNotFound(t *testing.T, s blob.Store) {
	mustPut(t, s, "dir/object", "x")
	for _, key := range []string{"absent", "dir/absent", "dir", "absent/object", "dir/object/below", "dir/objec", "dir/object2"} {
		for _, r := range []blob.Range{blob.All, blob.Bytes(0, 1), blob.Last(7)} {
			_, info, err := s.Get(t.Context(), key, r)
			if !errors.Is(err, blob.ErrNotFound) || info.ServerTime.IsZero() {
				t.Errorf("%s %+v: %v at %v, want ErrNotFound", key, r, err, info.ServerTime)
			}
			if errors.Is(err, blob.ErrPrecondition) || errors.Is(err, blob.ErrRange) {
				t.Errorf("%s: more than one kind of error: %v", key, err)
			}
		}
	}
}

func testBig(t *testing.T, s blob.Store) {
	const size = 9 << 20 // more than a full journal object
	body := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(body)
	if _, err := s.Put(t.Context(), "big", body, true); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "big", body, true); err == nil {
		t.Error("the big object was put twice")
	}
	for _, r := range []blob.Range{blob.All, blob.Bytes(1, size-2), blob.Last(1 << 20), blob.Bytes(8<<20, 8<<20)} {
		off, n, _ := r.Resolve(size)
		got, _, err := blob.ReadAll(t.Context(), s, "big", r, size)
		if err != nil || !bytes.Equal(got, body[off:off+n]) {
			t.Errorf("%+v: other bytes than were put, %v", r, err)
		}
	}
	if _, _, err := blob.ReadAll(t.Context(), s, "big", blob.All, size-1); err == nil {
		t.Error("ReadAll read more than its limit")
	}
}

func testCancelled(t *testing.T, s blob.Store) {
	mustPut(t, s, "object", "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Get(ctx, "object", blob.All); !errors.Is(err, context.Canceled) {
		t.Errorf("get: %v", err)
	}
	if _, err := s.Put(ctx, "object", []byte("y"), false); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v", err)
	}
	if err := s.Delete(ctx, "object"); !errors.Is(err, context.Canceled) {
		t.Errorf("delete: %v", err)
	}
	var err error
	pages := 0
	for _, err = range s.List(ctx, "", "") {
		pages++
	}
	if !errors.Is(err, context.Canceled) || pages != 1 {
		t.Errorf("list: %v after %d pages", err, pages)
	}
	if got := mustGet(t, s, "object"); got != "x" {
		t.Errorf("got %q", got)
	}
}

// testCopy tests blob.Copy, which uses the store's own power where it has it: within the store, between two prefixes of it, and from a store of
// another kind.
func testCopy(t *testing.T, s blob.Store) {
	mustPut(t, s, "from here", "x%y")
	for range 2 { // the second overwrites
		info, err := blob.Copy(t.Context(), s, "from here", s, "dir/to + there", 100)
		if err != nil || info.Key != "dir/to + there" || info.ServerTime.IsZero() {
			t.Errorf("copy says %+v, %v", info, err)
		}
		if got := mustGet(t, s, "dir/to + there"); got != "x%y" {
			t.Errorf("the copy holds %q", got)
		}
	}
	if info, err := blob.Copy(t.Context(), s, "absent", s, "other", 100); !errors.Is(err, blob.ErrNotFound) || info.ServerTime.IsZero() {
		t.Errorf("copying nothing: %v", err)
	}
	for _, keys := range [][2]string{{"from here", "../evil"}, {"../evil", "other"}} {
		if _, err := blob.Copy(t.Context(), s, keys[0], s, keys[1], 100); err == nil {
			t.Errorf("copied %q to %q", keys[0], keys[1])
		}
	}
	a, b := blob.Prefix(blob.Prefix(s, "ns/"), "a/"), blob.Prefix(s, "b/")
	mustPut(t, a, "one", "1")
	if info, err := blob.Copy(t.Context(), a, "one", b, "two", 100); err != nil || info.Key != "two" {
		t.Errorf("copy between prefixes says %+v, %v", info, err)
	}
	if got := mustGet(t, s, "b/two"); got != "1" {
		t.Errorf("the copy holds %q", got)
	}
	foreign := foreignStore{blob.NewMemory(nil)}
	mustPut(t, foreign, "far", "away")
	if _, err := blob.Copy(t.Context(), foreign, "far", b, "near", 100); err != nil {
		t.Error(err)
	}
	if got := mustGet(t, b, "near"); got != "away" {
		t.Errorf("the copy holds %q", got)
	}
	if _, err := blob.Copy(t.Context(), foreign, "far", b, "near", 3); err == nil {
		t.Error("more than the limit went through memory")
	}
}

// foreignStore is of no kind that a store knows.
type foreignStore struct{ blob.Store }

// tolerance is what a store's clock may go back between answers: S3 tells whole seconds, and more than one server answers.
const tolerance = 2 * time.Second

func testServerTime(t *testing.T, s blob.Store) {
	ctx := t.Context()
	var last time.Time
	check := func(what string, now time.Time, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
		if now.IsZero() {
			t.Errorf("%s: no server time", what)
			return
		}
		if now.Before(last.Add(-tolerance)) {
			t.Errorf("%s: server time %v after %v", what, now, last)
		}
		last = now
	}
	for page, err := range s.List(ctx, "nothing/", "") {
		check("empty list", page.ServerTime, err, nil)
	}
	_, info, err := s.Get(ctx, "absent", blob.All)
	check("get absent", info.ServerTime, err, blob.ErrNotFound)
	absent := info.ServerTime
	info, err = s.Put(ctx, "object", []byte("x"), true)
	check("put", info.ServerTime, err, nil)
	if info.Modified.Before(absent.Add(-tolerance)) {
		t.Errorf("modified %v, but absent at %v", info.Modified, absent)
	}
	info, err = s.Put(ctx, "object", []byte("x"), true)
	check("put present", info.ServerTime, err, blob.ErrPrecondition)
	info, err = s.Put(ctx, "object", []byte("y"), false)
	check("put again", info.ServerTime, err, nil)
	body, info, err := s.Get(ctx, "object", blob.Last(1))
	check("get", info.ServerTime, err, nil)
	body.Close()
	_, info, err = s.Get(ctx, "object", blob.Bytes(5, 5))
	check("get no range", info.ServerTime, err, blob.ErrRange)
	for page, err := range s.List(ctx, "", "") {
		check("list", page.ServerTime, err, nil)
		if len(page.Objects) != 1 || page.Objects[0].Version == "" || page.Objects[0].Modified.IsZero() {
			t.Errorf("list gives %+v", page.Objects)
		}
	}
}

func mustPut(t *testing.T, s blob.Store, key, body string) blob.Info {
	t.Helper()
	info, err := s.Put(t.Context(), key, []byte(body), false)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func mustGet(t *testing.T, s blob.Store, key string) string {
	t.Helper()
	body, _, err := blob.ReadAll(t.Context(), s, key, blob.All, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// keys lists.
func keys(t *testing.T, s blob.Store, prefix, after string) []string {
	t.Helper()
	var got []string
	for page, err := range s.List(t.Context(), prefix, after) {
		if err != nil {
			t.Fatalf("list %q after %q: %v", prefix, after, err)
		}
		for _, o := range page.Objects {
			got = append(got, o.Key)
		}
	}
	return got
}
