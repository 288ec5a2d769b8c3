package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/IBM/sarama"
)

type saramaClient struct {
	brokers []string
	version sarama.KafkaVersion
}

// newSarama speaks as sarama does to a Kafka of the version, such as 2.1, or to the newest that it knows.
func newSarama(bootstrap, version string) (*saramaClient, error) {
	v := sarama.MaxVersion
	if version != "newest" {
		var err error
		if v, err = sarama.ParseKafkaVersion(version + ".0"); err != nil {
			return nil, err
		}
	}
	return &saramaClient{[]string{bootstrap}, v}, nil
}

func (*saramaClient) idempotent() bool { return true }

func (s *saramaClient) config() *sarama.Config {
	c := sarama.NewConfig()
	c.Version = s.version
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Offsets.AutoCommit.Enable = false
	return c
}

func (s *saramaClient) create(_ context.Context, topic string, partitions int) error {
	admin, err := sarama.NewClusterAdmin(s.brokers, s.config())
	if err != nil {
		return err
	}
	return errors.Join(admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: int32(partitions), ReplicationFactor: 1}, false), admin.Close())
}

func (s *saramaClient) producer(change func(*sarama.Config)) (sarama.SyncProducer, error) {
	c := s.config()
	c.Producer.Return.Successes = true
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Idempotent = true
	c.Net.MaxOpenRequests = 1 // an idempotent producer must say so
	change(c)
	return sarama.NewSyncProducer(s.brokers, c)
}

func (s *saramaClient) produce(_ context.Context, topic, codec string, records []record) error {
	var compression sarama.CompressionCodec
	if err := compression.UnmarshalText([]byte(codec)); err != nil {
		return err
	}
	p, err := s.producer(func(c *sarama.Config) { c.Producer.Compression = compression })
	if err != nil {
		return err
	}
	var sent []*sarama.ProducerMessage
	for _, r := range records {
		m := &sarama.ProducerMessage{
			Topic: topic, Key: sarama.StringEncoder(r.key), Headers: []sarama.RecordHeader{{Key: []byte("codec"), Value: []byte(r.header)}},
		}
		if r.value != nil {
			m.Value = sarama.ByteEncoder(r.value)
		}
		sent = append(sent, m)
	}
	return errors.Join(p.SendMessages(sent), p.Close())
}

// reader is a member of a group that stops after so many records.
type reader struct {
	records chan *sarama.ConsumerMessage
	done    chan struct{}
	session sarama.ConsumerGroupSession
}

func (r *reader) Setup(session sarama.ConsumerGroupSession) error {
	r.session = session
	return nil
}

func (r *reader) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (r *reader) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case m, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			select {
			case r.records <- m:
			case <-r.done:
				return nil
			}
		case <-r.done:
			return nil
		}
	}
}

func (s *saramaClient) consume(ctx context.Context, topic, group string, count int) ([]read, error) {
	g, err := sarama.NewConsumerGroup(s.brokers, group, s.config())
	if err != nil {
		return nil, err
	}
	r := &reader{records: make(chan *sarama.ConsumerMessage), done: make(chan struct{})}
	ended := make(chan error, 1)
	go func() { ended <- g.Consume(ctx, []string{topic}, r) }()
	var got []read
	for len(got) < count {
		select {
		case m := <-r.records:
			header := headerOf(m.Headers, func(h *sarama.RecordHeader) (string, []byte) { return string(h.Key), h.Value })
			got = append(got, read{m.Partition, m.Offset, record{string(m.Key), m.Value, header}})
			r.session.MarkMessage(m, "")
		case err := <-ended:
			return nil, errors.Join(fmt.Errorf("the session ends after %d records", len(got)), err, g.Close())
		}
	}
	r.session.Commit()
	close(r.done)
	return got, errors.Join(<-ended, g.Close())
}

func (s *saramaClient) committed(_ context.Context, topic, group string) (map[int32]int64, error) {
	admin, err := sarama.NewClusterAdmin(s.brokers, s.config())
	if err != nil {
		return nil, err
	}
	var all []int32
	for p := range int32(partitions) {
		all = append(all, p)
	}
	resp, err := admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: all})
	if err = errors.Join(err, admin.Close()); err != nil {
		return nil, err
	}
	at := map[int32]int64{}
	for p, block := range resp.Blocks[topic] {
		at[p] = block.Offset
		if block.Err != sarama.ErrNoError {
			err = errors.Join(err, block.Err)
		}
	}
	return at, err
}

func (s *saramaClient) refused(_ context.Context, topic string) (string, error) {
	p, err := s.producer(func(c *sarama.Config) { c.Producer.Transaction.ID = topic })
	if err == nil {
		p.Close()
	}
	return refusal(err)
}
