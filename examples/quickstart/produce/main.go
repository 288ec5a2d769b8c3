// Command produce sends the lines of a file to a Kafka topic, one record a line, and waits for every acknowledgement.
// It is what `kcat -P -l FILE` does, for machines without kcat.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	brokers := flag.String("brokers", "127.0.0.1:9092", "comma-separated `addresses` of brokers")
	topic := flag.String("topic", "earthquakes", "the `topic`, created if it is not there")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: produce [-brokers ADDR,…] [-topic NAME] FILE")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	n, err := produce(context.Background(), strings.Split(*brokers, ","), *topic, flag.Arg(0))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d records acknowledged\n", n)
}

func produce(ctx context.Context, brokers []string, topic, path string) (int, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(topic), kgo.AllowAutoTopicCreation())
	if err != nil {
		return 0, err
	}
	defer client.Close()

	var records []*kgo.Record
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		records = append(records, kgo.StringRecord(lines.Text()))
	}
	return len(records), errors.Join(lines.Err(), client.ProduceSync(ctx, records...).FirstErr())
}
