package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/kfs/record"
)

const (
	trickleTime = 60 * time.Second
	// trickleEvery is how often each connection produces one record.
	trickleEvery = time.Second
	// trickleSettles is the settle age of the run that shows what settling puts: a segment and its index for every partition each time.
	trickleSettles = 20 * time.Second
)

// partitions measures a broker while 500 connections produce a record a second each: to one partition, to 1,000 partitions of 100 topics, and
// to as many while what they hold is settled soon.
func (b *bench) partitions(ctx context.Context) (string, error) {
	rows := [][]string{{"partitions", "settled after", "records/s", "p50 ms", "p99 ms", "MiB", "CPU %", "journal PUT/s", "settling PUT/s"}}
	for _, load := range []trickling{{1, 1, time.Hour}, {100, 10, time.Hour}, {100, 10, trickleSettles}} {
		err := b.withFolder(func(dir string) error {
			row, err := b.trickleTo(ctx, dir, load)
			rows = append(rows, row)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return table(fmt.Sprintf("Partitions: %d connections that produce a record a second each, for %v, to one broker on a directory", manyConnections, trickleTime), rows), nil
}

// trickling is one such load.
type trickling struct {
	topics, partitions int // each topic has so many
	settles            time.Duration
}

func (b *bench) trickleTo(ctx context.Context, dir string, load trickling) ([]string, error) {
	s, err := b.startBroker(ctx, dir, "--settle-age", load.settles.String())
	if err != nil {
		return nil, err
	}
	defer s.cmd.Process.Kill()
	if err := createTopics(ctx, s, load); err != nil {
		return nil, err
	}
	conns, err := dialAll(s.where["kafka"], manyConnections)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	before, err1 := s.used()
	samples, err2 := s.metrics(ctx)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	begin := time.Now()
	acks, err := b.produceAll(ctx, conns, load, begin)
	if err != nil {
		return nil, err
	}
	wall := time.Since(begin).Seconds()
	after, err1 := s.used()
	samples2, err2 := s.metrics(ctx)
	resident, err3 := s.resident()
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	settling := grown(samples, samples2, "firn_journal_settle_puts_total")
	_, err = s.stop()
	return []string{strconv.Itoa(load.topics * load.partitions), load.settles.String(), number(float64(len(acks))/wall, 0), number(1000*quantile(acks, 0.5), 0),
		number(1000*quantile(acks, 0.99), 0), number(resident, 0), number(100*(after-before).Seconds()/wall, 1),
		number((grown(samples, samples2, "firn_journal_puts_total")-settling)/wall, 2), number(settling/wall, 2)}, err
}

func createTopics(ctx context.Context, s *server, load trickling) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.where["kafka"]))
	if err != nil {
		return err
	}
	defer client.Close()
	var names []string
	for i := range load.topics {
		names = append(names, topicName(i))
	}
	created, err := kadm.NewClient(client).CreateTopics(ctx, int32(load.partitions), 1, nil, names...)
	return errors.Join(err, created.Error())
}

func topicName(i int) string { return fmt.Sprintf("trickle-%03d", i) }

// produceAll lets every connection produce until the time is over, and gives the seconds that each acknowledgement took. The connections
// begin spread over a second. Each goes through the partitions, from a place of its own.
func (b *bench) produceAll(ctx context.Context, conns []*connection, load trickling, begin time.Time) ([]float64, error) {
	var mu sync.Mutex
	var acks []float64
	group, ctx := errgroup.WithContext(ctx)
	for i, c := range conns {
		group.Go(func() error {
			at := begin.Add(trickleEvery * time.Duration(i) / time.Duration(len(conns)))
			for n := i; at.Before(begin.Add(trickleTime)); n += len(conns) {
				select {
				case <-time.After(time.Until(at)):
				case <-ctx.Done():
					return ctx.Err()
				}
				took, err := c.produce(topicName(n%load.topics), int32(n/load.topics%load.partitions), b.lines[n%len(b.lines)])
				if err != nil {
					return err
				}
				mu.Lock()
				acks = append(acks, took.Seconds())
				mu.Unlock()
				at = at.Add(trickleEvery)
			}
			return nil
		})
	}
	err := group.Wait()
	return acks, err
}

// produce sends one record and waits for its acknowledgement.
func (c *connection) produce(topic string, partition int32, value string) (time.Duration, error) {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 30_000
	batch := record.Builder{}
	batch.Add(time.Now().UnixMilli(), nil, []byte(value))
	records, err := batch.AppendTo(nil)
	if err != nil {
		return 0, err
	}
	t, p := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	t.Topic, p.Partition, p.Records = topic, partition, records
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	req.SetVersion(8)
	begin := time.Now()
	size, err := c.send(req)
	if err != nil {
		return 0, err
	}
	answer := make([]byte, size)
	if _, err := io.ReadFull(c.in, answer); err != nil {
		return 0, err
	}
	took := time.Since(begin)
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	if err := resp.ReadFrom(answer[4:]); err != nil { // behind the correlation id
		return 0, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return 0, fmt.Errorf("producing to %s/%d: an answer for other partitions", topic, partition)
	}
	if err := kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode); err != nil {
		return 0, fmt.Errorf("producing to %s/%d: %w", topic, partition, err)
	}
	return took, nil
}
