//go:build integration

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// setup is a broker, and a job file that process runs.
type setup struct {
	data, store, job string
	broker           *process
}

func newSetup(t *testing.T, topics ...string) *setup {
	t.Helper()
	s := &setup{data: t.TempDir()}
	s.store, s.job = "file://"+filepath.Join(s.data, "store"), filepath.Join(s.data, "chaos.yaml")
	s.write(t, topics, 300*time.Millisecond)
	s.broker = s.startBroker(t)
	return s
}

// write writes the job file.
func (s *setup) write(t *testing.T, topics []string, freshness time.Duration) {
	t.Helper()
	text := fmt.Sprintf("name: chaos\nsource: {topics: [%s]}\ncommit: {freshness: %s}\n", strings.Join(topics, ", "), freshness)
	if err := os.WriteFile(s.job, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (s *setup) startBroker(t *testing.T) *process {
	t.Helper()
	return start(t, "broker", "--store", s.store, "--kafka", "127.0.0.1:0")
}

func (s *setup) args() []string {
	return []string{"process", "-f", s.job, "--store", s.store, "--data", s.data}
}

// untilLatest commits what is there.
func (s *setup) untilLatest(t *testing.T) error {
	t.Helper()
	_, err := run(t, fromEnv(t, "FIRN_BIN"), append(s.args(), "--until", "latest")...)
	return err
}

// prove runs firn verify over every row of the job's tables.
func (s *setup) prove(t *testing.T) {
	t.Helper()
	if _, err := s.tool(t, "verify", "--deep"); err != nil {
		t.Error(err)
	}
}

// tool runs a command about the job's tables.
func (s *setup) tool(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return run(t, fromEnv(t, "FIRN_BIN"), append(args, "-f", s.job, "--store", s.store, "--data", s.data)...)
}

// produce sends records numbered from first to next and returns their numbers.
func (s *setup) produce(t *testing.T, topic string, partition int32, first, next int) (ids []int) {
	t.Helper()
	client := newClient(t, s.broker, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	defer client.Close()
	var records []*kgo.Record
	for id := first; id < next; id++ {
		ids = append(ids, id)
		records = append(records, &kgo.Record{Topic: topic, Partition: partition, Value: fmt.Appendf(nil, `{"id": %d}`, id)})
	}
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return ids
}

// after waits for a time that a fault is to last. Nothing is expected to have happened by then.
func after(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// TestIntegrationSplitBrain runs one job three times at once. One of the three is stopped in its steps again and again, and goes on with
// what it held then; another is killed again and again.
func TestIntegrationSplitBrain(t *testing.T) {
	t.Parallel()
	s := newSetup(t, "split")
	p := startProducer(t, s.broker, "split", 0)
	slow, frail := start(t, s.args()...), launch(t, s.args()...)
	steady := start(t, s.args()...)
	for range 4 {
		if err := slow.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		after(t, time.Second)
		frail.kill()
		frail = launch(t, s.args()...)
		if err := slow.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		after(t, 500*time.Millisecond)
	}
	frail.kill()
	acknowledged := p.stop(t)
	eventually(t, func() error { return eachOnce(t, s.data, "default.split", acknowledged) })
	slow.stop(t)
	steady.stop(t)
	if err := s.untilLatest(t); err != nil {
		t.Error(err)
	}
	if err := eachOnce(t, s.data, "default.split", acknowledged); err != nil {
		t.Error(err)
	}
	s.prove(t)
}

// TestIntegrationTwoBrokers runs two brokers on one store, each of which takes it that it is the only one, and produces through both. The
// first ends when it meets the second, and is started anew where it was; then the second ends.
func TestIntegrationTwoBrokers(t *testing.T) {
	t.Parallel()
	s := newSetup(t, "two")
	job := start(t, s.args()...)
	first := startProducer(t, s.broker, "two", 0)
	after(t, time.Second)
	other := s.startBroker(t)
	wantFenced(t, s.broker)
	second := startProducer(t, other, "two", 1_000_000)
	after(t, time.Second)
	start(t, "broker", "--store", s.store, "--kafka", s.broker.where["kafka"])
	wantFenced(t, other)
	acknowledged := first.stop(t)
	start(t, "broker", "--store", s.store, "--kafka", other.where["kafka"])
	acknowledged = append(acknowledged, second.stop(t)...)
	eventually(t, func() error { return eachOnce(t, s.data, "default.two", acknowledged) })
	job.stop(t)
	s.prove(t)
	if _, err := run(t, fromEnv(t, "FIRN_BIN"), "kfs", "verify", s.store); err != nil {
		t.Error(err)
	}
}

// wantFenced waits for a broker to end because of another one.
func wantFenced(t *testing.T, broker *process) {
	t.Helper()
	select {
	case <-broker.done:
	case <-time.After(waitLimit):
		t.Fatal("the broker goes on beside another one")
	}
	if err := mentions(broker.log.String(), "another broker has taken over this store", "--etcd"); err != nil || broker.err == nil {
		t.Errorf("the broker has ended with %v: %v", broker.err, err)
	}
}

// TestIntegrationRecreatedTopic deletes a topic under a running job and creates it again. Its table halts, and the other one goes on.
func TestIntegrationRecreatedTopic(t *testing.T) {
	t.Parallel()
	s := newSetup(t, "gone", "stays")
	job := start(t, s.args()...)
	gone, stays := s.produce(t, "gone", 0, 0, 100), s.produce(t, "stays", 0, 0, 100)
	eventually(t, func() error {
		return errors.Join(eachOnce(t, s.data, "default.gone", gone), eachOnce(t, s.data, "default.stays", stays))
	})
	admin := kadm.NewClient(newClient(t, s.broker))
	if _, err := admin.DeleteTopic(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	s.produce(t, "gone", 0, 1000, 1100)
	stays = append(stays, s.produce(t, "stays", 0, 100, 200)...)
	eventually(t, func() error { return eachOnce(t, s.data, "default.stays", stays) })
	eventually(t, func() error { return mentions(job.log.String(), "the table halts", "deleted and created again") })
	job.stop(t)
	err := s.untilLatest(t)
	if err == nil {
		t.Fatal("a bounded run ended well, although a table has halted")
	}
	if err := mentions(err.Error(), "default.gone", "deleted and created again", "jobs/chaos.json"); err != nil {
		t.Error(err)
	}
	if err := eachOnce(t, s.data, "default.gone", gone); err != nil {
		t.Error(err)
	}
}

// TestIntegrationForeignWriter changes a table by pyiceberg while a job commits to it: deletes, properties and expiry do no harm, a
// rollback halts, also at the next start, and what the message says to do helps.
func TestIntegrationForeignWriter(t *testing.T) {
	t.Parallel()
	s := newSetup(t, "foreign")
	s.write(t, []string{"foreign"}, 1500*time.Millisecond) // on a busy machine a delete by pyiceberg takes longer than 300 ms, and would never land between
	job := start(t, s.args()...)
	p := startProducer(t, s.broker, "foreign", 0)
	foreign := func(change string) {
		t.Helper()
		if _, err := run(t, fromEnv(t, "FIRN_PYTHON"), "testdata/foreign.py", filepath.Join(s.data, "catalog.db"), filepath.Join(s.data, "warehouse"), "default.foreign", change); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() error { _, err := readTable(t, s.data, "default.foreign"); return err })
	for _, change := range []string{"delete", "property", "expire", "delete"} {
		foreign(change)
	}
	after(t, 2*time.Second) // some commits more
	acknowledged := slices.DeleteFunc(p.stop(t), func(id int) bool { return id == 0 })
	eventually(t, func() error { return eachOnce(t, s.data, "default.foreign", acknowledged) })
	foreign("rollback")
	acknowledged = append(acknowledged, s.produce(t, "foreign", 0, 1_000_000, 1_000_010)...)
	eventually(t, func() error {
		return mentions(job.log.String(), "the table halts", "went back from", "jobs/chaos.json")
	})
	job.stop(t)
	err := s.untilLatest(t)
	if err == nil {
		t.Fatal("the next start went on behind a rollback")
	}
	if err := mentions(err.Error(), "default.foreign", "stands at offset", "delete jobs/chaos.json"); err != nil {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(s.data, "store", "jobs", "chaos.json")); err != nil {
		t.Fatal(err)
	}
	if err := s.untilLatest(t); err != nil {
		t.Fatal(err)
	}
	if err := eachOnce(t, s.data, "default.foreign", acknowledged); err != nil {
		t.Error(err)
	}
}

// TestIntegrationDamagedObject flips a byte of a segment in the middle of a backlog: its partition halts, the others go on, verify names
// the object, and once it is restored the job goes on where it stood.
func TestIntegrationDamagedObject(t *testing.T) {
	t.Parallel()
	s := newSetup(t, "damaged", "other")
	var want, other []int
	var object string // of damaged/0 [100, 200)
	for at := 0; at < 300; at += 100 {
		want = append(want, s.produce(t, "damaged", 0, at, at+100)...)
		if at == 100 {
			object = lastObject(t, s.data)
		}
		want = append(want, s.produce(t, "damaged", 1, 1000+at, 1000+at+100)...)
		other = append(other, s.produce(t, "other", 0, at, at+100)...)
	}
	s.broker.stop(t)
	whole, err := os.ReadFile(object)
	if err != nil {
		t.Fatal(err)
	}
	damaged := slices.Clone(whole)
	damaged[100] ^= 1 // in the first segment, behind the object's header of 32 bytes and the batch's of 61
	if err := os.WriteFile(object, damaged, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, fromEnv(t, "FIRN_BIN"), "kfs", "verify", s.store); err == nil {
		t.Error("verify finds nothing")
	} else if err := mentions(err.Error(), filepath.Base(object), "damaged/0 [100, 200)"); err != nil {
		t.Error(err)
	}
	if err := s.untilLatest(t); err == nil {
		t.Error("a bounded run ended well, although a partition has halted")
	} else if err := mentions(err.Error(), filepath.Base(object), "damaged/0", "Restore the object"); err != nil {
		t.Error(err)
	}
	for table, ids := range map[string][]int{
		"default.damaged": slices.DeleteFunc(slices.Clone(want), func(id int) bool { return id >= 100 && id < 1000 }), "default.other": other,
	} {
		if err := eachOnce(t, s.data, table, ids); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.tool(t, "status", "--partitions"); err == nil {
		t.Error("status finds nothing wrong")
	} else if err := mentions(err.Error(), "HALTED", "default.damaged, damaged/0", filepath.Base(object), "Restore the object"); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(object, whole, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.untilLatest(t); err != nil {
		t.Fatal(err)
	}
	if err := eachOnce(t, s.data, "default.damaged", want); err != nil {
		t.Error(err)
	}
	if _, err := s.tool(t, "status"); err != nil {
		t.Error(err)
	}
	s.prove(t)
	if out, err := s.tool(t, "where", "damaged", "0", "150"); err != nil || !strings.Contains(out, "visible") {
		t.Errorf("%s: %v", out, err)
	}
}

// lastObject is the path of the newest object of journal 0.
func lastObject(t *testing.T, data string) string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(data, "store", "journal", "0000", "*.kfs"))
	if err != nil || len(all) == 0 {
		t.Fatalf("%d objects: %v", len(all), err)
	}
	return slices.Max(all)
}

// mentions gives an error that lists what a text does not say.
func mentions(text string, words ...string) error {
	var errs []error
	for _, w := range words {
		if !strings.Contains(text, w) {
			errs = append(errs, fmt.Errorf("%q is not in:\n%s", w, text))
		}
	}
	return errors.Join(errs...)
}

// TestIntegrationMixedTypes gives the partitions of a topic different types for one new field at the same time, and records that are no JSON.
// Every offset is in one of two tables, once, whoever was killed in between.
func TestIntegrationMixedTypes(t *testing.T) {
	t.Parallel()
	s := newSetup(t, "mixed")
	client := newClient(t, s.broker, kgo.DefaultProduceTopic("mixed"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	const rounds, values = 5, 7
	job := launch(t, s.args()...)
	for round := range rounds {
		var records []*kgo.Record
		for i, value := range [values]string{`"text"`, `1`, `2.5`, `true`, `{"k": 1}`, `[1]`, `nonsense`} {
			for shift := range int32(4) {
				records = append(records, &kgo.Record{Partition: (int32(i) + shift) % 4, Value: fmt.Appendf(nil, `{"round": %d, "field_%d": %s}`, round, round, value)})
			}
		}
		if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		after(t, 400*time.Millisecond) // about when it commits
		job.kill()
		job = launch(t, s.args()...)
	}
	job.stop(t)
	if err := s.untilLatest(t); err != nil {
		t.Fatal(err)
	}
	times := map[[2]int64]int{}
	for _, table := range []string{"default.mixed", "default.chaos_dead_letter"} {
		out, err := run(t, fromEnv(t, "FIRN_PYTHON"), "testdata/rows.py", filepath.Join(s.data, "catalog.db"), filepath.Join(s.data, "warehouse"), table, "kafka_partition", "kafka_offset")
		if err != nil {
			t.Fatal(err)
		}
		var rows []killRow
		if err := json.Unmarshal([]byte(out), &rows); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d rows", table, len(rows))
		for _, r := range rows {
			times[[2]int64{r.Partition, r.Offset}]++
		}
	}
	for partition := range int64(4) {
		for offset := range int64(rounds * values) {
			if n := times[[2]int64{partition, offset}]; n != 1 {
				t.Errorf("partition %d offset %d is there %d times", partition, offset, n)
			}
		}
	}
	s.prove(t)
}
