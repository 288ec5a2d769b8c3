package broker

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firn-io/firn/broker/health"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/blobtest"
)

// TestStoreGoesAway: while the store fails, producers are told so at once and what is in memory is read on; when it is back everything goes on,
// and nothing is lost or twice.
func TestStoreGoesAway(t *testing.T) {
	t.Parallel()
	var away atomic.Bool
	store := blobtest.NewFault(blob.NewMemory(time.Now), func(blobtest.Op) blobtest.Action {
		if away.Load() {
			return blobtest.FailBefore
		}
		return blobtest.Pass
	})
	registry := prometheus.NewRegistry()
	r := start(t, store, func(c *Config) { c.Metrics = registry })
	ctx := within(t, 60*time.Second)
	manual := kgo.RecordPartitioner(kgo.ManualPartitioner())
	producer := r.client(t, manual, kgo.RecordRetries(1000), kgo.RequestRetries(1000))
	if err := producer.ProduceSync(ctx, &kgo.Record{Topic: "events", Value: []byte("0")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	away.Store(true)
	waiting := make(chan error, 1)
	producer.Produce(ctx, &kgo.Record{Topic: "events", Value: []byte("1")}, func(_ *kgo.Record, err error) { waiting <- err })
	until(t, "the store is unavailable", func() bool { return r.StoreReady() != nil && r.StoreState() == "unavailable" })
	until(t, "the journal knows", func() bool {
		impatient := r.client(t, manual, kgo.RecordRetries(0), kgo.DisableIdempotentWrite())
		begun := time.Now()
		err := impatient.ProduceSync(ctx, &kgo.Record{Topic: "events", Partition: 1, Value: []byte("refused")}).FirstErr()
		if !errors.Is(err, kerr.RequestTimedOut) && !errors.Is(err, kgo.ErrRecordRetries) {
			t.Fatalf("produced to an unavailable store: %v", err)
		}
		return time.Since(begun) < time.Second
	})
	if got := consume(t, ctx, r.client(t, kgo.ConsumeTopics("events")), 1); string(got[0].Value) != "0" {
		t.Errorf("read %q", got[0].Value)
	}
	if n := gauge(t, registry, "firn_store_state", "unavailable"); n != 1 {
		t.Errorf("the metric of the state is %v", n)
	}
	away.Store(false)
	if err := <-waiting; err != nil {
		t.Errorf("a producer that waited: %v", err)
	}
	if err := producer.ProduceSync(ctx, &kgo.Record{Topic: "events", Value: []byte("2")}).FirstErr(); err != nil {
		t.Error(err)
	}
	found := map[int64]string{}
	first := kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"events": {0: kgo.NewOffset().AtStart()}})
	for _, record := range consume(t, ctx, r.client(t, first), 3) {
		found[record.Offset] = string(record.Value)
	}
	if fmt.Sprint(found) != "map[0:0 1:1 2:2]" {
		t.Errorf("records %v", found)
	}
	if r.StoreReady() != nil {
		t.Errorf("the store is back: %v", r.StoreReady())
	}
}

// until tries again until something is so.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(30 * time.Second)
	defer late.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatal("not in time: " + what)
		}
	}
}

// gauge is a metric's value for a state.
func gauge(t *testing.T, r prometheus.Gatherer, name, state string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == state {
				return m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("no metric %s for %s", name, state)
	return 0
}

func TestThrottle(t *testing.T) {
	requests := NewBudget(1000)
	for _, c := range []struct {
		state health.State
		used  int64
		want  time.Duration
	}{
		{health.Healthy, 1000, 0}, {health.Unavailable, 1000, 0},
		{health.Degraded, 0, 100 * time.Millisecond}, {health.Degraded, 500, 600 * time.Millisecond}, {health.Degraded, 1000, time.Second},
	} {
		lease := requests.Lease()
		if err := lease.Reserve(t.Context(), c.used); err != nil {
			t.Fatal(err)
		}
		if got := throttle(c.state, requests); got != c.want {
			t.Errorf("%v with %d of 1000 bytes in use: %v, want %v", c.state, c.used, got, c.want)
		}
		lease.Release()
	}
}
