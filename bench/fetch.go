package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

const (
	// historyTopics are produced at the same time, as in a cluster that serves several teams; one of them is read.
	historyTopics = 16
	// historyObjects is how many journal objects they come to lie in, at least: one each 200 ms, as on a broker with little load.
	historyObjects = 300
	// settleAge makes records settle while one waits for it. The default is an hour.
	settleAge = 5 * time.Second
	// settlePatience bounds the waiting.
	settlePatience = 3 * time.Minute
)

// fetch measures what a broker takes to give one topic of several to a consumer that reads it from its start: from memory, from journal
// objects, in each of which it has a part, and from the segments that it was settled in. The reads from the store begin with a new process.
func (b *bench) fetch(ctx context.Context) (string, error) {
	rows := [][]string{{"codec", "from", "MB of JSON", "MB / broker CPU s", "MB/s", "store reads", "MB read"}}
	for _, c := range []codec{plain, snappy} {
		hot, err := b.fetchHot(ctx, c)
		if err != nil {
			return "", fmt.Errorf("from memory: %w", err)
		}
		cold, err := b.fetchCold(ctx, c)
		if err != nil {
			return "", err
		}
		rows = append(append(rows, hot), cold...)
	}
	return table(fmt.Sprintf("Fetch: one topic of %d that were produced at the same time, 4 partitions each, read from its start by one consumer", historyTopics), rows), nil
}

// reading is what one way of reading took, run by run.
type reading struct {
	cost
	reads, read []float64 // of the store: requests, MB
}

// take measures a load that reads so many MB of JSON.
func (r *reading) take(ctx context.Context, s *server, mb float64, load func() error) error {
	before, err := s.metrics(ctx)
	if err != nil {
		return err
	}
	if err := s.measure(mb, &r.cost, true, load); err != nil {
		return err
	}
	after, err := s.metrics(ctx)
	r.reads = append(r.reads, grown(before, after, "firn_journal_cold_reads_total"))
	r.read = append(r.read, grown(before, after, "firn_journal_cold_read_bytes_total")/1e6)
	return err
}

func (r *reading) row(c codec, from string, mb float64) []string {
	return []string{c.name, from, number(mb, 0), number(median(r.perCPU), 0), number(mb/median(r.walls), 0), number(median(r.reads), 0), number(median(r.read), 0)}
}

// fetchHot reads what lies in memory, several times over.
func (b *bench) fetchHot(ctx context.Context, c codec) (row []string, err error) {
	err = b.withFolder(func(dir string) error {
		s, err := b.startBroker(ctx, dir)
		if err != nil {
			return err
		}
		defer s.cmd.Process.Kill()
		rounds := max(1, hotMB*1_000_000/b.bytes)
		if err := b.fill(ctx, s, c, rounds, "hot"); err != nil {
			return err
		}
		mb := float64(hotReads*rounds*b.bytes) / 1e6
		var r reading
		for range b.runs {
			if err := r.take(ctx, s, mb, func() error { return consumeHot(ctx, s, "hot", rounds*len(b.lines)) }); err != nil {
				return err
			}
		}
		row = r.row(c, "memory", mb)
		_, err = s.stop()
		return err
	})
	return row, err
}

// fetchCold reads one topic from journal objects and, when it was settled, from segments.
func (b *bench) fetchCold(ctx context.Context, c codec) (rows [][]string, err error) {
	err = b.withFolder(func(dir string) error {
		s, err := b.startBroker(ctx, dir)
		if err != nil {
			return err
		}
		defer s.cmd.Process.Kill()
		rounds := max(1, b.rounds()/historyTopics)
		var topics []string
		for i := range historyTopics {
			topics = append(topics, "history-"+strconv.Itoa(i))
		}
		if err := b.fillSlowly(ctx, s, c, rounds, max(1, rounds*len(b.lines)/historyObjects), topics...); err != nil {
			return err
		}
		if _, err := s.stop(); err != nil {
			return err
		}
		mb, records := float64(rounds*b.bytes)/1e6, rounds*len(b.lines)
		cold := func(from string) error {
			var r reading
			for range b.runs {
				s, err := b.startBroker(ctx, dir)
				if err != nil {
					return err
				}
				defer s.cmd.Process.Kill()
				err = r.take(ctx, s, mb, func() error { return consume(ctx, s, topics[0], records) })
				_, stopped := s.stop()
				if err := errors.Join(err, stopped); err != nil {
					return fmt.Errorf("from %s: %w", from, err)
				}
			}
			rows = append(rows, r.row(c, from, mb))
			return nil
		}
		if err := cold("journal objects"); err != nil {
			return err
		}
		if err := b.settle(ctx, dir); err != nil {
			return err
		}
		return cold("settled segments")
	})
	return rows, err
}

// settle runs a broker until no more segments come.
func (b *bench) settle(ctx context.Context, dir string) error {
	s, err := b.startBroker(ctx, dir, "--settle-age", settleAge.String())
	if err != nil {
		return err
	}
	defer s.cmd.Process.Kill()
	const quiet = 40 * time.Second // a journal looks for what is due every 15 s
	settled, since := 0.0, time.Now()
	for begin := time.Now(); settled == 0 || time.Since(since) < quiet; {
		if time.Since(begin) > settlePatience {
			return fmt.Errorf("settling has not come to an end in %v", settlePatience)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
		samples, err := s.metrics(ctx)
		if err != nil {
			return err
		}
		if now := sum(samples, "firn_journal_settled_bytes_total"); now != settled {
			settled, since = now, time.Now()
		}
	}
	_, err = s.stop()
	return err
}
