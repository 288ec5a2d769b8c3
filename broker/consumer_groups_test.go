package broker

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firn-io/firn/broker/group"
	"github.com/firn-io/firn/kfs/blob"
)

// quickGroups lets groups of the consumer protocol settle within a moment. Sessions last as long as by default: a machine that stands still for
// a few seconds is no reason to take a member for dead, as which it would rightly read again what it has not committed.
func quickGroups(c *Config) {
	c.Partitions = 8
	c.Groups = group.Config{Interval: 50 * time.Millisecond}
}

// readers are members of the group "readers" that read and commit until they are told to leave.
type readers struct {
	t       *testing.T
	ctx     context.Context
	reading context.Context // within ctx
	join    func(opts ...kgo.Opt) *kgo.Client

	members sync.WaitGroup
	mu      sync.Mutex // guards read
	read    map[string]int
}

func (r *readers) begin(opts ...kgo.Opt) (leave func()) {
	ctx, cancel := context.WithCancel(r.reading)
	gone := make(chan struct{})
	c := r.join(opts...)
	r.members.Go(func() {
		defer close(gone)
		defer c.CloseAllowingRebalance()
		for ctx.Err() == nil {
			fetches := c.PollRecords(ctx, 20)
			r.mu.Lock()
			for v, n := range values(fetches.Records()) {
				r.read[v] += n
			}
			r.mu.Unlock()
			if err := c.CommitRecords(r.ctx, fetches.Records()...); err != nil { // also of one that leaves
				r.t.Errorf("commit: %v", err)
			}
			c.AllowRebalance()
		}
	})
	return func() { cancel(); <-gone }
}

// await waits until n different records have been read.
func (r *readers) await(n int) {
	r.t.Helper()
	for {
		r.mu.Lock()
		read := len(r.read)
		r.mu.Unlock()
		if read == n {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-r.ctx.Done():
			r.t.Fatalf("%d records of %d were read", read, n)
		}
	}
}

// awaitShare waits until the group is stable with n members that have all of the partitions, each its part.
func awaitShare(t *testing.T, ctx context.Context, admin *kadm.Client, n, partitions int) {
	t.Helper()
	for {
		groups, err := admin.DescribeConsumerGroups(ctx, "readers")
		g := groups["readers"]
		parts, busy := 0, 0
		for _, m := range g.Members {
			has := 0
			for _, p := range m.Assignment {
				has += len(p)
			}
			if parts += has; has > 0 {
				busy++
			}
		}
		if err == nil && g.State == "Stable" && len(g.Members) == n && parts == partitions && busy == n {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("it does not come to %d members and %d partitions: %+v, %v", n, partitions, g, err)
		}
	}
}

// TestConsumersShareATopic: members of the consumer protocol that come and go share the partitions, also those that are added, and
// read every record once.
func TestConsumersShareATopic(t *testing.T) {
	t.Parallel()
	for name, balancer := range map[string]kgo.GroupBalancer{"uniform": kgo.CooperativeStickyBalancer(), "range": kgo.RangeBalancer()} {
		t.Run(name, func(t *testing.T) {
			r := start(t, blob.NewMemory(time.Now), quickGroups)
			ctx := within(t, 60*time.Second)
			produceTo(t, ctx, r, "events", 0, 500)
			admin := kadm.NewClient(r.client(t))
			reading, stop := context.WithCancel(ctx)
			group := &readers{t: t, ctx: ctx, reading: reading, read: map[string]int{}, join: func(opts ...kgo.Opt) *kgo.Client {
				return r.client(t, inGroup(append(opts, kgo.ServerSideBalancer(), kgo.BlockRebalanceOnPoll(), kgo.Balancers(balancer))...)...)
			}}
			first := group.begin()
			awaitShare(t, ctx, admin, 1, 8)
			group.begin(kgo.InstanceID("static"))
			group.begin()
			awaitShare(t, ctx, admin, 3, 8)
			first()
			awaitShare(t, ctx, admin, 2, 8)
			if _, err := admin.CreatePartitions(ctx, 4, "events"); err != nil {
				t.Fatal(err)
			}
			awaitShare(t, ctx, admin, 2, 12)
			produceTo(t, ctx, r, "events", 500, 500)
			group.await(1000)
			if described, err := admin.DescribeGroups(ctx, "readers"); err == nil && described["readers"].Err == nil {
				t.Errorf("DescribeGroups of a consumer group: %+v", described)
			}
			listed, err := admin.ListGroups(ctx)
			if g := listed["readers"]; err != nil || g.ProtocolType != "consumer" || g.State != "Stable" {
				t.Errorf("listed as %+v, %v", listed, err)
			}
			stop()
			group.members.Wait()
			for v, n := range group.read {
				if n != 1 {
					t.Errorf("%s was read %d times", v, n)
				}
			}
		})
	}
}

// TestConsumersOutliveTheirCoordinator: members are not durable, and join again when the broker has been started anew; what they have
// committed is read once.
func TestConsumersOutliveTheirCoordinator(t *testing.T) {
	store := blob.NewMemory(time.Now)
	ctx := within(t, 60*time.Second)
	r := start(t, store, quickGroups)
	at := r.Addr().String()
	produceTo(t, ctx, r, "events", 0, 100)
	c := r.client(t, inGroup(kgo.ServerSideBalancer())...)
	records := consume(t, ctx, c, 100)
	if err := c.CommitRecords(ctx, records...); err != nil {
		t.Fatal(err)
	}
	r.end(t)
	r = start(t, store, func(c *Config) { quickGroups(c); c.Listen = at })
	produceTo(t, ctx, r, "events", 100, 100)
	for v, n := range values(consume(t, ctx, c, 100)) {
		if i := 0; n != 1 || len(v) == 0 {
			t.Errorf("%q was read %d times", v, n)
		} else if _, err := fmt.Sscan(v, &i); err != nil || i < 100 {
			t.Errorf("%q was read after it was committed", v)
		}
	}
	admin := kadm.NewClient(r.client(t))
	awaitShare(t, ctx, admin, 1, 8)
	if deleted, err := admin.DeleteGroups(ctx, "readers"); err != nil || deleted["readers"].Err != kerr.NonEmptyGroup {
		t.Errorf("a group with members is deleted: %+v, %v", deleted, err)
	}
}
