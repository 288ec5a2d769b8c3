//go:build integration

package main

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firn-io/firn/cmd/firn/chaos"
)

// TestChaosTopicsRecreated deletes a topic while it is produced to, and creates it again, several times, once with a broker killed in
// between. The last one has its own records and no others; the topics beside it, in the same journals, do not notice.
func TestChaosTopicsRecreated(t *testing.T) {
	const again, rounds, perRound = "again", 6, 1_000_000
	f := startFleet(t)
	a := f.audit()
	a.goesOn("at first")
	admin := kadm.NewClient(a.client())
	for round := rounds - 1; ; round-- { // numbers of the last round begin with 0
		f.create(again)
		client := f.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
		books := chaos.NewLedger()
		if round == 0 {
			books = a.ledger
		}
		sending, quit := context.WithCancel(t.Context())
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			produceTo(sending, client, books, again, int64(round)*perRound)
		}()
		eventually(t, func() error {
			if n := books.Acknowledged(again); n < 300 {
				return fmt.Errorf("%d records of round %d were acknowledged", n, round)
			}
			return nil
		})
		if round == rounds/2 {
			f.all[1].kill()
		}
		if round > 0 {
			eventually(t, func() error {
				_, err := admin.DeleteTopic(t.Context(), again)
				if errors.Is(err, kerr.UnknownTopicOrPartition) {
					return nil
				}
				return err
			})
		}
		quit()
		<-sent
		if round == 0 {
			if err := client.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		client.Close() // nobody is told what becomes of the rest
		t.Logf("round %d: %d records acknowledged", round, books.Acknowledged(again))
		if round == rounds/2 {
			f.start(1)
		}
		if round == 0 {
			break
		}
	}
	a.goesOn("at last")
	a.finish(again)
}

// produceTo sends records, numbered from first in each partition, until ctx ends. What fails is not noted: its topic may be gone.
func produceTo(ctx context.Context, client *kgo.Client, books *chaos.Ledger, topic string, first int64) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for number := first; ; number++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for partition := range int32(auditPartitions) {
			client.Produce(context.WithoutCancel(ctx), &kgo.Record{Topic: topic, Partition: partition, Value: fmt.Append(nil, number)}, func(r *kgo.Record, err error) {
				if err == nil {
					books.Told(chaos.Partition{Topic: topic, Number: partition}, number, r.Offset)
				}
			})
		}
	}
}
