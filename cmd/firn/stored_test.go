package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
)

// TestStored asks a folder, without a broker, for topics and groups.
func TestStored(t *testing.T) {
	dir := t.TempDir()
	if _, err := firn(t, "topics", "ls", "--store", dir); err == nil || !strings.Contains(err.Error(), "no cluster") {
		t.Errorf("of an empty folder: %v", err)
	}
	store, err := openStore(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(t.Context(), journal.Config{Store: store, Journals: 1, FlushInterval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- j.Run(ctx) }()
	must := func(p *journal.Pending) {
		t.Helper()
		results, err := p.Wait(t.Context())
		if err != nil || results[0].Err != nil {
			t.Fatal(err, results)
		}
	}
	id := kfs.TopicID{1}
	topic, err := j.State().CreateTopic(metadata.NewTopic{ID: id, Name: "events", Partitions: 2, Created: 1, Configs: []kfs.Config{{Key: "retention.ms", Value: "86400000"}}})
	if err != nil {
		t.Fatal(err)
	}
	must(j.AppendEntries([]kfs.Entry{topic}))
	size := 0
	for range 2 {
		b := record.Builder{}
		for range 3 {
			b.Add(1, nil, []byte("value"))
		}
		records, err := b.AppendTo(nil)
		if err != nil {
			t.Fatal(err)
		}
		size = len(records)
		must(j.Append([]journal.Batch{{Topic: id, Name: "events", Records: records}}))
	}
	must(j.AppendEntries([]kfs.Entry{kfs.Trim{Topic: id, LogStart: 4}, kfs.GroupOffsets{Offsets: []kfs.GroupOffset{
		{Group: "readers", Topic: "events", TopicID: id, Offset: 5, LeaderEpoch: -1}, {Group: "readers", Topic: "gone", Offset: 7, LeaderEpoch: -1},
	}}}))
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"events  2           2        " + byteSize(int64(size)):                                     {"topics", "ls"},
		"config retention.ms=86400000\nPARTITION  JOURNAL  START  END  SIZE\n0          0        4": {"topics", "describe", "events"},
		"readers  2           1": {"groups", "ls"},
		"events  0          5          6    1\ngone    0          7          -    -": {"groups", "describe", "readers"},
	} {
		out, err := firn(t, append(args, "--store", dir)...)
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("firn %s: %v\n%s\nwant %q", strings.Join(args, " "), err, out, want)
		}
		if out, err = firn(t, append(args, "--store", dir, "--json")...); err != nil || !json.Valid([]byte(out)) {
			t.Errorf("firn %s --json: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	for _, args := range [][]string{{"topics", "describe", "none"}, {"groups", "describe", "none"}} {
		if _, err := firn(t, append(args, "--store", dir)...); err == nil || !strings.Contains(err.Error(), `"none"`) {
			t.Errorf("firn %s: %v", strings.Join(args, " "), err)
		}
	}
}
