package blobtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/firn-io/firn/kfs/blob"
)

func testPut(t *testing.T, s blob.Store) {
	versions := map[string]bool{}
	for i := range 10 {
		want := strings.Repeat("x", 10-i) // shorter each time: nothing of the former object may stay
		versions[mustPut(t, s, "dir/object", want).Version] = true
		if got := mustGet(t, s, "dir/object"); got != want {
			t.Fatalf("got %q after putting %q", got, want)
		}
	}
	if len(versions) != 10 {
		t.Errorf("10 objects had %d versions", len(versions))
	}
	if got := keys(t, s, "", ""); !slices.Equal(got, []string{"dir/object"}) {
		t.Errorf("the store holds %q", got)
	}
}

func testPutIfAbsent(t *testing.T, s blob.Store) {
	if _, err := s.Put(t.Context(), "dir/object", []byte("first"), true); err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"second", "first", ""} {
		info, err := s.Put(t.Context(), "dir/object", []byte(body), true)
		if !errors.Is(err, blob.ErrPrecondition) || info.ServerTime.IsZero() {
			t.Errorf("%v at %v, want ErrPrecondition", err, info.ServerTime)
		}
	}
	if got := mustGet(t, s, "dir/object"); got != "first" {
		t.Errorf("got %q", got)
	}
	mustPut(t, s, "dir/object", "third")
	if got := mustGet(t, s, "dir/object"); got != "third" {
		t.Errorf("got %q", got)
	}
	if _, err := s.Put(t.Context(), "dir/object", []byte("fourth"), true); !errors.Is(err, blob.ErrPrecondition) {
		t.Errorf("%v, want ErrPrecondition", err)
	}
}

func testPutKeepsNothing(t *testing.T, s blob.Store) {
	body := []byte("mine")
	for key, ifAbsent := range map[string]bool{"plain": false, "conditional": true} {
		copy(body, "mine")
		if _, err := s.Put(t.Context(), key, body, ifAbsent); err != nil {
			t.Fatal(err)
		}
		copy(body, "gone")
		if got := mustGet(t, s, key); got != "mine" {
			t.Errorf("%s: the store kept the caller's bytes: %q", key, got)
		}
	}
}

// testPutRace lets 16 writers race for each key. Exactly one wins, and everybody reads the winner's bytes. A loser may see an error
// that leaves the outcome open; then its object must not be the one that is there.
func testPutRace(t *testing.T, s blob.Store) {
	const writers, rounds = 16, 20
	for round := range rounds {
		key := fmt.Sprintf("race/%d/object", round)
		var (
			start = make(chan struct{})
			done  sync.WaitGroup
			errs  [writers]error
		)
		for w := range writers {
			done.Go(func() {
				<-start
				_, errs[w] = s.Put(t.Context(), key, []byte(fmt.Sprintf("writer %d", w)), true)
			})
		}
		close(start)
		done.Wait()
		winner := -1
		for w, err := range errs {
			switch {
			case err == nil && winner >= 0:
				t.Fatalf("%s: writers %d and %d both won", key, winner, w)
			case err == nil:
				winner = w
			}
		}
		got := mustGet(t, s, key)
		if winner < 0 {
			t.Fatalf("%s: no writer has won, and it holds %q: %v", key, got, errs)
		}
		if want := fmt.Sprintf("writer %d", winner); got != want {
			t.Fatalf("%s holds %q, %q has won", key, got, want)
		}
	}
}

func testDelete(t *testing.T, s blob.Store) {
	mustPut(t, s, "dir/deep/er/object", "x")
	mustPut(t, s, "dir/other", "y")
	for range 2 {
		if err := s.Delete(t.Context(), "dir/deep/er/object"); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"dir", "dir/deep", "dir/absent", "absent/object", "dir/other/below"} {
		if err := s.Delete(t.Context(), key); err != nil {
			t.Errorf("deleting %s, which is not there: %v", key, err)
		}
	}
	if _, _, err := s.Get(t.Context(), "dir/deep/er/object", blob.All); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("after a delete: %v", err)
	}
	if got := keys(t, s, "", ""); !slices.Equal(got, []string{"dir/other"}) {
		t.Errorf("the store holds %q", got)
	}
	if _, err := s.Put(t.Context(), "dir/deep/er/object", []byte("z"), true); err != nil {
		t.Errorf("putting a deleted object: %v", err)
	}
}

// testDeleteAndPut lets objects of one directory come and go at once, so that a store of directories meets its own clean-up.
func testDeleteAndPut(t *testing.T, s blob.Store) {
	var done sync.WaitGroup
	for w := range 4 {
		done.Go(func() {
			key := fmt.Sprintf("a/b/c/%d", w)
			for range 10 {
				if _, err := s.Put(t.Context(), key, []byte(key), true); err != nil {
					t.Errorf("put: %v", err)
				}
				if got, _, err := blob.ReadAll(t.Context(), s, key, blob.All, 100); err != nil || string(got) != key {
					t.Errorf("get: %q, %v", got, err)
				}
				if err := s.Delete(t.Context(), key); err != nil {
					t.Errorf("delete: %v", err)
				}
			}
		})
	}
	done.Wait()
	if got := keys(t, s, "", ""); len(got) != 0 {
		t.Errorf("the store holds %q", got)
	}
}

// testDeleteMakesRoom: once the objects below a key are gone, the key is free, for both kinds of Put.
func testDeleteMakesRoom(t *testing.T, s blob.Store) {
	for _, ifAbsent := range []bool{false, true} {
		mustPut(t, s, "a/b/c", "x")
		if err := s.Delete(t.Context(), "a/b/c"); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"a/b", "a"} {
			if _, err := s.Put(t.Context(), key, []byte("y"), ifAbsent); err != nil {
				t.Errorf("put %s, if absent %v: %v", key, ifAbsent, err)
			}
			if err := s.Delete(t.Context(), key); err != nil {
				t.Error(err)
			}
		}
	}
}
