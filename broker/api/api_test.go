package api

import (
	"context"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestASmallAnswerDoesNotWaitForMemory: up to smallAnswer bytes a request has for free, however it asks for them, and no more.
func TestASmallAnswerDoesNotWaitForMemory(t *testing.T) {
	earlier := make(chan struct{})
	close(earlier)
	memory := &counted{limit: 1 << 20}
	r := &Request{Earlier: earlier, Memory: memory}
	for range 2 {
		if err := r.Reserve(t.Context(), smallAnswer/2); err != nil || memory.used != 0 {
			t.Fatalf("%v, %d bytes are counted", err, memory.used)
		}
	}
	if err := r.Reserve(t.Context(), 1); err != nil || memory.used != 1 {
		t.Errorf("%v, %d bytes are counted of one above a small answer", err, memory.used)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (&Request{Earlier: make(chan struct{}), Memory: memory}).Reserve(ctx, 1); err == nil {
		t.Error("a small answer does not wait for the earlier answers of its connection")
	}
}

func TestApiVersionsChecksTheClientsSoftware(t *testing.T) {
	f := newFake(t)
	for name, ok := range map[string]bool{
		"a": true, "0": true, "apache-kafka-java": true, "3.9.1": true, "a--..b": true, "1.22.2-rc1": true,
		"": false, "-a": false, "a.": false, "a-": false, ".": false, "a b": false, "a_b": false, "(devel)": false, "naïve": false, "a\n": false,
	} {
		for version := int16(0); version <= 5; version++ {
			for _, software := range [][2]string{{name, "1"}, {"test", name}} {
				req := kmsg.NewPtrApiVersionsRequest()
				req.ClientSoftwareName, req.ClientSoftwareVersion = software[0], software[1]
				resp := f.call(t, version, req).(*kmsg.ApiVersionsResponse)
				want := int16(0)
				if version >= 3 && !ok {
					want = kerr.InvalidRequest.Code
				}
				if resp.ErrorCode != want || (len(resp.ApiKeys) > 0) != (want == 0) {
					t.Errorf("v%d of %q: error %d, %d APIs", version, software, resp.ErrorCode, len(resp.ApiKeys))
				}
			}
		}
	}
}
