package api

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestOrder: the APIs that begin when all earlier requests of their connection are answered are those that the package comment names.
func TestOrder(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`(?s)Begun when all earlier ones are answered[^:]*:\n(.*?);`).FindSubmatch(doc)
	if named == nil {
		t.Fatal("the package comment does not say which APIs wait")
	}
	want := regexp.MustCompile(`\w+`).FindAllString(strings.ReplaceAll(string(named[1]), "//", ""), -1)
	synctest.Test(t, func(t *testing.T) {
		groups := newGroups(t)
		var waiting []string
		for _, a := range append(groups.cluster.backend.APIs(), groups.served.APIs()...) {
			req := kmsg.RequestForKey(a.Key)
			if p, ok := req.(*kmsg.ProduceRequest); ok {
				p.Acks = 1
			}
			req.SetVersion(a.Max)
			if waits(t, a, req) {
				waiting = append(waiting, kmsg.NameForKey(a.Key))
			}
			if poll, ok := req.(*kmsg.FetchRequest); ok {
				poll.SessionID, poll.SessionEpoch = 1, 1
				if !waits(t, a, poll) {
					t.Error("a Fetch of a session that exists does not wait for the one before")
				}
			}
		}
		slices.Sort(waiting)
		slices.Sort(want)
		if !slices.Equal(waiting, want) {
			t.Errorf("waiting are\n%v\nthe package comment says\n%v", waiting, want)
		}
	})
}

// waits reports whether a request is not answered before the earlier ones are, and that it is answered then.
func waits(t *testing.T, a API, req kmsg.Request) bool {
	t.Helper()
	earlier, done := make(chan struct{}), make(chan error, 1)
	finish := a.Start(t.Context(), &Request{Body: req, Earlier: earlier})
	go func() {
		_, err := finish(t.Context())
		done <- err
	}()
	synctest.Wait()
	waited := len(done) == 0
	close(earlier)
	if err := <-done; err != nil {
		t.Errorf("%s: %v", kmsg.NameForKey(a.Key), err)
	}
	return waited
}
