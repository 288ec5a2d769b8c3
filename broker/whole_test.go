package broker

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/blobtest"
	"github.com/firn-io/firn/kfs/lease"
)

var (
	wholeSeed  = flag.Uint64("whole.seed", 0, "run whole brokers with this seed only; what it does is drawn, not what comes of it")
	wholeSeeds = flag.Uint64("whole.seeds", 3, "with how many seeds whole brokers run")
)

// TestWholeBrokers runs three brokers as they are, with all their goroutines, and real producers, in a bubble with a clock of its own: no network, no
// disk, minutes in a second. Brokers stop and are cut off for good, the store fails and answers late, the lease service is away or loses everything. A seed
// decides what happens and when, but not in which order goroutines run: it cannot be replayed (../journal/brokers_test.go can).
func TestWholeBrokers(t *testing.T) {
	first, last := uint64(1), *wholeSeeds
	if *wholeSeed != 0 {
		first, last = *wholeSeed, *wholeSeed
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newWhole(t, seed).play() })
		})
	}
}

// whole is a cluster in a bubble.
type whole struct {
	t      *testing.T
	rng    *rand.Rand
	store  *blob.Memory
	leases *lease.Memory

	holdLimit time.Duration // of the brokers

	mu       sync.Mutex // guards what follows
	brokers  map[int32]*wholeBroker
	faults   *rand.Rand
	failing  bool // the store fails often
	harmless bool // nothing fails any more
	acked    map[place]string
}

// wholeBroker is one run of a broker.
type wholeBroker struct {
	network *network
	store   *blobtest.Fault
	stop    context.CancelFunc
	ended   chan error
	gone    bool // nothing reaches it, and it reaches nothing; whole.mu guards it
}

// place is where a record is.
type place struct {
	topic     string
	partition int32
	offset    int64
}

const (
	wholeBrokers = 3
	wholeTopics  = 2
	wholeRecords = 400 // of each producer
)

func newWhole(t *testing.T, seed uint64) *whole {
	return &whole{
		t: t, rng: rand.New(rand.NewPCG(seed, 4)), faults: rand.New(rand.NewPCG(seed, 5)), store: blob.NewMemory(time.Now), leases: lease.NewMemory(),
		brokers: map[int32]*wholeBroker{}, acked: map[place]string{},
	}
}

func (w *whole) play() {
	for id := int32(1); id <= wholeBrokers; id++ {
		w.begin(id)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	var clients, trouble sync.WaitGroup
	for n := range 2 * wholeTopics {
		clients.Go(func() { w.produce(ctx, n) })
	}
	trouble.Go(func() { w.trouble(ctx) })
	clients.Wait()
	cancel()
	trouble.Wait()
	w.mu.Lock()
	w.harmless = true
	w.mu.Unlock()
	w.leases.SetAway(false)
	w.audit()
	for _, b := range w.brokers {
		w.end(b, false)
	}
}

// begin starts a broker.
func (w *whole) begin(id int32) {
	b := &wholeBroker{network: newNetwork(), ended: make(chan error, 1)}
	b.store = blobtest.NewFault(w.store, func(op blobtest.Op) blobtest.Action { return w.fault(b, op) })
	broker, err := New(Config{
		ID: id, Store: b.store, Leases: w.leases.Service("firn/", 0), Listen: "127.0.0.1:0", Advertise: address(id), Journals: wholeBrokers,
		AutoCreate: true, Partitions: 2, History: History{SettleBytes: 2000, SettleAge: 10 * time.Second}, HoldLimit: w.holdLimit, dial: w.dial,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	broker.listener.Close() // it is outside of the bubble
	broker.listener = b.network
	ctx, cancel := context.WithCancel(context.Background())
	b.stop = cancel
	go func() { b.ended <- broker.Run(ctx) }()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.brokers[id] = b
}

// end ends a broker as an operator does, or as one who pulls the plug: then it can do nothing more.
func (w *whole) end(b *wholeBroker, plug bool) {
	if plug {
		w.mu.Lock()
		b.gone = true
		w.mu.Unlock()
		b.network.Close()
	}
	b.stop()
	if err := <-b.ended; err != nil && !plug {
		w.t.Errorf("a broker ends with %v", err)
	}
	b.store.Land()
}

func address(id int32) string { return fmt.Sprintf("broker%d:9092", id) }

// dial reaches a broker by its name.
func (w *whole) dial(ctx context.Context, network, address string) (net.Conn, error) {
	id, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(address, "broker"), ":9092"))
	refused := &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("%s: %w", address, syscall.ECONNREFUSED)}
	w.mu.Lock()
	b := w.brokers[int32(id)]
	gone := b == nil || b.gone
	w.mu.Unlock()
	if err != nil || gone {
		return nil, refused
	}
	client, server := net.Pipe()
	select {
	case b.network.conns <- server:
		return pipe{client}, nil
	case <-b.network.closed:
		return nil, refused
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// pipe is a connection in memory whose errors are those of TCP. It takes no time, so only clients that wait between two tries can use it: consumers of
// package kgo ask again at once while a partition has no leader, and no time would pass.
type pipe struct{ net.Conn }

func (p pipe) Write(b []byte) (int, error) {
	n, err := p.Conn.Write(b)
	if errors.Is(err, io.ErrClosedPipe) {
		err = &net.OpError{Op: "write", Net: "tcp", Err: syscall.ECONNRESET}
	}
	return n, err
}

// fault decides what becomes of an operation on the store.
func (w *whole) fault(b *wholeBroker, op blobtest.Op) blobtest.Action {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch n := w.faults.IntN(400); {
	case b.gone:
		return blobtest.FailBefore
	case w.harmless:
		return blobtest.Pass
	case w.failing && n < 200, n < 2:
		return blobtest.FailBefore
	case n < 4:
		return blobtest.FailAfter
	case n < 5:
		return blobtest.LoseAfter
	case n < 7 && op.Verb == blobtest.Put:
		return blobtest.FailLate
	}
	return blobtest.Pass
}

// trouble is what goes wrong, until ctx ends.
func (w *whole) trouble(ctx context.Context) {
	for ctx.Err() == nil {
		pause(ctx, time.Duration(w.rng.Int64N(int64(10*time.Second))))
		id := 1 + w.rng.Int32N(wholeBrokers)
		b := w.brokers[id]
		switch w.rng.IntN(7) {
		case 0, 1:
			w.end(b, false)
			w.begin(id)
		case 2:
			w.end(b, true)
			w.begin(id)
		case 3:
			w.leases.SetAway(true)
			pause(ctx, time.Duration(w.rng.Int64N(int64(8*time.Second))))
			w.leases.SetAway(false)
		case 4:
			w.leases.Wipe()
		case 5:
			w.fail(true)
			pause(ctx, time.Duration(w.rng.Int64N(int64(10*time.Second))))
			w.fail(false)
		case 6:
			b.store.Land()
		}
	}
}

func (w *whole) fail(failing bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failing = failing
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// client is a client that knows the names of all brokers.
func (w *whole) client(opts ...kgo.Opt) *kgo.Client {
	var seeds []string
	for id := int32(1); id <= wholeBrokers; id++ {
		seeds = append(seeds, address(id))
	}
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(seeds...), kgo.Dialer(w.dial), kgo.MetadataMinAge(100 * time.Millisecond)}, opts...)...)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// produce sends numbered records to one partition, idempotently, some at a time.
func (w *whole) produce(ctx context.Context, n int) {
	topic, partition := fmt.Sprint("topic", n%wholeTopics), int32(n/wholeTopics)
	c := w.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.AllowAutoTopicCreation(), kgo.ProducerLinger(20*time.Millisecond),
		kgo.UnknownTopicRetries(-1), kgo.MaxBufferedRecords(50))
	defer c.Close()
	for { // first of all: who else asked meanwhile would wait on a lock, and no time would pass in the bubble
		if _, _, err := c.ProducerID(ctx); err == nil {
			break
		}
		pause(ctx, time.Second)
	}
	for i := range wholeRecords {
		value := fmt.Sprintf("%d #%d", n, i)
		c.Produce(ctx, &kgo.Record{Topic: topic, Partition: partition, Value: []byte(value)}, func(r *kgo.Record, err error) {
			if err != nil {
				w.t.Errorf("%q: %v", value, err)
				return
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			at := place{topic, partition, r.Offset}
			if other, ok := w.acked[at]; ok {
				w.t.Errorf("%v is acknowledged for %q and for %q", at, other, value)
			}
			w.acked[at] = value
		})
		pause(ctx, time.Duration(n+1)*50*time.Millisecond)
	}
	if err := c.Flush(ctx); err != nil {
		w.t.Errorf("producer %d: %v", n, err)
	}
}

func (w *whole) topics() (topics []string) {
	for n := range wholeTopics {
		topics = append(topics, fmt.Sprint("topic", n))
	}
	return topics
}

// audit reads everything: what was acknowledged is there, once, in order.
func (w *whole) audit() {
	c := w.client(kgo.ConsumeTopics(w.topics()...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer c.Close()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Minute)
	defer cancel()
	next := map[string]int{}
	for left := len(w.acked); left > 0; {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err0(); errors.Is(err, context.DeadlineExceeded) {
			w.t.Fatalf("%d records that were acknowledged are not to be read", left)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			at, value := place{r.Topic, r.Partition, r.Offset}, string(r.Value)
			if want, ok := w.acked[at]; !ok || want != value {
				w.t.Errorf("%v holds %q, acknowledged was %q", at, value, want)
			}
			who, number, _ := strings.Cut(value, " #")
			if n, err := strconv.Atoi(number); err != nil || n != next[who] {
				w.t.Errorf("%v holds %q where #%d was expected", at, value, next[who])
			}
			next[who]++
			left--
		})
	}
	if len(w.acked) != 2*wholeTopics*wholeRecords {
		w.t.Errorf("%d records were acknowledged", len(w.acked))
	}
}
