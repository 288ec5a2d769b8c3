package api

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
)

// fetchFrom asks for one partition of topic 1, "events".
func fetchFrom(partition int32, offset int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.MinBytes = 1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = "events", [16]byte{1}
	t.Partitions = append(t.Partitions, fetchPartition(partition, offset))
	req.Topics = append(req.Topics, t)
	return req
}

func fetchPartition(partition int32, offset int64) kmsg.FetchRequestTopicPartition {
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, offset, 1<<20
	return p
}

// fill appends batches to a partition of "events".
func (f *fake) fill(t *testing.T, partition int32, batches ...[]byte) {
	t.Helper()
	for _, b := range batches {
		for _, a := range f.Append([]journal.Batch{{Topic: kfs.TopicID{1}, Name: "events", Partition: partition, Records: b}}).Wait() {
			if a.Err != nil {
				t.Fatal(a.Err)
			}
		}
	}
}

// offsets are the base offsets of the batches in b.
func offsets(t *testing.T, b []byte) (bases []int64) {
	t.Helper()
	for one, err := range record.Batches(b) {
		if err != nil {
			t.Fatal(err)
		}
		h, _ := record.ParseHeader(one)
		bases = append(bases, h.BaseOffset)
	}
	return bases
}

func TestFetchInEveryVersion(t *testing.T) {
	f := newFake(t, topic(1, "events", 1))
	f.fill(t, 0, batch(t, 0, "a", "b"), batch(t, record.Snappy, "c", "d"))
	for version := int16(0); version <= 18; version++ {
		resp := f.call(t, version, fetchFrom(0, 1)).(*kmsg.FetchResponse)
		p := resp.Topics[0].Partitions[0]
		if version < 4 {
			if p.ErrorCode != kerr.UnsupportedVersion.Code {
				t.Errorf("v%d: %+v", version, p)
			}
			continue
		}
		if got := offsets(t, p.RecordBatches); p.ErrorCode != 0 || len(got) != 2 || got[0] != 0 || got[1] != 2 {
			t.Errorf("v%d: error %d, batches %v", version, p.ErrorCode, got)
		}
		if p.HighWatermark != 4 || p.LastStableOffset != 4 || resp.SessionID != 0 {
			t.Errorf("v%d: %+v", version, p)
		}
	}
}

func TestFetchRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		version int16
		change  func(*kmsg.FetchRequest, *kmsg.FetchRequestTopicPartition)
		want    *kerr.Error
	}{
		"behind the end":    {12, func(_ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.FetchOffset = 5 }, kerr.OffsetOutOfRange},
		"before the start":  {12, func(_ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.FetchOffset = -1 }, kerr.OffsetOutOfRange},
		"unknown topic":     {12, func(r *kmsg.FetchRequest, _ *kmsg.FetchRequestTopicPartition) { r.Topics[0].Topic = "nobody" }, kerr.UnknownTopicOrPartition},
		"unknown id":        {13, func(r *kmsg.FetchRequest, _ *kmsg.FetchRequestTopicPartition) { r.Topics[0].TopicID = [16]byte{9} }, kerr.UnknownTopicID},
		"unknown partition": {12, func(_ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.Partition = 9 }, kerr.UnknownTopicOrPartition},
		"old epoch":         {12, func(_ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.CurrentLeaderEpoch = fakeEpoch - 1 }, kerr.FencedLeaderEpoch},
		"newer epoch":       {12, func(_ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.CurrentLeaderEpoch = fakeEpoch + 1 }, kerr.UnknownLeaderEpoch},
		"another's":         {12, func(_ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.Partition = 1 }, kerr.NotLeaderForPartition},
		"zstd, old client":  {9, func(r *kmsg.FetchRequest, _ *kmsg.FetchRequestTopicPartition) { r.Topics[0].Topic = "zstd" }, kerr.UnsupportedCompressionType},
	} {
		t.Run(name, func(t *testing.T) {
			zstd := topic(2, "zstd", 1, kfs.Config{Key: "compression.type", Value: "zstd"})
			f := newFake(t, kfs.Topic{ID: kfs.TopicID{1}, Name: "events", State: kfs.TopicLive, Journals: []uint32{0, 1}}, zstd)
			f.fill(t, 0, batch(t, 0, "a"), batch(t, 0, "b"))
			req := fetchFrom(0, 0)
			req.MaxWaitMillis = 1 << 30 // an error is told at once
			test.change(req, &req.Topics[0].Partitions[0])
			p := f.call(t, test.version, req).(*kmsg.FetchResponse).Topics[0].Partitions[0]
			if p.ErrorCode != test.want.Code || len(p.RecordBatches) != 0 || p.HighWatermark != -1 {
				t.Errorf("got %v, %+v, want %v", kerr.ErrorForCode(p.ErrorCode), p, test.want)
			}
		})
	}
}

// TestFetchZstdByAnOldVersion: the batch goes out as it is; clients that ask with old versions may well know zstd.
func TestFetchZstdByAnOldVersion(t *testing.T) {
	f := newFake(t, topic(1, "events", 1))
	f.fill(t, 0, batch(t, record.Zstd, "a"))
	p := f.call(t, 4, fetchFrom(0, 0)).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	if p.ErrorCode != 0 || len(p.RecordBatches) == 0 || p.HighWatermark != 1 {
		t.Errorf("got %v, %d bytes, high watermark %d", kerr.ErrorForCode(p.ErrorCode), len(p.RecordBatches), p.HighWatermark)
	}
}

// TestNothingIsAnsweredFromAPassedLease: what was read under a lease that has passed meanwhile may be stale.
func TestNothingIsAnsweredFromAPassedLease(t *testing.T) {
	f := newFake(t, topic(1, "events", 1))
	f.fill(t, 0, batch(t, 0, "a"))
	f.passed = journal.ErrNotOwner
	p := f.call(t, 12, fetchFrom(0, 0)).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	if p.ErrorCode != kerr.NotLeaderForPartition.Code || len(p.RecordBatches) > 0 || p.HighWatermark != -1 {
		t.Errorf("fetch: %+v", p)
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "events", Partitions: []kmsg.ListOffsetsRequestTopicPartition{{Timestamp: -1, CurrentLeaderEpoch: -1}}}}
	l := f.call(t, 7, req).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
	if l.ErrorCode != kerr.NotLeaderForPartition.Code || l.Offset != -1 {
		t.Errorf("list offsets: %+v", l)
	}
}

// TestFetchLimits: at least one batch, however large, and no more than the limits allow.
func TestFetchLimits(t *testing.T) {
	large := strings.Repeat("x", 1000)
	for name, test := range map[string]struct {
		maxBytes, partitionBytes int32
		want                     []int // batches per partition
	}{
		"all":                     {1 << 20, 1 << 20, []int{3, 3}},
		"one of one partition":    {1, 1 << 20, []int{1, 0}},
		"no limit that fits":      {0, 0, []int{1, 0}},
		"the first partition's":   {3300, 1 << 20, []int{3, 0}},
		"one batch per partition": {1 << 20, 1500, []int{1, 1}},
		"two and one":             {3400, 2500, []int{2, 1}},
		"only the first is large": {1 << 20, 500, []int{1, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, topic(1, "events", 2))
			for p := range int32(2) {
				f.fill(t, p, batch(t, 0, large), batch(t, 0, large), batch(t, 0, large))
			}
			req := fetchFrom(0, 0)
			req.Topics[0].Partitions = append(req.Topics[0].Partitions, fetchPartition(1, 0))
			req.MaxBytes = test.maxBytes
			for i := range req.Topics[0].Partitions {
				req.Topics[0].Partitions[i].PartitionMaxBytes = test.partitionBytes
			}
			resp := f.call(t, 12, req).(*kmsg.FetchResponse)
			for i, want := range test.want {
				if got := offsets(t, resp.Topics[0].Partitions[i].RecordBatches); len(got) != want {
					t.Errorf("partition %d: batches %v, want %d", i, got, want)
				}
			}
		})
	}
}

// TestFetchLimitsOfOthers: what a first batch takes beyond its partition's limit is not taken from the other partitions'.
func TestFetchLimitsOfOthers(t *testing.T) {
	large := strings.Repeat("x", 1000)
	for name, test := range map[string]struct {
		maxBytes int32
		want     []int // batches per partition
	}{
		"all":               {1 << 20, []int{1, 3}},
		"room for two more": {3400, []int{1, 2}},
		"room for none":     {1100, []int{1, 0}},
	} {
		f := newFake(t, topic(1, "events", 2))
		for p := range int32(2) {
			f.fill(t, p, batch(t, 0, large), batch(t, 0, large), batch(t, 0, large))
		}
		req := fetchFrom(0, 0)
		req.Topics[0].Partitions[0].PartitionMaxBytes = 0
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, fetchPartition(1, 0))
		req.MaxBytes = test.maxBytes
		resp := f.call(t, 12, req).(*kmsg.FetchResponse)
		for i, want := range test.want {
			if got := offsets(t, resp.Topics[0].Partitions[i].RecordBatches); len(got) != want {
				t.Errorf("%s: partition %d: batches %v, want %d", name, i, got, want)
			}
		}
	}
}

// poll runs a fetch and says when it was answered.
func (f *fake) poll(t *testing.T, ctx context.Context, req *kmsg.FetchRequest) <-chan *kmsg.FetchResponse {
	finish := f.begin(t, 12, req)
	done := make(chan *kmsg.FetchResponse, 1)
	go func() {
		resp, err := finish(ctx)
		if err != nil {
			t.Error(err)
		}
		done <- resp.(*kmsg.FetchResponse)
	}()
	synctest.Wait()
	return done
}

func TestFetchWaits(t *testing.T) {
	one := batch(t, 0, "a")
	size := int32(len(one))
	for name, test := range map[string]struct {
		minBytes, maxWait int32
		batches           int // appended a second apart
		want              time.Duration
		records           int
	}{
		"for the first batch":       {1, 10_000, 3, 1 * time.Second, 1},
		"for min bytes":             {3 * size, 10_000, 4, 3 * time.Second, 3},
		"until max wait":            {100 * size, 10_000, 2, 10 * time.Second, 2},
		"with nothing":              {1, 500, 0, 500 * time.Millisecond, 0},
		"not, without min bytes":    {0, 10_000, 1, 0, 0},
		"not, without max wait":     {1, 0, 1, 0, 0},
		"not for more than it gets": {1 << 30, 60_000, 10, 2 * time.Second, 2}, // the answer cannot be larger than max bytes
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, topic(1, "events", 2))
				req := fetchFrom(1, 0)
				req.MinBytes, req.MaxWaitMillis = test.minBytes, test.maxWait
				if name == "not for more than it gets" {
					req.MaxBytes = 2 * size
				}
				began := time.Now()
				done := f.poll(t, t.Context(), req)
				go func() {
					for range test.batches {
						time.Sleep(time.Second)
						f.fill(t, 0, one) // not asked for
						f.fill(t, 1, one)
					}
				}()
				resp := <-done
				if took := time.Since(began); took != test.want {
					t.Errorf("took %v, want %v", took, test.want)
				}
				if got := offsets(t, resp.Topics[0].Partitions[0].RecordBatches); len(got) != test.records {
					t.Errorf("batches %v, want %d", got, test.records)
				}
				if len(f.watches) != 0 {
					t.Error("still watching")
				}
				time.Sleep(time.Minute) // the fake clock's, for the appends
			})
		})
	}
}

// TestFetchIdles: a fetch that waits looks at nothing until something happens to its own partitions.
func TestFetchIdles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, topic(1, "events", 2))
		req := fetchFrom(1, 0)
		req.MaxWaitMillis = 3_600_000
		done := f.poll(t, t.Context(), req)
		before := f.looks
		for range 100 {
			time.Sleep(10 * time.Second)
			f.fill(t, 0, batch(t, 0, "not asked for"))
		}
		if f.looks != before {
			t.Errorf("looked %d times while idle", f.looks-before)
		}
		f.fill(t, 1, batch(t, 0, "x"))
		if resp := <-done; len(resp.Topics[0].Partitions[0].RecordBatches) == 0 {
			t.Error("answered without records")
		}
	})
}

func TestFetchOfATopicThatIsDeletedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, topic(1, "events", 1))
		f.fill(t, 0, batch(t, 0, "a"))
		req := fetchFrom(0, 1)
		req.MaxWaitMillis = 3_600_000
		done := f.poll(t, t.Context(), req)
		del := kmsg.NewPtrDeleteTopicsRequest()
		del.TopicNames = []string{"events"}
		f.call(t, 3, del)
		f.mu.Lock()
		id := kfs.PartitionID{Topic: kfs.TopicID{1}}
		delete(f.logs, id)
		f.wake(id)
		f.mu.Unlock()
		if p := (<-done).Topics[0].Partitions[0]; p.ErrorCode != kerr.UnknownTopicOrPartition.Code {
			t.Errorf("%+v", p)
		}
	})
}

func TestFetchEndsWithItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, topic(1, "events", 1))
		req := fetchFrom(0, 0)
		req.MaxWaitMillis = 3_600_000
		ctx, cancel := context.WithCancel(t.Context())
		done := f.poll(t, ctx, req)
		cancel()
		began := time.Now()
		<-done
		if time.Since(began) != 0 {
			t.Error("waited on")
		}
	})
}

// counted is memory that counts, with a limit.
type counted struct{ used, limit int64 }

func (c *counted) ReserveShare(_ context.Context, least, most int64) (int64, error) {
	n := max(least, min(most, c.limit-c.used))
	if c.used += n; c.used > c.limit {
		return 0, errors.New("no memory")
	}
	return n, nil
}

func TestFetchTakesMemoryForItsAnswer(t *testing.T) {
	f := newFake(t, topic(1, "events", 1))
	large := batch(t, 0, strings.Repeat("x", 20_000))
	f.fill(t, 0, large, large, large)
	a, _ := NewRegistry(f.backend.APIs()...).Lookup(1)
	earlier := make(chan struct{})
	close(earlier)
	size := int64(len(large))
	for _, test := range []struct{ maxBytes, partitionMaxBytes, want int64 }{
		{1 << 20, 1 << 20, 6 * size},
		{1 << 20, size + 1, 2 * (size + 1)}, // no more than the client takes of the partition
		{1, 1 << 20, 2 * (size - 1)},        // the first byte of a first batch is a small answer
	} {
		c := &counted{limit: 1 << 20}
		req := fetchFrom(0, 0)
		req.SetVersion(12)
		req.MaxBytes, req.Topics[0].Partitions[0].PartitionMaxBytes = int32(test.maxBytes), int32(test.partitionMaxBytes)
		if _, err := a.Start(t.Context(), &Request{Body: req, Earlier: earlier, Memory: c})(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c.used != test.want {
			t.Errorf("max bytes %d, %d of a partition: took %d bytes, want %d", test.maxBytes, test.partitionMaxBytes, c.used, test.want)
		}
	}
	req := fetchFrom(0, 0)
	req.SetVersion(12)
	if _, err := a.Start(t.Context(), &Request{Body: req, Earlier: earlier, Memory: &counted{limit: 10}})(t.Context()); err == nil {
		t.Error("answered without memory")
	}
}
