//go:build integration

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// fleet are three brokers, with an etcd of their own and an S3 server that is not ours.
type fleet struct {
	t      *testing.T
	server *os.Process // of the store
	store  string
	etcd   *embeddedEtcd
	addr   string // where etcd is, also after it was replaced
	all    [fleetSize]*process
	listen [fleetSize]string
}

const (
	fleetSize       = 3
	auditPartitions = 6
	leaseTTL        = 5 * time.Second
)

func startFleet(t *testing.T) *fleet {
	t.Helper()
	server, endpoint := versitygw(t, "firn")
	t.Setenv("AWS_ACCESS_KEY_ID", "firn")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "firnfirnfirn")
	f := &fleet{t: t, server: server, store: "s3://firn/lake?endpoint=" + endpoint + "&region=us-east-1", etcd: newEtcd(t)}
	f.addr = f.etcd.Addr()
	for i := range f.all {
		f.listen[i] = "127.0.0.1:0"
		f.start(i)
	}
	f.create("audit", "librdkafka")
	f.spread("all brokers lead partitions", fleetSize)
	return f
}

// start starts a broker, where it has been before if it has.
func (f *fleet) start(i int) {
	f.t.Helper()
	f.all[i] = start(f.t, "broker", "--store", f.store, "--etcd", f.addr, "--id", fmt.Sprint(i+1), "--journals", fmt.Sprint(fleetSize), "--kafka", f.listen[i])
	f.listen[i] = f.all[i].where["kafka"]
}

func (f *fleet) client(opts ...kgo.Opt) *kgo.Client {
	f.t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(f.listen[:]...)}, opts...)...)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(client.Close)
	return client
}

func (f *fleet) create(topics ...string) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), waitLimit)
	defer cancel()
	created, err := kadm.NewClient(f.client()).CreateTopics(ctx, auditPartitions, -1, nil, topics...)
	if err == nil {
		err = created.Error()
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// leaders are how many partitions of the audited topics each broker leads, as broker i tells it.
func (f *fleet) leaders(i int) (map[int32]int, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(f.listen[i]))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(f.t.Context(), 2*time.Second)
	defer cancel()
	topics, err := kadm.NewClient(client).ListTopics(ctx, "audit", "librdkafka")
	if err != nil {
		return nil, err
	}
	leaders := map[int32]int{}
	for _, topic := range topics {
		for _, p := range topic.Partitions {
			leaders[p.Leader]++
		}
	}
	return leaders, nil
}

// spread waits until so many brokers lead partitions, and every partition has a leader.
func (f *fleet) spread(what string, brokers int) {
	f.t.Helper()
	eventually(f.t, func() error {
		for i, p := range f.all {
			if p == nil {
				continue
			}
			leaders, err := f.leaders(i)
			if err != nil {
				return err
			}
			if leaders[-1] > 0 || len(leaders) != brokers {
				return fmt.Errorf("%s: broker %d says that partitions are led by %v", what, i+1, leaders)
			}
		}
		return nil
	})
}

// place is where a record is.
type place struct {
	partition int32
	offset    int64
}

// audit is two idempotent producers, of franz-go and of librdkafka, that number their records, a consumer group that reads along, and what
// they were told.
type audit struct {
	*fleet
	stopped context.CancelFunc
	running sync.WaitGroup

	kgo    *kgo.Client
	python *exec.Cmd
	stdin  io.Closer
	errors bytes.Buffer

	mu     sync.Mutex                  // guards what follows
	told   map[string]map[string]place // topic, then "partition/number"
	failed []string
	read   map[string]bool // "topic/partition/number" that the group has got
}

func (f *fleet) audit() *audit {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	a := &audit{fleet: f, stopped: cancel, told: map[string]map[string]place{"audit": {}, "librdkafka": {}}, read: map[string]bool{}}
	a.kgo = f.client(kgo.DefaultProduceTopic("audit"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	a.running.Go(func() { a.produce(ctx) })
	a.startPython()
	for range 2 {
		member := f.client(kgo.ConsumerGroup("auditors"), kgo.ConsumeTopics("audit", "librdkafka"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		a.running.Go(func() { a.consume(ctx, member) })
	}
	return a
}

func (a *audit) produce(ctx context.Context) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for number := 0; ; number++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for partition := range int32(auditPartitions) {
			name := fmt.Sprint(number)
			a.kgo.Produce(a.t.Context(), &kgo.Record{Partition: partition, Value: []byte(name)}, func(r *kgo.Record, err error) {
				a.answered("audit", partition, name, r.Offset, err)
			})
		}
	}
}

func (a *audit) answered(topic string, partition int32, number string, offset int64, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.failed = append(a.failed, fmt.Sprintf("%s/%d record %s: %v", topic, partition, number, err))
		return
	}
	a.told[topic][fmt.Sprintf("%d/%s", partition, number)] = place{partition, offset}
}

// startPython runs the producer on librdkafka.
func (a *audit) startPython() {
	a.t.Helper()
	a.python = exec.Command(fromEnv(a.t, "FIRN_PYTHON"), "testdata/counting.py", strings.Join(a.listen[:], ","), "librdkafka", fmt.Sprint(auditPartitions))
	a.python.Stderr = &a.errors
	in, err := a.python.StdinPipe()
	if err != nil {
		a.t.Fatal(err)
	}
	out, err := a.python.StdoutPipe()
	if err != nil {
		a.t.Fatal(err)
	}
	if err := a.python.Start(); err != nil {
		a.t.Fatal(err)
	}
	a.stdin = in
	a.t.Cleanup(func() { a.python.Process.Kill() })
	a.running.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var partition int32
			var number string
			var offset int64
			_, err := fmt.Sscan(lines.Text(), &partition, &number, &offset)
			if err != nil {
				err = fmt.Errorf("%s", lines.Text())
			}
			a.answered("librdkafka", partition, number, offset, err)
		}
	})
}

func (a *audit) consume(ctx context.Context, member *kgo.Client) {
	defer member.Close()
	for {
		fetches := member.PollFetches(ctx)
		if ctx.Err() != nil {
			return
		}
		a.mu.Lock()
		fetches.EachRecord(func(r *kgo.Record) { a.read[fmt.Sprintf("%s/%d/%s", r.Topic, r.Partition, r.Value)] = true })
		a.mu.Unlock()
	}
}

// goesOn waits until both producers and the group have moved on by something.
func (a *audit) goesOn(what string) {
	a.t.Helper()
	count := func() (told map[string]int, read int) {
		a.mu.Lock()
		defer a.mu.Unlock()
		return map[string]int{"audit": len(a.told["audit"]), "librdkafka": len(a.told["librdkafka"])}, len(a.read)
	}
	told, read := count()
	eventually(a.t, func() error {
		now, nowRead := count()
		for topic, n := range told {
			if now[topic] < n+200 {
				return fmt.Errorf("%s: %d records of %s were acknowledged since", what, now[topic]-n, topic)
			}
		}
		if nowRead < read+200 {
			return fmt.Errorf("%s: the group has read %d records since", what, nowRead-read)
		}
		return nil
	})
}

// finish stops the producers, waits until the group has everything, reads the topics from their beginning, and compares: each acknowledged record
// is at the place that was told, once, and in the order in which it was sent.
func (a *audit) finish() {
	a.t.Helper()
	a.stdin.Close()
	if err := a.python.Wait(); err != nil {
		a.t.Errorf("librdkafka: %v\n%s", err, a.errors.String())
	}
	eventually(a.t, func() error {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.unread()
	})
	a.stopped()
	a.running.Wait()
	ctx, cancel := context.WithTimeout(a.t.Context(), waitLimit)
	defer cancel()
	if err := a.kgo.Flush(ctx); err != nil {
		a.t.Fatal(err)
	}
	if n := len(a.failed); n > 0 {
		a.t.Errorf("%d records were not acknowledged, the first: %s", n, a.failed[0])
	}
	for topic, told := range a.told {
		a.compare(ctx, topic, told)
	}
	if out, err := run(a.t, fromEnv(a.t, "FIRN_BIN"), "kfs", "verify", a.store); err != nil {
		a.t.Errorf("%v\n%s", err, out)
	}
	a.t.Logf("%d records of franz-go and %d of librdkafka acknowledged", len(a.told["audit"]), len(a.told["librdkafka"]))
}

// unread says what the group has not got yet of what is acknowledged; the caller holds a.mu.
func (a *audit) unread() error {
	for topic, told := range a.told {
		for name := range told {
			if !a.read[topic+"/"+name] {
				return fmt.Errorf("the group has %d records; %s/%s is not among them", len(a.read), topic, name)
			}
		}
	}
	return nil
}

func (a *audit) compare(ctx context.Context, topic string, told map[string]place) {
	a.t.Helper()
	ends, err := kadm.NewClient(a.client()).ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		a.t.Fatal(err)
	}
	total := 0
	ends.Each(func(o kadm.ListedOffset) { total += int(o.Offset) })
	consumer := a.client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	next := map[int32]int{}
	found := 0
	for n := 0; n < total; {
		fetches := consumer.PollFetches(ctx)
		if ctx.Err() != nil {
			a.t.Fatalf("%s: %d of %d records read: %v", topic, n, total, fetches.Err())
		}
		fetches.EachRecord(func(r *kgo.Record) {
			n++
			// Numbers go up by one: nothing is missing, nothing comes twice, nothing out of order.
			if string(r.Value) != fmt.Sprint(next[r.Partition]) {
				a.t.Fatalf("%s/%d offset %d: record %s, the next is %d", topic, r.Partition, r.Offset, r.Value, next[r.Partition])
			}
			next[r.Partition]++
			if at, ok := told[fmt.Sprintf("%d/%s", r.Partition, r.Value)]; ok {
				found++
				if at.offset != r.Offset {
					a.t.Errorf("%s/%d record %s is at offset %d, the producer was told %d", topic, r.Partition, r.Value, r.Offset, at.offset)
				}
			}
		})
	}
	if found != len(told) {
		a.t.Errorf("%s: %d records were acknowledged, %d of them are there", topic, len(told), found)
	}
}

// TestIntegrationRollingRestart stops and starts each of three brokers under load. No produce fails, the group goes on, nobody is lost or twice.
func TestIntegrationRollingRestart(t *testing.T) {
	f := startFleet(t)
	a := f.audit()
	a.goesOn("at first")
	for i := range f.all {
		begun := time.Now()
		f.all[i].stop(t)
		took := time.Since(begun)
		t.Logf("broker %d stopped after %v", i+1, took)
		f.all[i] = nil
		a.goesOn(fmt.Sprintf("without broker %d", i+1))
		f.start(i)
		f.spread(fmt.Sprintf("with broker %d again", i+1), fleetSize)
	}
	a.goesOn("at last")
	a.finish()
}

// TestChaosBrokerKilled kills each broker as a crash does. Its journals have other owners within the lease's TTL and two seconds.
func TestChaosBrokerKilled(t *testing.T) {
	f := startFleet(t)
	a := f.audit()
	a.goesOn("at first")
	for i := range f.all {
		begun := time.Now()
		f.all[i].kill()
		f.all[i] = nil
		f.spread(fmt.Sprintf("without broker %d", i+1), fleetSize-1)
		took := time.Since(begun)
		t.Logf("broker %d is replaced after %v", i+1, took)
		if took > leaseTTL+2*time.Second {
			t.Errorf("broker %d is replaced after %v only", i+1, took)
		}
		a.goesOn(fmt.Sprintf("without broker %d", i+1))
		f.start(i)
		f.spread(fmt.Sprintf("with broker %d again", i+1), fleetSize)
	}
	a.goesOn("at last")
	a.finish()
}

// TestChaosBrokerPaused stops each broker's process for longer than its lease, and lets it go on: it finds that others write its journals.
func TestChaosBrokerPaused(t *testing.T) {
	f := startFleet(t)
	a := f.audit()
	a.goesOn("at first")
	for i, p := range f.all {
		if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		f.all[i] = nil
		f.spread(fmt.Sprintf("while broker %d sleeps", i+1), fleetSize-1)
		a.goesOn(fmt.Sprintf("while broker %d sleeps", i+1))
		if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		f.all[i] = p
		f.spread(fmt.Sprintf("when broker %d is awake", i+1), fleetSize)
		a.goesOn(fmt.Sprintf("when broker %d is awake", i+1))
	}
	a.finish()
}

// TestChaosEtcdLost takes etcd away, for less and for more than a lease, and puts an empty one in its place.
func TestChaosEtcdLost(t *testing.T) {
	f := startFleet(t)
	a := f.audit()
	a.goesOn("at first")
	for _, away := range []time.Duration{0, leaseTTL / 2, 2 * leaseTTL} {
		f.etcd.Close()
		after(t, away)
		etcd, err := startEtcdAt(t.Context(), t.TempDir(), f.addr)
		if err != nil {
			t.Fatal(err)
		}
		f.etcd = etcd
		t.Cleanup(etcd.Close)
		f.spread(fmt.Sprintf("with an empty etcd after %v", away), fleetSize)
		a.goesOn(fmt.Sprintf("with an empty etcd after %v", away))
	}
	a.finish()
}

// TestChaosStoreSilent has the store answer nobody for 10 s, twice. What was on its way when that began may land when it is over.
func TestChaosStoreSilent(t *testing.T) {
	f := startFleet(t)
	a := f.audit()
	a.goesOn("at first")
	for range 2 {
		if err := f.server.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		after(t, 10*time.Second)
		if err := f.server.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		a.goesOn("when the store is back")
	}
	a.finish()
}
