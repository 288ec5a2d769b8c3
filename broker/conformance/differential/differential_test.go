package differential

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/firn-io/firn/broker"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/lease"
)

var (
	kafkaAddr = flag.String("kafka", "", "the `address` of an Apache Kafka 3.9.1 to compare with as well")
	seeds     = flag.Int("seeds", 24, "how many sequences to play")
	firstSeed = flag.Uint64("seed", 1, "the first `seed`; 0 draws one")
	tell      = flag.Bool("explained", false, "log each difference that is explained, too")
	parallel  = flag.Int("at-once", 8, "how many sequences are played at the same time")
)

// startFirn runs a broker in this process until the test ends. It keeps its leases also where the machine stands still for a moment.
func startFirn(t *testing.T) *Server {
	t.Helper()
	b, err := broker.New(broker.Config{
		Store: blob.NewMemory(time.Now), Leases: lease.NewMemory().Service("", time.Hour), Listen: "127.0.0.1:0", AutoCreate: true,
		Flush: 5 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-b.Ready()
	return find(t, "firn", b.Addr().String())
}

func find(t *testing.T, name, addr string) *Server {
	t.Helper()
	s, err := Find(t.Context(), name, addr)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestAgainstItself plays some sequences to two brokers of Firn. It shows that nothing is called a difference that only is another run,
// and that the sequences get where they want to.
func TestAgainstItself(t *testing.T) {
	firn, other := startFirn(t), startFirn(t)
	other.Name = "itself"
	compare(t, firn, other)
}

// TestAgainstKfake plays some sequences to Firn and to kfake, which franz-go tests itself with: a second opinion that needs nothing
// installed.
func TestAgainstKfake(t *testing.T) {
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DefaultNumPartitions(4), kfake.AllowAutoTopicCreation())
	if err != nil {
		t.Fatal(err)
	}
	defer fake.Close()
	other := find(t, "kfake", fake.ListenAddrs()[0])
	other.Versions[3] = Range{4, other.Versions[3].Max} // before, it does not create topics as brokers do
	compare(t, startFirn(t), other)
}

// TestAgainstKafka plays sequences to Firn and to a Kafka that runs elsewhere.
func TestAgainstKafka(t *testing.T) {
	if *kafkaAddr == "" {
		t.Skip("no -kafka: make differential starts one")
	}
	compare(t, startFirn(t), find(t, "kafka", *kafkaAddr))
}

// compare plays the wanted number of sequences to Firn and to another server, and fails for what is not explained.
func compare(t *testing.T, firn, other *Server) {
	t.Helper()
	first := *firstSeed
	if first == 0 {
		first = rand.Uint64N(1 << 40)
	}
	t.Logf("seeds %d to %d", first, first+uint64(*seeds)-1)
	known, common := Known(), Common(firn, other)
	run := fmt.Sprintf("%s%x-", familyPrefix, rand.Uint32())
	base := time.Now().Add(-time.Hour)
	found := make([][]Difference, *seeds)
	steps := make([]int, *seeds)
	t.Run("sequences", func(t *testing.T) {
		limit := make(chan struct{}, *parallel)
		for i := range *seeds {
			t.Run(fmt.Sprint(first+uint64(i)), func(t *testing.T) {
				t.Parallel()
				limit <- struct{}{}
				defer func() { <-limit }()
				s := Generate(first+uint64(i), common)
				steps[i] = len(s.Steps)
				prefix := fmt.Sprintf("%s%d-", run, i)
				var outcomes [2][]Outcome
				for k, server := range []*Server{firn, other} {
					var err error
					if outcomes[k], err = Play(t.Context(), server, s, prefix, base); err != nil {
						t.Fatal(err)
					}
				}
				found[i] = Compare(other.Name, s, outcomes[0], outcomes[1], known)
				for _, d := range found[i] {
					switch {
					case d.Explained == nil:
						t.Error(d)
					case *tell:
						t.Logf("%v\n\texplained: %s", d, d.Explained.Why)
					}
				}
			})
		}
	})
	report(t, other.Name, known, found, steps)
}

// report tells how often each explanation was needed, and which were not.
func report(t *testing.T, against string, known []Explanation, found [][]Difference, steps []int) {
	needed := map[*Explanation]int{}
	total := 0
	for i := range found {
		total += steps[i]
		for _, d := range found[i] {
			needed[d.Explained]++
		}
	}
	var b strings.Builder
	for i := range known {
		if e := &known[i]; e.Against == against {
			fmt.Fprintf(&b, "%6d  %s %s: %s\n", needed[e], e.API, e.Path, e.Why)
		}
	}
	t.Logf("%d sequences, %d requests; explained differences with %s, and how often:\n%s", len(found), total, against, b.String())
}
