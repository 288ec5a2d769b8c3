package blobtest

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/firn-io/firn/kfs/blob"
)

// oddKeys are legal, and each has been trouble somewhere: for URLs, for XML, for globs, for path cleaning, for sorting.
var oddKeys = []string{
	" ", " leading", "trailing ", "two  spaces", "!", `"quoted"`, "#fragment", "$dollar", "%", "%2F", "%2e%2e/x", "%zz", "&amp;", "'", "(1)",
	"*", "+plus+", ",", "-dash", ".hidden", "..two", "...", "a..b/c.", "colon:", ";", "<tag>", "=", "?query=1", "@", "[x]", `back\slash`, "^", "_",
	"`", "{curly}", "|", "~home", "dir.kfs/segment-00000000000000000000.kfs", "é", "e\u0301", "日本語/キー", "🏔/firn", "\u2028", "nbsp\u00a0",
	strings.Repeat("k", 255), strings.Repeat("long/", 50) + "end",
}

func testKeys(t *testing.T, s blob.Store) {
	for _, key := range oddKeys {
		if _, err := s.Put(t.Context(), key, []byte(key), true); err != nil {
			t.Errorf("put %q: %v", key, err)
			continue
		}
		got, info, err := blob.ReadAll(t.Context(), s, key, blob.Last(2000), 2000)
		if err != nil || string(got) != key || info.Key != key {
			t.Errorf("get %q: %q of %q, %v", key, got, info.Key, err)
		}
	}
	want := slices.Sorted(slices.Values(oddKeys))
	if got := keys(t, s, "", ""); !slices.Equal(got, want) {
		t.Errorf("list gives\n%q, want\n%q", got, want)
	}
	for i, key := range want {
		if got := keys(t, s, key, ""); len(got) == 0 || got[0] != key {
			t.Errorf("list with the prefix %q gives %q", key, got)
		}
		if got := keys(t, s, "", key); !slices.Equal(got, want[i+1:]) {
			t.Errorf("list after %q gives %q", key, got)
		}
	}
	for _, key := range oddKeys {
		if err := s.Delete(t.Context(), key); err != nil {
			t.Errorf("delete %q: %v", key, err)
		}
	}
	if got := keys(t, s, "", ""); len(got) != 0 {
		t.Errorf("the store holds %q", got)
	}
}

func testIllegalKeys(t *testing.T, s blob.Store) {
	illegal := []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "./a", "../a", "a/.", "a/..", "a/./b", "a/../b", "../../evil", "nul\x00", "line\n", "del\x7f",
		"not utf-8 \xff", strings.Repeat("k", blob.MaxKey+1), strings.Repeat("a/", blob.MaxKey/2) + "b",
	}
	known := func(err error) bool {
		return errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrPrecondition) || errors.Is(err, blob.ErrRange)
	}
	for _, key := range illegal {
		for _, ifAbsent := range []bool{false, true} {
			if _, err := s.Put(t.Context(), key, []byte("evil"), ifAbsent); err == nil || known(err) {
				t.Errorf("put %.20q: %v", key, err)
			}
		}
		if _, _, err := s.Get(t.Context(), key, blob.All); err == nil || known(err) {
			t.Errorf("get %.20q: %v", key, err)
		}
		if err := s.Delete(t.Context(), key); err == nil {
			t.Errorf("delete %.20q was no error", key)
		}
	}
	mustPut(t, s, "a", "x")
	for _, prefix := range []string{"/", "//", "./", "../", "../../", "a//", "b/../", "\x00", "a/./"} {
		if got := keys(t, s, prefix, ""); len(got) != 0 {
			t.Errorf("list of %q gives %q", prefix, got)
		}
	}
	if got := keys(t, s, "", ""); !slices.Equal(got, []string{"a"}) {
		t.Errorf("the store holds %q", got)
	}
}

func testPrefix(t *testing.T, s blob.Store) {
	p := blob.Prefix(s, "ns/")
	mustPut(t, s, "other", "x")
	mustPut(t, s, "ns2/object", "x")
	info := mustPut(t, p, "dir/object", "y")
	if info.Key != "dir/object" {
		t.Errorf("put says %q", info.Key)
	}
	if got := mustGet(t, s, "ns/dir/object"); got != "y" {
		t.Errorf("got %q", got)
	}
	if got := keys(t, p, "", ""); !slices.Equal(got, []string{"dir/object"}) {
		t.Errorf("the prefix holds %q", got)
	}
	if got := keys(t, p, "dir/", "dir/obj"); !slices.Equal(got, []string{"dir/object"}) {
		t.Errorf("the prefix holds %q after dir/obj", got)
	}
	if _, err := p.Put(t.Context(), "../other", nil, false); err == nil {
		t.Error("a key has left the prefix")
	}
	if err := p.Delete(t.Context(), "dir/object"); err != nil {
		t.Fatal(err)
	}
	if got := keys(t, s, "", ""); !slices.Equal(got, []string{"ns2/object", "other"}) {
		t.Errorf("the store holds %q", got)
	}
}
