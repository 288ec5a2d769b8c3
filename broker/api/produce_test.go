package api

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
)

// produceTo is a request with one partition.
func produceTo(topic string, partition int32, acks int16, records []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks = acks
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID = topic, [16]byte{1}
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, records
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

func TestProduceRefuses(t *testing.T) {
	good := batch(t, 0, "a", "b")
	two := append(bytes.Clone(good), good...)
	for name, test := range map[string]struct {
		version   int16
		topic     string
		partition int32
		acks      int16
		records   []byte
		want      *kerr.Error
	}{
		"unknown topic":      {9, "nobody", 0, -1, good, kerr.UnknownTopicOrPartition},
		"unknown partition":  {9, "events", 2, -1, good, kerr.UnknownTopicOrPartition},
		"negative partition": {9, "events", -1, -1, good, kerr.UnknownTopicOrPartition},
		"evil name":          {9, "../../evil", 0, -1, good, kerr.UnknownTopicOrPartition},
		"empty name":         {9, "", 0, -1, good, kerr.UnknownTopicOrPartition},
		"being deleted":      {9, "going", 0, -1, good, kerr.UnknownTopicOrPartition},
		"another's":          {9, "spread", 1, -1, good, kerr.NotLeaderForPartition},
		"acks":               {9, "events", 0, 2, good, kerr.InvalidRequiredAcks},
		"acks, unknown":      {9, "events", 2, 2, good, kerr.UnknownTopicOrPartition},
		"acks, zstd":         {6, "events", 0, 2, batch(t, record.Zstd, "a"), kerr.UnsupportedCompressionType},
		"acks, checksum":     {9, "events", 0, 2, with(good, len(good)-1, 1), kerr.InvalidRequiredAcks},
		"wrong checksum":     {9, "events", 0, -1, with(good, len(good)-1, 1), kerr.CorruptMessage},
		"truncated":          {9, "events", 0, -1, good[:len(good)-1], kerr.InvalidRecord},
		"no records":         {9, "events", 0, -1, nil, kerr.InvalidRecord},
		"a base offset":      {9, "events", 0, -1, with(good, 7, 1), kerr.InvalidRecord},
		"magic 0":            {2, "events", 0, -1, with(good, 16, 0), kerr.UnsupportedForMessageFormat},
		"magic 1":            {2, "events", 0, -1, with(good, 16, 1), kerr.UnsupportedForMessageFormat},
		"two batches":        {9, "events", 0, -1, two, kerr.InvalidRecord},
		"control batch":      {9, "events", 0, -1, withAttributes(good, 0x20), kerr.InvalidRecord},
		"transactional":      {9, "events", 0, -1, withAttributes(good, 0x10), kerr.TransactionalIDAuthorizationFailed},
		"unknown codec":      {9, "events", 0, -1, withAttributes(good, 5), kerr.UnsupportedCompressionType},
		"old client, zstd":   {6, "events", 0, -1, batch(t, record.Zstd, "a"), kerr.UnsupportedCompressionType},
		"too large":          {9, "small", 0, -1, batch(t, 0, strings.Repeat("x", 200)), kerr.MessageTooLarge},
		"unknown id":         {13, "", 0, -1, good, kerr.UnknownTopicID},
	} {
		t.Run(name, func(t *testing.T) {
			going := topic(3, "going", 1)
			f := newFake(t, topic(4, "events", 2), going, topic(5, "small", 1, kfs.Config{Key: "max.message.bytes", Value: "200"}),
				kfs.Topic{ID: kfs.TopicID{6}, Name: "spread", State: kfs.TopicLive, Journals: []uint32{0, 1}})
			going.State = kfs.TopicDeleting
			f.apply(t, going)
			resp := f.call(t, test.version, produceTo(test.topic, test.partition, test.acks, test.records)).(*kmsg.ProduceResponse)
			p := resp.Topics[0].Partitions[0]
			if p.ErrorCode != test.want.Code {
				t.Errorf("got %v, want %v", kerr.ErrorForCode(p.ErrorCode), test.want)
			}
			if p.BaseOffset != -1 {
				t.Errorf("base offset %d", p.BaseOffset)
			}
			if test.version >= 8 && (p.ErrorMessage == nil || *p.ErrorMessage == "") {
				t.Error("no message")
			}
			if len(f.appended) != 0 {
				t.Errorf("appended to %v", f.appended)
			}
		})
	}
}

func TestProduceNamesRecordsWithoutKey(t *testing.T) {
	b := record.Builder{Codec: record.LZ4}
	b.Add(1, []byte("k"), nil)
	b.Add(2, nil, []byte("v"))
	b.Add(3, nil, []byte("v"))
	keyless, err := b.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	f := newFake(t, topic(1, "tables", 1, kfs.Config{Key: "cleanup.policy", Value: "delete, compact"}))
	for _, version := range []int16{3, 7, 8, 13} {
		p := f.call(t, version, produceTo("tables", 0, -1, keyless)).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		if p.ErrorCode != kerr.InvalidRecord.Code || len(f.appended) != 0 {
			t.Errorf("version %d: got %v, %d appended", version, kerr.ErrorForCode(p.ErrorCode), len(f.appended))
		}
		var named []int32
		for _, r := range p.ErrorRecords {
			named = append(named, r.RelativeOffset)
			if r.ErrorMessage == nil || *r.ErrorMessage == "" {
				t.Errorf("version %d: record %d without a message", version, r.RelativeOffset)
			}
		}
		if version >= 8 && !slices.Equal(named, []int32{1, 2}) {
			t.Errorf("version %d names %v", version, named)
		}
	}
}

func TestProducePointsToTheLeader(t *testing.T) {
	f := newFake(t, kfs.Topic{ID: kfs.TopicID{6}, Name: "spread", State: kfs.TopicLive, Journals: []uint32{0, 1}})
	resp := f.call(t, 10, produceTo("spread", 1, -1, batch(t, 0, "a"))).(*kmsg.ProduceResponse)
	if l := resp.Topics[0].Partitions[0].CurrentLeader; l.LeaderID != 8 || l.LeaderEpoch != fakeEpoch {
		t.Errorf("leader %+v", l)
	}
	if len(resp.Brokers) != 1 || resp.Brokers[0].Host != "eight" || resp.Brokers[0].Port != 9093 {
		t.Errorf("brokers %+v", resp.Brokers)
	}
}

func TestProduceInEveryVersion(t *testing.T) {
	for version := int16(0); version <= 13; version++ {
		f := newFake(t, topic(1, "events", 1))
		for want := int64(0); want < 6; want += 2 {
			resp := f.call(t, version, produceTo("events", 0, 1, batch(t, record.Gzip, "a", "b"))).(*kmsg.ProduceResponse)
			if p := resp.Topics[0].Partitions[0]; p.ErrorCode != 0 || p.BaseOffset != want {
				t.Errorf("v%d: %+v, want base %d", version, p, want)
			}
		}
	}
}

func TestProduceLogAppendTime(t *testing.T) {
	f := newFake(t, topic(1, "events", 1, kfs.Config{Key: "message.timestamp.type", Value: "LogAppendTime"}), topic(2, "plain", 1))
	for name, want := range map[string]int64{"events": 1_800_000_000_000, "plain": -1} {
		resp := f.call(t, 9, produceTo(name, 0, -1, batch(t, 0, "a"))).(*kmsg.ProduceResponse)
		if got := resp.Topics[0].Partitions[0].LogAppendTime; got != want {
			t.Errorf("%s: %d", name, got)
		}
	}
}

// TestProduceEnqueuesInStart: appends happen in the order of the requests, before any of them is finished, and all partitions
// of a request that lie on one journal are one append.
func TestProduceEnqueuesInStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, topic(1, "events", 2), topic(2, "orders", 1))
		f.held = make(chan struct{})
		first := produceTo("events", 0, -1, batch(t, 0, "a"))
		first.Topics = append(first.Topics, produceTo("orders", 0, -1, batch(t, 0, "b")).Topics...)
		finishFirst := f.begin(t, 9, first)
		finishSecond := f.begin(t, 9, produceTo("events", 0, -1, batch(t, 0, "c")))
		if !slices.Equal(f.appended, []string{"events", "orders", "events"}) {
			t.Fatalf("appended %v", f.appended)
		}
		done := make(chan *kmsg.ProduceResponse)
		for _, finish := range []Finish{finishSecond, finishFirst} {
			go func() {
				resp, err := finish(t.Context())
				if err != nil {
					t.Error(err)
				}
				done <- resp.(*kmsg.ProduceResponse)
			}()
			synctest.Wait()
		}
		select {
		case <-done:
			t.Fatal("answered before it was durable")
		default:
		}
		close(f.held)
		for range 2 {
			resp := <-done
			if base := resp.Topics[0].Partitions[0].BaseOffset; base != int64(2-len(resp.Topics)) {
				t.Errorf("%d topics, base %d", len(resp.Topics), base)
			}
		}
	})
}

func TestProduceWithoutAcks(t *testing.T) {
	f := newFake(t, topic(1, "events", 1))
	resp, err := f.begin(t, 9, produceTo("events", 0, 0, batch(t, 0, "a")))(t.Context())
	if resp != nil || err != nil {
		t.Errorf("answered %v, %v", resp, err)
	}
	if len(f.appended) != 1 {
		t.Errorf("appended %v", f.appended)
	}
	resp, err = f.begin(t, 9, produceTo("events", 5, 0, batch(t, 0, "a")))(t.Context())
	if resp != nil || err == nil || !strings.Contains(err.Error(), "partition 5") {
		t.Errorf("with an error: answered %v, %v", resp, err)
	}
}

func TestProduceErrorsOfTheJournal(t *testing.T) {
	for _, test := range []struct {
		err  error
		want *kerr.Error
	}{
		{journal.ErrNotOwner, kerr.NotLeaderForPartition},
		{journal.ErrUnavailable, kerr.RequestTimedOut},
		{journal.ErrOutOfOrderSequence, kerr.OutOfOrderSequenceNumber},
		{journal.ErrProducerFenced, kerr.InvalidProducerEpoch},
		{journal.ErrUnknownPartition, kerr.UnknownTopicOrPartition},
		{bytes.ErrTooLarge, kerr.UnknownServerError},
	} {
		f := newFake(t, topic(1, "events", 1))
		f.failing = test.err
		resp := f.call(t, 9, produceTo("events", 0, 1, batch(t, 0, "a"))).(*kmsg.ProduceResponse)
		if p := resp.Topics[0].Partitions[0]; p.ErrorCode != test.want.Code || p.BaseOffset != -1 {
			t.Errorf("%v: %+v, want %v", test.err, p, test.want)
		}
	}
}

func TestRules(t *testing.T) {
	const now, max = 1_700_000_000_000, math.MaxInt64
	for _, test := range []struct {
		before, after int64
		want          record.Rules
	}{
		{max, max, record.Rules{}},
		{0, 0, record.Rules{Earliest: now, Latest: now}},
		{5, 7, record.Rules{Earliest: now - 5, Latest: now + 7}},
		{now - 1, max - now - 1, record.Rules{Earliest: 1, Latest: max - 1}},
		{now, max - now, record.Rules{}},
	} {
		s := metadata.Settings{OldestMillis: test.before, NewestMillis: test.after}
		if got := rules(&s, now); got != test.want {
			t.Errorf("before %d, after %d: %+v, want %+v", test.before, test.after, got, test.want)
		}
		s.LogAppendTime, s.Keys = true, true
		if got := rules(&s, now); got != (record.Rules{Keys: true}) {
			t.Errorf("with log append time: %+v", got)
		}
	}
}
