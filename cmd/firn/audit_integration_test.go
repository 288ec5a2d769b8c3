//go:build integration

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firn-io/firn/cmd/firn/chaos"
)

// The audited topics, each with a producer of its own: franz-go, idempotent and with five requests in flight; librdkafka likewise; and
// franz-go with acks=1 and without idempotence.
const (
	byFranz      = "audit"
	byLibrdkafka = "librdkafka"
	byPlain      = "plain"
	byRogue      = "rogue" // of a broker that is not one of the three
)

var auditTopics = []string{byFranz, byLibrdkafka, byPlain}

// audit is those producers, a consumer group of two that reads along, and the books.
type audit struct {
	*fleet
	ledger  *chaos.Ledger
	quit    context.CancelFunc // of the producers
	leave   context.CancelFunc // of the group
	sending sync.WaitGroup
	reading sync.WaitGroup

	franz, plain *kgo.Client
	python       *exec.Cmd
	stdin        io.Closer
	errors       bytes.Buffer
}

func (f *fleet) audit() *audit {
	f.t.Helper()
	a := &audit{fleet: f, ledger: chaos.NewLedger()}
	a.ledger.Expect(byPlain, chaos.Plain)
	var sending, reading context.Context
	sending, a.quit = context.WithCancel(f.t.Context())
	reading, a.leave = context.WithCancel(f.t.Context())
	a.franz = f.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	// Without idempotence franz-go gives records up when a broker dies before its first answer, unless it is told not to.
	a.plain = f.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.LeaderAck()), kgo.AlwaysRetryEOF())
	a.sending.Go(func() { a.produce(sending, a.franz, byFranz) })
	a.sending.Go(func() { a.produce(sending, a.plain, byPlain) })
	a.startPython()
	for i := range 2 {
		member := f.client(kgo.ConsumerGroup("auditors"), kgo.ConsumeTopics(auditTopics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		a.reading.Go(func() { a.consume(reading, fmt.Sprintf("member %d", i+1), member) })
	}
	return a
}

// produce sends records, numbered from 0 in each partition, until ctx ends.
func (a *audit) produce(ctx context.Context, client *kgo.Client, topic string) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for number := int64(0); ; number++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for partition := range int32(auditPartitions) {
			client.Produce(a.t.Context(), &kgo.Record{Topic: topic, Partition: partition, Value: strconv.AppendInt(nil, number, 10)}, func(r *kgo.Record, err error) {
				a.answered(chaos.Partition{Topic: topic, Number: partition}, number, r.Offset, err)
			})
		}
	}
}

func (a *audit) answered(p chaos.Partition, number, offset int64, err error) {
	switch {
	case err == nil:
		a.ledger.Told(p, number, offset)
	case !errors.Is(err, kgo.ErrClientClosed): // by the test
		a.ledger.Failed(p, number, err)
	}
}

// startPython runs the producer on librdkafka.
func (a *audit) startPython() {
	a.t.Helper()
	a.python = exec.Command(fromEnv(a.t, "FIRN_PYTHON"), "testdata/counting.py", strings.Join(a.listen[:], ","), byLibrdkafka, fmt.Sprint(auditPartitions))
	a.python.Stderr = &a.errors
	in, err := a.python.StdinPipe()
	if err != nil {
		a.t.Fatal(err)
	}
	out, err := a.python.StdoutPipe()
	if err != nil {
		a.t.Fatal(err)
	}
	if err := a.python.Start(); err != nil {
		a.t.Fatal(err)
	}
	a.stdin = in
	a.t.Cleanup(func() { a.python.Process.Kill() })
	a.sending.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var partition int32
			var number, offset int64
			_, err := fmt.Sscan(lines.Text(), &partition, &number, &offset)
			if err != nil {
				err = errors.New(lines.Text())
			}
			a.answered(chaos.Partition{Topic: byLibrdkafka, Number: partition}, number, offset, err)
		}
	})
}

func (a *audit) consume(ctx context.Context, name string, member *kgo.Client) {
	defer member.Close()
	for ctx.Err() == nil {
		a.note(name, member.PollFetches(ctx))
	}
}

// note enters what a consumer has got, and gives how many records that were.
func (a *audit) note(reader string, fetches kgo.Fetches) (n int) {
	fetches.EachRecord(func(r *kgo.Record) {
		n++
		number, err := strconv.ParseInt(string(r.Value), 10, 64)
		if err != nil {
			number = -1 // nobody has sent it
		}
		a.ledger.Read(reader, chaos.Partition{Topic: r.Topic, Number: r.Partition}, r.Offset, number)
	})
	return n
}

// goesOn waits until all producers and the group have moved on by something.
func (a *audit) goesOn(what string) {
	a.t.Helper()
	told, read := map[string]int{}, a.ledger.Seen()
	for _, topic := range auditTopics {
		told[topic] = a.ledger.Acknowledged(topic)
	}
	eventually(a.t, func() error {
		for topic, n := range told {
			if now := a.ledger.Acknowledged(topic); now < n+200 {
				return fmt.Errorf("%s: %d records of %s were acknowledged since", what, now-n, topic)
			}
		}
		if now := a.ledger.Seen(); now < read+200 {
			return fmt.Errorf("%s: the group has read %d records since", what, now-read)
		}
		return nil
	})
}

// finish stops the producers, waits until the group has everything, reads the topics from their beginning, and holds all that was told and
// read against each other; those of more topics too. Then what lies in the store is verified.
func (a *audit) finish(more ...string) {
	a.t.Helper()
	a.stopSending()
	eventually(a.t, func() error { return a.ledger.Unread(auditTopics...) })
	a.leave()
	a.reading.Wait()
	ends := map[chaos.Partition]int64{}
	for _, topic := range slices.Concat(auditTopics, more) {
		a.readAll(topic, ends)
	}
	for _, err := range a.ledger.Check(ends) {
		a.t.Error(err)
	}
	a.verify()
	total := 0
	for _, end := range ends {
		total += int(end)
	}
	acked := func(topic string) int { return a.ledger.Acknowledged(topic) }
	a.t.Logf("%d records acknowledged (franz-go %d, librdkafka %d, not idempotent %d); %d offsets are there",
		acked(byFranz)+acked(byLibrdkafka)+acked(byPlain), acked(byFranz), acked(byLibrdkafka), acked(byPlain), total)
}

// verify verifies what lies in the store. Objects may be deleted meanwhile.
func (a *audit) verify() {
	a.t.Helper()
	eventually(a.t, func() error {
		out, err := run(a.t, fromEnv(a.t, "FIRN_BIN"), "kfs", "verify", a.direct)
		if err != nil && strings.Contains(err.Error(), "verify again") {
			return err
		}
		if err != nil {
			a.t.Errorf("%v\n%s", err, out)
		}
		return nil
	})
}

// stopSending ends the producers when all that they have sent is answered.
func (a *audit) stopSending() {
	a.t.Helper()
	a.quit()
	a.stdin.Close()
	ctx, cancel := context.WithTimeout(a.t.Context(), waitLimit)
	defer cancel()
	a.sending.Wait()
	if err := a.python.Wait(); err != nil {
		a.t.Errorf("librdkafka: %v\n%s", err, a.errors.String())
	}
	for _, client := range []*kgo.Client{a.franz, a.plain} {
		if err := client.Flush(ctx); err != nil {
			a.t.Fatal(err)
		}
	}
}

// readAll reads a topic from its beginning, and notes where its partitions end.
func (a *audit) readAll(topic string, ends map[chaos.Partition]int64) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), waitLimit)
	defer cancel()
	admin := kadm.NewClient(a.client())
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		a.t.Fatal(err)
	}
	last, err := admin.ListEndOffsets(ctx, topic)
	if err == nil {
		err = last.Error()
	}
	if err != nil {
		a.t.Fatal(err)
	}
	left := 0
	last.Each(func(o kadm.ListedOffset) {
		p := chaos.Partition{Topic: o.Topic, Number: o.Partition}
		start, _ := starts.Lookup(o.Topic, o.Partition)
		a.ledger.Trimmed(p, start.Offset)
		ends[p] = o.Offset
		left += int(o.Offset - start.Offset)
	})
	consumer := a.client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for left > 0 {
		fetches := consumer.PollFetches(ctx)
		if ctx.Err() != nil {
			a.t.Fatalf("%s: %d records could not be read: %v", topic, left, fetches.Err())
		}
		left -= a.note("the last reader", fetches)
	}
}
