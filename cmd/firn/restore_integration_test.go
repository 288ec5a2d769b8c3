//go:build integration

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firn-io/firn/kfs/inspect"
)

// TestIntegrationRestore makes a restore point under load, goes on, trims and deletes, restores, and holds what the restored cluster gives against
// what was acknowledged: on an S3 server with three brokers, and in a folder with one that owns three journals.
func TestIntegrationRestore(t *testing.T) {
	t.Parallel()
	t.Run("s3", func(t *testing.T) {
		t.Parallel()
		f := startFleetWith(t, fleetConfig{args: []string{"--settle-age", "2s"}})
		restoreAndAudit(t, fromEnv(t, "FIRN_BIN"), f.all[0], f.direct, strings.Replace(f.direct, "firn/lake?", "firn/restored?", 1), func() {})
	})
	t.Run("directory", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		from := filepath.Join(dir, "from")
		b := start(t, "broker", "--store", from, "--kafka", "127.0.0.1:0", "--journals", "3", "--settle-age", "2s")
		restoreAndAudit(t, fromEnv(t, "FIRN_BIN"), b, from, filepath.Join(dir, "to"), func() {})
	})
}

// TestChaosRestoreSwept is the same where LIMIT and grace are short, and restores when all is deleted that no restore point needs.
func TestChaosRestoreSwept(t *testing.T) {
	firn := fromEnv(t, "FIRN_SHORT_BIN")
	f := startFleetWith(t, fleetConfig{short: true, args: []string{"--settle-age", "2s", "--grace", "40s"}})
	restoreAndAudit(t, firn, f.all[0], f.direct, strings.Replace(f.direct, "firn/lake?", "firn/restored?", 1), func() {
		tick, deadline := time.NewTicker(time.Second), time.After(5*time.Minute)
		defer tick.Stop()
		for {
			err := sweptTo(t, firn, f.direct)
			if err == nil {
				return
			}
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatal(err)
			}
		}
	})
}

// sweptTo is nil when restore points hold something, and all else that could be deleted is.
func sweptTo(t *testing.T, firn, store string) error {
	t.Helper()
	out, err := run(t, firn, "bucket", "--store", store, "--json")
	if err != nil {
		t.Fatal(err)
	}
	var u inspect.Usage
	if err := json.Unmarshal([]byte(out), &u); err != nil {
		t.Fatal(err)
	}
	held := int64(0)
	for _, p := range u.Partitions {
		if held += p.Held.Objects; p.Waiting != p.Held {
			return fmt.Errorf("%s/%d: %d objects wait, %d of them for the restore point", p.Topic, p.Partition, p.Waiting.Objects, p.Held.Objects)
		}
	}
	for _, j := range u.Journals {
		// Behind what a restore point needs nothing goes; before it the newest few wait for a checkpoint.
		if held += j.Held.Objects; j.Held.Objects == 0 || j.Released != j.Held {
			return fmt.Errorf("journal %d: %d objects wait, %d of them for the restore point", j.Journal, j.Released.Objects, j.Held.Objects)
		}
	}
	if held == 0 {
		return errors.New("nothing waits for the restore point")
	}
	return nil
}

func restoreAndAudit(t *testing.T, firn string, b *process, from, to string, swept func()) {
	data, program := t.TempDir(), "FIRN_BIN"
	if firn == os.Getenv("FIRN_SHORT_BIN") {
		program = "FIRN_SHORT_BIN"
	}
	must := func(args ...string) string {
		t.Helper()
		out, err := run(t, firn, args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	address := b.where["kafka"]
	for _, topic := range []string{"load", "trimmed", "deleted"} {
		must("topics", "create", topic, "--partitions", "6", "--config", "retention.ms=86400000", "--brokers", address)
	}
	lines := readLines(t, earthquakes)[:60]
	produceEvenly(t, b, "trimmed", lines)
	produceLines(t, b, "deleted", lines)
	commitGroup(t, b, "trimmed", "readers", len(lines))
	trimTo(t, b, "trimmed", 3)
	must("topics", "delete", "deleted", "--brokers", address)
	job := filepath.Join(data, "job.yaml")
	if err := os.WriteFile(job, []byte("name: tables\nsource: {topics: [trimmed]}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	must("process", "-f", job, "--store", from, "--data", data, "--until", "latest")
	// Settled: what lies in segments is copied too.
	eventually(t, func() error {
		u := struct {
			Partitions []struct{ Segments struct{ Objects int } }
		}{}
		if err := json.Unmarshal([]byte(must("bucket", "--store", from, "--json")), &u); err != nil {
			return err
		}
		for _, p := range u.Partitions {
			if p.Segments.Objects > 0 {
				return nil
			}
		}
		return errors.New("nothing is settled")
	})
	topics, before := describeTopics(t, b), groupAt(t, b, "readers")
	l := startLoad(t, b)
	l.until(200)
	acknowledged, _ := l.look()
	out := must("snapshot", "create", "point", "--store", from)
	_, sent := l.look()
	t.Logf("%d records were acknowledged before, %d sent until it was there: %s", len(acknowledged), sent, out)
	l.until(len(acknowledged) + 200)
	l.stop()
	produceLines(t, b, "later", lines)
	produceEvenly(t, b, "trimmed", lines)
	commitGroup(t, b, "trimmed", "others", 60+60-3*6)
	trimTo(t, b, "trimmed", 15)
	must("topics", "delete", "load", "--brokers", address)
	if out := must("snapshot", "ls", "--store", from); !strings.Contains(out, "point") {
		t.Errorf("the list of restore points is\n%s", out)
	}
	swept()
	plan := must("restore", "--from", "point", "--store", from, "--to", to, "--dry-run")
	must("restore", "--from", "point", "--store", from, "--to", to)
	t.Logf("%s", plan)
	if _, err := run(t, firn, "restore", "--from", "point", "--store", from, "--to", to); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("restored twice: %v", err)
	}
	must("kfs", "verify", to)

	r := startProgram(t, program, "broker", "--store", to, "--kafka", "127.0.0.1:0", "--id", "7", "--auto-create=false")
	now := describeTopics(t, r)
	if !maps.EqualFunc(now, topics, func(a, b string) bool { return a == b }) {
		t.Errorf("topics are %q, they were %q", now, topics)
	}
	if at := groupAt(t, r, "readers"); !maps.Equal(at, before) {
		t.Errorf("the group is at %v, it was at %v", at, before)
	}
	if at := groupAt(t, r, "others"); len(at) > 0 {
		t.Errorf("a group of later is at %v", at)
	}
	l.audit(t, r, acknowledged, sent)
	if out, err := run(t, "kcat", "-b", r.where["kafka"], "-C", "-t", "trimmed", "-o", "beginning", "-e", "-q", "-f", "%p/%o\n"); err != nil || strings.Count(out, "\n") != 60-3*6 {
		t.Errorf("kcat reads %d records of the trimmed topic, %v", strings.Count(out, "\n"), err)
	}
	produceEvenly(t, r, "trimmed", lines) // it goes on
	commitGroup(t, r, "trimmed", "readers", len(lines))
	_, err := run(t, firn, "process", "-f", job, "--store", to, "--data", data, "--until", "latest")
	if err == nil || !strings.Contains(err.Error(), "lineage") || !strings.Contains(err.Error(), "restored or replaced") {
		t.Errorf("a job of the old cluster: %v", err)
	}
	r.stop(t)
	must("kfs", "verify", to)
}

// TestIntegrationRestoring refuses a place that is being restored, whoever comes.
func TestIntegrationRestoring(t *testing.T) {
	t.Parallel()
	dir, data := t.TempDir(), t.TempDir()
	marker := `{"version":1,"snapshot":"point","id":"CQAAAAAAAAAAAAAAAAAAAA","source":"AQAAAAAAAAAAAAAAAAAAAA","cluster":"AgAAAAAAAAAAAAAAAAAAAA","lineage":"AwAAAAAAAAAAAAAAAAAAAA","began":1700000000000}`
	if err := os.WriteFile(filepath.Join(dir, "restoring.json"), []byte(marker), 0o644); err != nil {
		t.Fatal(err)
	}
	job := filepath.Join(data, "job.yaml")
	if err := os.WriteFile(job, []byte("name: tables\nsource: {topics: [a]}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"broker", "--store", dir, "--kafka", "127.0.0.1:0"}, {"dev", "--store", dir, "--data", data, "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0"},
		{"process", "-f", job, "--store", dir, "--data", data}, {"bucket", "--store", dir}, {"snapshot", "ls", "--store", dir},
		{"kfs", "ls", dir}, {"kfs", "verify", dir}, {"verify", "-f", job, "--store", dir, "--data", data},
	} {
		_, err := run(t, fromEnv(t, "FIRN_BIN"), args...)
		if err == nil || !strings.Contains(err.Error(), "being filled by a restore") || !strings.Contains(err.Error(), "run it again") {
			t.Errorf("firn %s: %v", args[0], err)
		}
	}
}

// produceEvenly writes lines to six partitions, in turn.
func produceEvenly(t *testing.T, b *process, topic string, lines []string) {
	t.Helper()
	client := newClient(t, b, kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	var records []*kgo.Record
	for i, line := range lines {
		records = append(records, &kgo.Record{Partition: int32(i % 6), Value: []byte(line)})
	}
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// trimTo deletes the records of all partitions before an offset.
func trimTo(t *testing.T, b *process, topic string, offset int64) {
	t.Helper()
	offsets := kadm.Offsets{}
	for p := range int32(6) {
		offsets.Add(kadm.Offset{Topic: topic, Partition: p, At: offset, LeaderEpoch: -1})
	}
	deleted, err := kadm.NewClient(newClient(t, b)).DeleteRecords(t.Context(), offsets)
	if err == nil {
		err = deleted.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// describeTopics is what a broker says of each topic that must not differ.
func describeTopics(t *testing.T, b *process) map[string]string {
	t.Helper()
	out, err := run(t, fromEnv(t, "FIRN_BIN"), "topics", "ls", "--brokers", b.where["kafka"], "--json")
	if err != nil {
		t.Fatal(err)
	}
	var topics []topicInfo
	if err := json.Unmarshal([]byte(out), &topics); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, topic := range topics {
		if strings.HasPrefix(topic.Name, "__") {
			continue
		}
		out, err := run(t, fromEnv(t, "FIRN_BIN"), "topics", "describe", topic.Name, "--brokers", b.where["kafka"], "--json")
		if err != nil {
			t.Fatal(err)
		}
		var described topicInfo
		if err := json.Unmarshal([]byte(out), &described); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("%s %v", described.ID, described.Configs)
		for _, p := range described.Partitions {
			text += fmt.Sprintf(" %d from %d", p.Partition, p.Start)
			if topic.Name != "load" { // which grows
				text += fmt.Sprintf(" to %d", p.End)
			}
		}
		all[topic.Name] = text
	}
	return all
}

// groupAt is what a group has committed, by topic and partition.
func groupAt(t *testing.T, b *process, group string) map[string]int64 {
	t.Helper()
	fetched, err := kadm.NewClient(newClient(t, b)).FetchOffsets(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]int64{}
	fetched.Each(func(o kadm.OffsetResponse) { at[fmt.Sprintf("%s/%d", o.Topic, o.Partition)] = o.At })
	return at
}

// load writes numbered records to six partitions, one at a time each, and notes where they came to lie.
type load struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu    sync.Mutex
	sent  int               // how many were begun
	acked map[string]string // value to partition/offset
}

func startLoad(t *testing.T, b *process) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{cancel: cancel, acked: map[string]string{}}
	for p := range int32(6) {
		client := newClient(t, b, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic("load"))
		l.done.Go(func() {
			for ctx.Err() == nil {
				l.mu.Lock()
				value := fmt.Sprintf("%08d", l.sent)
				l.sent++
				l.mu.Unlock()
				// A record that was begun is waited for: what became of it is known.
				results := client.ProduceSync(context.WithoutCancel(ctx), &kgo.Record{Partition: p, Value: []byte(value)})
				if err := results.FirstErr(); err != nil {
					t.Errorf("producing %s: %v", value, err)
					return
				}
				r := results[0].Record
				l.mu.Lock()
				l.acked[value] = fmt.Sprintf("%d/%d", r.Partition, r.Offset)
				l.mu.Unlock()
			}
		})
	}
	t.Cleanup(l.stop)
	return l
}

func (l *load) stop() {
	l.cancel()
	l.done.Wait()
}

// look is what is acknowledged, and how many records were begun.
func (l *load) look() (acked map[string]string, sent int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.acked), l.sent
}

// until waits until so many are acknowledged.
func (l *load) until(n int) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if acked, _ := l.look(); len(acked) >= n {
			return
		}
	}
}

// audit reads the topic from its beginning: what was acknowledged before is at its offset, nothing is there that was begun after, each offset holds
// what was acknowledged for it, and there are no holes.
func (l *load) audit(t *testing.T, b *process, before map[string]string, sent int) {
	t.Helper()
	client := newClient(t, b, kgo.ConsumeTopics("load"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ends, err := kadm.NewClient(client).ListEndOffsets(t.Context(), "load")
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	ends.Each(func(o kadm.ListedOffset) { want += int(o.Offset) })
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	acked, _ := l.look()
	there, next := map[string]string{}, map[int32]int64{}
	for len(there) < want {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d of %d records read: %v", len(there), want, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset != next[r.Partition] {
				t.Errorf("partition %d: offset %d where %d is expected", r.Partition, r.Offset, next[r.Partition])
			}
			next[r.Partition] = r.Offset + 1
			there[string(r.Value)] = fmt.Sprintf("%d/%d", r.Partition, r.Offset)
		})
	}
	last := fmt.Sprintf("%08d", sent)
	for _, value := range slices.Sorted(maps.Keys(there)) {
		if value >= last {
			t.Errorf("%s, at %s, was begun when the restore point was there", value, there[value])
		}
		if acked[value] != there[value] {
			t.Errorf("%s was acknowledged at %s, and is at %s", value, acked[value], there[value])
		}
	}
	for value, at := range before {
		if there[value] != at {
			t.Errorf("%s was acknowledged at %s before the restore point was begun, and is at %q", value, at, there[value])
		}
	}
	t.Logf("%d records are restored, %d were acknowledged before", len(there), len(before))
}
