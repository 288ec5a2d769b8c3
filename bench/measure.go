package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

type codec struct {
	name string
	opt  kgo.CompressionCodec
}

var (
	plain  = codec{"none", kgo.NoCompression()}
	snappy = codec{"snappy", kgo.SnappyCompression()}
	zstd   = codec{"zstd", kgo.ZstdCompression()}
)

// produce measures a broker on a directory store: JSON bytes per second of the broker's processor time.
func (b *bench) produce(ctx context.Context) (string, error) {
	rows := [][]string{{"codec", "MB of JSON", "MB / broker CPU s", "wall s", "MB/s", "PUT/s"}}
	for _, c := range []codec{plain, snappy, zstd} {
		var perCPU, walls, puts []float64
		for range b.runs {
			err := b.withFolder(func(dir string) error {
				s, err := b.startBroker(ctx, dir)
				if err != nil {
					return err
				}
				defer s.cmd.Process.Kill()
				if err := b.fill(ctx, s, c, 1, "warm"); err != nil {
					return err
				}
				before, err1 := s.used()
				samples, err2 := s.metrics(ctx)
				begin := time.Now()
				if err := errors.Join(err1, err2, b.fill(ctx, s, c, b.rounds(), "bench")); err != nil {
					return err
				}
				wall := time.Since(begin).Seconds()
				after, err1 := s.used()
				samples2, err2 := s.metrics(ctx)
				perCPU = append(perCPU, b.total()/(after-before).Seconds())
				walls = append(walls, wall)
				puts = append(puts, grown(samples, samples2, "firn_journal_puts_total")/wall)
				_, err3 := s.stop()
				return errors.Join(err1, err2, err3)
			})
			if err != nil {
				return "", err
			}
		}
		rows = append(rows, []string{c.name, number(b.total(), 0), number(median(perCPU), 0), number(median(walls), 1), number(b.total()/median(walls), 0), number(median(puts), 1)})
	}
	return table("Produce: franz-go, acks=all, 4 partitions, one broker on a directory", rows), nil
}

// process measures a bounded run of the processor over a log that lies ready: JSON bytes per second of its processor time.
func (b *bench) process(ctx context.Context) (string, error) {
	rows := [][]string{{"codec", "MB of JSON", "MB / CPU s", "wall s", "MB/s", "peak MiB"}}
	for _, c := range []codec{plain, snappy, zstd} {
		err := b.withFolder(func(dir string) error {
			s, err := b.startBroker(ctx, dir)
			if err != nil {
				return err
			}
			defer s.cmd.Process.Kill()
			if err := b.fill(ctx, s, c, b.rounds(), "bench"); err != nil {
				return err
			}
			if _, err := s.stop(); err != nil {
				return err
			}
			var perCPU, walls, peaks []float64
			for i := range b.runs {
				out := filepath.Join(dir, strconv.Itoa(i))
				job := filepath.Join(dir, "job.yaml")
				if err := os.WriteFile(job, fmt.Appendf(nil, "name: bench-%d\nsource: {topics: [bench]}\n", i), 0o644); err != nil {
					return err
				}
				begin := time.Now()
				cmd := exec.CommandContext(ctx, b.firn, "process", "-f", job, "--until", "latest", "--store", "file://"+dir+"/store", "--data", out)
				if text, err := cmd.CombinedOutput(); err != nil {
					return fmt.Errorf("firn process: %w\n%s", err, text)
				}
				walls = append(walls, time.Since(begin).Seconds())
				perCPU = append(perCPU, b.total()/cpu(cmd).Seconds())
				peaks = append(peaks, float64(peak(cmd))/1024)
			}
			rows = append(rows, []string{c.name, number(b.total(), 0), number(median(perCPU), 0), number(median(walls), 1), number(b.total()/median(walls), 0), number(median(peaks), 0)})
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	return table("Process: the whole program from start to exit, journal to committed Parquet (zstd 1), inferred schema", rows), nil
}

// freshness measures firn dev under a trickle: from the acknowledgement of a record to the moment at which another process sees it.
func (b *bench) freshness(ctx context.Context) (string, error) {
	rows := [][]string{{"records/s", "p50 s", "p99 s", "max s", "produce p50 ms", "produce p99 ms", "CPU %"}}
	for _, rate := range []int{10, 1000} {
		err := b.withFolder(func(dir string) error {
			s, err := b.startServer(ctx, dir, "dev", "--data", dir+"/data", "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0")
			if err != nil {
				return err
			}
			defer s.cmd.Process.Kill()
			before, err := s.used()
			if err != nil {
				return err
			}
			const seconds = 20
			w, watched := watch(dir+"/data", "trickle"), make(chan error, 1)
			limited, cancel := context.WithTimeout(ctx, 3*seconds*time.Second)
			defer cancel()
			go func() { watched <- w.run(limited, int64(seconds*rate)) }()
			records, err := b.trickle(ctx, s, rate, seconds)
			if err != nil {
				return err
			}
			after, err := s.used()
			if err := errors.Join(err, <-watched); err != nil {
				return err
			}
			var fresh, acks []float64
			for _, r := range records {
				at, ok := w.at(r.partition, r.offset)
				if !ok {
					return fmt.Errorf("partition %d offset %d never became visible", r.partition, r.offset)
				}
				fresh = append(fresh, at.Sub(r.acknowledged).Seconds())
				acks = append(acks, r.acknowledged.Sub(r.sent).Seconds())
			}
			_, err = s.stop()
			rows = append(rows, []string{strconv.Itoa(rate), number(quantile(fresh, 0.5), 2), number(quantile(fresh, 0.99), 2), number(quantile(fresh, 1), 2),
				number(1000*quantile(acks, 0.5), 0), number(1000*quantile(acks, 0.99), 0), number(100*(after-before).Seconds()/seconds, 1)})
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return table("Freshness: firn dev under a trickle, from the acknowledgement to visible for another process", rows), nil
}

// life is that of one produced record, as its producer saw it.
type life struct {
	sent, acknowledged time.Time
	partition          int32
	offset             int64
}

// trickle produces rate records a second for so many seconds.
func (b *bench) trickle(ctx context.Context, s *server, rate, seconds int) ([]life, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.where["kafka"]), kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("trickle"), kgo.ProducerLinger(0))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	records := make([]life, seconds*rate)
	failed := make(chan error, len(records))
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for i := range records {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		sent := time.Now()
		client.Produce(ctx, kgo.StringRecord(b.lines[i%len(b.lines)]), func(r *kgo.Record, err error) {
			if err != nil {
				failed <- err
				return
			}
			records[i] = life{sent, time.Now(), r.Partition, r.Offset}
		})
	}
	if err := client.Flush(ctx); err != nil {
		return nil, err
	}
	select {
	case err := <-failed:
		return nil, err
	default:
		return records, nil
	}
}

// fill produces the input rounds times to a topic and waits for every acknowledgement.
func (b *bench) fill(ctx context.Context, s *server, c codec, rounds int, topic string) error {
	return b.fillSlowly(ctx, s, c, rounds, rounds*len(b.lines), topic)
}

// fillSlowly produces the input rounds times to each topic, and waits for the acknowledgements after every so many lines: each time the
// broker writes an object.
func (b *bench) fillSlowly(ctx context.Context, s *server, c codec, rounds, lines int, topics ...string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.where["kafka"]), kgo.AllowAutoTopicCreation(),
		kgo.ProducerBatchCompression(c.opt), kgo.ProducerBatchMaxBytes(1<<20), kgo.MaxBufferedRecords(200_000), kgo.ProducerLinger(20*time.Millisecond))
	if err != nil {
		return err
	}
	defer client.Close()
	failed := make(chan error, 1)
	for round := range rounds {
		for i, l := range b.lines {
			text := vary(l, round)
			for _, topic := range topics {
				client.Produce(ctx, &kgo.Record{Topic: topic, Value: []byte(text)}, func(_ *kgo.Record, err error) {
					if err != nil {
						select {
						case failed <- err:
						default:
						}
					}
				})
			}
			if (round*len(b.lines)+i+1)%lines == 0 {
				if err := client.Flush(ctx); err != nil {
					return err
				}
			}
		}
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// vary gives a record of the same shape and length for each round: in every run of digits those behind the second are others. A log of
// one small file repeated would compress, and fit dictionaries, as no real one does.
func vary(line string, round int) string {
	if round == 0 {
		return line
	}
	out, seed, digits := []byte(line), uint32(round), 0
	for i, c := range out {
		if c < '0' || c > '9' {
			digits = 0
			continue
		}
		if digits++; digits > 2 {
			seed = seed*1664525 + 1013904223 + uint32(c) // a linear congruential generator
			out[i] = '0' + byte((seed>>16)%10)
		}
	}
	return string(out)
}

// total is what one run moves, in MB of JSON.
func (b *bench) total() float64 { return float64(b.rounds()*b.bytes) / 1e6 }

// withFolder gives use a folder that is removed afterwards.
func (b *bench) withFolder(use func(dir string) error) error {
	dir, err := os.MkdirTemp("", "firn-bench-"+strconv.Itoa(rand.IntN(1e6)))
	if err != nil {
		return err
	}
	return errors.Join(use(dir), os.RemoveAll(dir))
}

func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
