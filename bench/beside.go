package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// contender is a server that is measured beside another, in the same run.
type contender struct {
	*server
	name string
}

// beside measures Firn and Apache Kafka with the same load, in turn, while both run: what other programs do to the machine meanwhile
// they do to both. Each load runs b.runs times after one that is not counted: Java compiles what it runs often.
func (b *bench) beside(ctx context.Context) (string, error) {
	if b.kafka == "" {
		return "", errors.New("-kafka says where Apache Kafka is: make .tools/kafka-3.9.1/ok, then -kafka .tools/kafka-3.9.1")
	}
	var report string
	err := b.withFolder(func(dir string) error {
		firn, err := b.startServer(ctx, dir, "broker", "--store", "file://"+dir+"/store", "--kafka", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer firn.cmd.Process.Kill()
		kafka, err := b.startKafka(ctx, dir)
		if err != nil {
			return err
		}
		both := []contender{{firn, "firn"}, {kafka, "kafka"}}
		rows := [][]string{{"", "codec", "MB of JSON", "Firn MB / CPU s", "Kafka MB / CPU s", "ratio", "Firn MB/s", "Kafka MB/s"}}
		for _, c := range []codec{plain, snappy} {
			more, err := b.throughput(ctx, both, c)
			if err != nil {
				return errors.Join(err, kafka.end())
			}
			rows = append(rows, more...)
		}
		report = table("Throughput: one broker each, franz-go, 4 partitions, acks=all; MB of JSON per second of the broker's processor time", rows)
		idle, err := b.connections(ctx, both)
		report += "\n" + idle
		_, stopped := firn.stop()
		return errors.Join(err, stopped, kafka.end())
	})
	return report, err
}

// startKafka runs Apache Kafka with its data in dir.
func (b *bench) startKafka(ctx context.Context, dir string) (*server, error) {
	home, err := filepath.Abs(b.kafka)
	if err != nil {
		return nil, err
	}
	s := &server{cmd: exec.CommandContext(ctx, "broker/conformance/kafka/serve.sh", strconv.Itoa(b.kafkaPort), dir+"/kafka"), where: map[string]string{}}
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) } // it has a process of its own to end
	s.cmd.Env = append(os.Environ(), "KAFKA_HOME="+home, "KAFKA_HEAP_OPTS="+heap)
	s.cmd.Stderr = os.Stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if addr, ok := strings.CutPrefix(lines.Text(), "ready "); ok {
			s.where["kafka"] = addr
			s.pid, err = onlyChild(s.cmd.Process.Pid)
			return s, err
		}
	}
	return nil, fmt.Errorf("serve.sh did not start Kafka: %w", s.cmd.Wait())
}

// heap is what Kafka's own start script gives the server.
const heap = "-Xms1G -Xmx1G"

// end stops Kafka. Its script says nothing of how it ended.
func (s *server) end() error {
	if _, err := s.stop(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		return err
	}
	return nil
}

// onlyChild is the process that a script runs.
func onlyChild(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, err
	}
	children := strings.Fields(string(text))
	if len(children) != 1 {
		return 0, fmt.Errorf("process %d has the children %q, want one", pid, children)
	}
	return strconv.Atoi(children[0])
}

// cost is what one run of a load took.
type cost struct {
	perCPU []float64 // MB of JSON per second of processor time
	walls  []float64 // seconds
}

// measure runs a load that moves so many MB, and accounts for it if it is counted.
func (s *server) measure(mb float64, into *cost, counted bool, load func() error) error {
	before, err := s.used()
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := load(); err != nil {
		return err
	}
	wall := time.Since(begin).Seconds()
	after, err := s.used()
	if counted {
		into.perCPU = append(into.perCPU, mb/(after-before).Seconds())
		into.walls = append(into.walls, wall)
	}
	return err
}

// measure does the same and says whose load has failed.
func (c *contender) measure(mb float64, into *cost, counted bool, load func() error) error {
	if err := c.server.measure(mb, into, counted, load); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	return nil
}

const (
	warmups = 1
	// hotMB of JSON are read hotReads times from memory. Firn keeps 64 MiB of recent records by default.
	hotMB    = 40
	hotReads = 6
)

// throughput gives rows for one codec: produced, read by one that is far behind, and read again and again while it is in memory.
func (b *bench) throughput(ctx context.Context, both []contender, c codec) ([][]string, error) {
	hotRounds := max(1, hotMB*1_000_000/b.bytes)
	hot := float64(hotRounds*b.bytes) / 1e6
	produced, behind, cached := make([]cost, len(both)), make([]cost, len(both)), make([]cost, len(both))
	for run := range warmups + b.runs {
		topic, small := fmt.Sprintf("%s-%d", c.name, run), fmt.Sprintf("%s-hot-%d", c.name, run)
		for i := range both {
			s := &both[i]
			counted := run >= warmups
			if err := s.measure(b.total(), &produced[i], counted, func() error { return b.fill(ctx, s.server, c, b.rounds(), topic) }); err != nil {
				return nil, err
			}
			if err := s.measure(b.total(), &behind[i], counted, func() error { return consume(ctx, s.server, topic, b.rounds()*len(b.lines)) }); err != nil {
				return nil, err
			}
			if err := b.fill(ctx, s.server, c, hotRounds, small); err != nil {
				return nil, err
			}
			if err := s.measure(hotReads*hot, &cached[i], counted, func() error { return consumeHot(ctx, s.server, small, hotRounds*len(b.lines)) }); err != nil {
				return nil, err
			}
		}
	}
	return [][]string{
		besideRow("produce", c, b.total(), produced),
		besideRow("catch up", c, b.total(), behind),
		besideRow("fetch from cache", c, hotReads*hot, cached),
	}, nil
}

func besideRow(what string, c codec, mb float64, costs []cost) []string {
	firn, kafka := median(costs[0].perCPU), median(costs[1].perCPU)
	return []string{what, c.name, number(mb, 0), number(firn, 0), number(kafka, 0), number(firn/kafka, 2),
		number(mb/median(costs[0].walls), 0), number(mb/median(costs[1].walls), 0)}
}
