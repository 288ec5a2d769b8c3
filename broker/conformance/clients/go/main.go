// Command clients makes the round trip of ../README.md with Go clients: clients NAME BOOTSTRAP. NAME is sarama-VERSION, which is
// sarama speaking as for Kafka of that version or "newest", kafka-go or franz-go. Prints the version and what passed, or fails.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"
)

// limit bounds the whole round trip.
const limit = 3 * time.Minute

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: clients NAME BOOTSTRAP")
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	said, err := run(ctx, os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(said)
}

func run(ctx context.Context, name, bootstrap string) (string, error) {
	kind, version, _ := strings.Cut(name, "-")
	var c client
	var path string
	var err error
	switch {
	case kind == "sarama":
		path = "github.com/IBM/sarama"
		c, err = newSarama(bootstrap, version)
	case name == "kafka-go":
		path = "github.com/segmentio/kafka-go"
		c = newKafkaGo(bootstrap)
	case name == "franz-go":
		path = "github.com/twmb/franz-go"
		c = newFranz(bootstrap)
	default:
		return "", fmt.Errorf("no client is called %q", name)
	}
	if err != nil {
		return "", err
	}
	said, err := roundTrip(ctx, c, name)
	return moduleVersion(path) + "\t" + said, err
}

// moduleVersion is the version of a module that this program was built with.
func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "?"
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return strings.TrimPrefix(m.Version, "v")
		}
	}
	return "?"
}
