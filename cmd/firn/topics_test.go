package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/firn-io/firn/broker"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/lease"
)

// memoryBroker is a broker in memory that runs until the test ends, and its address.
func memoryBroker(t *testing.T) string {
	t.Helper()
	b, err := broker.New(broker.Config{
		Store: blob.NewMemory(time.Now), Leases: lease.NewMemory().Service("", time.Hour), Listen: "127.0.0.1:0", Flush: 10 * time.Millisecond, Journals: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	select {
	case <-b.Ready():
	case err := <-done:
		done <- err
		t.Fatal(err)
	}
	return b.Addr().String()
}

// runFirn runs a command line.
func runFirn(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	c := newCommand(&out, io.Discard)
	c.SetArgs(args)
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

func TestTopics(t *testing.T) {
	addr := memoryBroker(t)
	for _, step := range []struct {
		args      string
		want      string // parts of the output, or of the error, by commas
		wantError bool
	}{
		{"ls", "TOPIC,PARTITIONS", false},
		{"create events --partitions 3 --config retention.ms=1000", "created events with 3 partitions", false},
		{"create events", "exists already,firn topics describe events", true},
		{"create a/b", "a/b", true},
		{"create other --config retention.ms", "want KEY=VALUE", true},
		{"create other --config retention.ms=x", "retention.ms", true},
		{"create other --partitions 0", "at least one", true},
		{"create other", "created other with 4 partitions", false},
		{"ls", "events  3           0,other   4", false},
		{"describe events", "config retention.ms=1000,PARTITION  LEADER  START  END,2          0       0      0", false},
		{"describe nobody", "does not exist,firn topics ls", true},
		{"config events", "CONFIG,retention.ms                     1000                 topic,max.message.bytes                1048588              default", false},
		{"config events --set max.message.bytes=5000 --set compression.type=zstd --unset retention.ms", "max.message.bytes                5000                 topic,retention.ms                     604800000            default", false},
		{"config events --explain", "WHAT IT DOES,The largest record batch", false},
		{"config events --set max.message.bytes", "want KEY=VALUE", true},
		{"config events --set max.message.bytes=6000 --set retention.msec=5", "retention.msec,firn topics config events --explain", true},
		{"config events --set retention.ms=5 --unset retention.ms", "given twice", true},
		{"config nobody", "does not exist,firn topics ls", true},
		{"config nobody --set retention.ms=5", "does not exist,firn topics ls", true},
		{"describe events", "config max.message.bytes=5000", false},
		{"delete other nobody", "\"nobody\" does not exist", true},
		{"describe other", "does not exist", true},
		{"delete", "at least 1 arg", true},
		{"delete events", "deleted events", false},
	} {
		out, err := runFirn(t, append([]string{"topics", "--brokers", addr}, strings.Fields(step.args)...)...)
		if (err != nil) != step.wantError {
			t.Fatalf("%s: %v, printed %q", step.args, err, out)
		}
		if err != nil {
			out = err.Error()
		}
		for _, part := range strings.Split(step.want, ",") {
			if !strings.Contains(out, part) {
				t.Errorf("%s: %q is not in\n%s", step.args, part, out)
			}
		}
	}
}

func TestTopicsAsJSON(t *testing.T) {
	addr := memoryBroker(t)
	run := func(into any, args ...string) {
		t.Helper()
		out, err := runFirn(t, append([]string{"topics", "--json", "--brokers", addr}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(out), into); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	var made struct{ ID string }
	run(&made, "create", "events", "--partitions", "2", "--config", "retention.ms=1000")
	var all []topicInfo
	run(&all, "ls")
	var one topicInfo
	run(&one, "describe", "events")
	if len(all) != 1 || all[0].ID != made.ID || len(all[0].Partitions) != 2 || one.ID != made.ID || one.Configs["retention.ms"] != "1000" || len(one.Configs) != 1 {
		t.Errorf("made %+v, all %+v, one %+v", made, all, one)
	}
	var configs []configInfo
	run(&configs, "config", "events", "--set", "max.message.bytes=5000")
	seen := 0
	for _, c := range configs {
		switch want := (configInfo{Name: c.Name, Value: c.Value, Default: c.Value, Doc: c.Doc}); c.Name {
		case "max.message.bytes":
			want.Value, want.Default, want.Set = "5000", "1048588", true
			fallthrough
		case "segment.ms", "firn.journals":
			if seen++; c != want || c.Doc == "" {
				t.Errorf("%+v, want %+v", c, want)
			}
		}
	}
	if seen != 3 {
		t.Errorf("%d of three configs are in %+v", seen, configs)
	}
	var gone struct{ Deleted []string }
	run(&gone, "delete", "events")
	if run(&all, "ls"); len(all) != 0 || len(gone.Deleted) != 1 {
		t.Errorf("deleted %v, left %+v", gone, all)
	}
}

func TestTopicsWithoutABroker(t *testing.T) {
	if _, err := runFirn(t, "topics", "ls", "--brokers", "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "--brokers") {
		t.Errorf("got %v", err)
	}
}
