package main

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// consume reads so many records of a topic from its start, as a consumer does that is behind.
func consume(ctx context.Context, s *server, topic string, records int) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.where["kafka"]), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxPartitionBytes(8<<20))
	if err != nil {
		return err
	}
	defer client.Close()
	for left := records; left > 0; {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, e := range fetches.Errors() {
			return fmt.Errorf("consuming %s/%d: %w", e.Topic, e.Partition, e.Err)
		}
		left -= fetches.NumRecords()
	}
	return nil
}

// consumeHot reads a topic that fits into memory again and again.
func consumeHot(ctx context.Context, s *server, topic string, records int) error {
	for range hotReads {
		if err := consume(ctx, s, topic, records); err != nil {
			return err
		}
	}
	return nil
}
