package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestGroups(t *testing.T) {
	addr := memoryBroker(t)
	if _, err := runFirn(t, "topics", "create", "events", "--partitions", "1", "--brokers", addr); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("events"), kgo.ClientID("tester"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range 3 {
		if err := client.ProduceSync(ctx, &kgo.Record{Topic: "events", Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for read := 0; read < 3; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		read += fetches.NumRecords()
	}
	if err := client.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
	step := func(args, want string, wantError bool) {
		t.Helper()
		out, err := runFirn(t, append([]string{"groups", "--brokers", addr}, strings.Fields(args)...)...)
		if (err != nil) != wantError {
			t.Fatalf("%s: %v, printed %q", args, err, out)
		}
		if err != nil {
			out = err.Error()
		}
		if !strings.Contains(out, want) {
			t.Errorf("%s: %q is not in\n%s", args, want, out)
		}
	}
	step("ls", "readers  classic  Stable", false)
	step("describe readers", "classic (cooperative-sticky), Stable, 1 members, 0 records behind", false)
	step("describe readers", "events  0          3          3    0    tester", false)
	step("describe readers", "tester  127.0.0.1  -         tester-", false)
	step("reset readers --topic events --to earliest", "stop its consumers first", true)
	step("delete readers", "stop its consumers first", true)
	client.Close()
	step("describe readers", "Empty, 0 members, 0 records behind", false)
	step("reset readers --topic events --to earliest", "now 3 records behind", false)
	step("reset readers --topic events --to 2", "now 1 records behind", false)
	step("reset readers --topic events --to 99", "now 0 records behind", false)
	step("reset readers --topic events --to -1h", "now 3 records behind", false)
	step("reset readers --topic events --to 2999-01-01T00:00:00Z", "to 2999-01-01T00:00:00Z, now 0 records behind", false)
	step("reset readers --topic events --to 1h", "how long ago as in -1h", true)
	step("reset readers --topic events --to then", "want earliest, latest, an offset", true)
	step("reset readers --topic nothing --to latest", "does not exist", true)
	step("describe nobody", "does not exist", true)
	out, err := runFirn(t, "groups", "describe", "readers", "--json", "--brokers", addr)
	var info groupInfo
	if err != nil || json.Unmarshal([]byte(out), &info) != nil || len(info.Offsets) != 1 || info.Offsets[0].Committed != 3 {
		t.Errorf("%v: %s", err, out)
	}
	step("delete readers", "deleted readers", false)
	step("delete readers", "does not exist", true)
	step("ls", "GROUP", false)
}

// TestConsumerGroups: groups whose broker assigns are shown as such, and reset by time.
func TestConsumerGroups(t *testing.T) {
	addr := memoryBroker(t)
	if _, err := runFirn(t, "topics", "create", "events", "--partitions", "2", "--brokers", addr); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("events"), kgo.ClientID("tester"),
		kgo.ServerSideBalancer(), kgo.InstanceID("one"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i := range 4 {
		record := &kgo.Record{Topic: "events", Partition: int32(i % 2), Timestamp: time.UnixMilli(int64(1000 * i)), Value: []byte("x")}
		if err := client.ProduceSync(ctx, record).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for read := 0; read < 4; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		read += fetches.NumRecords()
	}
	firn := func(args string) string {
		t.Helper()
		out, err := runFirn(t, append([]string{"groups", "--brokers", addr}, strings.Fields(args)...)...)
		if err != nil {
			return err.Error()
		}
		return out
	}
	var info groupInfo
	if out := firn("describe readers --json"); json.Unmarshal([]byte(out), &info) != nil || info.Type != "consumer" || info.Protocol != "uniform" ||
		info.State != "Stable" || len(info.Members) != 1 || info.Members[0].Instance != "one" || len(info.Members[0].Partitions["events"]) != 2 || info.Lag != 4 {
		t.Errorf("before anything is committed: %s", out)
	}
	if err := client.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"ls":               "readers  consumer  Stable",
		"ls --json":        `"type": "consumer"`,
		"describe readers": "group readers, consumer (uniform), Stable, 1 members, 0 records behind",
		"reset readers --topic events --to 1970-01-01T00:00:02Z": "stop its consumers first",
	} {
		if out := firn(args); !strings.Contains(out, want) {
			t.Errorf("%s: %q is not in\n%s", args, want, out)
		}
	}
	client.Close() // a static member that stops does not leave: a tool takes it out
	tool, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer tool.Close()
	if left, err := kadm.NewClient(tool).LeaveGroup(ctx, kadm.LeaveGroup("readers").InstanceIDs("one")); err != nil || !left.Ok() {
		t.Fatalf("%+v, %v", left, err)
	}
	if out := firn("reset readers --topic events --to 1970-01-01T00:00:02Z"); !strings.Contains(out, "now 2 records behind") {
		t.Error(out)
	}
	if out := firn("reset readers --topic events --to 1970-01-01T01:00:02.5+01:00"); !strings.Contains(out, "now 1 records behind") {
		t.Error(out)
	}
}
