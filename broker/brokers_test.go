package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/lease"
	"github.com/firn-io/firn/kfs/record"
)

// several are brokers of one cluster in this process.
type several struct {
	t      *testing.T
	store  blob.Store
	leases *lease.Memory
	ttl    time.Duration // of leases
	all    map[int32]*running

	mu    sync.Mutex       // guards what follows
	homes map[string]int32 // whose addresses were told to clients
	now   map[int32]string // where those that run listen
}

// newSeveral is a cluster without a broker yet. Its leases do not pass because the machine stands still for a moment.
func newSeveral(t *testing.T) *several {
	return &several{
		t: t, store: blob.NewMemory(time.Now), leases: lease.NewMemory(), ttl: time.Hour,
		all: map[int32]*running{}, homes: map[string]int32{}, now: map[int32]string{},
	}
}

// startSeveral starts brokers 1 to n of a new cluster with as many journals.
func startSeveral(t *testing.T, n int32) *several {
	t.Helper()
	s := newSeveral(t)
	s.startAll(n)
	return s
}

// startShortLeased is startSeveral for brokers that have to notice within a moment what becomes of the lease service.
func startShortLeased(t *testing.T, n int32) *several {
	t.Helper()
	s := newSeveral(t)
	s.ttl = time.Second
	s.startAll(n)
	return s
}

func (s *several) startAll(n int32) {
	s.t.Helper()
	for id := int32(1); id <= n; id++ {
		s.start(id, uint32(n))
	}
	s.spread(n)
}

func (s *several) start(id int32, journals uint32, changes ...func(*Config)) {
	s.t.Helper()
	s.all[id] = start(s.t, s.store, func(c *Config) {
		c.ID, c.Leases, c.Journals, c.handOver = id, s.leases.Service("firn/", s.ttl), journals, 100*time.Millisecond
		for _, change := range changes {
			change(c)
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	address := s.all[id].Addr().String()
	s.homes[address], s.now[id] = id, address
}

// end stops a broker as an operator does.
func (s *several) end(id int32) {
	s.t.Helper()
	s.mu.Lock()
	delete(s.now, id)
	s.mu.Unlock()
	s.all[id].end(s.t)
	delete(s.all, id)
}

// dial reaches a broker by any address that it ever had. One that comes back listens on another port here, where it would have its old address elsewhere;
// a client that was told of the old ones only, because it had nothing to ask while all were restarted, would never find them again.
func (s *several) dial(ctx context.Context, network, address string) (net.Conn, error) {
	s.mu.Lock()
	id, known := s.homes[address]
	now, runs := s.now[id]
	s.mu.Unlock()
	switch {
	case known && !runs:
		return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("broker %d: %w", id, syscall.ECONNREFUSED)} // what clients try again
	case known:
		address = now
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

// until waits until all brokers see something.
func (s *several) until(what string, ok func(*running) bool) {
	s.t.Helper()
	ctx := within(s.t, 30*time.Second)
	for id, r := range s.all {
		for {
			changed := r.cluster.Changed()
			if ok(r) {
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
				s.t.Fatalf("broker %d does not see in time: %s", id, what)
			}
		}
	}
}

// spread waits until each of n brokers owns one of n journals and all brokers know the owners and all journals.
func (s *several) spread(n int32) {
	s.t.Helper()
	s.until("every broker owns a journal", func(r *running) bool {
		owners := map[int32]bool{}
		for number := range uint32(n) {
			if owner, _, ok := r.cluster.Owner(number); ok {
				owners[owner.ID] = true
			}
		}
		return len(owners) == int(n) && r.cluster.State().Cluster().Journals >= uint32(n)
	})
}

// client is a client that begins with any of the brokers.
func (s *several) client(opts ...kgo.Opt) *kgo.Client {
	s.t.Helper()
	var seeds []string
	for _, r := range s.all {
		seeds = append(seeds, r.Addr().String())
	}
	slices.Sort(seeds)
	for _, r := range s.all {
		return r.client(s.t, append([]kgo.Opt{kgo.SeedBrokers(seeds...), kgo.Dialer(s.dial)}, opts...)...)
	}
	return nil
}

// other is a broker that does not own journal 0. It waits until one does.
func (s *several) other() (other *running) {
	s.t.Helper()
	s.until("somebody owns journal 0", func(r *running) bool {
		owner, _, ok := r.cluster.Owner(0)
		if ok && owner.ID != r.cfg.ID {
			other = r
		}
		return ok
	})
	if other == nil {
		s.t.Fatal("every broker owns journal 0")
	}
	return other
}

// TestAnyBrokerDoesTheControllersWork has a client that knows a single broker, which is not the controller, make and change topics, and become a
// producer.
func TestAnyBrokerDoesTheControllersWork(t *testing.T) {
	t.Parallel()
	s := startSeveral(t, 3)
	ctx := within(t, 60*time.Second)
	other := s.other()
	request := func(req kmsg.Request) kmsg.Response {
		t.Helper()
		c := other.client(t)
		resp, err := c.Broker(int(other.cfg.ID)).Request(ctx, req) // to this one, whoever the controller is
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: "events", NumPartitions: 6, ReplicationFactor: 3}}
	if err := kerr.ErrorForCode(request(create).(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode); err != nil {
		t.Fatal(err)
	}
	// The broker that was asked knows it at once.
	topic, ok := other.cluster.State().Topic("events")
	if !ok || len(topic.Journals) != 6 {
		t.Fatalf("%+v", topic)
	}
	for journal := range uint32(3) {
		if n := len(slices.DeleteFunc(slices.Clone(topic.Journals), func(j uint32) bool { return j != journal })); n != 2 {
			t.Errorf("journal %d has %d of 6 partitions", journal, n)
		}
	}
	if err := kerr.ErrorForCode(request(create).(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode); !errors.Is(err, kerr.TopicAlreadyExists) {
		t.Errorf("made twice: %v", err)
	}
	alter := kmsg.NewPtrIncrementalAlterConfigsRequest()
	alter.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{
		ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "events",
		Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "max.message.bytes", Value: kmsg.StringPtr("1000")}},
	}}
	if err := kerr.ErrorForCode(request(alter).(*kmsg.IncrementalAlterConfigsResponse).Resources[0].ErrorCode); err != nil {
		t.Error(err)
	}
	ids := map[int64]bool{}
	for range 5 {
		resp := request(kmsg.NewPtrInitProducerIDRequest()).(*kmsg.InitProducerIDResponse)
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil || ids[resp.ProducerID] {
			t.Errorf("producer id %d: %v", resp.ProducerID, err)
		}
		ids[resp.ProducerID] = true
	}
	named := kmsg.NewPtrMetadataRequest()
	named.Topics = []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr("automatic")}}
	named.AllowAutoTopicCreation = true
	if topic := request(named).(*kmsg.MetadataResponse).Topics[0]; topic.ErrorCode != 0 || len(topic.Partitions) != 4 {
		t.Errorf("%+v", topic)
	}
}

// TestMetadataNamesLeaders: every broker tells the same brokers, leaders, epochs and controller.
func TestMetadataNamesLeaders(t *testing.T) {
	t.Parallel()
	s := startSeveral(t, 3)
	ctx := within(t, 60*time.Second)
	if _, err := kadm.NewClient(s.client()).CreateTopic(ctx, 6, 1, nil, "events"); err != nil {
		t.Fatal(err)
	}
	for _, r := range s.all {
		if err := r.cluster.Refresh(ctx); err != nil {
			t.Fatal(err)
		}
	}
	var first []byte
	for id, r := range s.all {
		req := kmsg.NewPtrMetadataRequest()
		resp, err := req.RequestWith(ctx, r.client(t).Broker(int(id)))
		if err != nil {
			t.Fatal(err)
		}
		leaders := map[int32]int{}
		for _, p := range resp.Topics[0].Partitions {
			leaders[p.Leader]++
			if p.ErrorCode != 0 || p.LeaderEpoch < 0 {
				t.Errorf("broker %d: %+v", id, p)
			}
		}
		if len(leaders) != 3 || len(resp.Brokers) != 3 {
			t.Errorf("broker %d tells of leaders %v and brokers %+v", id, leaders, resp.Brokers)
		}
		if first == nil {
			first = resp.AppendTo(nil)
		} else if !bytes.Equal(first, resp.AppendTo(nil)) {
			t.Errorf("brokers tell different things: %+v", resp)
		}
	}
}

// audit is a producer that numbers its records, and what was told it of them.
type audit struct {
	t       *testing.T
	client  *kgo.Client
	pending sync.WaitGroup

	mu    sync.Mutex // guards what follows
	told  map[int]*kgo.Record
	wrong []error
}

const auditPartitions = 6

func newAudit(s *several) *audit {
	s.t.Helper()
	a := &audit{t: s.t, told: map[int]*kgo.Record{}}
	a.client = s.client(kgo.DefaultProduceTopic("audit"), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
		kgo.RecordRetries(1000), kgo.RequestRetries(100))
	if _, err := kadm.NewClient(a.client).CreateTopic(within(s.t, 30*time.Second), auditPartitions, 1, nil, "audit"); err != nil {
		s.t.Fatal(err)
	}
	return a
}

// send sends records from one number up to another, without waiting.
func (a *audit) send(ctx context.Context, from, to int) {
	for n := from; n < to; n++ {
		a.pending.Add(1)
		a.client.Produce(ctx, &kgo.Record{Partition: int32(n % auditPartitions), Value: fmt.Append(nil, n)}, func(r *kgo.Record, err error) {
			defer a.pending.Done()
			a.mu.Lock()
			defer a.mu.Unlock()
			if err != nil {
				a.wrong = append(a.wrong, fmt.Errorf("record %d: %w", n, err))
				return
			}
			a.told[n] = r
		})
	}
}

// check waits for all acknowledgements and reads everything: each record must be there once, at the offset that was told, in order.
func (a *audit) check(ctx context.Context, consumer *kgo.Client, sent int) {
	a.t.Helper()
	a.pending.Wait()
	for _, err := range a.wrong {
		a.t.Error(err)
	}
	last := map[int32]int{}
	seen := map[int]bool{}
	for _, r := range consume(a.t, ctx, consumer, sent) {
		var n int
		if _, err := fmt.Sscan(string(r.Value), &n); err != nil {
			a.t.Fatal(err)
		}
		if told := a.told[n]; told == nil || told.Offset != r.Offset || told.Partition != r.Partition || seen[n] {
			a.t.Fatalf("record %d at %d/%d, seen %v; told: %+v", n, r.Partition, r.Offset, seen[n], told)
		}
		if before, ok := last[r.Partition]; ok && n <= before {
			a.t.Fatalf("partition %d: record %d comes after %d", r.Partition, n, before)
		}
		last[r.Partition], seen[n] = n, true
	}
	if len(seen) != sent {
		a.t.Errorf("%d of %d records are there", len(seen), sent)
	}
}

// TestRollingRestart restarts three brokers one after the other under an idempotent producer and a consumer group: every record is acknowledged and
// there once, and the group gets all, between the restarts and with records of each.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	s := startSeveral(t, 3)
	ctx := within(t, 90*time.Second)
	a := newAudit(s)
	group := s.client(kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("audit"), kgo.HeartbeatInterval(200*time.Millisecond))
	const each = 300
	sent := 0
	got := map[string]bool{}
	for id := int32(1); id <= 3; id++ {
		a.send(ctx, sent, sent+each)
		begun := time.Now()
		s.end(id)
		if took := time.Since(begun); took > time.Second {
			t.Errorf("broker %d took %v to stop", id, took)
		}
		a.send(ctx, sent+each, sent+2*each)
		sent += 2 * each
		s.start(id, 3)
		s.spread(3)
		for len(got) < sent {
			fetches := group.PollFetches(ctx) // which also tells of coordinators that have gone, and goes on
			if ctx.Err() != nil {
				t.Fatalf("the group has %d of %d records: %v", len(got), sent, fetches.Err0())
			}
			fetches.EachRecord(func(r *kgo.Record) { got[string(r.Value)] = true })
		}
	}
	a.check(ctx, s.client(kgo.ConsumeTopics("audit")), sent)
}

// TestLeaseServiceWiped: a cluster whose lease service has lost everything goes on with all it had.
func TestLeaseServiceWiped(t *testing.T) {
	t.Parallel()
	s := startShortLeased(t, 3)
	ctx := within(t, 90*time.Second)
	a := newAudit(s)
	a.send(ctx, 0, 300)
	a.pending.Wait()
	before := s.other().cluster.State()
	epochs := map[uint32]int32{}
	for number := range uint32(3) {
		_, epochs[number], _ = s.other().cluster.Owner(number)
	}
	s.leases.Wipe()
	a.send(ctx, 300, 600)
	s.until("every journal was taken over", func(r *running) bool {
		for number, epoch := range epochs {
			if _, now, ok := r.cluster.Owner(number); !ok || now <= epoch {
				return false
			}
		}
		return true
	})
	s.spread(3)
	after := s.other().cluster.State()
	if after.Cluster() != before.Cluster() || len(after.Topics()) != len(before.Topics()) {
		t.Errorf("%+v has become %+v", before.Cluster(), after.Cluster())
	}
	a.check(ctx, s.client(kgo.ConsumeTopics("audit")), 600)
}

// TestLeaseServiceAway: brokers that have lost the lease service stop answering what might be stale, and come back with it.
func TestLeaseServiceAway(t *testing.T) {
	t.Parallel()
	s := startShortLeased(t, 2)
	ctx := within(t, 90*time.Second)
	a := newAudit(s)
	a.send(ctx, 0, 100)
	a.pending.Wait()
	s.leases.SetAway(true)
	s.until("nobody owns anything", func(r *running) bool {
		_, _, zero := r.cluster.Owner(0)
		_, _, one := r.cluster.Owner(1)
		return !zero && !one && r.Serving() != nil
	})
	for id, r := range s.all {
		req := kmsg.NewPtrMetadataRequest()
		resp, err := req.RequestWith(ctx, r.client(t).Broker(int(id)))
		if err != nil {
			t.Fatal(err)
		}
		if len(resp.Brokers) != 2 {
			t.Errorf("broker %d has forgotten the other one: %+v", id, resp.Brokers)
		}
		for _, p := range resp.Topics[0].Partitions {
			if p.Leader != -1 || p.ErrorCode != kerr.LeaderNotAvailable.Code {
				t.Errorf("broker %d names leader %d, code %d", id, p.Leader, p.ErrorCode)
			}
		}
	}
	a.send(ctx, 100, 200)
	s.leases.SetAway(false)
	s.spread(2)
	s.until("all serve", func(r *running) bool { return r.Serving() == nil })
	a.check(ctx, s.client(kgo.ConsumeTopics("audit")), 200)
}

// TestJournalsGrow gives a cluster of one journal more by starting its brokers with a larger number: new topics are spread, old ones stay.
func TestJournalsGrow(t *testing.T) {
	t.Parallel()
	s := startSeveral(t, 1)
	ctx := within(t, 60*time.Second)
	if _, err := kadm.NewClient(s.client()).CreateTopic(ctx, 4, 1, nil, "old"); err != nil {
		t.Fatal(err)
	}
	s.end(1)
	s.start(1, 3)
	s.start(2, 3)
	s.until("there are three journals, with owners", func(r *running) bool {
		for number := range uint32(3) {
			if _, _, ok := r.cluster.Owner(number); !ok {
				return false
			}
		}
		return r.cluster.State().Cluster().Journals == 3
	})
	if _, err := kadm.NewClient(s.client()).CreateTopic(ctx, 6, 1, nil, "new"); err != nil {
		t.Fatal(err)
	}
	r := s.all[2]
	if err := r.cluster.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	old, _ := r.cluster.State().Topic("old")
	grown, _ := r.cluster.State().Topic("new")
	if slices.Max(old.Journals) != 0 || slices.Max(grown.Journals) != 2 {
		t.Errorf("the old topic lies on journals %v, the new one on %v", old.Journals, grown.Journals)
	}
	c := s.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for partition := range int32(6) {
		if err := c.ProduceSync(ctx, &kgo.Record{Topic: "new", Partition: partition, Value: []byte("x")}).FirstErr(); err != nil {
			t.Errorf("partition %d: %v", partition, err)
		}
	}
}

// TestTopicsAreDeletedEverywhere deletes topics that lie on several journals, through any broker, also when a broker goes in the middle.
func TestTopicsAreDeletedEverywhere(t *testing.T) {
	t.Parallel()
	s := startSeveral(t, 3)
	ctx := within(t, 60*time.Second)
	var ids []kadm.TopicID
	for life := range 3 {
		c := s.client(kgo.RecordPartitioner(kgo.ManualPartitioner())) // a producer does not forget the topic's id
		admin := kadm.NewClient(c)
		created, err := admin.CreateTopic(ctx, 6, 1, nil, "events")
		if err != nil {
			t.Fatalf("life %d: %v", life, err)
		}
		ids = append(ids, created.ID)
		for partition := range int32(5) { // the sixth never has a record
			if err := c.ProduceSync(ctx, &kgo.Record{Topic: "events", Partition: partition, Value: fmt.Append(nil, life)}).FirstErr(); err != nil {
				t.Fatalf("life %d: %v", life, err)
			}
		}
		if life == 2 {
			s.end(s.other().cfg.ID)
		}
		if _, err := admin.DeleteTopic(ctx, "events"); err != nil {
			t.Fatalf("life %d: %v", life, err)
		}
	}
	s.until("the topic is gone", func(r *running) bool { _, ok := r.cluster.State().Topic("events"); return !ok })
	slices.SortFunc(ids, func(a, b kadm.TopicID) int { return bytes.Compare(a[:], b[:]) })
	if len(slices.Compact(ids)) != 3 {
		t.Errorf("topic ids %v", ids)
	}
}

// TestDuplicatesAfterAFailover: a batch that was acknowledged and is sent again to the partition's next leader is answered with its first offset, one that
// leaves a gap is refused, and the next one goes on.
func TestDuplicatesAfterAFailover(t *testing.T) {
	t.Parallel()
	s := startSeveral(t, 3)
	ctx := within(t, 60*time.Second)
	if _, err := kadm.NewClient(s.client()).CreateTopic(ctx, 3, 1, nil, "events"); err != nil {
		t.Fatal(err)
	}
	leader := func() int32 {
		owner := int32(-1)
		s.until("partition 0 has a leader", func(r *running) bool {
			topic, ok := r.cluster.State().Topic("events")
			if !ok {
				return false
			}
			b, _, ok := r.cluster.Owner(topic.Journals[0])
			owner = b.ID
			return ok && s.all[owner] != nil
		})
		return owner
	}
	send := func(sequence int32) (int64, error) {
		t.Helper()
		builder := record.Builder{Producer: &record.Producer{ID: 77, Epoch: 3, Sequence: sequence}}
		builder.Add(1_700_000_000_000, nil, fmt.Append(nil, sequence))
		records, err := builder.AppendTo(nil)
		if err != nil {
			t.Fatal(err)
		}
		req := kmsg.NewPtrProduceRequest()
		req.SetVersion(9)
		req.Acks = -1
		req.Topics = []kmsg.ProduceRequestTopic{{Topic: "events", Partitions: []kmsg.ProduceRequestTopicPartition{{Records: records}}}}
		id := leader()
		resp, err := req.RequestWith(ctx, s.all[id].client(t, kgo.MaxVersions(kversion.V3_0_0())).Broker(int(id)))
		if err != nil {
			t.Fatal(err)
		}
		p := resp.Topics[0].Partitions[0]
		return p.BaseOffset, kerr.ErrorForCode(p.ErrorCode)
	}
	for sequence := range int32(8) {
		if base, err := send(sequence); err != nil || base != int64(sequence) {
			t.Fatalf("batch %d is at %d: %v", sequence, base, err)
		}
	}
	s.end(leader())
	for sequence := int32(3); sequence < 8; sequence++ { // the last five are remembered, as Kafka does
		if base, err := send(sequence); err != nil || base != int64(sequence) {
			t.Errorf("batch %d again is at %d: %v", sequence, base, err)
		}
	}
	if _, err := send(9); !errors.Is(err, kerr.OutOfOrderSequenceNumber) {
		t.Errorf("a batch that leaves a gap: %v", err)
	}
	if base, err := send(8); err != nil || base != 8 {
		t.Errorf("the next batch is at %d: %v", base, err)
	}
}
