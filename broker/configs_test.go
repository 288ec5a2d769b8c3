package broker

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/kfs/blob"
)

// TestAlteredConfigsAreInForceAtOnce alters configs by an admin client; the next record is judged by them, and so is one after a restart.
func TestAlteredConfigsAreInForceAtOnce(t *testing.T) {
	store := blob.NewMemory(time.Now)
	r := start(t, store, nil)
	ctx := within(t, 30*time.Second)
	client := r.client(t, kgo.ProducerBatchCompression(kgo.NoCompression()))
	admin := kadm.NewClient(client)
	if _, err := admin.CreateTopic(ctx, 1, 1, nil, "events"); err != nil {
		t.Fatal(err)
	}
	large := &kgo.Record{Topic: "events", Value: []byte(strings.Repeat("x", 1000))}
	if err := client.ProduceSync(ctx, large).FirstErr(); err != nil {
		t.Fatal(err)
	}
	alter := func(change func(...string) (kadm.AlterConfigsResponses, error)) error {
		t.Helper()
		answers, err := change("events")
		if err != nil {
			t.Fatal(err)
		}
		return answers[0].Err
	}
	less := kadm.AlterConfig{Op: kadm.SetConfig, Name: "max.message.bytes", Value: kadm.StringPtr("500")}
	if err := alter(func(topics ...string) (kadm.AlterConfigsResponses, error) {
		return admin.ValidateAlterTopicConfigs(ctx, []kadm.AlterConfig{less}, topics...)
	}); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(ctx, large).FirstErr(); err != nil {
		t.Fatalf("after a validation: %v", err)
	}
	if err := alter(func(topics ...string) (kadm.AlterConfigsResponses, error) {
		return admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{less, {Op: kadm.SetConfig, Name: "retention.ms", Value: kadm.StringPtr("-1")}}, topics...)
	}); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(ctx, large).FirstErr(); !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("1000 bytes where 500 are allowed: %v", err)
	}
	r.end(t)
	r = start(t, store, nil)
	client = r.client(t, kgo.ProducerBatchCompression(kgo.NoCompression()))
	admin = kadm.NewClient(client)
	if err := client.ProduceSync(ctx, large).FirstErr(); !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("after a restart: %v", err)
	}
	if err := alter(func(topics ...string) (kadm.AlterConfigsResponses, error) {
		return admin.AlterTopicConfigsState(ctx, []kadm.AlterConfig{{Name: "max.message.bytes", Value: kadm.StringPtr("5000")}}, topics...)
	}); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(ctx, large).FirstErr(); err != nil {
		t.Error(err)
	}
	described, err := admin.DescribeTopicConfigs(ctx, "events")
	if err != nil || described[0].Err != nil {
		t.Fatal(err, described)
	}
	for _, c := range described[0].Configs {
		if want := map[string]string{"max.message.bytes": "5000", "retention.ms": "604800000"}[c.Key]; want != "" && c.MaybeValue() != want {
			t.Errorf("%s is %s, want %s", c.Key, c.MaybeValue(), want)
		}
	}
	answers, err := admin.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "num.partitions", Value: kadm.StringPtr("5")}})
	if err != nil || !errors.Is(answers[0].Err, kerr.InvalidRequest) || answers[0].ErrMessage == "" {
		t.Errorf("a broker's configs: %+v, %v", answers, err)
	}
}

// TestTopicConfigs sets each topic config that means something, by an admin client, and shows what then becomes of records.
func TestTopicConfigs(t *testing.T) {
	r := start(t, blob.NewMemory(time.Now), nil)
	ctx := within(t, 60*time.Second)
	client := r.client(t, kgo.ProducerBatchCompression(kgo.SnappyCompression()))
	admin := kadm.NewClient(client)
	topic := func(name string, configs map[string]string) {
		t.Helper()
		values := map[string]*string{}
		for key, value := range configs {
			values[key] = &value
		}
		if _, err := admin.CreateTopic(ctx, 1, -1, values, name); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	send := func(topic string, at time.Time, want error) {
		t.Helper()
		if err := client.ProduceSync(ctx, &kgo.Record{Topic: topic, Timestamp: at, Key: []byte("key"), Value: []byte(strings.Repeat("value ", 99))}).FirstErr(); !errors.Is(err, want) {
			t.Errorf("%s, a record of %v: %v, want %v", topic, at, err, want)
		}
	}
	read := func(topic string) *kgo.Record {
		t.Helper()
		return consume(t, ctx, r.client(t, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())), 1)[0]
	}
	now := time.Now().Truncate(time.Millisecond)
	hours := func(n int) time.Time { return now.Add(time.Duration(n) * time.Hour) }

	topic("create-time", map[string]string{"message.timestamp.type": "CreateTime"})
	send("create-time", hours(-1000), nil)
	if got := read("create-time"); !got.Timestamp.Equal(hours(-1000)) || got.Attrs.TimestampType() != 0 {
		t.Errorf("create time: %v, type %d", got.Timestamp, got.Attrs.TimestampType())
	}
	topic("append-time", map[string]string{"message.timestamp.type": "LogAppendTime", "message.timestamp.before.max.ms": "1"})
	send("append-time", hours(-1000), nil)
	if got := read("append-time"); got.Timestamp.Before(now) || got.Timestamp.After(time.Now().Add(time.Second)) || got.Attrs.TimestampType() != 1 {
		t.Errorf("append time: %v, type %d", got.Timestamp, got.Attrs.TimestampType())
	}

	topic("not-old", map[string]string{"message.timestamp.before.max.ms": "3600000"})
	send("not-old", hours(-2), kerr.InvalidTimestamp)
	send("not-old", hours(48), nil)
	topic("not-new", map[string]string{"message.timestamp.after.max.ms": "3600000"})
	send("not-new", hours(2), kerr.InvalidTimestamp)
	send("not-new", hours(-48), nil)

	topic("gzip", map[string]string{"compression.type": "gzip"})
	send("gzip", now, nil)
	if got := read("gzip"); got.Attrs.CompressionType() != 2 {
		t.Errorf("a batch that was sent with snappy has codec %d", got.Attrs.CompressionType())
	}
	topic("in-sync", map[string]string{"min.insync.replicas": "3"})
	send("in-sync", now, nil)

	topic("compacted", map[string]string{"cleanup.policy": "compact"})
	send("compacted", now, nil)
	var all kadm.Offsets
	all.Add(kadm.Offset{Topic: "compacted", At: -1})
	deleted, err := admin.DeleteRecords(ctx, all)
	if got, _ := deleted.Lookup("compacted", 0); err != nil || !errors.Is(got.Err, kerr.PolicyViolation) {
		t.Errorf("deleting records of a compacted topic: %v, %v", got.Err, err)
	}
	for key, value := range map[string]string{"segment.bytes": "13", "retention.ms": "soon", "retention.hours": "1", "remote.storage.enable": "true"} {
		if _, err := admin.CreateTopic(ctx, 1, -1, map[string]*string{key: &value}, "refused"); !errors.Is(err, kerr.InvalidConfig) {
			t.Errorf("%s=%s: %v", key, value, err)
		}
	}
}

// TestOldFormats: what a producer from before Kafka 0.11 sends is refused with an error of its own, and the connection stays.
func TestOldFormats(t *testing.T) {
	r := start(t, blob.NewMemory(time.Now), nil)
	ctx := within(t, 30*time.Second)
	if _, err := kadm.NewClient(r.client(t)).CreateTopic(ctx, 1, 1, nil, "events"); err != nil {
		t.Fatal(err)
	}
	// A message: crc, magic, attributes, in magic 1 a timestamp, key (null), value; in a set it stands behind an offset and its size.
	message := func(magic byte) []byte {
		b := []byte{magic, 0}
		if magic == 1 {
			b = binary.BigEndian.AppendUint64(b, 1_500_000_000_000)
		}
		b = append(b, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2, 'h', 'i')
		set := append(make([]byte, 8), 0, 0, 0, byte(4+len(b)))
		return append(binary.BigEndian.AppendUint32(set, crc32.ChecksumIEEE(b)), b...)
	}
	for version := int16(0); version <= 2; version++ {
		for magic := range byte(2) {
			req := kmsg.NewPtrProduceRequest()
			req.Acks, req.TimeoutMillis = 1, 1000
			req.Topics = []kmsg.ProduceRequestTopic{{Topic: "events", Partitions: []kmsg.ProduceRequestTopicPartition{{Records: message(magic)}}}}
			req.SetVersion(version)
			conn, err := net.Dial("tcp", r.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			for correlation := range int32(2) { // the connection goes on
				if _, err := conn.Write(request(correlation, version, req)); err != nil {
					t.Fatal(err)
				}
				id, body := answer(t, conn)
				resp := req.ResponseKind().(*kmsg.ProduceResponse)
				if err := resp.ReadFrom(body); err != nil || id != correlation {
					t.Fatal(err, id)
				}
				if part := resp.Topics[0].Partitions[0]; part.ErrorCode != kerr.UnsupportedForMessageFormat.Code || part.BaseOffset != -1 {
					t.Errorf("version %d, magic %d: %+v", version, magic, part)
				}
			}
			conn.Close()
		}
	}
}
