package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/blobtest"
)

// produceTo sends n records to a topic and gives their values.
func produceTo(t *testing.T, ctx context.Context, r *running, topic string, from, n int) {
	t.Helper()
	var records []*kgo.Record
	for i := from; i < from+n; i++ {
		records = append(records, &kgo.Record{Topic: topic, Key: fmt.Append(nil, i), Value: fmt.Append(nil, i)})
	}
	if err := r.client(t).ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// inGroup makes a client a member of group "readers".
func inGroup(more ...kgo.Opt) []kgo.Opt {
	return append([]kgo.Opt{
		kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("events"), kgo.DisableAutoCommit(), kgo.HeartbeatInterval(50 * time.Millisecond),
		kgo.FetchMaxWait(100 * time.Millisecond), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	}, more...)
}

// values gives the values of records.
func values(records []*kgo.Record) map[string]int {
	got := map[string]int{}
	for _, r := range records {
		got[string(r.Value)]++
	}
	return got
}

// TestGroupGoesOnWhereItCommitted: a member that comes after another reads what that one had not committed, also where the broker was
// started anew in between.
func TestGroupGoesOnWhereItCommitted(t *testing.T) {
	t.Parallel()
	store := blob.NewMemory(time.Now)
	ctx := within(t, 60*time.Second)
	for life := range 3 {
		r := start(t, store, nil)
		for half := range 2 {
			produceTo(t, ctx, r, "events", (2*life+half)*100, 100)
			c := r.client(t, inGroup()...)
			records := consume(t, ctx, c, 100)
			if err := c.CommitRecords(ctx, records...); err != nil {
				t.Fatal(err)
			}
			c.CloseAllowingRebalance()
			got := values(records)
			for i := range 100 {
				if v := fmt.Sprint((2*life+half)*100 + i); got[v] != 1 {
					t.Errorf("life %d: %q was read %d times", life, v, got[v])
				}
			}
			if len(records) != 100 {
				t.Errorf("life %d: %d records", life, len(records))
			}
		}
		r.end(t)
	}
}

// TestMembersShareATopic: members that come and go share the partitions, and together read everything.
func TestMembersShareATopic(t *testing.T) {
	t.Parallel()
	for name, balancer := range map[string]kgo.GroupBalancer{"eager": kgo.RangeBalancer(), "cooperative": kgo.CooperativeStickyBalancer()} {
		t.Run(name, func(t *testing.T) {
			r := start(t, blob.NewMemory(time.Now), func(c *Config) { c.Partitions = 8 })
			ctx := within(t, 60*time.Second)
			produceTo(t, ctx, r, "events", 0, 1000)
			admin := kadm.NewClient(r.client(t))
			var mu sync.Mutex
			read := map[string]int{}
			var members sync.WaitGroup
			reading, stop := context.WithCancel(ctx)
			join := func(id string) (leave func()) {
				ctx, cancel := context.WithCancel(reading)
				gone := make(chan struct{})
				c := r.client(t, inGroup(kgo.Balancers(balancer), kgo.InstanceID(id))...)
				members.Go(func() {
					defer close(gone)
					defer c.Close()
					for ctx.Err() == nil {
						fetches := c.PollRecords(ctx, 20)
						mu.Lock()
						for v, n := range values(fetches.Records()) {
							read[v] += n
						}
						mu.Unlock()
						if err := c.CommitRecords(ctx, fetches.Records()...); err != nil && ctx.Err() == nil && !errors.Is(err, kerr.RebalanceInProgress) &&
							!errors.Is(err, kerr.IllegalGeneration) {
							t.Errorf("%s: %v", id, err)
						}
					}
				})
				return func() { cancel(); <-gone }
			}
			for i := range 3 {
				join(fmt.Sprint("member-", i))
			}
			shared := func(n int) {
				t.Helper()
				for {
					groups, err := admin.DescribeGroups(ctx, "readers")
					if err != nil {
						t.Fatal(err)
					}
					g := groups["readers"]
					parts := 0
					busy := 0
					for _, m := range g.Members {
						if a, ok := m.Assigned.AsConsumer(); ok && len(a.Topics) > 0 {
							parts += len(a.Topics[0].Partitions)
							busy++
						}
					}
					if g.State == "Stable" && len(g.Members) == n && parts == 8 && busy == n {
						return
					}
					select {
					case <-time.After(20 * time.Millisecond):
					case <-ctx.Done():
						t.Fatalf("it does not come to %d members: %+v", n, g)
					}
				}
			}
			shared(3)
			leave := join("member-3")
			shared(4)
			leave() // a static member that goes does not say so: a tool does
			if left, err := admin.LeaveGroup(ctx, kadm.LeaveGroup("readers").Reason("test").InstanceIDs("member-3")); err != nil || !left.Ok() {
				t.Fatalf("%+v, %v", left, err)
			}
			shared(3)
			for {
				mu.Lock()
				n := len(read)
				mu.Unlock()
				if n == 1000 {
					break
				}
				select {
				case <-time.After(20 * time.Millisecond):
				case <-ctx.Done():
					t.Fatalf("%d records of 1000 were read", n)
				}
			}
			stop()
			members.Wait()
		})
	}
}

// TestGroupsThroughAnAdminClient: tools list, describe, move and delete groups and their offsets.
func TestGroupsThroughAnAdminClient(t *testing.T) {
	r := start(t, blob.NewMemory(time.Now), nil)
	ctx := within(t, 60*time.Second)
	produceTo(t, ctx, r, "events", 0, 100)
	admin := kadm.NewClient(r.client(t))
	c := r.client(t, inGroup()...)
	if err := c.CommitRecords(ctx, consume(t, ctx, c, 100)...); err != nil {
		t.Fatal(err)
	}
	lags, err := admin.Lag(ctx, "readers")
	if err != nil || lags["readers"].Lag.Total() != 0 || lags["readers"].State != "Stable" {
		t.Errorf("%+v, %v", lags, err)
	}
	var moved kadm.Offsets
	moved.AddOffset("events", 0, 1, -1)
	if responses, err := admin.CommitOffsets(ctx, "readers", moved); err == nil && !errors.Is(responses.Error(), kerr.UnknownMemberID) {
		t.Errorf("a tool moves the offsets of a group with members: %v", responses.Error())
	}
	if deleted, err := admin.DeleteGroups(ctx, "readers"); err != nil || !errors.Is(deleted["readers"].Err, kerr.NonEmptyGroup) {
		t.Errorf("%+v, %v", deleted, err)
	}
	c.LeaveGroup()
	if err := admin.CommitAllOffsets(ctx, "readers", moved); err != nil {
		t.Error(err)
	}
	fetched, err := admin.FetchOffsets(ctx, "readers")
	if o, ok := fetched.Lookup("events", 0); err != nil || !ok || o.At != 1 {
		t.Errorf("%+v, %v", fetched, err)
	}
	if deleted, err := admin.DeleteOffsets(ctx, "readers", moved.TopicsSet()); err != nil || deleted.Error() != nil {
		t.Errorf("%+v, %v", deleted, err)
	}
	listed, err := admin.ListGroups(ctx)
	if err != nil || len(listed) != 1 || listed["readers"].State != "Empty" || listed["readers"].ProtocolType != "consumer" {
		t.Errorf("%+v, %v", listed, err)
	}
	if deleted, err := admin.DeleteGroups(ctx, "readers"); err != nil || deleted["readers"].Err != nil {
		t.Errorf("%+v, %v", deleted, err)
	}
	if listed, err := admin.ListGroups(ctx); err != nil || len(listed) != 0 {
		t.Errorf("%+v, %v", listed, err)
	}
}

// TestUnchangedOffsetsWriteNothing: committing again what is committed costs no request to the store.
func TestUnchangedOffsetsWriteNothing(t *testing.T) {
	trace := blobtest.NewTrace(blob.NewMemory(time.Now))
	r := start(t, trace, nil)
	ctx := within(t, 60*time.Second)
	produceTo(t, ctx, r, "events", 0, 100)
	c := r.client(t, inGroup()...)
	records := consume(t, ctx, c, 100)
	commit := func() int {
		t.Helper()
		before := trace.Count("PUT")
		if err := c.CommitRecords(ctx, records...); err != nil {
			t.Fatal(err)
		}
		return trace.Count("PUT") - before
	}
	if n := commit(); n != 1 {
		t.Errorf("a commit takes %d PUTs", n)
	}
	for range 10 {
		if n := commit(); n != 0 {
			t.Errorf("the same commit takes %d PUTs", n)
		}
	}
}
