package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"
)

const (
	manyConnections = 500
	watched         = 20 * time.Second // how long processor time is taken for
	pollWait        = 500 * time.Millisecond
)

// connections measures what a server takes for connections that do nothing, and for as many that poll for what does not come: in % of
// one core, and in memory beyond what it had before.
func (b *bench) connections(ctx context.Context, both []contender) (string, error) {
	rows := [][]string{{"server", "connections", "CPU %", "MiB more", "MiB in all"}}
	for i := range both {
		s := &both[i]
		if err := b.fill(ctx, s.server, plain, 1, "quiet"); err != nil {
			return "", err
		}
		end, err := endOf(ctx, s.server, "quiet")
		if err != nil {
			return "", err
		}
		before, err := s.resident()
		if err != nil {
			return "", err
		}
		row := func(what string, of []*connection, work func(context.Context, *connection) error) error {
			used, err := s.during(ctx, of, work)
			after, err2 := s.resident()
			rows = append(rows, []string{s.name, what, number(100*used.Seconds()/watched.Seconds(), 1), number(after-before, 1), number(after, 0)})
			return errors.Join(err, err2)
		}
		conns, err := dialAll(s.where["kafka"], manyConnections)
		if err == nil {
			err = row("none", nil, nil)
		}
		if err == nil {
			err = row(fmt.Sprintf("%d idle", manyConnections), conns, nil)
		}
		if err == nil {
			err = row(fmt.Sprintf("%d that poll every %v", manyConnections, pollWait), conns, func(ctx context.Context, c *connection) error { return poll(ctx, c, end) })
		}
		for _, c := range conns {
			c.Close()
		}
		if err != nil {
			return "", fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return table("Connections: what a server takes for them in 20 s, in % of one core, and resident memory", rows), nil
}

// during is the processor time that the server takes while every connection works.
func (c *contender) during(ctx context.Context, conns []*connection, work func(context.Context, *connection) error) (time.Duration, error) {
	before, err := c.used()
	if err != nil {
		return 0, err
	}
	limited, cancel := context.WithTimeout(ctx, watched)
	defer cancel()
	group, working := errgroup.WithContext(limited)
	for _, conn := range conns {
		if work != nil {
			group.Go(func() error { return work(working, conn) })
		}
	}
	<-working.Done()
	if err := errors.Join(group.Wait(), ctx.Err()); err != nil {
		return 0, err
	}
	after, err := c.used()
	return after - before, err
}

// connection is one that speaks the protocol itself: a client library would share it between consumers.
type connection struct {
	net.Conn
	in *bufio.Reader
}

// dialAll connects so many times, and lets each ask one thing, as clients do before they are idle.
func dialAll(addr string, n int) ([]*connection, error) {
	var conns []*connection
	for range n {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return conns, err
		}
		conn := &connection{c, bufio.NewReaderSize(c, 512)}
		conns = append(conns, conn)
		if err := conn.ask(kmsg.NewPtrApiVersionsRequest(), 0); err != nil {
			return conns, err
		}
	}
	return conns, nil
}

// ask sends a request and passes over its answer.
func (c *connection) ask(req kmsg.Request, version int16) error {
	req.SetVersion(version)
	size, err := c.send(req)
	if err != nil {
		return err
	}
	_, err = c.in.Discard(size)
	return err
}

// send sends a request, waits for its answer, and gives the answer's size.
func (c *connection) send(req kmsg.Request) (int, error) {
	if _, err := c.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("bench")).AppendRequest(nil, req, 1)); err != nil {
		return 0, err
	}
	var size [4]byte
	_, err := io.ReadFull(c.in, size[:])
	return int(binary.BigEndian.Uint32(size[:])), err
}

// endOf is where partition 0 of a topic ends.
func endOf(ctx context.Context, s *server, topic string) (int64, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.where["kafka"]))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err != nil {
		return 0, err
	}
	end, ok := ends.Lookup(topic, 0)
	if !ok || end.Err != nil {
		return 0, fmt.Errorf("the end of %s: %w", topic, end.Err)
	}
	return end.Offset, nil
}

// poll fetches from the end of partition 0, where there is nothing until the wait is over.
func poll(ctx context.Context, c *connection, end int64) error {
	for ctx.Err() == nil {
		req := kmsg.NewPtrFetchRequest()
		req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = int32(pollWait.Milliseconds()), 1, 1<<20, -1
		t := kmsg.NewFetchRequestTopic()
		t.Topic = "quiet"
		p := kmsg.NewFetchRequestTopicPartition()
		p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = end, 1<<20, -1
		t.Partitions = append(t.Partitions, p)
		req.Topics = append(req.Topics, t)
		if err := c.ask(req, 12); err != nil {
			return err
		}
	}
	return nil
}

// resident is the resident size of the running process in MiB.
func (s *server) resident() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process()))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(text), "VmRSS:")
	fields := strings.Fields(rest)
	if !ok || len(fields) == 0 {
		return 0, errors.New("cannot read /proc/PID/status")
	}
	kib, err := strconv.ParseFloat(fields[0], 64)
	return kib / 1024, err
}
