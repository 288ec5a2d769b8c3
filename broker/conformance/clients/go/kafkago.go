package main

import (
	"context"
	"errors"
	"time"

	"github.com/segmentio/kafka-go"
)

type kafkaGo struct {
	bootstrap string
	client    kafka.Client
}

func newKafkaGo(bootstrap string) *kafkaGo {
	return &kafkaGo{bootstrap, kafka.Client{Addr: kafka.TCP(bootstrap), Timeout: 10 * time.Second}}
}

func (*kafkaGo) idempotent() bool { return false } // its writer never is

func (k *kafkaGo) create(ctx context.Context, topic string, partitions int) error {
	resp, err := k.client.CreateTopics(ctx, &kafka.CreateTopicsRequest{
		Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1}},
	})
	if err != nil {
		return err
	}
	return resp.Errors[topic]
}

func (k *kafkaGo) produce(ctx context.Context, topic, codec string, records []record) error {
	codecs := map[string]kafka.Compression{"none": 0, "gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd}
	w := &kafka.Writer{
		Addr: k.client.Addr, Topic: topic, Balancer: &kafka.Hash{}, RequiredAcks: kafka.RequireAll, Compression: codecs[codec], BatchTimeout: 10 * time.Millisecond,
	}
	var sent []kafka.Message
	for _, r := range records {
		sent = append(sent, kafka.Message{Key: []byte(r.key), Value: r.value, Headers: []kafka.Header{{Key: "codec", Value: []byte(r.header)}}})
	}
	return errors.Join(w.WriteMessages(ctx, sent...), w.Close())
}

func (k *kafkaGo) consume(ctx context.Context, topic, group string, count int) ([]read, error) {
	r := kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{k.bootstrap}, Topic: topic, GroupID: group, StartOffset: kafka.FirstOffset, MaxWait: 500 * time.Millisecond,
	})
	defer r.Close()
	var got []read
	var last []kafka.Message
	for len(got) < count {
		m, err := r.FetchMessage(ctx)
		if err != nil {
			return nil, err
		}
		header := headerOf(m.Headers, func(h kafka.Header) (string, []byte) { return h.Key, h.Value })
		got = append(got, read{int32(m.Partition), m.Offset, record{string(m.Key), m.Value, header}})
		last = append(last, m)
	}
	return got, r.CommitMessages(ctx, last...)
}

func (k *kafkaGo) committed(ctx context.Context, topic, group string) (map[int32]int64, error) {
	ask := map[string][]int{topic: nil}
	for p := range partitions {
		ask[topic] = append(ask[topic], p)
	}
	resp, err := k.client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: ask})
	if err != nil {
		return nil, err
	}
	at := map[int32]int64{}
	for _, p := range resp.Topics[topic] {
		at[int32(p.Partition)] = p.CommittedOffset
		err = errors.Join(err, p.Error)
	}
	return at, errors.Join(err, resp.Error)
}

func (k *kafkaGo) refused(ctx context.Context, topic string) (string, error) {
	resp, err := k.client.InitProducerID(ctx, &kafka.InitProducerIDRequest{TransactionalID: topic, TransactionTimeoutMs: 10_000})
	if err == nil {
		err = resp.Error
	}
	return refusal(err)
}
