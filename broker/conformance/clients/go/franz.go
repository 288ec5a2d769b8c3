package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

type franz struct{ seed kgo.Opt }

func newFranz(bootstrap string) *franz { return &franz{kgo.SeedBrokers(bootstrap)} }

func (*franz) idempotent() bool { return true } // by default

func (f *franz) admin() (*kadm.Client, error) { return kadm.NewOptClient(f.seed) }

func (f *franz) create(ctx context.Context, topic string, partitions int) error {
	admin, err := f.admin()
	if err != nil {
		return err
	}
	defer admin.Close()
	_, err = admin.CreateTopic(ctx, int32(partitions), 1, nil, topic)
	return err
}

func (f *franz) produce(ctx context.Context, topic, codec string, records []record) error {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	producer, err := kgo.NewClient(f.seed, kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(codecs[codec]))
	if err != nil {
		return err
	}
	defer producer.Close()
	var sent []*kgo.Record
	for _, r := range records {
		sent = append(sent, &kgo.Record{Key: []byte(r.key), Value: r.value, Headers: []kgo.RecordHeader{{Key: "codec", Value: []byte(r.header)}}})
	}
	return producer.ProduceSync(ctx, sent...).FirstErr()
}

func (f *franz) consume(ctx context.Context, topic, group string, count int) ([]read, error) {
	consumer, err := kgo.NewClient(f.seed, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	var got []read
	for len(got) < count {
		fetches := consumer.PollRecords(ctx, count-len(got))
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("after %d records: %w", len(got), err)
		}
		for r := range fetches.RecordsAll() {
			got = append(got, read{r.Partition, r.Offset, record{string(r.Key), r.Value, headerOf(r.Headers, func(h kgo.RecordHeader) (string, []byte) { return h.Key, h.Value })}})
		}
	}
	return got, consumer.CommitUncommittedOffsets(ctx)
}

// headerOf is the value of the header named codec, in a library's own kind of headers.
func headerOf[H any](headers []H, split func(H) (string, []byte)) string {
	for _, h := range headers {
		if key, value := split(h); key == "codec" {
			return string(value)
		}
	}
	return ""
}

func (f *franz) committed(ctx context.Context, topic, group string) (map[int32]int64, error) {
	admin, err := f.admin()
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	offsets, err := admin.FetchOffsetsForTopics(ctx, group, topic)
	if err != nil {
		return nil, err
	}
	at := map[int32]int64{}
	offsets.Each(func(o kadm.OffsetResponse) { at[o.Partition] = o.At })
	return at, offsets.Error()
}

func (f *franz) refused(ctx context.Context, topic string) (string, error) {
	producer, err := kgo.NewClient(f.seed, kgo.TransactionalID(topic))
	if err != nil {
		return "", err
	}
	defer producer.Close()
	if err = producer.BeginTransaction(); err == nil {
		err = producer.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("x")}).FirstErr()
	}
	return refusal(err)
}

// refusal says that a transactional producer has the error that it must have, whose text is what its user reads.
func refusal(err error) (string, error) {
	const text = "transactional id authorization failed"
	if err == nil || !strings.Contains(strings.ToLower(err.Error()), text) {
		return "", fmt.Errorf("%v, not %s", err, text)
	}
	return "refused, " + text, nil
}
