//go:build integration

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestIntegrationKill kills firn dev ten times in the middle of producing and committing, and restarts it on the same folder. One
// idempotent producer lives through all of it. Every acknowledged record must be in the table once, and no offset twice.
func TestIntegrationKill(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	data := t.TempDir()

	firn := launch(t, "dev", "--data", data, "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0")
	kafka := firn.where["kafka"] // each life listens where the first one did
	p := startProducer(t, firn, "kill", 0)
	for range 10 {
		select {
		case <-time.After(500*time.Millisecond + time.Duration(random.Int64N(int64(3*time.Second)))):
		case <-firn.done:
			t.Fatalf("firn ended by itself: %v\n%s", firn.err, tail(firn.log.String(), 60))
		}
		firn.kill()
		firn = launch(t, "dev", "--data", data, "--kafka", kafka, "--http", "127.0.0.1:0")
	}
	defer func() {
		firn.kill()
		if t.Failed() {
			t.Logf("log of the last life:\n%s", tail(firn.log.String(), 60))
		}
	}()
	acknowledged := p.stop(t)

	eventually(t, func() error { return eachOnce(t, data, "default.kill", acknowledged) })
	if out, err := run(t, fromEnv(t, "FIRN_BIN"), "kfs", "verify", filepath.Join(data, "store")); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// eachOnce reads a table. It fails the test if an offset, or a record of an idempotent producer, is there twice, and gives an error as
// long as one that was acknowledged is missing.
func eachOnce(t *testing.T, data, table string, acknowledged []int) error {
	t.Helper()
	rows, err := readTable(t, data, table)
	if err != nil {
		return err
	}
	return eachRowOnce(t, table, rows, acknowledged)
}

// eachRowOnce is eachOnce for rows that were read.
func eachRowOnce(t *testing.T, table string, rows []killRow, acknowledged []int) error {
	t.Helper()
	ids, offsets := map[int]int{}, map[[2]int64]int{}
	for _, r := range rows {
		ids[r.ID]++
		offsets[[2]int64{r.Partition, r.Offset}]++
	}
	for at, n := range offsets {
		if n != 1 {
			t.Fatalf("partition %d offset %d is in table %s %d times", at[0], at[1], table, n)
		}
	}
	for id, n := range ids {
		if n != 1 {
			t.Fatalf("record %d of an idempotent producer is in table %s %d times", id, table, n)
		}
	}
	missing := 0
	for _, id := range acknowledged {
		if ids[id] == 0 {
			missing++
		}
	}
	if missing > 0 {
		return fmt.Errorf("%d of %d acknowledged records are not in table %s of %d rows", missing, len(acknowledged), table, len(rows))
	}
	t.Logf("%d acknowledged, %d rows", len(acknowledged), len(rows))
	return nil
}

// producer sends numbered records until it is stopped, through every death of the broker.
type producer struct {
	client *kgo.Client
	cancel context.CancelFunc
	sent   chan int // how many, when the loop has ended

	mu           sync.Mutex // guards acknowledged
	acknowledged []int
}

// startProducer sends records to a topic, numbered from first on.
func startProducer(t *testing.T, firn *process, topic string, first int) *producer {
	ctx, cancel := context.WithCancel(t.Context())
	p := &producer{cancel: cancel, sent: make(chan int, 1)}
	p.client = newClient(t, firn, kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(5*time.Millisecond))
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		id := first
		for {
			select {
			case <-ctx.Done():
				p.sent <- id - first
				return
			case <-tick.C:
			}
			for range 20 {
				n := id
				id++
				p.client.Produce(t.Context(), kgo.StringRecord(fmt.Sprintf(`{"id": %d, "text": %q}`, n, strings.Repeat("x", n%300))), func(_ *kgo.Record, err error) {
					if err == nil {
						p.mu.Lock()
						p.acknowledged = append(p.acknowledged, n)
						p.mu.Unlock()
					}
				})
			}
		}
	}()
	return p
}

// stop ends the producer when everything that it sent was acknowledged, and returns what was.
func (p *producer) stop(t *testing.T) []int {
	t.Helper()
	p.cancel()
	sent := <-p.sent
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	if err := p.client.Flush(ctx); err != nil {
		t.Fatalf("flush: %v", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.acknowledged) != sent {
		t.Errorf("%d of %d records were acknowledged", len(p.acknowledged), sent)
	}
	return p.acknowledged
}

type killRow struct {
	ID        int   `json:"id"`
	Partition int64 `json:"kafka_partition"`
	Offset    int64 `json:"kafka_offset"`
}

// readTable reads three columns of a table with pyiceberg.
func readTable(t *testing.T, data, table string) ([]killRow, error) {
	out, err := run(t, fromEnv(t, "FIRN_PYTHON"), "testdata/rows.py", filepath.Join(data, "catalog.db"), filepath.Join(data, "warehouse"), table, "id", "kafka_partition", "kafka_offset")
	if err != nil {
		return nil, err
	}
	var rows []killRow
	return rows, json.Unmarshal([]byte(out), &rows)
}
