package blobtest

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/firn-io/firn/kfs/blob"
)

// TestFaultGivesNoBodyToNobody has a context end while a Get is done.
func TestFaultGivesNoBodyToNobody(t *testing.T) {
	store := blob.NewMemory(nil)
	if _, err := store.Put(t.Context(), "key", []byte("body"), true); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	f := NewFault(store, func(Op) Action { cancel(); return Pass })
	if body, _, err := f.Get(ctx, "key", blob.All); body != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("it gives %v, %v", body, err)
	}
}

func TestTrace(t *testing.T) {
	Run(t, func(t *testing.T) blob.Store { return NewTrace(blob.NewMemory(nil)) })
}

func TestFaultThatPasses(t *testing.T) {
	Run(t, func(t *testing.T) blob.Store {
		return NewFault(blob.NewMemory(nil), func(Op) Action { return Pass })
	})
}

func TestTraceLines(t *testing.T) {
	ctx := t.Context()
	s := NewTrace(blob.NewMemory(nil))
	s.Put(ctx, "journal/0000/00000000000000000000.kfs", make([]byte, 12), true)
	s.Put(ctx, "journal/0000/00000000000000000000.kfs", make([]byte, 13), true)
	s.Put(ctx, "head.json", nil, false)
	s.Get(ctx, "journal/0000/00000000000000000120.kfs", blob.Last(65536))
	s.Get(ctx, "journal/0000/00000000000000000000.kfs", blob.Bytes(3, 4))
	s.Get(ctx, "journal/0000/00000000000000000000.kfs", blob.Range{Off: 12})
	s.Get(ctx, "../evil", blob.All)
	for range s.List(ctx, "journal/", "") {
	}
	for range s.List(ctx, "", "j") {
	}
	for range s.List(ctx, "topics/", "") {
	}
	s.Delete(ctx, "topics/AAAAAAAAAAAAAAAAAAAA-w/t/0/segment-00000000000000000007.kfs")
	s.Delete(ctx, "topics/__________________________")
	s.Delete(ctx, "jobs/01234567-89ab-cdef-0123-456789abcdef/0123456789abcdef0123456789abcdef")
	const want = `PUT journal/0000/0.kfs (n bytes) if-absent -> ok
PUT journal/0000/0.kfs (n bytes) if-absent -> exists
PUT head.json (n bytes) -> ok
GET journal/0000/120.kfs last 65536 -> not found
GET journal/0000/0.kfs from 3 length 4 -> ok
GET journal/0000/0.kfs from 12 -> no such range
GET ../evil -> error
LIST journal/ -> 1 object
LIST  after j -> 1 object
LIST topics/ -> 0 objects
DELETE topics/<1>/t/0/segment-7.kfs -> ok
DELETE topics/__________________________ -> ok
DELETE jobs/<2>/<3> -> ok
`
	if got := HideIDs(ShortNumbers(HideSizes(s.Take()))); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if s.Take() != "" || s.Count(Put) != 3 || s.Count(Get) != 4 || s.Count(List) != 3 || s.Count(Delete) != 3 {
		t.Errorf("counts %v", s.counts)
	}
}

func TestTraceOfPages(t *testing.T) {
	s := NewTrace(blob.NewMemory(nil))
	fill(t, s, 250, func(i int) string { return strings.Repeat("k", i+1) })
	s.Take()
	keys(t, s, "", "")
	first, second := strings.Repeat("k", 100), strings.Repeat("k", 200)
	want := "LIST  -> 100 objects\nLIST  after " + first + " -> 100 objects\nLIST  after " + second + " -> 50 objects\n"
	if got := s.Take(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestFaults(t *testing.T) {
	tests := []struct {
		action     Action
		lands      bool // at once
		landsLater bool
		hangs      bool
	}{
		{action: Pass, lands: true},
		{action: FailBefore},
		{action: FailAfter, lands: true},
		{action: FailLate, landsLater: true},
		{action: LoseBefore, hangs: true},
		{action: LoseAfter, lands: true, hangs: true},
		{action: Corrupt, lands: true},
		{action: Short, lands: true},
		{action: Hold, hangs: true},
	}
	for _, test := range tests {
		synctest.Test(t, func(t *testing.T) {
			below := blob.NewMemory(nil)
			s := NewFault(below, At(0, test.action))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			result := make(chan error)
			body := []byte("mine")
			go func() {
				_, err := s.Put(ctx, "object", body, true)
				result <- err
			}()
			synctest.Wait()
			var err error
			select {
			case err = <-result:
				if test.hangs {
					t.Errorf("%d: there is a reply", test.action)
				}
			default:
				if !test.hangs {
					t.Errorf("%d: there is no reply", test.action)
				}
				cancel()
				if err = <-result; !errors.Is(err, context.Canceled) {
					t.Errorf("%d: %v", test.action, err)
				}
			}
			copy(body, "gone")
			if passes := test.lands && !test.hangs && test.action != FailAfter; passes != (err == nil) {
				t.Errorf("%d: %v", test.action, err)
			}
			check := func(want bool) {
				got, _, err := blob.ReadAll(t.Context(), below, "object", blob.All, 10)
				if landed := err == nil; landed != want || landed && string(got) != "mine" {
					t.Errorf("%d: holds %q, %v", test.action, got, err)
				}
			}
			check(test.lands)
			s.Land()
			s.Land()
			check(test.lands || test.landsLater)
			if s.Ops() != 1 {
				t.Errorf("%d operations", s.Ops())
			}
		})
	}
}

func TestFaultHoldAndRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewFault(blob.NewMemory(nil), func(Op) Action { return Hold })
		result := make(chan error, 1)
		for range 2 {
			go func() { result <- s.Delete(t.Context(), "object") }()
			synctest.Wait()
			if len(result) != 0 {
				t.Fatal("was not held")
			}
			s.Release()
			if err := <-result; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestFaultyReads(t *testing.T) {
	var action Action
	s := NewFault(blob.NewMemory(nil), func(Op) Action { return action })
	mustPut(t, s, "a", "0123456789")
	fill(t, s, 150, func(i int) string { return strings.Repeat("b", i+1) })

	action = Corrupt
	if got := mustGet(t, s, "a"); got != "0123446789" {
		t.Errorf("corrupt: %q", got)
	}
	action = Short
	body, _, err := s.Get(t.Context(), "a", blob.All)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(body); string(got) != "01234" || err != nil {
		t.Errorf("short: %q, %v", got, err)
	}
	if _, _, err := blob.ReadAll(t.Context(), s, "a", blob.All, 10); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("short, in full: %v", err)
	}
	for _, test := range []struct {
		action  Action
		objects int
		err     error
	}{
		{Pass, 151, nil}, {Short, 100, ErrInjected}, {FailBefore, 0, ErrInjected}, {FailAfter, 0, ErrInjected}, {FailLate, 0, ErrInjected},
	} {
		action = test.action
		objects := 0
		var last error
		for page, err := range s.List(t.Context(), "", "") {
			objects += len(page.Objects)
			last = err
		}
		if objects != test.objects || !errors.Is(last, test.err) {
			t.Errorf("list with %d: %d objects, %v", test.action, objects, last)
		}
	}
	for _, action = range []Action{FailBefore, FailAfter, FailLate} {
		if body, _, err := s.Get(t.Context(), "a", blob.All); body != nil || !errors.Is(err, ErrInjected) {
			t.Errorf("get with %d: %v", action, err)
		}
	}
}
