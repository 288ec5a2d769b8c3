package api

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/kfs"
)

// FuzzHandlers sends whatever decodes through the handlers of topics and records. None panics or takes long, each answers or says why it
// closes the connection, and what it answers is what kmsg reads.
func FuzzHandlers(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, a := range new(Backend).APIs() {
		req := kmsg.RequestForKey(a.Key)
		for _, version := range []int16{0, a.Max / 2, a.Max} {
			req.SetVersion(version)
			fill(r, reflect.ValueOf(req))
			f.Add(a.Key, version, req.AppendTo(nil))
		}
	}
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		fake := newFake(t, topic(1, "text", 3), topic(2, "events", 1), kfs.Topic{ID: kfs.TopicID{3}, Name: "far", State: kfs.TopicLive, Journals: []uint32{1, 0}})
		a, ok := fake.apis().Lookup(key)
		if !ok || version < 0 || version > a.Max {
			return
		}
		req := kmsg.RequestForKey(key)
		req.SetVersion(version)
		if _, err := Check(key, version, req.IsFlexible(), body); err != nil || req.ReadFrom(body) != nil {
			return
		}
		if poll, ok := req.(*kmsg.FetchRequest); ok {
			poll.MaxWaitMillis = 0
		}
		earlier := make(chan struct{})
		close(earlier)
		began := time.Now()
		resp, err := a.Start(t.Context(), &Request{Body: req, Earlier: earlier})(t.Context())
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s v%d took %v", kmsg.NameForKey(key), version, took)
		}
		if err == nil && resp != nil {
			overTheWire(t, resp)
		}
	})
}
