// Command bench measures the whole system from outside: real processes, a real client, real input. It prints tables of ratios and keeps
// them in bench/README.md. CPU is what the operating system accounted to the measured process, so that a busy machine changes wall
// times but hardly the figures that count.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
)

func main() {
	b := bench{}
	flag.StringVar(&b.firn, "firn", "bin/firn", "the `program` to measure")
	flag.StringVar(&b.kafka, "kafka", "", "the `folder` of an Apache Kafka to measure beside, for the part beside")
	flag.IntVar(&b.kafkaPort, "kafka-port", 29292, "the `port` for it; its controller takes the next free one")
	flag.StringVar(&b.input, "input", "examples/quickstart/earthquakes.jsonl", "the `file` whose lines are the records")
	flag.IntVar(&b.megabytes, "mb", 256, "how many `MB` of JSON each throughput run moves")
	flag.IntVar(&b.runs, "runs", 3, "how often each is run; the median is shown")
	only := flag.String("only", "produce,process,freshness", "which parts to run; there are also fetch, partitions, backlog, commits, beside and workers")
	write := flag.String("write", "", "the `file` whose results section is replaced")
	section := flag.String("section", "make bench", "the `command` that writes the section")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	report, err := b.run(ctx, strings.Split(*only, ","))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(report)
	if *write != "" {
		if err := replaceResults(*write, *section, report); err != nil {
			log.Fatal(err)
		}
	}
}

// bench holds what all measurements share.
type bench struct {
	firn, input string
	kafka       string // a folder with Apache Kafka's jars
	kafkaPort   int
	megabytes   int
	runs        int
	lines       []string // records without their line ends
	bytes       int      // of all lines
}

func (b *bench) run(ctx context.Context, parts []string) (string, error) {
	text, err := os.ReadFile(b.input)
	if err != nil {
		return "", err
	}
	b.lines = strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	for _, l := range b.lines {
		b.bytes += len(l)
	}
	if b.firn, err = filepath.Abs(b.firn); err != nil {
		return "", err
	}
	report := machine()
	for _, part := range parts {
		measure, ok := map[string]func(context.Context) (string, error){
			"produce": b.produce, "fetch": b.fetch, "partitions": b.partitions, "process": b.process, "workers": b.workers,
			"backlog": b.backlog, "commits": b.commits, "freshness": b.freshness, "beside": b.beside}[part]
		if !ok {
			return "", fmt.Errorf("-only %s: there are produce, fetch, partitions, process, workers, backlog, commits, freshness and beside", part)
		}
		table, err := measure(ctx)
		if err != nil {
			return "", fmt.Errorf("%s: %w", part, err)
		}
		report += "\n" + table
	}
	return report, nil
}

// rounds is how often the input must be repeated to make the megabytes.
func (b *bench) rounds() int { return max(1, b.megabytes*1_000_000/b.bytes) }
