package blobtest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/firn-io/firn/kfs/blob"
)

func testList(t *testing.T, s blob.Store) {
	all := []string{"a/1", "a/2", "ab", "b/c/1", "b/c/2", "b/d", "b0", "c"}
	for _, key := range all {
		mustPut(t, s, key, key)
	}
	tests := []struct {
		prefix, after string
		want          []string
	}{
		{"", "", all},
		{"", "a/1", all[1:]},
		{"", "a/", all},
		{"", "a", all},
		{"", "a0", all[2:]},
		{"", "b", all[3:]},
		{"", "b/", all[3:]},
		{"", "b/c", all[3:]},
		{"", "b/c/1", all[4:]},
		{"", "b/c/zzz", all[5:]},
		{"", "b/c0", all[5:]},
		{"", "zzz", nil},
		{"a", "", all[:3]},
		{"a/", "", all[:2]},
		{"a/", "a/1", all[1:2]},
		{"a/", "a/2", nil},
		{"a/", "A", all[:2]}, // an after below the prefix
		{"a/", "b", nil},     // and one above it
		{"b", "", all[3:7]},
		{"b/", "", all[3:6]},
		{"b/c", "", all[3:5]},
		{"b/c/", "b/c/1", all[4:5]},
		{"b/c/1", "", all[3:4]},
		{"b/c/1", "b/c/1", nil},
		{"b/c/1/", "", nil},
		{"c", "", all[7:]},
		{"c/", "", nil},
		{"nothing/here/", "", nil},
	}
	for _, test := range tests {
		if got := keys(t, s, test.prefix, test.after); !slices.Equal(got, test.want) {
			t.Errorf("prefix %q after %q: %q, want %q", test.prefix, test.after, got, test.want)
		}
	}
	for page, err := range s.List(t.Context(), "b/d", "") {
		if err != nil || len(page.Objects) != 1 {
			t.Fatalf("%+v, %v", page, err)
		}
		body, info, err := s.Get(t.Context(), "b/d", blob.All)
		if err != nil {
			t.Fatal(err)
		}
		body.Close()
		if o := page.Objects[0]; o.Size != 3 || o.Version != info.Version || o.Modified.Sub(info.Modified).Abs() > tolerance || !o.ServerTime.IsZero() {
			t.Errorf("list says %+v, get says %+v", o, info)
		}
	}
}

// testListOrder: keys are in the order of their bytes, where '-' and '.' come before the slash and '0' behind it.
func testListOrder(t *testing.T, s blob.Store) {
	want := []string{
		"A", "a!", "a-", "a-b", "a.b", "a/-", "a/0", "a/b-c", "a/b.c", "a/b/c", "a/b0", "a/é", "a0", "aa", "a~", "b", "é", "ﬁ", "😀",
	}
	if !slices.IsSorted(want) {
		t.Fatal("the test is wrong")
	}
	for _, i := range []int{7, 1, 13, 9, 0, 18, 4, 11, 2, 16, 5, 8, 3, 17, 10, 14, 6, 12, 15} {
		mustPut(t, s, want[i], "x")
	}
	if got := keys(t, s, "", ""); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	for i, key := range want {
		if got := keys(t, s, "", key); !slices.Equal(got, want[i+1:]) {
			t.Errorf("after %q: %q", key, got)
		}
	}
}

// fill puts n objects, some at a time.
func fill(t *testing.T, s blob.Store, n int, key func(int) string) {
	t.Helper()
	const writers = 8
	var done sync.WaitGroup
	for w := range writers {
		done.Go(func() {
			for i := w; i < n; i += writers {
				if _, err := s.Put(t.Context(), key(i), nil, false); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	done.Wait()
}

// testListPages lists more than the 1,000 objects that S3 puts on a page.
func testListPages(t *testing.T, s blob.Store) {
	const n = 1200
	var want []string
	for i := range n {
		want = append(want, fmt.Sprintf("journal/%d/%04d", i/400, i%400))
	}
	fill(t, s, n, func(i int) string { return want[i] })
	for _, from := range []int{0, 1, 399, 400, 1000, 1100, n - 1, n} {
		after := ""
		if from > 0 {
			after = want[from-1]
		}
		if got := keys(t, s, "", after); !slices.Equal(got, want[from:]) {
			t.Errorf("after %q: %d keys, want %d", after, len(got), n-from)
		}
	}
	// A sequence may be walked again, and a page is the caller's own.
	pages := s.List(t.Context(), "journal/", want[9])
	for range 2 {
		var got []string
		for page, err := range pages {
			if err != nil {
				t.Fatal(err)
			}
			for i := range page.Objects {
				got = append(got, page.Objects[i].Key)
				page.Objects[i].Key = "mine"
			}
		}
		if !slices.Equal(got, want[10:]) {
			t.Errorf("%d keys, want %d", len(got), n-10)
		}
	}
	if got := keys(t, s, "journal/1/", ""); !slices.Equal(got, want[400:800]) {
		t.Errorf("one directory: %d keys", len(got))
	}
}

func testListStops(t *testing.T, s blob.Store) {
	fill(t, s, 30, func(i int) string { return fmt.Sprintf("%d/%d", i/10, i%10) })
	for page, err := range s.List(t.Context(), "", "") {
		if err != nil || !strings.HasPrefix(page.Objects[0].Key, "0/") {
			t.Errorf("%v, %v", page, err)
		}
		break
	}
}
