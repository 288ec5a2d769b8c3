package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/group"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/blobtest"
	"github.com/firn-io/firn/kfs/lease"
	"github.com/firn-io/firn/kfs/record"
)

// running is a broker that runs.
type running struct {
	*Broker
	stop context.CancelFunc
	done chan error
}

// start runs a broker on a store until the test ends, or stop. Its leases are its own, and do not pass because the machine stands still for a
// moment: it would take its journals over anew, with groups that have no members.
func start(t *testing.T, store blob.Store, change func(*Config)) *running {
	t.Helper()
	cfg := Config{
		Store: store, Leases: lease.NewMemory().Service("", time.Hour), Listen: "127.0.0.1:0", AutoCreate: true, Flush: 10 * time.Millisecond,
		Journals: 1,
	}
	if change != nil {
		change(&cfg)
	}
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Broker: b, stop: cancel, done: make(chan error, 1)}
	go func() { r.done <- b.Run(ctx) }()
	t.Cleanup(func() { r.end(t) })
	select {
	case <-b.Ready():
	case err := <-r.done:
		t.Fatalf("Run: %v", err)
	}
	return r
}

// end stops the broker, if it was not stopped before.
func (r *running) end(t *testing.T) {
	t.Helper()
	if r.stop == nil {
		return
	}
	r.stop()
	r.stop = nil
	if err := <-r.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if n := r.server.config.Requests.Used() + r.server.config.Answers.Used(); n != 0 {
		t.Errorf("%d bytes are still in use", n)
	}
}

// client is a franz-go client.
func (r *running) client(t *testing.T, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(r.Addr().String()), kgo.AllowAutoTopicCreation(), kgo.RetryBackoffFn(func(int) time.Duration { return 10 * time.Millisecond }),
		kgo.MetadataMinAge(50 * time.Millisecond), // before it asks again who leads; else 5 s
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// within bounds a test against a hang.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// consume reads n records from the start of topics.
func consume(t *testing.T, ctx context.Context, c *kgo.Client, n int) []*kgo.Record {
	t.Helper()
	var records []*kgo.Record
	for len(records) < n {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("after %d of %d records: %v", len(records), n, err)
		}
		fetches.EachError(func(topic string, p int32, err error) { t.Fatalf("%s/%d: %v", topic, p, err) })
		records = append(records, fetches.Records()...)
	}
	return records
}

func TestProduceAndConsumeWithEveryCodec(t *testing.T) {
	r := start(t, blob.NewMemory(time.Now), nil)
	ctx := within(t, 30*time.Second)
	const each = 100
	want := map[string]bool{}
	for name, codec := range map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		producer := r.client(t, kgo.ProducerBatchCompression(codec))
		var records []*kgo.Record
		for i := range each {
			value := fmt.Sprintf("%s %d %s", name, i, strings.Repeat("text ", 20))
			want[value] = true
			records = append(records, &kgo.Record{Topic: "events", Key: fmt.Append(nil, i), Value: []byte(value), Headers: []kgo.RecordHeader{{Key: "codec", Value: []byte(name)}}})
		}
		if err := producer.ProduceSync(ctx, records...).FirstErr(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	type place struct {
		partition int32
		offset    int64
	}
	places := map[place]bool{}
	for _, record := range consume(t, ctx, r.client(t, kgo.ConsumeTopics("events")), 5*each) {
		if !want[string(record.Value)] || string(record.Headers[0].Value) != strings.Fields(string(record.Value))[0] {
			t.Errorf("unexpected record %q", record.Value)
		}
		delete(want, string(record.Value))
		at := place{record.Partition, record.Offset}
		if places[at] {
			t.Errorf("%v comes twice", at)
		}
		places[at] = true
		if record.LeaderEpoch < 0 {
			t.Errorf("leader epoch %d", record.LeaderEpoch)
		}
	}
	if len(want) > 0 {
		t.Errorf("%d records are missing", len(want))
	}
}

// TestRestartFromTheStoreAlone: a broker with an empty lease service goes on where the last one stopped.
func TestRestartFromTheStoreAlone(t *testing.T) {
	t.Parallel()
	store := blob.NewMemory(time.Now)
	ctx := within(t, 30*time.Second)
	var cluster string
	for life := range 3 {
		r := start(t, store, nil)
		c := r.client(t)
		metadata, err := kadm.NewClient(c).BrokerMetadata(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if life > 0 && metadata.Cluster != cluster {
			t.Errorf("the cluster was %s and is %s", cluster, metadata.Cluster)
		}
		cluster = metadata.Cluster
		for i := range 10 {
			if err := c.ProduceSync(ctx, &kgo.Record{Topic: "events", Partition: 0, Value: fmt.Appendf(nil, "%d-%d", life, i)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		r.end(t)
	}
	r := start(t, store, nil)
	var got []string
	for _, record := range consume(t, ctx, r.client(t, kgo.ConsumeTopics("events")), 30) {
		got = append(got, string(record.Value))
	}
	slices.Sort(got)
	if got = slices.Compact(got); len(got) != 30 {
		t.Errorf("%d different records: %v", len(got), got)
	}
}

func TestGroupsKeepTheirOffsets(t *testing.T) {
	t.Parallel()
	store := blob.NewMemory(time.Now)
	ctx := within(t, 60*time.Second)
	for life := range 2 {
		r := start(t, store, nil)
		producer := r.client(t)
		for i := range 20 {
			if err := producer.ProduceSync(ctx, &kgo.Record{Topic: "events", Value: fmt.Appendf(nil, "%d-%d", life, i)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		c := r.client(t, kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("events"), kgo.DisableAutoCommit())
		for _, record := range consume(t, ctx, c, 20) {
			if !strings.HasPrefix(string(record.Value), fmt.Sprint(life)) {
				t.Errorf("life %d reads %q again", life, record.Value)
			}
		}
		if err := c.CommitUncommittedOffsets(ctx); err != nil {
			t.Fatal(err)
		}
		c.Close()
		r.end(t)
	}
}

func TestTopicsThroughAnAdminClient(t *testing.T) {
	r := start(t, blob.NewMemory(time.Now), nil)
	ctx := within(t, 30*time.Second)
	admin := kadm.NewClient(r.client(t))
	if _, err := admin.CreateTopic(ctx, 3, 2, map[string]*string{"retention.ms": kadm.StringPtr("100000")}, "events"); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.CreateTopic(ctx, 3, 2, nil, "events"); !errors.Is(err, kerr.TopicAlreadyExists) {
		t.Errorf("created twice: %v", err)
	}
	if _, err := admin.CreatePartitions(ctx, 2, "events"); err != nil {
		t.Error(err)
	}
	topics, err := admin.ListTopics(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if d := topics["events"]; len(d.Partitions) != 5 {
		t.Errorf("%d partitions", len(d.Partitions))
	}
	id := topics["events"].ID
	for _, partition := range topics["events"].Partitions {
		if partition.Leader != 0 || len(partition.Replicas) != 1 {
			t.Errorf("%+v", partition)
		}
	}
	configs, err := admin.DescribeTopicConfigs(ctx, "events")
	if err != nil || configs[0].Err != nil {
		t.Fatal(err, configs)
	}
	if _, err := admin.DeleteTopic(ctx, "events"); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.CreateTopic(ctx, 1, 1, nil, "events"); err != nil {
		t.Errorf("the name is not free: %v", err)
	}
	topics, err = kadm.NewClient(r.client(t)).ListTopics(ctx) // the first client's memory is long
	if err != nil || topics["events"].ID == id {
		t.Errorf("the new topic has the id of the old one (%v)", err)
	}
	if _, err := admin.CreateTopic(ctx, 1, 1, nil, "../../evil"); !errors.Is(err, kerr.InvalidTopicException) {
		t.Errorf("evil name: %v", err)
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	r := start(t, blob.NewMemory(time.Now), func(c *Config) { c.Metrics = registry })
	if err := r.client(t).ProduceSync(within(t, 10*time.Second), &kgo.Record{Topic: "events", Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	r.end(t)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, f := range families {
		seen[f.GetName()] = true
		if !strings.HasPrefix(f.GetName(), "firn_") {
			t.Errorf("metric %s", f.GetName())
		}
	}
	for _, name := range []string{"firn_broker_request_duration_seconds", "firn_broker_memory_bytes", "firn_broker_connections"} {
		if !seen[name] {
			t.Errorf("no %s", name)
		}
	}
}

// TestOneFlushServesAll: 8 partitions of each of 3 topics are one PUT.
func TestOneFlushServesAll(t *testing.T) {
	trace := blobtest.NewTrace(blob.NewMemory(time.Now))
	r := start(t, trace, nil)
	admin := kadm.NewClient(r.client(t))
	req := kmsg.NewPtrProduceRequest()
	req.Acks = -1
	for _, name := range []string{"a", "b", "c"} {
		if _, err := admin.CreateTopic(within(t, 10*time.Second), 8, 1, nil, name); err != nil {
			t.Fatal(err)
		}
		topic := kmsg.NewProduceRequestTopic()
		topic.Topic = name
		for p := range int32(8) {
			part := kmsg.NewProduceRequestTopicPartition()
			part.Partition = p
			var batch record.Builder
			batch.Add(1_700_000_000_000, nil, []byte("x"))
			var err error
			if part.Records, err = batch.AppendTo(nil); err != nil {
				t.Fatal(err)
			}
			topic.Partitions = append(topic.Partitions, part)
		}
		req.Topics = append(req.Topics, topic)
	}
	conn, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	trace.Take()
	if _, err := conn.Write(request(1, 9, req)); err != nil {
		t.Fatal(err)
	}
	_, body := answer(t, conn)
	resp := kmsg.NewPtrProduceResponse()
	resp.SetVersion(9)
	if err := resp.ReadFrom(body[1:]); err != nil { // behind the header's tagged fields
		t.Fatal(err)
	}
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			if p.ErrorCode != 0 || p.BaseOffset != 0 {
				t.Errorf("%s: %+v", topic.Topic, p)
			}
		}
	}
	if requests := trace.Take(); strings.Count(requests, "\n") != 1 || !strings.HasPrefix(requests, "PUT journal/0000/") {
		t.Errorf("24 partitions took\n%s", requests)
	}
}

// cut is a dialer whose connections can be cut.
type cut struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (c *cut) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns = append(c.conns, conn)
	return conn, err
}

func (c *cut) all() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		if conn != nil {
			conn.Close()
		}
	}
	c.conns = nil
}

// TestFaultyStore: with a store that fails, or answers with an error after it did what it was asked to, whatever is acknowledged is
// there once, in order, and nothing else is.
func TestFaultyStore(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 6))
	var healthy atomic.Bool
	healthy.Store(true)
	store := blobtest.NewFault(blob.NewMemory(time.Now), func(op blobtest.Op) blobtest.Action {
		if healthy.Load() || r.IntN(3) > 0 {
			return blobtest.Pass
		}
		return []blobtest.Action{blobtest.FailBefore, blobtest.FailAfter}[r.IntN(2)]
	})
	b := start(t, store, nil)
	ctx := within(t, 60*time.Second)
	c := b.client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.RecordRetries(1000), kgo.RequestRetries(100))
	const n = 40
	for i := range n {
		healthy.Store(i == 0 || i == n-1)
		if err := c.ProduceSync(ctx, &kgo.Record{Topic: "events", Partition: 0, Value: fmt.Append(nil, i)}).FirstErr(); err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
	}
	for i, record := range consume(t, ctx, b.client(t, kgo.ConsumeTopics("events")), n) {
		if string(record.Value) != fmt.Sprint(i) || record.Offset != int64(i) {
			t.Fatalf("offset %d holds %q", record.Offset, record.Value)
		}
	}
}

// TestIdempotentProducerSurvivesCuts: a producer whose connections are cut again and again while it waits for acknowledgements sends
// again what was not acknowledged; everything is there once, in order.
func TestIdempotentProducerSurvivesCuts(t *testing.T) {
	t.Parallel()
	r := start(t, blob.NewMemory(time.Now), nil)
	ctx := within(t, 60*time.Second)
	var cuts cut
	c := r.client(t, kgo.Dialer(cuts.dial), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(50), kgo.ProducerLinger(0),
		kgo.RequestRetries(100), kgo.RecordRetries(1000))
	const n = 2000
	var produced sync.WaitGroup
	for i := range n {
		produced.Add(1)
		c.Produce(ctx, &kgo.Record{Topic: "events", Partition: int32(i % 2), Value: fmt.Append(nil, i)}, func(_ *kgo.Record, err error) {
			defer produced.Done()
			if err != nil {
				t.Errorf("record %d: %v", i, err)
			}
		})
		if i%100 == 99 {
			cuts.all()
		}
	}
	produced.Wait()
	last := map[int32]int{0: -2, 1: -1}
	offset := map[int32]int64{}
	for _, record := range consume(t, ctx, r.client(t, kgo.ConsumeTopics("events")), n) {
		var i int
		if _, err := fmt.Sscan(string(record.Value), &i); err != nil {
			t.Fatal(err)
		}
		if i != last[record.Partition]+2 || record.Offset != offset[record.Partition] {
			t.Fatalf("partition %d offset %d: record %d after %d", record.Partition, record.Offset, i, last[record.Partition])
		}
		last[record.Partition] = i
		offset[record.Partition]++
	}
}

// TestHostileBytesOnASocket: what makes no sense costs its connection, and the broker lives.
func TestHostileBytesOnASocket(t *testing.T) {
	r := start(t, blob.NewMemory(time.Now), nil)
	ctx := within(t, 30*time.Second)
	for _, send := range []string{
		"\x7f\xff\xff\xff", "\x05\xa0\x00\x00", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", strings.Repeat("\xff", 5000),
		"\x00\x00\x00\x0a\x00\x03\x00\x0c\x00\x00\x00\x01\xff\xff",
	} {
		conn, err := net.Dial("tcp", r.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, send); err != nil {
			t.Fatal(err)
		}
		conn.(*net.TCPConn).CloseWrite()
		if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%.20q: %v", send, err)
		}
		conn.Close()
	}
	if err := r.client(t).ProduceSync(ctx, &kgo.Record{Topic: "events", Value: []byte("x")}).FirstErr(); err != nil {
		t.Error(err)
	}
}

// TestAGreedyClientLeavesOthersTheirMemory: clients that ask for far more than they read, and for as much as there is, do not keep
// another one from working.
func TestAGreedyClientLeavesOthersTheirMemory(t *testing.T) {
	r := start(t, blob.NewMemory(time.Now), func(c *Config) { c.MemoryBytes = minMemoryBytes })
	ctx := within(t, 60*time.Second)
	c := r.client(t, kgo.ProducerBatchMaxBytes(1<<20), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	for range 20 {
		if err := c.ProduceSync(ctx, &kgo.Record{Topic: "events", Partition: 0, Value: make([]byte, 900<<10)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	fetch := kmsg.NewPtrFetchRequest()
	fetch.MinBytes, fetch.MaxBytes = 1, 1<<30
	part := kmsg.NewFetchRequestTopicPartition()
	part.PartitionMaxBytes = 1 << 30
	fetch.Topics = []kmsg.FetchRequestTopic{{Topic: "events", Partitions: []kmsg.FetchRequestTopicPartition{part}}}
	for range 4 { // none of them reads
		conn, err := net.Dial("tcp", r.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for i := range int32(100) {
			if _, err := conn.Write(request(i, 11, fetch)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := conn.Write([]byte{3, 0, 0, 0, 0, 0, 0, 9}); err != nil { // and half of a large request
			t.Fatal(err)
		}
	}
	if err := c.ProduceSync(ctx, &kgo.Record{Topic: "events", Partition: 1, Value: []byte("x")}).FirstErr(); err != nil {
		t.Error(err)
	}
	if used, limit := r.server.config.Answers.Used(), r.cfg.share().answers; used > 2*limit {
		t.Errorf("answers use %d bytes of %d", used, limit)
	}
}

func TestConfigReportsEverything(t *testing.T) {
	c := Config{ID: -1, Listen: "nonsense", Advertise: ":9092", Partitions: -1, MemoryBytes: 1, Flush: -1, Groups: group.Config{Interval: time.Hour, InitialDelay: -1}}
	err := c.Validate()
	for _, part := range []string{"store", "leases", "node id", "listen", "advertised", "partitions", "memory", "flush", "initial delay", "heartbeat interval"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not speak of %s", err, part)
		}
	}
}

func TestAdvertisedAddress(t *testing.T) {
	for _, test := range []struct{ listen, advertise, host string }{
		{"127.0.0.1:0", "", "127.0.0.1"},
		{"localhost:0", "", "localhost"},
		{"127.0.0.1:0", "kafka.example:19092", "kafka.example"},
		{":0", "", reachable()},
		{"0.0.0.0:0", "", reachable()},
	} {
		b, err := New(Config{Store: blob.NewMemory(time.Now), Leases: lease.NewMemory().Service("", time.Second), Listen: test.listen, Advertise: test.advertise})
		if err != nil {
			t.Fatal(err)
		}
		host, port, err := net.SplitHostPort(b.Advertised())
		if err != nil || host != test.host {
			t.Errorf("listening on %s, advertise %q: %s", test.listen, test.advertise, b.Advertised())
		}
		if want := fmt.Sprint(b.Addr().(*net.TCPAddr).Port); test.advertise == "" && port != want {
			t.Errorf("port %s, listening on %s", port, want)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.Run(ctx); err != nil {
			t.Error(err)
		}
	}
	if host := reachable(); net.ParseIP(host) == nil || net.ParseIP(host).IsUnspecified() {
		t.Errorf("reachable is %q", host)
	}
}

// TestTransactionsAreRefused with an error that a client does not retry.
func TestTransactionsAreRefused(t *testing.T) {
	r := start(t, blob.NewMemory(time.Now), nil)
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID = kmsg.StringPtr("tx")
	resp, err := kgoSeed(t, r).Request(within(t, 10*time.Second), req)
	if err != nil {
		t.Fatal(err)
	}
	if code := resp.(*kmsg.InitProducerIDResponse).ErrorCode; code != kerr.TransactionalIDAuthorizationFailed.Code {
		t.Errorf("error %v", kerr.ErrorForCode(code))
	}
}

func kgoSeed(t *testing.T, r *running) *kgo.Broker { return r.client(t).SeedBrokers()[0] }
