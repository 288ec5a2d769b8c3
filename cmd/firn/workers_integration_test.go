//go:build integration

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	plainCrew = "name: crew\nsource: {topics: [load]}\ncommit: {freshness: 1s}\n"
	// routedCrew has a new table every ten seconds of a producer's time, and writes to three at a time.
	routedCrew = plainCrew + "transform: [{compute: {kind: id % 3 + id / 20000}}]\ntable: {name: \"default.{topic}_{field:kind}\"}\n"
)

// crew is a broker, an etcd and several processes that work on one job, whose topic "load" a producer fills.
type crew struct {
	t       *testing.T
	data    string
	job     string
	tables  func(records int) []string // that those who were produced go to
	etcd    *embeddedEtcd
	addr    string // where etcd is, also after it was replaced
	broker  *process
	workers []*process // nil where one is dead
}

func newCrew(t *testing.T, workers int) *crew {
	return newCrewOf(t, plainCrew, func(int) []string { return []string{"default.load"} }, workers)
}

// newRoutedCrew is a crew whose records name their tables.
func newRoutedCrew(t *testing.T, workers int) *crew {
	return newCrewOf(t, routedCrew, func(records int) (all []string) {
		for kind := range 3 + (records-1)/20000 {
			all = append(all, fmt.Sprintf("default.load_%d", kind))
		}
		return all
	}, workers)
}

func newCrewOf(t *testing.T, job string, tables func(int) []string, workers int) *crew {
	c := &crew{t: t, data: t.TempDir(), tables: tables, etcd: newEtcd(t), workers: make([]*process, workers)}
	c.addr = c.etcd.Addr()
	c.job = filepath.Join(c.data, "job.yaml")
	if err := os.WriteFile(c.job, []byte(job), 0o644); err != nil {
		t.Fatal(err)
	}
	c.broker = start(t, "broker", "--store", c.store(), "--kafka", "127.0.0.1:0", "--journals", "2")
	if _, err := run(t, fromEnv(t, "FIRN_BIN"), "topics", "create", "load", "--brokers", c.broker.where["kafka"], "--partitions", "8"); err != nil {
		t.Fatal(err)
	}
	for i := range workers {
		c.begin(i)
	}
	return c
}

func (c *crew) store() string { return filepath.Join(c.data, "store") }

// begin starts a worker.
func (c *crew) begin(i int) {
	c.t.Helper()
	c.workers[i] = start(c.t, "process", "-f", c.job, "--data", c.data, "--etcd", c.addr, "--http", "127.0.0.1:0")
}

// metric sums the samples of a metric of a worker.
func (c *crew) metric(i int, name string) (float64, error) {
	answer, err := http.Get("http://" + c.workers[i].where["http"] + "/metrics")
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err
	}
	total := 0.0
	for line := range strings.Lines(string(text)) {
		sample, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if bare, _, _ := strings.Cut(sample, "{"); bare == name {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, err
			}
			total += n
		}
	}
	return total, nil
}

// shares waits until the living workers read so many partitions, in whatever order.
func (c *crew) shares(want ...int) {
	c.t.Helper()
	eventually(c.t, func() error {
		left := map[int]int{}
		for _, n := range want {
			left[n]++
		}
		var got []int
		for i, w := range c.workers {
			if w == nil {
				continue
			}
			n, err := c.metric(i, "firn_work_partitions")
			if err != nil {
				return err
			}
			got = append(got, int(n))
			left[int(n)]--
		}
		for _, n := range left {
			if n != 0 {
				return fmt.Errorf("the workers read %v partitions, want %v", got, want)
			}
		}
		return nil
	})
}

// handed waits until so many groups were handed over.
func (c *crew) handed(want float64) {
	c.t.Helper()
	eventually(c.t, func() error {
		handed := 0.0
		for i := range c.workers {
			n, err := c.metric(i, "firn_work_groups_handed_total")
			if err != nil {
				return err
			}
			handed += n
		}
		if handed < want {
			return fmt.Errorf("%v groups were handed over", handed)
		}
		return nil
	})
}

// audit waits until all that was acknowledged is in the tables, stops the workers, and has the tables verified.
func (c *crew) audit(acknowledged []int) {
	c.t.Helper()
	eventually(c.t, func() error {
		var rows []killRow
		for _, table := range c.tables(len(acknowledged)) {
			some, err := readTable(c.t, c.data, table)
			if err != nil {
				return err
			}
			rows = append(rows, some...)
		}
		return eachRowOnce(c.t, "of load", rows, acknowledged)
	})
	for i, w := range c.workers {
		if w != nil {
			w.stop(c.t)
			c.workers[i] = nil
		}
	}
	out, err := run(c.t, fromEnv(c.t, "FIRN_BIN"), "verify", "-f", c.job, "--data", c.data, "--deep", "--strict")
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Log(out)
}

// TestIntegrationWorkers has two processes share a job, hand over groups, and take over from each other: after SIGTERM at once, after a kill
// when the lease is over. It says how long that may take, and is not for a machine that has other tests to run.
func TestIntegrationWorkers(t *testing.T) {
	c := newCrew(t, 2)
	p := startProducer(t, c.broker, "load", 0)
	c.shares(4, 4)
	c.handed(3)

	eventually(t, func() error {
		out, err := run(t, fromEnv(t, "FIRN_BIN"), "status", "-f", c.job, "--data", c.data, "--json")
		if err != nil {
			return err
		}
		var jobs []jobStatus
		if err := json.Unmarshal([]byte(out), &jobs); err != nil {
			return err
		}
		reads, commits := 0, 0
		for _, w := range jobs[0].Workers {
			commits += len(w.Commits)
			if w.Reads["load"] != "" {
				reads++
			}
		}
		if len(jobs[0].Workers) != 2 || reads != 2 || commits != 1 {
			return fmt.Errorf("firn status knows workers %+v", jobs[0].Workers)
		}
		return nil
	})

	c.workers[0].stop(t)
	c.workers[0] = nil
	began := time.Now()
	c.shares(8)
	t.Logf("taken over %v after SIGTERM has ended", time.Since(began))

	c.begin(0)
	c.shares(4, 4)
	c.workers[1].kill()
	c.workers[1] = nil
	began = time.Now()
	c.shares(8)
	if took := time.Since(began); took > 12*time.Second {
		t.Errorf("taken over %v after a kill", took)
	} else {
		t.Logf("taken over %v after a kill", took)
	}
	c.begin(1)
	c.shares(4, 4)
	c.audit(p.stop(t))
}
