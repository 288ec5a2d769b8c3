//go:build integration

package broker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/firn-io/firn/kfs/blob"
)

// TestIntegrationKcatGroups: librdkafka's members share a topic, commit when they end, and go on there.
func TestIntegrationKcatGroups(t *testing.T) {
	r := start(t, blob.NewMemory(time.Now), nil)
	var all []string
	for round := range 2 {
		var in strings.Builder
		for i := range 400 {
			line := fmt.Sprintf("round %d line %d", round, i)
			all = append(all, line)
			fmt.Fprintln(&in, line)
		}
		r.kcat(t, in.String(), "-P", "-t", "events")
		assigned := make(chan string)
		for i := range 2 {
			go func() {
				assigned <- r.kcat(t, "", "-G", "readers", "events", "-q", "-e", "-X", "auto.offset.reset=earliest", "-X", "session.timeout.ms=6000",
					"-X", "client.id="+fmt.Sprint("kcat", i))
			}()
		}
		got := append(lines(<-assigned), lines(<-assigned)...)
		got = slices.DeleteFunc(got, func(s string) bool { return s == "" })
		want := slices.Clone(all[400*round:])
		slices.Sort(got)
		slices.Sort(want)
		// A member that is at the end while the other comes hands partitions over, with what it has committed: lines may come twice.
		if got = slices.Compact(got); !slices.Equal(got, want) {
			t.Errorf("round %d: %d different lines, want %d", round, len(got), len(want))
		}
	}
	lags, err := kadm.NewClient(r.client(t)).Lag(within(t, time.Minute), "readers")
	if err != nil || lags["readers"].Lag.Total() != 0 {
		t.Errorf("%+v, %v", lags, err)
	}
}
