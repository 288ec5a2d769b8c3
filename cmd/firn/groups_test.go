package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

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
	step("ls", "readers  Stable", false)
	step("describe readers", "events  0          3          3    0    tester", false)
	step("reset readers --topic events --to earliest", "stop its consumers first", true)
	step("delete readers", "stop its consumers first", true)
	client.Close()
	step("describe readers", "Empty, 0 members, 0 records behind", false)
	step("reset readers --topic events --to earliest", "now 3 records behind", false)
	step("reset readers --topic events --to 2", "now 1 records behind", false)
	step("reset readers --topic events --to 99", "now 0 records behind", false)
	step("reset readers --topic events --to then", "want earliest, latest or an offset", true)
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
