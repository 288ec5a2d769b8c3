package broker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/api"
)

// FuzzRequest sends any bytes as a request through all that a connection does with one before a handler sees it. Nothing panics, nothing
// takes long, and memory is given back.
func FuzzRequest(f *testing.F) {
	accept := func(_ context.Context, r *api.Request) api.Finish {
		return func(context.Context) (kmsg.Response, error) { return r.Body.ResponseKind(), nil }
	}
	apis := append(new(api.Backend).APIs(), new(api.Groups).APIs()...)
	for i := range apis {
		apis[i].Start = accept
		req := kmsg.RequestForKey(apis[i].Key)
		for _, version := range []int16{0, req.MaxVersion()} {
			f.Add(request(1, version, req)[4:])
		}
	}
	f.Add(request(1, 5, kmsg.NewPtrApiVersionsRequest())[4:])
	config := NewServer(ServerConfig{Registry: api.NewRegistry(apis...), Requests: NewBudget(64 << 20), Answers: NewBudget(1 << 20)}).config
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) < 8 {
			return // refused by its length
		}
		c := &connection{ServerConfig: &config}
		parsed, err := parseFrame(body)
		if err != nil {
			return
		}
		e := &exchange{frame: parsed, request: config.Requests.Lease(), answer: config.Answers.Lease(), appetite: &c.appetite}
		began := time.Now()
		finish, err := c.begin(t.Context(), e, nil)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("decoding %d bytes took %v", len(body), took)
		}
		if err == nil {
			if e.response, err = finish(t.Context()); err != nil {
				t.Fatal(err)
			}
			out := encode(e)
			if int(binary.BigEndian.Uint32(out)) != len(out)-4 || !bytes.Equal(out[4:8], body[4:8]) {
				t.Errorf("answer % x", out)
			}
		} else if why, ok := errors.AsType[*closing](err); ok && why.reason == closedByPanic {
			t.Fatal(err)
		}
		e.request.Release()
		e.answer.Release()
		if n := config.Requests.Used() + config.Answers.Used(); n != 0 {
			t.Fatalf("%d bytes are still in use", n)
		}
	})
}
