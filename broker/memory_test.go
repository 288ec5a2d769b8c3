package broker

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/kfs/blob"
)

// TestAnAnswerBeyondAllMemory: a small request for an answer that never fits costs its connection, and nobody else anything.
func TestAnAnswerBeyondAllMemory(t *testing.T) {
	r := start(t, blob.NewMemory(time.Now), func(c *Config) { c.MemoryBytes = minMemoryBytes })
	ctx := within(t, 30*time.Second)
	admin := kadm.NewClient(r.client(t))
	if _, err := admin.CreateTopic(ctx, 1, 1, nil, "events"); err != nil {
		t.Fatal(err)
	}
	req := kmsg.NewPtrDescribeConfigsRequest()
	for range 20_000 {
		req.Resources = append(req.Resources, kmsg.DescribeConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "events"})
	}
	frame := request(1, 4, req)
	if len(frame) > 500_000 {
		t.Fatalf("the request has %d bytes", len(frame))
	}
	for range 3 {
		conn, err := net.Dial("tcp", r.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(frame); err != nil {
			t.Fatal(err)
		}
		conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("want a closed connection, got %d bytes, %v", n, err)
		}
		conn.Close()
	}
	if configs, err := admin.DescribeTopicConfigs(ctx, "events"); err != nil || configs[0].Err != nil {
		t.Errorf("afterwards: %v, %+v", err, configs)
	}
}
