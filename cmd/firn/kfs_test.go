package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/inspect"
	"github.com/firn-io/firn/kfs/record"
)

// kfsStore is a namespace with one object: a text record, a binary one and a null, and all kinds of entries.
func kfsStore(t *testing.T) *blob.Memory {
	t.Helper()
	b := record.Builder{Codec: record.Snappy}
	b.Add(1_700_000_000_000, []byte("k"), []byte(`{"a":"<1>"}`), record.HeaderField{Key: "h", Value: []byte{0xff}})
	b.Add(1_700_000_000_001, []byte{0xfe}, nil)
	batch, err := b.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	id := kfs.TopicID{1}
	m := &kfs.Manifest{
		Created: 1_700_000_000_500, Epoch: 1, Writer: kfs.WriterID{2},
		Segments: []kfs.Segment{{Topic: id, Name: "events", Partition: 4, Span: kfs.Span{Next: 2}, Records: 2, FirstTimestamp: 1_700_000_000_000, MaxTimestamp: 1_700_000_000_001}},
		Entries: []kfs.Entry{
			kfs.Cluster{ID: id, Lineage: id, Journals: 1},
			kfs.Topic{ID: id, Name: "events", State: kfs.TopicLive, Journals: []uint32{0}},
			kfs.GroupSlot{Slot: 7}, kfs.ProducerIDs{Count: 1000}, kfs.Trim{Topic: id, LogStart: 3}, kfs.Ended{Topic: id},
			kfs.Settled{Topic: id, Segments: []kfs.SettledSegment{{Key: kfs.SegmentKey(id, "events", 0, 0), Span: kfs.Span{Next: 9}, Length: 99}}},
			kfs.GroupOffsets{Offsets: []kfs.GroupOffset{{Group: "g", Topic: "events", Offset: 5, LeaderEpoch: -1}}},
		},
	}
	object, _, err := kfs.Seal(m, [][]byte{batch})
	if err != nil {
		t.Fatal(err)
	}
	store := blob.NewMemory(nil)
	if _, err := store.Put(t.Context(), kfs.ObjectKey(0, 0), object, true); err != nil {
		t.Fatal(err)
	}
	return store
}

// runKFS runs a command whose URLs are keys of the store; "ns" is the namespace.
func runKFS(t *testing.T, store blob.Store, args ...string) (out string, err error) {
	t.Helper()
	tool := kfsTool{
		open: func(_ context.Context, url string) (blob.Store, string, error) {
			if url == "nowhere" {
				return nil, "", errors.New("nowhere: no such place")
			}
			return store, strings.TrimPrefix(strings.TrimPrefix(url, "ns"), "/"), nil
		},
		now: func() time.Time { return time.UnixMilli(1_700_000_000_500).Add(3 * time.Hour) },
	}
	c := tool.command()
	c.SilenceErrors, c.SilenceUsage = true, true
	var b bytes.Buffer
	c.SetOut(&b)
	c.SetArgs(args)
	err = c.ExecuteContext(t.Context())
	return b.String(), err
}

func TestKFSCat(t *testing.T) {
	store := kfsStore(t)
	id := kfs.TopicID{1}.String()
	line := `{"topic":"events","topic_id":"` + id + `","partition":4,"offset":`
	first := line + `0,"timestamp":1700000000000,"key":"k","value":"{\"a\":\"<1>\"}","headers":[{"key":"h","value":null,"value_base64":"/w=="}]}` + "\n"
	second := line + `1,"timestamp":1700000000001,"key":null,"key_base64":"/g==","value":null}` + "\n"
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"cat", "ns", "--topic", "events"}, first + second},
		{[]string{"cat", "ns", "--topic", "events", "--max", "1"}, first},
		{[]string{"cat", "ns", "--topic", id, "--partition", "4", "--from", "1"}, second},
		{[]string{"cat", "ns/" + kfs.ObjectKey(0, 0), "--format", "value"}, "{\"a\":\"<1>\"}\n\n"},
		{[]string{"cat", "ns", "--topic", "events", "--partition", "1"}, ""},
	} {
		if got, err := runKFS(t, store, tc.args...); err != nil || got != tc.want {
			t.Errorf("%q prints\n%s(%v), want\n%s", tc.args, got, err, tc.want)
		}
	}
	for _, args := range [][]string{{"cat", "ns"}, {"cat", "ns", "--topic", "events", "--format", "xml"}, {"cat", "nowhere"}, {"cat"}} {
		if _, err := runKFS(t, store, args...); err == nil {
			t.Errorf("%q is no error", args)
		}
	}
}

func TestKFSList(t *testing.T) {
	store := kfsStore(t)
	got, err := runKFS(t, store, "ls", "ns")
	want := []string{"KIND JOURNAL SEQUENCE EPOCH PARTITIONS RECORDS BYTES AGE KEY", "object 0 0 1 1 2 ", " 3h " + kfs.ObjectKey(0, 0)}
	squeezed := strings.Join(strings.Fields(got), " ")
	for _, w := range want {
		if err != nil || !strings.Contains(squeezed, w) {
			t.Errorf("ls prints\n%s(%v), want %q", got, err, w)
		}
	}
	got, err = runKFS(t, store, "ls", "ns", "--json")
	var row struct {
		Kind    string
		Records int
		Epoch   int
	}
	if err != nil || json.Unmarshal([]byte(got), &row) != nil || row.Kind != "object" || row.Records != 2 || row.Epoch != 1 {
		t.Errorf("ls --json prints %s(%v)", got, err)
	}
}

func TestKFSListObject(t *testing.T) {
	store := kfsStore(t)
	got, err := runKFS(t, store, "ls", "ns/"+kfs.ObjectKey(0, 0))
	for _, want := range []string{"object 0 of journal 0", "events", "[0, 2)", "cluster", "topic events", "live", "group slot 7", "producer ids [0, 1000)", "log start 3", "ended", "settled", `group "g"`} {
		if err != nil || !strings.Contains(got, want) {
			t.Errorf("ls of an object prints\n%s(%v), want %q", got, err, want)
		}
	}
	got, err = runKFS(t, store, "ls", "ns/"+kfs.ObjectKey(0, 0), "--json")
	var document struct {
		Object struct {
			Segments []struct {
				Topic string
				Span  struct{ Next int64 }
			}
			Entries []struct {
				Type  string
				Value map[string]any
			}
		}
	}
	if err != nil || json.Unmarshal([]byte(got), &document) != nil {
		t.Fatalf("ls --json prints %s(%v)", got, err)
	}
	o := document.Object
	if len(o.Segments) != 1 || o.Segments[0].Topic != (kfs.TopicID{1}).String() || o.Segments[0].Span.Next != 2 {
		t.Errorf("segments %+v", o.Segments)
	}
	if len(o.Entries) != 8 || o.Entries[3].Type != "producer_ids" || o.Entries[4].Value["log_start"] != 3.0 {
		t.Errorf("entries %+v", o.Entries)
	}
}

func TestKFSVerify(t *testing.T) {
	store := kfsStore(t)
	key := kfs.ObjectKey(0, 0)
	if got, err := runKFS(t, store, "verify", "ns"); err != nil || !strings.Contains(got, "1 journals, 1 objects") || !strings.Contains(got, "2 records") {
		t.Errorf("verify prints\n%s(%v)", got, err)
	}
	body, _, err := blob.ReadAll(t.Context(), store, key, blob.All, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	body[100] ^= 1
	if _, err := store.Put(t.Context(), key, body, false); err != nil {
		t.Fatal(err)
	}
	got, err := runKFS(t, store, "verify", "ns")
	if err == nil || !strings.Contains(err.Error(), "1 findings") || !strings.HasPrefix(got, key+": byte 32: corrupt: segment events/4 [0, 2)") {
		t.Errorf("verify of a damaged object prints\n%s(%v)", got, err)
	}
	got, err = runKFS(t, store, "verify", "ns/"+key, "--json")
	var finding struct {
		Key  string
		Byte int
	}
	if err == nil || json.NewDecoder(strings.NewReader(got)).Decode(&finding) != nil || finding.Key != key || finding.Byte != 32 {
		t.Errorf("verify --json prints\n%s(%v)", got, err)
	}
	if _, err := runKFS(t, blob.NewMemory(nil), "verify", "ns"); err == nil || !strings.Contains(err.Error(), "neither a journal nor a segment") {
		t.Errorf("verify of an empty place: %v", err)
	}
	for _, args := range [][]string{{"ls", "ns/nothing"}, {"cat", "ns/nothing"}, {"verify", "ns/nothing"}} {
		if _, err := runKFS(t, store, args...); err == nil || !strings.Contains(err.Error(), "nothing") {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestProgress(t *testing.T) {
	now := time.UnixMilli(0)
	tool := kfsTool{now: func() time.Time { return now }}
	var b bytes.Buffer
	report := tool.progress(&b)
	for range 11 {
		report(inspect.Summary{Objects: 3})
		now = now.Add(time.Second)
	}
	if got := strings.Count(b.String(), "\n"); got != 2 {
		t.Errorf("%d lines in 10 s, want 2: %s", got, b.String())
	}
}

func TestSnakeCase(t *testing.T) {
	for name, want := range map[string]string{"LogStart": "log_start", "ObjectCRC": "object_crc", "TopicID": "topic_id", "CRC": "crc", "key": "key", "MaxTimestamp": "max_timestamp"} {
		if got := snakeCase(name); got != want {
			t.Errorf("%s becomes %s, want %s", name, got, want)
		}
	}
}
